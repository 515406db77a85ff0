"""Every file of the public DICOM test sets is imported, or explained in one line; none crashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")

from tests.support.dicom import dicom_bytes, grey_dataset, pydicom_files, shared_dicom

from medfed.errors import InvalidInput
from medfed.imaging.annotation import Box, Described, DescribedBox
from medfed.imaging.dicom_file import open_dicom
from medfed.imaging.dicom_pixels import decode_frame
from medfed.imaging.importing import import_images, read_unannotated
from medfed.imaging.report import ImageReport


def imported(folder: Path, target: Path) -> ImageReport:
    images, report = import_images(read_unannotated(folder), folder, target)
    assert report.is_balanced
    assert len(images.pictures) == report.pictures_used
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    assert {line.source for line in report.lines if line.subject == "picture"} <= set(range(1, files + 1))
    for line in report.lines:
        assert "\n" not in str(line)
        assert len(str(line)) < 250
    return report


@pytest.mark.slow
def test_every_file_of_pydicom_is_imported_or_explained(tmp_path: Path) -> None:
    report = imported(pydicom_files(), tmp_path / "set")
    assert report.pictures_used >= 80
    reasons = " ".join(str(line) for line in report.lines)
    for said in ("structured report", "waveform", "radiotherapy", "segmentation", "DICOMDIR", "no pixels", "cut short"):
        assert said in reasons


@pytest.mark.parametrize("name", ["dicom_sr_seg", "dicom_rt"])
def test_every_file_of_highdicom_and_dicompyler_is_imported_or_explained(name: str, tmp_path: Path) -> None:
    assert imported(shared_dicom(name), tmp_path / "set").pictures_used >= 1


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm"),
    ],
)
def test_however_a_file_is_written_the_picture_is_the_same(compressed: str, plain: str) -> None:
    folder = pydicom_files() / "test_files"
    one, other = (decode_frame(open_dicom((folder / name).read_bytes()), 0).values for name in (compressed, plain))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", "no decoder is installed for its pixels \\(JPEG Lossless"),
        ("JPEG-lossy.dcm", "no decoder is installed for 12 bits"),
        ("MR_truncated.dcm", "cut short"),
        ("badVR.dcm", "radiotherapy"),
        ("test-SR.dcm", "structured report"),
    ],
)
def test_what_is_not_imported_says_why(name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        decode_frame(open_dicom((pydicom_files() / "test_files" / name).read_bytes()), 0)


def test_a_frame_is_named_by_its_number(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    frames = np.arange(512, dtype=np.uint16).reshape(2, 16, 16).astype(np.uint8)
    frames[1] = 255 - frames[1]
    (source / "scan.dcm").write_bytes(dicom_bytes(grey_dataset(frames)))
    box = DescribedBox("nodule", Box(1.0, 2.0, 9.0, 8.0), "annotation 1")
    described = [Described(name, 1, (box,), 16, 16) for name in ("scan.dcm", "scan.dcm#2", "scan.dcm#3", "scan#1")]
    images, report = import_images(described, source, tmp_path / "set")
    assert [picture.findings[0].box for picture in images.pictures] == [box.box, box.box]
    assert [str(line) for line in report.lines if line.subject == "picture"] == [
        "source 1: picture left out: the file has 2 frames; say which by #1, #2, … after its name",
        "source 1, frame 3: picture left out: the file has 2 frames; there is no frame 3",
    ]
    assert report.pictures_used == 2
