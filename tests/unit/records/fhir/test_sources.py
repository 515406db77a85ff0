"""Packed files are bounded as a whole, whatever their members claim."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from itertools import chain, repeat
from pathlib import Path

import orjson
import pytest
from tests.support.fhir import patient

from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput
from medfed.records.fhir.importer import import_fhir
from medfed.records.fhir.sources import open_streams, split_lines
from medfed.records.library import Library
from medfed.records.report import ImportReport

MIB = 1 << 20


def zipped(path: Path, members: int, size: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(f"{number}.ndjson", b" " * size)
    return path


def contents(path: Path) -> bytes:
    return b"".join(chunk for stream in open_streams(path) for chunk in stream.chunks)


def unpacked(path: Path) -> int:
    return len(contents(path))


def test_members_that_are_each_within_bounds_are_not_so_together(tmp_path: Path) -> None:
    assert unpacked(zipped(tmp_path / "one.zip", 1, 15 * MIB)) == 15 * MIB
    with pytest.raises(InvalidInput, match="200 times"):
        unpacked(zipped(tmp_path / "many.zip", 20, 15 * MIB))


def test_members_that_share_their_bytes_count_for_no_more_than_the_file(tmp_path: Path) -> None:
    """Every member of the directory points to the same packed bytes and claims them for itself."""
    path = zipped(tmp_path / "one.zip", 1, 8 * MIB)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("0.ndjson")
    data = path.read_bytes()
    central = data[data.rindex(b"PK\x01\x02") : data.rindex(b"PK\x05\x06")]
    count, start = 40, data.rindex(b"PK\x01\x02")
    end = b"PK\x05\x06" + bytes(4) + count.to_bytes(2, "little") * 2
    end += (len(central) * count).to_bytes(4, "little") + start.to_bytes(4, "little") + bytes(2)
    path.write_bytes(data[:start] + central * count + end)
    assert member.compress_size < path.stat().st_size
    with pytest.raises(InvalidInput):
        unpacked(path)


def test_many_gzip_members_are_read_as_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(b"".join(gzip.compress(f"{number}\n".encode(), mtime=0) for number in range(3_000)))
    assert contents(path) == b"".join(f"{number}\n".encode() for number in range(3_000))


def test_a_byte_order_mark_is_left_off_at_the_beginning_only(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfa", mtime=0) + gzip.compress(b"\xef\xbb\xbfb", mtime=0))
    assert contents(path) == b"a\xef\xbb\xbfb"


def test_a_zip_of_a_kind_or_place_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", 1, 10)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    for at, value in (
        (6, b"\xff\x00"),
        (42, b"\xff\xff\xff\x7f"),
        (10, b"\x63\x00"),
        (8, b"\x01\x00"),
    ):
        changed = bytearray(data)
        changed[central + at : central + at + len(value)] = value
        path.write_bytes(changed)
        with pytest.raises(InvalidInput):
            assert not unpacked(path), at


@pytest.mark.parametrize("depth", [100, 300, 500, 1_000])
@pytest.mark.parametrize("bundles", [1, 2, 4])
def test_a_resource_that_nests_deeply_is_read_or_explained(tmp_path: Path, depth: int, bundles: int) -> None:
    resource = (
        orjson.dumps(patient()).removesuffix(b"}")
        + b',"extension":['
        + b'{"extension":[' * depth
        + b"]}" * depth
        + b"]}"
    )
    for _ in range(bundles):
        resource = b'{"resourceType":"Bundle","type":"batch","entry":[{"resource":' + resource + b"}]}"
    report = imported(tmp_path, resource)
    assert report.is_balanced
    assert report.read == 1


def test_a_line_of_a_gigabyte_is_skipped_without_being_held() -> None:
    chunk = b"x" * MIB
    tracemalloc.start()
    try:
        lines = list(split_lines(chain(repeat(chunk, 1024), [b"\n{}\n"])))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == [None, b"{}"]
    assert peak < 64 * MIB


def imported(folder: Path, line: bytes) -> ImportReport:
    (folder / "a.ndjson").write_bytes(line)
    return import_fhir(Library(None, seeded_entropy(b"sources")), [folder / "a.ndjson"])


def test_an_unnamed_member_is_explained(tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("x.json", b"{}")
    path = tmp_path / "a.zip"
    path.write_bytes(held.getvalue().replace(b"x.json", b"\0.json"))
    with pytest.raises(InvalidInput, match="member"):
        unpacked(path)
