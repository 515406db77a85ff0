"""DICOM frames become the pictures that a viewer shows; each pitfall is made here and named."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom")

from pydicom.pixels import apply_windowing
from tests.support.dicom import dicom_bytes, grey_dataset

from medfed.errors import InvalidInput
from medfed.imaging.dicom_file import open_dicom
from medfed.imaging.dicom_pixels import Window, decode_frame, windowed
from medfed.imaging.picture_file import Pixels

RAMP = np.arange(-1024, 1024, 8, dtype=np.int16).reshape(16, 16)


def decoded(dataset: Any, frame: int = 0, window: Window | None = None) -> Pixels:
    return decode_frame(open_dicom(dicom_bytes(dataset)), frame, window)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(40.0, 400.0), (-600.5, 1500.0), (0.0, 200.0)])
def test_windows_are_those_of_pydicom(function: str, centre: float, width: float) -> None:
    dataset = grey_dataset(RAMP)
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = centre, width, function
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    expected = apply_windowing(RAMP, dataset)  # from the least to the greatest value that 16 signed bits hold
    share = windowed(RAMP.astype(np.float32), Window(centre, width, function))
    np.testing.assert_allclose(share, (expected + 32768) / 65535, atol=2e-6)


def test_a_window_is_in_units_of_the_modality() -> None:
    dataset = grey_dataset((RAMP + 1024).astype(np.uint16))
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    values = decoded(dataset).values
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values[RAMP <= -160], 0)
    np.testing.assert_array_equal(values[RAMP >= 240], 65535)
    other = decoded(dataset, window=Window(-600, 1500)).values
    assert int(other[RAMP == 0].item()) == round(65535 * ((0 + 600.5) / 1499 + 0.5))


def test_the_first_of_several_windows_is_used_and_said() -> None:
    dataset = grey_dataset(RAMP)
    dataset.WindowCenter, dataset.WindowWidth = [40, -600], [400, 1500]
    pixels = decoded(dataset)
    assert "several windows" in " ".join(pixels.notes)
    np.testing.assert_array_equal(pixels.values, decoded(dataset, window=Window(40, 400)).values)


def test_monochrome1_is_shown_with_bright_as_more() -> None:
    dataset = grey_dataset(np.arange(256, dtype=np.uint8).reshape(16, 16))
    plain = decoded(dataset)
    assert plain.notes == ()
    np.testing.assert_array_equal(plain.values, np.arange(256, dtype=np.uint8).reshape(16, 16))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE"  # says the same a second time
    np.testing.assert_array_equal(decoded(dataset).values, 255 - plain.values)


def test_padding_is_black_and_does_not_stretch_the_range() -> None:
    stored = RAMP.copy()
    stored[0, :4] = -2000
    dataset = grey_dataset(stored)
    dataset.add_new(0x00280120, "US", 65536 - 2000)  # as many files have it: unsigned although the pixels are signed
    pixels = decoded(dataset)
    np.testing.assert_array_equal(pixels.values[0, :4], 0)
    assert "padding is black" in " ".join(pixels.notes)
    low, high = float(stored[0, 4]), float(stored.max())
    assert int(pixels.values[8, 0]) == pytest.approx(65535 * (float(stored[8, 0]) - low) / (high - low), abs=1)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(decoded(dataset).values[0, :4], 0)


def test_an_overlay_in_the_high_bits_is_not_in_the_picture() -> None:
    picture = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    stored = picture.copy()
    stored[3:9, 2:12] |= 0x8000
    dataset = grey_dataset(stored)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60000102, "US", 15)
    pixels = decoded(dataset)
    assert pixels.notes == ("overlays were left out",)
    clean = grey_dataset(picture)
    clean.BitsStored, clean.HighBit = 12, 11
    clean.WindowCenter, clean.WindowWidth = 2048, 4096
    np.testing.assert_array_equal(pixels.values, decoded(clean).values)


def test_signed_pixels_of_12_bits_keep_their_sign() -> None:
    dataset = grey_dataset((RAMP & 0x0FFF).astype(np.int16))
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.WindowCenter, dataset.WindowWidth = 0, 2048
    expected = decoded(grey_dataset(RAMP), window=Window(0, 2048))
    np.testing.assert_array_equal(decoded(dataset).values, expected.values)


def test_each_frame_has_its_own_window_and_rescaling() -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    dataset = grey_dataset(np.stack([RAMP, RAMP]))
    groups: list[Dataset] = []
    for centre, slope in ((0.0, 1.0), (0.0, 2.0)):
        group, window, rescale = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = centre, 1000.0
        rescale.RescaleSlope, rescale.RescaleIntercept = slope, 0.0
        group.FrameVOILUTSequence = Sequence([window])
        group.PixelValueTransformationSequence = Sequence([rescale])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    first, second = decoded(dataset, 0).values, decoded(dataset, 1).values
    np.testing.assert_array_equal(first, decoded(grey_dataset(RAMP), window=Window(0, 1000)).values)
    np.testing.assert_array_equal(
        second, decoded(grey_dataset((RAMP * 2).astype(np.int16)), window=Window(0, 1000)).values
    )


def test_a_file_without_meta_information_is_read() -> None:
    dataset = grey_dataset(np.arange(256, dtype=np.uint8).reshape(16, 16))
    expected = decoded(dataset).values
    del dataset.file_meta
    out = io.BytesIO()
    dataset.save_as(out, implicit_vr=True, little_endian=True, enforce_file_format=False)
    data = out.getvalue()
    assert data[128:132] != b"DICM"
    np.testing.assert_array_equal(decode_frame(open_dicom(data), 0).values, expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Rows": 0}, "Rows is 0"),
        ({"Rows": 60000, "Columns": 60000}, "at most"),
        ({"NumberOfFrames": 3}, "cut short"),
        ({"PhotometricInterpretation": "HSV"}, "photometric"),
        ({"WindowCenter": 0, "WindowWidth": 0}, "window"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "rescaling"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "segmentation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, "radiotherapy"),
    ],
)
def test_what_cannot_be_a_picture_is_explained(change: dict[str, Any], said: str) -> None:
    dataset = grey_dataset(RAMP)
    for name, value in change.items():
        setattr(dataset, name, value)
    with pytest.raises(InvalidInput, match=said):
        decoded(dataset)


def test_no_value_of_a_file_is_in_a_message_or_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    dataset = grey_dataset(RAMP)
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "MRN-4711"
    data = bytearray(dicom_bytes(dataset))
    said: list[str] = []
    for at in range(140, len(data) - 4, 7):  # damage it everywhere: whatever is raised is ours and quotes nothing
        broken = bytes(data[:at]) + b"\xff\xfe" + bytes(data[at + 2 :])
        try:
            decode_frame(open_dicom(broken), 0)
        except InvalidInput as error:
            said.append(str(error))
    assert said
    assert not re.search("Doe|4711", " ".join([*said, caplog.text]))
