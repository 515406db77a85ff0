"""The blob server and its clients over real sockets: who gets what, ranges, liars, and bad bytes."""

from __future__ import annotations

import http.client
import io
import random
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.ledger import StudyWorld, World, key_of, seed_of

from medfed.blobs import DirectoryBlobs
from medfed.crypto import SiteKeys, seeded_entropy
from medfed.crypto.certificates import certificate_key, make_certificate
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.hospital.blob_exchange.access import BlobIndex
from medfed.hospital.blob_exchange.message_signatures import sign_request
from medfed.hospital.blob_exchange.peer_connection import PeerConnection, client_context
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.registry import RegisterArtefact
from medfed.ledger.engines.memory import MemoryEngine
from medfed.node.blob_server import BlobServer

DATA = random.Random(3).randbytes(700_000)
MOST = 1 << 20


@dataclass
class Setting:
    """Alpha serves what it has submitted to a study of the four hospitals."""

    world: World
    blobs: DirectoryBlobs
    server: BlobServer
    digest: Digest

    def connection(self, who: Name = "beta", *, peer: Name = "alpha", key: Name | None = None) -> PeerConnection:
        chain = self.world.view.chain
        address = f"127.0.0.1:{self.server.port}"
        return PeerConnection(address, peer, key_of(peer).public, chain, who, key_of(key or who), timeout=5)

    def fetch(self, who: Name = "beta", start: int = 0, digest: Digest | None = None) -> bytes:
        sink = io.BytesIO()
        connection = self.connection(who)
        try:
            connection.fetch(digest or self.digest, sink, start, MOST)
        finally:
            connection.close()
        return sink.getvalue()


def rows(world: World) -> BlobIndex:
    """An index over a memory engine, which keeps its receipts by transaction."""
    engine = world.engine
    assert isinstance(engine, MemoryEngine)

    def stored(start: int) -> Iterator:
        for block in engine.blocks(start):
            receipts = [engine._receipts[sha256(wire[64:])] for wire in block.transactions]
            yield block.header.height, block, receipts

    return BlobIndex(stored)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    world = World.build()
    study = StudyWorld(world).to_running()
    blobs = DirectoryBlobs(tmp_path / "blobs")
    digest = blobs.put(DATA)
    world.accept("alpha", study.update("alpha", blob=DATA))
    generated = SiteKeys.generate("alpha", seeded_entropy(b"site"))
    keys = SiteKeys("alpha", seed_of("alpha"), generated.sealing_seed, generated.vault_key, generated.split_key)
    server = BlobServer("127.0.0.1:0", keys, blobs, lambda: world.view, rows(world))
    yield Setting(world, blobs, server, digest)
    server.close()


def test_a_hospital_of_the_study_gets_the_blob_and_any_end_of_it(setting: Setting) -> None:
    assert setting.fetch() == DATA
    assert setting.fetch(start=600_000) == DATA[600_000:]
    assert setting.fetch(start=len(DATA)) == b""


def test_one_connection_serves_many_requests(setting: Setting) -> None:
    connection = setting.connection()
    for _ in range(5):
        sink = io.BytesIO()
        connection.fetch(setting.digest, sink, 0, MOST)
        assert sink.getvalue() == DATA
    connection.close()


def test_an_auditor_and_the_proposer_may_read_and_others_may_not(setting: Setting) -> None:
    assert setting.fetch("auditor") == setting.fetch("organiser") == DATA
    for who in ("user", "server"):
        with pytest.raises(Unavailable, match="403"):
            setting.fetch(who)


def test_a_blob_that_the_ledger_does_not_name_is_nobodys(setting: Setting) -> None:
    secret = setting.blobs.put(b"never published")
    with pytest.raises(Unavailable, match="403"):
        setting.fetch("beta", digest=secret)


def test_what_is_registered_for_all_is_for_all_and_naming_a_blob_again_opens_nothing(setting: Setting) -> None:
    card = setting.blobs.put(b"a card")
    setting.world.accept("user", RegisterArtefact(sha256(b"words"), "vocabulary", card))
    assert setting.fetch("server", digest=card) == b"a card"
    setting.world.accept("user", RegisterArtefact(setting.digest, "dataset", card))
    with pytest.raises(Unavailable, match="403"):
        setting.fetch("user")


def test_a_stranger_and_a_forger_get_nothing(setting: Setting) -> None:
    for who, key in (("omega", "omega"), ("beta", "gamma")):
        connection = setting.connection(who, key=key)
        with pytest.raises(Unavailable, match="401"):
            connection.fetch(setting.digest, io.BytesIO(), 0, MOST)
        connection.close()


def test_a_server_with_another_key_is_found_out_before_anything_is_asked(setting: Setting) -> None:
    with pytest.raises(Tampered, match="is not gamma"):
        setting.connection(peer="gamma").fetch(setting.digest, io.BytesIO(), 0, MOST)


def test_a_blob_that_is_not_here_is_told(setting: Setting) -> None:
    setting.blobs.delete(setting.digest)
    with pytest.raises(Unavailable, match="404"):
        setting.fetch()


def test_a_blob_that_is_damaged_here_ends_short(setting: Setting, tmp_path: Path) -> None:
    path = tmp_path / "blobs" / setting.digest.hex()[:2] / setting.digest.hex()[2:]
    path.write_bytes(b"?" + DATA[1:])
    with pytest.raises(Unavailable):
        setting.fetch()


def test_a_longer_answer_than_allowed_is_not_read_to_its_end(setting: Setting) -> None:
    sink = io.BytesIO()
    with pytest.raises(Tampered, match="more than"):
        setting.connection().fetch(setting.digest, sink, 0, 300_000)
    assert len(sink.getvalue()) <= 300_000


@pytest.mark.parametrize(
    "path",
    ["/", "/blobs/", "/blobs/../../keys/site.key", "/blobs/" + "AB" * 32, "/blobs/" + "ab" * 32 + "?x", "//blobs/x"],
)
def test_no_other_path_leads_anywhere(setting: Setting, path: str) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", setting.server.port, context=client_context(), timeout=5)
    headers = sign_request("GET", path, setting.world.view.chain, "alpha", "beta", key_of("beta"), 0)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    assert (response.status, response.read()) == (404, b"")
    connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE"])
def test_it_neither_deletes_nor_takes_what_nobody_has_signed(setting: Setting, method: str) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", setting.server.port, context=client_context(), timeout=5)
    connection.request(method, "/blobs/" + "ab" * 32, body=b"" if method == "TRACE" else b"x" * 1000)
    assert connection.getresponse().status == {"PUT": 401}.get(method, 501)
    connection.close()


def test_a_body_is_never_taken_for_another_request(setting: Setting) -> None:
    with raw(setting) as connection:
        connection.sendall(b"GET /blobs/x HTTP/1.1\r\nContent-Length: 40\r\n\r\nGET /blobs/y HTTP/1.1\r\n\r\n")
        answer = b""
        while data := connection.recv(4096):
            answer += data
    assert answer.count(b"HTTP/1.1") == 1
    assert b" 400 " in answer


def test_bad_bytes_before_and_after_the_handshake_leave_it_serving(setting: Setting) -> None:
    chance = random.Random(7)
    for number in range(60):
        try:
            with socket.create_connection(("127.0.0.1", setting.server.port), timeout=5) as plain:
                if number % 2:
                    with client_context().wrap_socket(plain) as secure:
                        secure.sendall(chance.randbytes(200) + b"\r\n\r\n")
                        secure.recv(4096)
                else:
                    plain.sendall(chance.randbytes(200))
        except OSError:
            continue
    assert setting.fetch() == DATA


def test_who_does_not_say_who_it_is_is_hung_up_on(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfed.node.blob_server._INTRODUCTION_SECONDS", 0.2)
    with raw(setting) as connection:
        connection.settimeout(10)
        assert connection.recv(10) == b""


def test_a_port_that_is_taken_is_unavailable(setting: Setting) -> None:
    keys = SiteKeys.generate("alpha", seeded_entropy(b"site"))
    with pytest.raises(Unavailable, match="cannot listen"):
        BlobServer(
            f"127.0.0.1:{setting.server.port}", keys, setting.blobs, lambda: setting.world.view, rows(setting.world)
        )


def test_a_certificate_carries_its_key_and_junk_carries_none() -> None:
    pem, _ = make_certificate(key_of("alpha"), "alpha")
    assert certificate_key(ssl.PEM_cert_to_DER_cert(pem.decode())) == key_of("alpha").public
    for junk in (b"", b"x" * 100, b"0" * 20_000):
        with pytest.raises(InvalidInput):
            certificate_key(junk)


def raw(setting: Setting) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", setting.server.port), timeout=5)
    return client_context().wrap_socket(plain)
