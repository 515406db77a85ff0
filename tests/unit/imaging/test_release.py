"""An image set is handed on only when nobody can be named by what is burnt into it, or a person has looked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")

from PIL import Image, ImageDraw, ImageFont
from tests.support.dicom import dicom_bytes, grey_dataset
from tests.support.pictures import file_of

from medfed.crypto import system_entropy
from medfed.errors import InvalidInput, Refused
from medfed.hospital.exchange_material import pack_images
from medfed.imaging.image_set import ImageSet
from medfed.imaging.importing import import_images, read_unannotated
from medfed.imaging.release import check_release, clear_pictures, held_pictures

SMOOTH = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)


def a_set(tmp_path: Path, *, text: bool, screen_shot: bool) -> ImageSet:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.png").write_bytes(file_of(SMOOTH))
    if text:
        image = Image.new("L", (300, 80), 0)
        ImageDraw.Draw(image).text((20, 30), "DOE JANE 1970", fill=255, font=ImageFont.load_default(16))
        (source / "b.png").write_bytes(file_of(np.asarray(image)))
    if screen_shot:
        (source / "c.dcm").write_bytes(dicom_bytes(grey_dataset(SMOOTH[::-1].copy())))
    return import_images(read_unannotated(source), source, tmp_path / "set")[0]


def test_a_set_without_text_is_packed(tmp_path: Path) -> None:
    images = a_set(tmp_path, text=False, screen_shot=False)
    check_release(images)
    assert pack_images(images.folder, tmp_path, system_entropy).stat().st_size > 0


@pytest.mark.parametrize(("text", "screen_shot"), [(True, False), (False, True), (True, True)])
def test_a_set_with_possible_text_is_not_packed_until_all_of_it_was_looked_at(
    tmp_path: Path, text: bool, screen_shot: bool
) -> None:
    images = a_set(tmp_path, text=text, screen_shot=screen_shot)
    held = held_pictures(images)
    assert len(held) == text + screen_shot
    for picture, _ in held:
        with pytest.raises(Refused) as refused:
            pack_images(images.folder, tmp_path, system_entropy)
        assert refused.value.code == "burnt-in-text"
        assert not list(tmp_path.rglob("*.tar"))
        clear_pictures(images, frozenset({picture.file[:16]}), "Ann Roe")
    assert pack_images(images.folder, tmp_path, system_entropy).exists()


def test_clearing_names_a_person_and_pictures_of_the_set(tmp_path: Path) -> None:
    images = a_set(tmp_path, text=True, screen_shot=False)
    mark = held_pictures(images)[0][0].file[:16]
    with pytest.raises(InvalidInput, match="name of who looked"):
        clear_pictures(images, frozenset({mark}), " ")
    with pytest.raises(InvalidInput, match="no picture of this set"):
        clear_pictures(images, frozenset({"0" * 16}), "Ann Roe")
    assert len(held_pictures(images)) == 1
