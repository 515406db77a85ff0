"""Every kept input is judged again, and the kept seeds are what the code makes now."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.corpus import PLACE, kept
from tests.fuzz.target import judge
from tests.fuzz.targets import ALL, TARGETS

from medfed.identifiers import sha256

LARGEST_CORPUS = 300_000
UNTAKEN = {"commit-proof", "ledger-merkle-path"}
"""Targets whose seeds are refused too: there is nothing that such a decoder may take."""


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_kept_input_ends_well(name: str, tmp_path: Path) -> None:
    for file, data in kept(name):
        folder = tmp_path / file
        folder.mkdir()
        judge(TARGETS[name], data, folder)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds_are_valid_inputs(name: str, tmp_path: Path) -> None:
    taken = []
    seeds = TARGETS[name].seeds()
    for number, data in enumerate(seeds[::4] if name.endswith("-cells") else seeds):
        folder = tmp_path / str(number)
        folder.mkdir()
        taken.append(judge(TARGETS[name], data, folder))
    if not name.endswith("-cells"):  # those change a file, and may or may not change what matters in it
        assert set(taken) == {name not in UNTAKEN}


def test_seeds_are_the_same_every_time() -> None:
    for target in ALL:
        if target.keep:
            assert target.seeds() == target.seeds(), target.name


def test_the_corpus_belongs_to_targets_and_is_small() -> None:
    files = [path for path in PLACE.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(TARGETS)
    assert {name for name, target in TARGETS.items() if target.keep} <= {path.parent.name for path in files}
    assert sum(path.stat().st_size for path in files) < LARGEST_CORPUS
    for path in files:
        kind, digest = path.stem.split("-")
        assert kind in {"seed", "found"}
        held = dict(kept(path.parent.name))[path.name]
        assert sha256(held).hex().startswith(digest), path


def test_names_of_targets_are_distinct() -> None:
    assert len(ALL) == len(TARGETS)
