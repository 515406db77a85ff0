"""Pixels come out as they went in, upright and bare, and nothing that is not a still picture comes out at all."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image, ImageOps, PngImagePlugin
from tests.support.pictures import drawn, file_of

from medfed.errors import InvalidInput
from medfed.imaging.picture_file import decode_picture, encode_png, thumbnail


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_pixels_survive_png_exactly(mode: str) -> None:
    values = drawn(mode=mode)
    decoded = decode_picture(encode_png(values))
    np.testing.assert_array_equal(decoded.values, values)
    assert decoded.values.dtype == values.dtype
    assert decoded.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_set_upright_as_pillow_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(drawn(), exif=exif)
    decoded = decode_picture(data)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decoded.values, np.asarray(ImageOps.exif_transpose(image)))
    assert decoded.turned == (orientation >= 5)
    assert bool(decoded.notes) == (orientation != 1)


def test_nothing_written_beside_the_pixels_survives() -> None:
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe 1970"
    info = PngImagePlugin.PngInfo()
    info.add_text("PatientName", "Jane Doe")
    data = file_of(drawn(), exif=exif, pnginfo=info)
    assert b"Jane Doe" in data
    again = encode_png(decode_picture(data).values)
    assert b"Jane" not in again
    assert [again[at + 4 : at + 8] for at in _chunks(again)] == [b"IHDR", b"IDAT", b"IEND"]


def _chunks(data: bytes) -> list[int]:
    at, found = 8, list[int]()
    while at < len(data):
        found.append(at)
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return found


def test_a_palette_and_full_alpha_are_resolved_and_real_transparency_is_said() -> None:
    grey = Image.fromarray(drawn(mode="L"))
    assert decode_picture(file_of(np.asarray(grey.convert("LA")))).notes == ()
    out = io.BytesIO()
    grey.convert("P").save(out, format="PNG")
    palette = decode_picture(out.getvalue())
    assert palette.values.shape == (30, 40, 3)
    np.testing.assert_array_equal(palette.values[..., 0], np.asarray(grey))
    rgba = np.concatenate([drawn(), np.full((30, 40, 1), 7, np.uint8)], axis=2)
    seen = decode_picture(file_of(rgba))
    np.testing.assert_array_equal(seen.values, rgba[..., :3])
    assert "transparent" in seen.notes[0]


def test_damaged_foreign_moving_and_enormous_pictures_are_refused_without_a_name() -> None:
    png = file_of(drawn())
    frames = [Image.fromarray(drawn(seed=seed)) for seed in range(2)]
    moving = io.BytesIO()
    frames[0].save(moving, format="PNG", save_all=True, append_images=frames[1:])
    header = b"\0\1\0\0\0\1\0\0\x08\0\0\0\0"
    chunk = len(header).to_bytes(4, "big") + b"IHDR" + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    enormous = png[:8] + chunk + png[33:]
    gif = file_of(drawn(mode="L"), "GIF")
    for data in (b"", b"not a picture", png[:200], png[:-40], gif, moving.getvalue(), enormous):
        with pytest.raises(InvalidInput, match="picture"):
            decode_picture(data)


def test_every_single_changed_byte_of_a_small_picture_is_refused_or_decoded_and_never_crashes() -> None:
    data = file_of(drawn(8, 8))
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        try:
            decode_picture(damaged)
        except InvalidInput:
            continue


def test_an_array_that_is_no_picture_is_not_encoded() -> None:
    for values in (np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2), np.float32), np.zeros((2, 2, 3), np.uint16)):
        with pytest.raises(InvalidInput, match="pixels of shape"):
            encode_png(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_a_thumbnail_keeps_the_proportions(mode: str) -> None:
    small = thumbnail(drawn(400, 100, mode=mode), 80)
    assert small.shape[:2] == (20, 80)
    assert small.dtype == np.uint8
    with pytest.raises(InvalidInput):
        thumbnail(drawn(), 0)
