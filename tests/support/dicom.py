"""DICOM files for tests: made here, those that pydicom brings along, and where those of highdicom lie."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def pydicom_files() -> Path:
    """The folder of test files inside the installed pydicom."""
    import pydicom

    return Path(pydicom.__file__).parent / "data"


def shared_dicom(name: str) -> Path:
    """A folder of DICOM files beside the repository, or a skip that says what is absent."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"shared/data/{name} absent")
    return SHARED / name


def grey_dataset(stored: NDArray[Any]) -> Any:
    """An uncompressed grey secondary capture of the stored values, [height, width] or [frames, height, width]."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        dataset.NumberOfFrames = stored.shape[0]
    bits = stored.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def dicom_bytes(dataset: Any) -> bytes:
    """The file of a data set."""
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()
