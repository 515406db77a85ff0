"""The review page: pictures with boxes, to accept, reject, edit and draw; one file that needs no network.

The page's own script is the only one that it runs, by its digest, and it may load and send nothing: what was decided is
saved as a file by the person who decided. The page shows patients' pictures and stays at the site.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any, Final

import numpy as np
import orjson

from medfed.errors import InvalidInput
from medfed.imaging.annotation import Picture
from medfed.imaging.detections import Detected
from medfed.imaging.image_set import ImageSet
from medfed.imaging.picture_file import encode_png

__all__ = ["MOST_PICTURES", "review_page"]

MOST_PICTURES: Final = 500
_MOST_BYTES: Final = 256 << 20


def review_page(images: ImageSet, detected: Mapping[str, Sequence[Detected]], pictures: Sequence[Picture]) -> str:
    """The whole page as HTML.

    Args:
        images: the set; its digest is in the file that the page saves.
        detected: from a picture's file to what a detector found.
        pictures: those of the set that are shown, in order.

    Raises:
        InvalidInput: more than 500 pictures, or more bytes than a browser bears. Unavailable, Tampered: a
            picture cannot be read or was changed.
    """
    if len(pictures) > MOST_PICTURES:
        raise InvalidInput(f"review page: {len(pictures)} pictures; at most {MOST_PICTURES} fit, choose some")
    shown: list[dict[str, Any]] = []
    size = 0
    for picture in pictures:
        png = _eight_bits(images, picture)
        size += len(png)
        if size > _MOST_BYTES:
            raise InvalidInput("review page: the pictures are too large together; choose fewer")
        shown.append(
            {
                "file": picture.file,
                "width": picture.width,
                "height": picture.height,
                "image": f"data:image/png;base64,{b64encode(png).decode('ascii')}",
                "boxes": _boxes(picture, detected.get(picture.file, ())),
            }
        )
    document = {"set": images.digest.hex(), "labels": images.labels, "pictures": shown}
    data = orjson.dumps(document).decode().replace("<", "\\u003c")
    folder = files("medfed.imaging") / "page"
    script, style = (folder / "review.js").read_text("utf-8"), (folder / "review.css").read_text("utf-8")
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width"><title>Review of findings</title>'
        f"<style>{style}</style></head><body>"
        "<header><h1>Review of findings</h1><p>Green: annotated. Orange: found by a detector, with its score. Blue: "
        "drawn here. A detector's box counts only when it is accepted. A research tool, not a medical device. This "
        "page shows patients' pictures: it stays at the site.</p><div id='bar'></div></header>"
        "<main id='pictures'></main>"
        f'<script type="application/json" id="data">{data}</script><script>{script}</script></body></html>\n'
    )


def _eight_bits(images: ImageSet, picture: Picture) -> bytes:
    values = images.values(picture)
    if values.dtype == np.uint16:
        return encode_png((values >> 8).astype(np.uint8))
    return images.data(picture)


def _boxes(picture: Picture, detected: Sequence[Detected]) -> list[dict[str, Any]]:
    annotated = [
        {
            "label": one.label,
            "box": [one.box.left, one.box.top, one.box.right, one.box.bottom],
            "origin": "annotated",
            "decision": "undecided",
            "difficult": one.difficult,
            "crowd": one.crowd,
        }
        for one in picture.findings
    ]
    found = [
        {
            "label": one.label,
            "box": [one.box.left, one.box.top, one.box.right, one.box.bottom],
            "origin": "detected",
            "decision": "undecided",
            "score": one.score,
        }
        for one in detected
    ]
    return [*annotated, *found]
