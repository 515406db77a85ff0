"""Pictures with classes in one NumPy file become an image set that a study can learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")

from medfed.errors import InvalidInput
from medfed.federation.picture_table import load_picture_table
from medfed.imaging.arrays import import_arrays

LABELS = ("normal", "pneumonia")


def _file(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 6), ("val", 2), ("test", 3)):
        arrays[f"{part}_images"] = rng.integers(0, 255, (count, 8, 8), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    arrays["test_images"][2] = arrays["train_images"][0]
    np.savez(path, **(arrays | changes))
    return path


def test_each_picture_has_its_class_and_its_split_and_none_is_there_twice(tmp_path: Path) -> None:
    made, repeated = import_arrays(_file(tmp_path / "a.npz"), tmp_path / "set", LABELS)
    assert (len(made.pictures), repeated) == (10, 1)
    table = load_picture_table(tmp_path / "set")
    assert sorted(map(str, table.texts("split"))) == ["test"] * 2 + ["train"] * 6 + ["validation"] * 2
    assert set(table.texts("class")) == set(LABELS)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": np.zeros((6, 8, 8))},
        {"train_images": np.array([object()], dtype=object)},
        {"val_labels": np.array([0, 2])},
        {"val_labels": np.array([0])},
        {"test_labels": np.array([0.5, 0, 1])},
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        import_arrays(_file(tmp_path / "a.npz", **changes), tmp_path / "set", LABELS)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(InvalidInput):
        import_arrays(tmp_path / "b.npz", tmp_path / "other", LABELS)
