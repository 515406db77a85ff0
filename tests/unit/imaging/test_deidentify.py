"""De-identification: what stays is what a picture needs; what may be text burnt in waits for a person."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom")

import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.datadict import tag_for_keyword
from tests.support.dicom import dicom_bytes, grey_dataset, pydicom_files

from medfed.errors import InvalidInput, Refused
from medfed.imaging.burnt_in import looks_like_text
from medfed.imaging.deidentify import Pseudonyms, deidentify, examine
from medfed.imaging.deidentify_folder import deidentify_folder, held_page, read_marks
from medfed.imaging.dicom_file import open_dicom
from medfed.imaging.dicom_pixels import decode_frame
from medfed.imaging.kept_elements import NUMBERS, SEQUENCES, TERMS

FILES = pydicom_files() / "test_files"
ONE, OTHER = Pseudonyms(bytes(32)), Pseudonyms(bytes([1]) * 32)


def made(name: str, pseudonyms: Pseudonyms = ONE, **options: Any) -> Any:
    data = deidentify(examine((FILES / name).read_bytes()), pseudonyms, **options).data
    return pydicom.dcmread(io.BytesIO(data))


def test_nothing_that_the_basic_profile_removes_is_kept() -> None:
    tables = pytest.importorskip("dicomanonymizer.dicom_anonymization_databases.dicomfields_2024b")
    removed: set[tuple[int, int]] = set()
    for name in dir(tables):
        entries = getattr(tables, name)
        if name.endswith("_TAGS") and isinstance(entries, (list, tuple, set)):
            removed |= {(entry[0], entry[1]) for entry in entries if len(entry) == 2}
    assert len(removed) > 500
    for keyword in (*NUMBERS, *TERMS, *SEQUENCES):
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        assert (tag >> 16, tag & 0xFFFF) not in removed, keyword


def test_the_same_patient_and_object_keep_one_pseudonym_under_one_key_only() -> None:
    first, again = made("MR_small.dcm"), made("MR_small_RLE.dcm")
    assert first.PatientID == again.PatientID
    assert first.StudyInstanceUID == again.StudyInstanceUID
    assert first.SOPInstanceUID == first.file_meta.MediaStorageSOPInstanceUID
    assert made("MR_small.dcm", OTHER).PatientID != first.PatientID
    old = pydicom.dcmread(FILES / "MR_small.dcm")
    assert old.PatientID not in str(first)
    assert re.fullmatch(r"2\.25\.[0-9]{1,39}", first.StudyInstanceUID)
    assert first.StudyInstanceUID != old.StudyInstanceUID


def test_dates_are_empty_or_moved_all_by_the_same_days() -> None:
    old = pydicom.dcmread(FILES / "CT_small.dcm")
    assert made("CT_small.dcm").StudyDate == ""
    moved = made("CT_small.dcm", dates="shift")
    assert moved.LongitudinalTemporalInformationModified == "MODIFIED"
    assert moved.StudyDate != old.StudyDate
    days = [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in (old.StudyDate, old.AcquisitionDate, moved.StudyDate)]
    shifted = np.datetime64(f"{moved.AcquisitionDate[:4]}-{moved.AcquisitionDate[4:6]}-{moved.AcquisitionDate[6:]}")
    assert days[1] - days[0] == shifted - days[2]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "693_J2KI.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_the_picture_stays_the_same(name: str) -> None:
    picture = examine((FILES / name).read_bytes())
    data = deidentify(picture, ONE, cleared=[picture.mark]).data
    before, after = decode_frame(picture.file, 0), decode_frame(open_dicom(data), 0)
    np.testing.assert_array_equal(before.values, after.values)


def test_a_screen_shot_waits_until_a_person_has_cleared_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "jane-doe.dcm").write_bytes((FILES / "examples_rgb_color.dcm").read_bytes())
    (source / "mr.dcm").write_bytes((FILES / "MR_small.dcm").read_bytes())
    (source / "notes.txt").write_text("Jane Doe")
    report = deidentify_folder(source, tmp_path / "first", ONE)
    assert (report.files, report.written, len(report.held)) == (3, 1, 1)
    assert report.left_out == ["file 3: not a DICOM file"]
    page = held_page(report.held)
    assert report.held[0].mark in page
    assert "data:image/png;base64," in page
    assert "jane" not in page
    (tmp_path / "marks.txt").write_text(f"{report.held[0].mark} looked at by Dr A\n\n")
    report = deidentify_folder(source, tmp_path / "second", ONE, cleared=read_marks(tmp_path / "marks.txt"))
    assert (report.written, report.cleared, report.held) == (2, 1, [])
    (tmp_path / "marks.txt").write_text("jane-doe.dcm\n")
    with pytest.raises(InvalidInput, match="line 1"):
        read_marks(tmp_path / "marks.txt")


def test_the_library_refuses_by_itself_what_is_not_cleared() -> None:
    with pytest.raises(Refused) as refused:
        made("examples_rgb_color.dcm")
    assert refused.value.code == "burnt-in-text"


@pytest.mark.parametrize("height", [10, 14, 20, 32, 48])
@pytest.mark.parametrize("turned", [False, True])
def test_letters_on_a_plain_ground_are_found(height: int, turned: bool) -> None:
    image = Image.new("L", (420, 320), 12)
    ImageDraw.Draw(image).text((30, 90), "DOE JANE 1970-04-12", fill=235, font=ImageFont.load_default(height))
    values = np.asarray(image.transpose(Image.Transpose.ROTATE_90) if turned else image)
    assert looks_like_text(values)
    assert looks_like_text(values.astype(np.uint16) << 8)


@pytest.mark.parametrize("ink", [(255, 255, 255), (255, 235, 60), (0, 0, 0)])
@pytest.mark.parametrize("height", [10, 20])
def test_letters_on_a_light_uneven_ground_are_found_in_whatever_colour(ink: tuple[int, int, int], height: int) -> None:
    """Yellow is as light as this ground, which is that of a stained smear; only the blue of it is not."""
    rng, (y, x) = np.random.default_rng(2), np.mgrid[:240, :360]
    ground = np.stack([190 + 12 * np.sin(x / 40 + at) + 8 * np.cos(y / 30) for at in range(3)], axis=2)
    smear = (ground + rng.normal(0, 4, ground.shape)).clip(0, 255).astype(np.uint8)
    assert not looks_like_text(smear)
    image = Image.fromarray(smear)
    ImageDraw.Draw(image).text((30, 90), "DOE JANE 1970-04-12", fill=ink, font=ImageFont.load_default(height))
    assert looks_like_text(np.asarray(image))


def test_noise_and_smooth_shapes_are_not_taken_for_letters() -> None:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:256, :256]
    for _ in range(20):
        assert not looks_like_text(rng.normal(128, 25, (256, 256)).clip(0, 255).astype(np.uint8))
        centre = rng.integers(60, 200, 2)
        disc = 40 + 160 * (np.hypot(y - centre[0], x - centre[1]) < rng.integers(15, 50))
        assert not looks_like_text((disc + rng.normal(0, 4, disc.shape)).clip(0, 255).astype(np.uint8))


def test_a_text_in_the_pixels_holds_a_file_that_says_there_is_none() -> None:
    image = Image.new("L", (300, 200), 0)
    ImageDraw.Draw(image).text((20, 60), "DOE JANE 1970", fill=255, font=ImageFont.load_default(16))
    dataset = grey_dataset(np.asarray(image))
    dataset.BurnedInAnnotation = "NO"
    assert "letters" in examine(dicom_bytes(dataset)).text


def test_values_that_no_file_may_have_do_not_crash() -> None:
    dataset = grey_dataset(np.zeros((16, 16), np.uint8))
    dataset.BurnedInAnnotation = "NO"
    dataset.KVP = "120"
    dataset.add(pydicom.DataElement(0x00080060, "CS", "DOE JANE", validation_mode=0))
    broken = dicom_bytes(dataset).replace(b"120 ", b"many")
    assert b"many" in broken
    data = deidentify(examine(broken), ONE).data
    again = pydicom.dcmread(io.BytesIO(data))
    assert "KVP" not in again
    assert "Modality" not in again
