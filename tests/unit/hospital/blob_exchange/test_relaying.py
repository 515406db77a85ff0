"""Handing blobs to peers: to as many as are wanted, to none that may not have them, and again after a failure."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tests.support.ledger import World

from medfed.blobs import DirectoryBlobs
from medfed.errors import Unavailable
from medfed.hospital.blob_exchange.relaying import Relaying
from medfed.identifiers import Digest, Name, sha256

DATA = b"an update"
BLOB = sha256(DATA)


class Index:
    """What others may still need of me, and who may have it."""

    def __init__(self, *blobs: Digest) -> None:
        self.blobs = list(blobs)
        self.strangers: set[Name] = set()

    def open_blobs_of(self, view: object, me: Name) -> list[Digest]:
        assert me == "alpha"
        return self.blobs

    def may_read(self, view: object, name: Name, digest: Digest) -> bool:
        return name not in self.strangers


class Peer:
    """Takes blobs, or says why not."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refusal = ""

    def push(self, blob: Digest, source: BinaryIO, size: int) -> None:
        if self.refusal:
            raise Unavailable(self.refusal)
        data = source.read()
        assert (sha256(data), len(data)) == (blob, size)
        self.taken.append(data)


class Setting:
    def __init__(self, place: Path, copies: int = 2) -> None:
        self.local = DirectoryBlobs(place / "blobs")
        self.index = Index(self.local.put(DATA))
        self.peers = {name: Peer() for name in ("beta", "delta", "gamma")}
        self.view: Any = World.build().view
        asked = lambda digest: list(self.peers.items())  # noqa: E731
        self.relaying = Relaying("alpha", self.local, self.index, asked, copies)  # type: ignore[arg-type]

    def push(self) -> int:
        return self.relaying.push(self.view)

    @property
    def taken(self) -> list[int]:
        return [len(peer.taken) for peer in self.peers.values()]


def test_as_many_peers_as_are_wanted_get_it_once(tmp_path: Path) -> None:
    for copies, expected in ((1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (4, [1, 1, 1])):
        setting = Setting(tmp_path / str(copies), copies)
        assert setting.push() == sum(expected)
        assert setting.taken == expected
        assert setting.push() == 0
        assert setting.taken == expected


def test_who_may_not_have_a_blob_is_not_asked(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.index.strangers = {"beta"}
    assert setting.push() == 2
    assert setting.taken == [0, 1, 1]


def test_what_is_not_here_or_not_needed_is_not_handed_over(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.index.blobs = [sha256(b"elsewhere")]
    assert setting.push() == 0
    setting.index.blobs = []
    assert setting.push() == 0
    assert setting.taken == [0, 0, 0]


def test_a_peer_that_does_not_take_it_is_asked_again_and_the_next_one_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    setting = Setting(tmp_path)
    setting.peers["beta"].refusal = "no room"
    with caplog.at_level(logging.WARNING, "medfed.hospital"):
        assert setting.push() == 2
        assert setting.taken == [0, 1, 1]
        setting.peers["delta"].refusal = setting.peers["gamma"].refusal = "no room"
        another = setting.local.put(b"another update")
        setting.index.blobs = [another]
        for _ in range(3):
            assert setting.push() == 0
    assert [record.getMessage().endswith("beta does not take it: no room") for record in caplog.records] == [True]
    for peer in setting.peers.values():
        peer.refusal = ""
    assert setting.push() == 2


def test_only_so_many_reasons_are_remembered(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    for number in range(100):
        for peer in setting.peers.values():
            peer.refusal = f"reason {number}"
        setting.push()
    assert len(setting.relaying._told) == 32
