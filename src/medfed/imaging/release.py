"""Whether the pictures of an image set may leave the site: possible burnt-in text holds it until a person has looked.

A picture is suspected when the file that it came from says so or is of a kind that often has text, which import notes,
or when its pixels look like a row of letters. Training at the site asks for none of this; what hands pictures on
does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

import orjson

from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.imaging.annotation import Picture
from medfed.imaging.burnt_in import looks_like_text
from medfed.imaging.image_set import ImageSet, read_suspected

__all__ = ["check_release", "clear_pictures", "held_pictures"]

CLEARED: Final = "cleared.json"
_LONGEST_NAME: Final = 80


def held_pictures(images: ImageSet) -> list[tuple[Picture, str]]:
    """The pictures that may not leave, each with why.

    Raises:
        InvalidInput: a file of the set was edited into something else. Unavailable, Tampered: a picture cannot be read.
    """
    suspected, cleared = read_suspected(images.folder), _cleared(images.folder)
    held: list[tuple[Picture, str]] = []
    for picture in images.pictures:
        if picture.file in cleared:
            continue
        reason = suspected.get(picture.file, "")
        if not reason and looks_like_text(images.values(picture)):
            reason = "something in it looks like a row of letters"
        if reason:
            held.append((picture, reason))
    return held


def check_release(images: ImageSet) -> None:
    """Let a set pass of which no picture is held.

    Raises:
        Refused: `burnt-in-text`. Others as `held_pictures`.
    """
    held = held_pictures(images)
    if held:
        raise Refused(
            "burnt-in-text",
            f"{len(held)} of {len(images.pictures)} pictures may have text burnt in; a person has to look at them: "
            "medfed imaging clear",
        )


def clear_pictures(images: ImageSet, marks: frozenset[str], person: str) -> int:
    """Note that a person has looked at pictures and found no text that names anybody; how many of the set these are.

    Args:
        images: the set.
        marks: the first 16 digits of pictures' digests.
        person: who looked.

    Raises:
        InvalidInput: nobody is named, or a mark is of no picture of the set. Unavailable: the disk failed.
    """
    if not person.strip() or len(person) > _LONGEST_NAME:
        raise InvalidInput(f"clearing: expected the name of who looked, at most {_LONGEST_NAME} characters")
    files = {picture.file[:16]: picture.file for picture in images.pictures}
    unknown = sorted(marks - files.keys())
    if unknown:
        raise InvalidInput(f"clearing: {len(unknown)} marks are of no picture of this set, the first {unknown[0]}")
    cleared = {**_cleared(images.folder), **{files[mark]: person.strip() for mark in marks}}
    temporary = images.folder / f".{CLEARED}.new"
    try:
        temporary.write_bytes(orjson.dumps(cleared, option=orjson.OPT_SORT_KEYS))
        temporary.chmod(0o600)
        temporary.replace(images.folder / CLEARED)
    except OSError as error:
        raise Unavailable(f"what was cleared cannot be written ({type(error).__name__})") from None
    return len(marks)


def _cleared(folder: Path) -> dict[str, str]:
    try:
        found: Any = orjson.loads((folder / CLEARED).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError):
        raise InvalidInput(f"image set {folder.name}: {CLEARED} cannot be read") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"image set {folder.name}: {CLEARED} is not what the program writes")
    return cast("dict[str, str]", found)
