"""No planted identifier survives de-identification, wherever in a DICOM file it stood."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("pydicom")

import pydicom
from pydicom.datadict import DicomDictionary
from tests.support.dicom import dicom_bytes, grey_dataset

from medfed.imaging.deidentify import Pseudonyms, deidentify, examine

PLANTED = "DOEJANE4711"
TEXT_VRS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
BYTE_VRS = {"OB", "OW", "UN"}
_PIXELS = {"PixelData", "FloatPixelData", "DoubleFloatPixelData", "Rows", "Columns", "BitsAllocated", "BitsStored"}
_NEEDED = {"PhotometricInterpretation", "SOPClassUID", "NumberOfFrames", "BurnedInAnnotation", "Modality"}
TABLES = {0x00283000, 0x00283010, 0x00281100, 0x00281101}
"""Look-up tables: an empty one makes a file that is no picture."""
ELEMENTS = sorted(
    (tag, vr)
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
    if tag > 0x00080000 and vr in TEXT_VRS | BYTE_VRS and keyword and keyword not in _PIXELS | _NEEDED
)
SEQUENCES = sorted(
    tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ" and tag > 0x00080000 and tag not in TABLES
)


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    logging.getLogger("pydicom").disabled = True
    yield
    logging.getLogger("pydicom").disabled = False


def plant(dataset: Any, tag: int, vr: str) -> None:
    value: Any = PLANTED.encode() + b"\0" if vr in BYTE_VRS else PLANTED
    dataset.add(pydicom.DataElement(tag, vr, value, validation_mode=0))


def survivors(data: bytes) -> list[str]:
    """Where the planted text is, in any encoding that a file may have it in."""
    forms = (PLANTED.encode(), PLANTED.lower().encode(), PLANTED.encode("utf-16-le"), b"DOE", b"JANE")
    return [form.decode("latin-1") for form in forms if form in data]


@settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    elements=st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=25, unique=True),
    inside=st.lists(st.sampled_from(SEQUENCES), max_size=4),
    private=st.integers(0x0009, 0x00FF),
    dates=st.sampled_from(["empty", "shift"]),
)
def test_no_planted_identifier_survives_anywhere(
    elements: list[tuple[int, str]], inside: list[int], private: int, dates: Any
) -> None:
    dataset = grey_dataset(np.zeros((16, 16), np.uint8))
    dataset.BurnedInAnnotation = "NO"
    holder = dataset
    for tag in inside:  # one within the other, and each with all of them in it
        item = pydicom.Dataset()
        if tag not in holder:
            holder.add_new(tag, "SQ", [item])
            holder = item
        for element in elements:
            if element[0] not in holder:
                plant(holder, *element)
    for element in elements:
        plant(dataset, *element)
    block = dataset.private_block(private * 2 + 1, PLANTED, create=True)
    block.add_new(1, "LO", PLANTED)
    block.add_new(2, "OB", PLANTED.encode())
    dataset.file_meta.SourceApplicationEntityTitle = PLANTED
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = PLANTED.encode()
    dataset.preamble = PLANTED.encode().ljust(128, b"\0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library does not like what is planted
        data = dicom_bytes(dataset) + PLANTED.encode()
    assert survivors(data)
    made = deidentify(examine(data), Pseudonyms(bytes(32)), dates)
    assert survivors(made.data) == []
    again = pydicom.dcmread(io.BytesIO(made.data))
    assert again.PatientIdentityRemoved == "YES"
    np.testing.assert_array_equal(again.pixel_array, 0)
