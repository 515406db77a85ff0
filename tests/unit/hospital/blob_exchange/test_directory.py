"""Whom a site asks for blobs: whoever the ledger says can be asked now, at the address and with the key of now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.support.ledger import FOUR, World, seed_of

from medfed.blobs import DirectoryBlobs
from medfed.crypto import SiteKeys, seeded_entropy
from medfed.errors import Unavailable
from medfed.hospital.blob_exchange.directory import PeerDirectory
from medfed.hospital.blob_exchange.peer_blobs import PeerBlobs
from medfed.hospital.blob_exchange.peer_connection import PeerConnection
from medfed.identifiers import sha256
from medfed.ledger.contracts.membership import ChangeAddress, Leave

ANY = bytes(32)


@pytest.fixture
def world() -> World:
    world = World.build()
    for number, name in enumerate(FOUR):
        world.accept(name, ChangeAddress(f"{name}.example:{1000 + number}"))
    return world


@pytest.fixture
def directory(world: World) -> Iterator[PeerDirectory]:
    made = SiteKeys.generate("alpha", seeded_entropy(b"site"))
    keys = SiteKeys("alpha", seed_of("alpha"), made.sealing_seed, made.vault_key, made.split_key)
    directory = PeerDirectory(lambda: world.view, keys, timeout=3)
    yield directory
    directory.close()


def asked(directory: PeerDirectory, blob: bytes = ANY) -> list[tuple[str, str]]:
    found = [one for one in directory.peers(blob) if isinstance(one, PeerConnection)]
    return [(one._peer, one._address) for one in found]


def test_the_others_with_an_address_are_asked_and_nobody_else(directory: PeerDirectory) -> None:
    """The site itself is not, nor is the auditor, who has said no address."""
    assert asked(directory) == [
        ("beta", "beta.example:1001"),
        ("delta", "delta.example:1002"),
        ("gamma", "gamma.example:1003"),
    ]


def test_who_has_left_is_not_asked_any_more(world: World, directory: PeerDirectory) -> None:
    assert "delta" in [name for name, _ in asked(directory)]
    world.accept("delta", Leave())
    assert [name for name, _ in asked(directory)] == ["beta", "gamma"]


def test_every_blob_begins_with_another_peer_so_that_none_serves_all(directory: PeerDirectory) -> None:
    first = [asked(directory, bytes([number]) + bytes(31))[0][0] for number in range(6)]
    assert first == ["beta", "delta", "gamma"] * 2
    assert {name for name, _ in asked(directory, b"\x01" + bytes(31))} == {"beta", "delta", "gamma"}


def test_a_connection_is_kept_while_address_and_key_are_the_same(world: World, directory: PeerDirectory) -> None:
    before = directory.peers(ANY)
    world.accept("gamma", ChangeAddress("elsewhere.example:4"))
    world.accept("delta", world.new_keys("delta", 1))
    beta, delta, gamma = directory.peers(ANY)
    assert beta is before[0]
    assert delta is not before[1]
    assert delta._peer_key == world.new_keys("delta", 1).signing_key  # type: ignore[attr-defined]
    assert gamma is not before[2]
    assert asked(directory)[2] == ("gamma", "elsewhere.example:4")


def test_what_is_not_used_any_more_is_closed(
    world: World, directory: PeerDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(PeerConnection, "close", lambda self: closed.append(f"{self._peer} {self._address}"))
    directory.peers(ANY)
    world.accept("gamma", ChangeAddress("elsewhere.example:4"))
    directory.peers(ANY)
    assert closed == ["gamma gamma.example:1003"]
    directory.close()
    assert sorted(closed[1:]) == ["beta beta.example:1001", "delta delta.example:1002", "gamma elsewhere.example:4"]
    directory.close()
    assert len(closed) == 4, "closed once"


@pytest.mark.parametrize(
    "address", ["beta.example:seven", ":7000", "beta.example:0", "beta.example:65536", "a:" + "9" * 150]
)
def test_an_address_that_is_none_is_said_when_asked_and_does_not_keep_the_others_from_giving(
    world: World, directory: PeerDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    world.accept("beta", ChangeAddress(address))
    fetch = PeerConnection.fetch

    def fetched(self: PeerConnection, blob: bytes, sink: BinaryIO, start: int, most: int) -> None:
        if self._peer == "gamma":
            sink.write(b"what was asked for")
        else:
            fetch(self, blob, sink, start, most)

    monkeypatch.setattr(PeerConnection, "fetch", fetched)
    blobs = PeerBlobs(DirectoryBlobs(tmp_path), lambda _: [directory.peers(ANY)[0]], pauses=())
    with pytest.raises(Unavailable, match="expected host:port"):
        blobs.get(ANY)
    everybody = PeerBlobs(DirectoryBlobs(tmp_path), lambda _: [directory.peers(ANY)[at] for at in (0, 2)], pauses=())
    assert everybody.get(sha256(b"what was asked for")) == b"what was asked for"
