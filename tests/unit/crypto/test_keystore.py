from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from msgspec import msgpack

from medfed.crypto import (
    KeystoreCost,
    SiteKeys,
    is_valid_signature,
    load_keystore,
    load_public,
    save_keystore,
    seal,
    seeded_entropy,
)
from medfed.errors import InvalidInput, MedFedError, Refused, Tampered, Unavailable
from medfed.identifiers import sha256

CHEAP = KeystoreCost(passes=1, memory=8 * 1024)
KEYS = SiteKeys.generate("north", seeded_entropy(b"keystore"))
PASSPHRASE = "correct horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "north.keys"
    save_keystore(path, KEYS, PASSPHRASE, CHEAP, seeded_entropy(b"salt"))
    return path


def test_what_is_saved_is_loaded(path: Path) -> None:
    assert load_keystore(path, PASSPHRASE) == KEYS


def test_the_default_cost_works_and_takes_64_mib(tmp_path: Path) -> None:
    save_keystore(tmp_path / "keys" / "k", KEYS, PASSPHRASE)
    assert load_keystore(tmp_path / "keys" / "k", PASSPHRASE) == KEYS
    assert KeystoreCost().memory == 64 * 1024 * 1024


def test_file_and_directory_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_keystore(tmp_path / "keys" / "k", KEYS, PASSPHRASE, CHEAP)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys" / "k").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_no_temporary_file_is_left(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(Refused, match="never overwritten") as caught:
        save_keystore(path, SiteKeys.generate("south", seeded_entropy(b"x")), PASSPHRASE, CHEAP)
    assert caught.value.code == "keystore-exists"
    assert path.read_bytes() == before


def test_of_several_writers_at_once_exactly_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k"
    outcomes: list[str] = []
    barrier = threading.Barrier(6)

    def write(name: str) -> None:
        keys = SiteKeys.generate(name, seeded_entropy(name.encode()))
        barrier.wait()
        try:
            save_keystore(path, keys, PASSPHRASE, CHEAP)
            outcomes.append(name)
        except Refused:
            outcomes.append("")

    threads = [threading.Thread(target=write, args=(f"site-{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 6
    winners = [name for name in outcomes if name]
    assert [load_keystore(path, PASSPHRASE).name] == winners


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_file_that_others_may_use_is_refused_with_the_fix(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(Refused, match=f"chmod 600 {path}") as caught:
        load_keystore(path, PASSPHRASE)
    assert caught.value.code == "keystore-mode"


def test_a_directory_that_others_may_enter_is_refused_with_the_fix(path: Path) -> None:
    path.parent.chmod(0o755)
    with pytest.raises(Refused, match=f"chmod 700 {path.parent}"):
        load_keystore(path, PASSPHRASE)
    with pytest.raises(Refused, match=f"chmod 700 {path.parent}"):
        save_keystore(path.parent / "second", KEYS, PASSPHRASE, CHEAP)


@pytest.mark.parametrize("wrong", ["correct hors", "Correct horse", "correct horse ", "x"])
def test_a_wrong_passphrase_is_invalid_input(path: Path, wrong: str) -> None:
    with pytest.raises(InvalidInput, match="wrong passphrase"):
        load_keystore(path, wrong)


def test_an_empty_passphrase_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at least one character"):
        save_keystore(tmp_path / "keys" / "k", KEYS, "", CHEAP)
    assert not (tmp_path / "keys").exists()


def test_a_passphrase_may_be_typed_composed_or_decomposed(tmp_path: Path) -> None:
    save_keystore(tmp_path / "keys" / "k", KEYS, "caf\u00e9", CHEAP)
    assert load_keystore(tmp_path / "keys" / "k", "cafe\u0301") == KEYS


def test_a_missing_file_is_invalid_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        load_keystore(tmp_path / "none", PASSPHRASE)
    with pytest.raises(InvalidInput, match="no such file"):
        load_public(tmp_path / "none")


def test_a_flipped_bit_in_any_byte_is_tampering(path: Path) -> None:
    data = path.read_bytes()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        path.write_bytes(bytes(changed))
        with pytest.raises(Tampered):
            load_keystore(path, PASSPHRASE)
        with pytest.raises(Tampered):
            load_public(path)


def test_a_truncated_or_lengthened_file_is_tampering(path: Path) -> None:
    data = path.read_bytes()
    for changed in [data[:length] for length in range(0, len(data), 7)] + [data + b"\0", data * 10]:
        path.write_bytes(changed)
        with pytest.raises(Tampered):
            load_keystore(path, PASSPHRASE)


def test_a_deliberate_change_of_any_byte_never_gives_keys(path: Path) -> None:
    """Whoever recomputes the digest still cannot change a byte without being noticed at loading."""
    body = path.read_bytes()[:-32]
    for at in range(len(body)):
        changed = bytearray(body)
        changed[at] ^= 0x01
        path.write_bytes(bytes(changed) + sha256(bytes(changed)))
        with pytest.raises((Tampered, InvalidInput)):
            load_keystore(path, PASSPHRASE)


def test_an_exchanged_public_part_is_tampering(path: Path) -> None:
    other = SiteKeys.generate("north", seeded_entropy(b"other"))
    body = path.read_bytes()[:-32]
    body = body.replace(KEYS.public.sealing, other.public.sealing)
    path.write_bytes(body + sha256(body))
    with pytest.raises(Tampered, match="changed since it was written"):
        load_keystore(path, PASSPHRASE)


@pytest.mark.parametrize(("field", "value"), [("memory", 1 << 40), ("passes", 1_000_000), ("memory", 0)])
def test_a_file_cannot_make_loading_cost_more_than_the_bound(path: Path, field: str, value: int) -> None:
    contents = msgpack.decode(path.read_bytes()[:-32])
    contents["cost"][field] = value
    body = msgpack.encode(contents)
    path.write_bytes(body + sha256(body))
    with pytest.raises(Tampered, match="not a keystore"):
        load_keystore(path, PASSPHRASE)


def test_the_public_part_is_read_without_a_passphrase(path: Path) -> None:
    public = load_public(path)
    assert public == KEYS.public
    assert is_valid_signature(public.signing, b"m", KEYS.signing_key.sign(b"m"))
    assert KEYS.sealing_key.open(seal(public.sealing, b"x", b"i"), b"i") == b"x"


def test_no_secret_is_in_the_file_in_clear_nor_in_print(path: Path) -> None:
    data = path.read_bytes()
    for secret in (KEYS.signing_seed, KEYS.sealing_seed, KEYS.vault_key, KEYS.split_key):
        assert secret not in data
        assert secret[:4].hex() not in repr(KEYS) + str(KEYS.__rich_repr__())
        assert repr(secret)[2:10] not in repr(KEYS)


def test_two_saves_of_the_same_keys_share_nothing_but_the_public_part(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_keystore(tmp_path / "keys" / name, KEYS, PASSPHRASE, CHEAP)
    a, b = (msgpack.decode((tmp_path / "keys" / name).read_bytes()[:-32]) for name in ("a", "b"))
    assert a["public"] == b["public"]
    for field in ("salt", "check", "ciphertext"):
        assert a[field] != b[field]


def test_a_disk_that_will_not_write_is_unavailable_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        save_keystore(tmp_path / "keys" / "k", KEYS, PASSPHRASE, CHEAP)
    assert list((tmp_path / "keys").iterdir()) == []


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(MedFedError):
        SiteKeys.generate("Not A Name", seeded_entropy(b"x"))
