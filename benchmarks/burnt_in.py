"""How much burnt-in text the search for letters finds, and what it holds in vain: `python -m benchmarks.burnt_in`.

A name and a date are written at a random place of real photographs (blood cells, BCCD: they have no text of their own),
in several heights and colours, and on dark noise such as the edge of a radiograph. What is held without any text in it
counts as in vain.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.imaging.burnt_in import looks_like_text
from medfed.imaging.picture_file import decode_picture

DATA: Final = Path(__file__).parents[1] / ".." / "shared" / "data" / "det_bccd" / "JPEGImages"
HEIGHTS: Final = (10, 14, 20, 32)
INKS: Final = {"white": (255, 255, 255), "yellow": (255, 235, 60), "light grey": (225, 225, 225), "black": (0, 0, 0)}


def written(pixels: NDArray[Any], height: int, ink: tuple[int, int, int], rng: np.random.Generator) -> NDArray[Any]:
    """The picture with a line of text at a random place."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(pixels).convert("RGB")
    text, font = "DOE JANE 1970-04-12", ImageFont.load_default(height)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    at = (rng.integers(0, image.width - (right - left)), rng.integers(0, image.height - (bottom - top)))
    draw.text((int(at[0]), int(at[1])), text, fill=ink, font=font)
    return np.asarray(image)


def share(pictures: list[NDArray[Any]], change: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
    """The share of pictures that are held after a change."""
    return float(np.mean([looks_like_text(change(picture)) for picture in pictures]))


def main() -> None:
    """Print a table: heights down, colours across."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=60)
    count = parser.parse_args().pictures
    if not DATA.is_dir():
        sys.exit("BCCD: its files are not in ../shared/data; Shenggan/BCCD_Dataset has them")
    photographs = [decode_picture(path.read_bytes()).values for path in sorted(DATA.glob("*.jpg"))[:count]]
    rng = np.random.default_rng(1)
    dark = [rng.normal(30, 8, (300, 400)).clip(0, 255).astype(np.uint8) for _ in range(count)]
    for name, pictures in (("photographs", photographs), ("dark noise", dark)):
        print(f"{name}: {share(pictures, lambda picture: picture):.3f} held without text")
        print("height  " + "  ".join(f"{ink:>10}" for ink in INKS))
        for height in HEIGHTS:
            found = [share(pictures, lambda p, h=height, i=ink: written(p, h, i, rng)) for ink in INKS.values()]
            print(f"{height:6}  " + "  ".join(f"{value:10.2f}" for value in found))


if __name__ == "__main__":
    main()
