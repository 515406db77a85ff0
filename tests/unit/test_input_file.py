"""Files are read whole and bounded, whatever they are."""

from __future__ import annotations

import contextlib
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from medfed.errors import InvalidInput
from medfed.input_file import parse_toml, read_input


@pytest.mark.parametrize("size", [0, 1, 999, 1_000])
def test_a_file_up_to_the_bound_is_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * size)
    assert read_input(path, 1_000, "f") == b"x" * size


def test_a_longer_one_is_refused_by_its_label(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 3_000)
    with pytest.raises(InvalidInput, match="the plan: larger than 2 KiB"):
        read_input(path, 2_048, "the plan")


def test_a_device_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger than 3 MiB"):
        read_input(Path("/dev/zero"), 3 << 20, "zeros")


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.close(writer)
    try:
        assert read_input(Path(f"/dev/fd/{reader}"), 10, "pipe") == b"abc"
    finally:
        os.close(reader)


@pytest.mark.parametrize("name", ["absent", ".", "a/b", "\0"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InvalidInput, match="f: cannot be read"):
        read_input(tmp_path / name, 10, "f")


def test_a_small_file_takes_little_memory_under_a_large_bound(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)
    tracemalloc.start()
    try:
        read_input(path, 1 << 32, "f")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_toml_is_read_as_the_parser_reads_it() -> None:
    text = 'a.b."c.d" = 1\n[x]\ny = [0.5, 1.5, 2.5]\n'
    assert parse_toml(text, "f") == {"a": {"b": {"c.d": 1}}, "x": {"y": [0.5, 1.5, 2.5]}}


@pytest.mark.parametrize(
    "text",
    ["a" + ".a" * 40 + " = 1", "[" + "a . " * 40 + "a]", '"a"' + '."b"' * 500_000, "x = {" + "'a'." * 33 + "b = 1}"],
)
def test_a_key_of_very_many_parts_is_refused_at_once(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidInput, match="f: not TOML that is read here"):
        parse_toml(text, "f")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5_000, "a = " + "9" * 5_000, "a = 1\na = 2", "=", "a = nan0", "\0", "a" * 1_000_000]
)
def test_what_is_not_toml_is_refused_in_a_short_message(text: str) -> None:
    with pytest.raises(InvalidInput, match="f: not TOML: ") as caught:
        parse_toml(text, "f")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        '"' * 1_000_000,
        "a." * 500_000,
        "a ." * 300_000,
        "'a" * 400_000,
        " " * 1_000_000,
        "a.\n" * 300_000,
    ],
)
def test_looking_for_long_keys_takes_no_longer_than_the_text(text: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(InvalidInput):
        parse_toml(text, "f")
    assert time.process_time() - begun < 1
