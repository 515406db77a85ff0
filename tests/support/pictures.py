"""Pictures and annotations for tests: drawn, so that no file is needed, and where the real blood cells lie."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

BLOOD_CELLS = Path(__file__).parents[2] / ".." / "shared" / "data" / "det_bccd"


def blood_cells() -> Path:
    """The BCCD folder, or a skip that says what is absent."""
    if not (BLOOD_CELLS / "Annotations").is_dir():
        pytest.skip("shared/data/det_bccd absent: Shenggan/BCCD_Dataset has it")
    return BLOOD_CELLS


def drawn(width: int = 40, height: int = 30, *, seed: int = 0, mode: str = "RGB") -> NDArray[Any]:
    """Random pixels: compressible by nobody, the same for a seed."""
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    kind = np.uint16 if mode == "I;16" else np.uint8
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


def file_of(values: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """An encoded picture."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(values).save(out, format=kind, **options)
    return out.getvalue()


def voc_xml(
    name: str, boxes: Sequence[tuple[str, float, float, float, float]], size: tuple[int, int] = (40, 30)
) -> str:
    """A VOC annotation; coordinates as VOC counts them."""
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for label, a, b, c, d in boxes
    )
    dimensions = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation><filename>{name}</filename>{dimensions}{objects}</annotation>"
