"""`node.toml`: what is written is read back, and a wrong field is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfed.errors import InvalidInput
from medfed.node.node_file import NodeFile, load_node_file, save_node_file

PEER = "ab" * 20 + "@hospital.example:26656"


@pytest.mark.parametrize(
    "file",
    [
        NodeFile("127.0.0.1:26656"),
        NodeFile("127.0.0.1:0", outgoing_only=True),
        NodeFile("127.0.0.1:0", api_listen="127.0.0.1:26690"),
        NodeFile(
            "0.0.0.0:1",
            (PEER, "00" * 20 + "@[2001:db8::1]:65535"),
            "gate.example:9",
            "[::]:7",
            "gate.example:8",
            False,
            2048,
        ),
    ],
)
def test_what_is_saved_is_loaded(file: NodeFile, tmp_path: Path) -> None:
    save_node_file(tmp_path, file)
    assert load_node_file(tmp_path) == file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "listen"),
        ('listen = "a:1"\nblobs_listen = "a:2"\noutgoing_only = true', "listens nowhere"),
        ('listen = "somewhere"', "listen: expected host:port"),
        ('listen = "host:70000"', "listen: expected host:port"),
        ('listen = "host:1"\npeers = ["host:2"]', "peers: expected id@host:port"),
        ('listen = "host:1"\nexternal = "a b:2"', "external: expected"),
        ('listen = "host:1"\nlistens = "host:2"', "listens"),
        ('listen = "host:1"\nagent_memory_mib = -1', "agent_memory_mib"),
        ("listen = ", "not TOML"),
        ("# " + "x" * 70_000, "larger than"),
    ],
)
def test_a_wrong_file_is_refused_and_says_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        load_node_file(tmp_path)


def test_a_site_without_a_node_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="medfed node init"):
        load_node_file(tmp_path)


def test_an_address_that_would_break_out_of_its_line_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="listen"):
        save_node_file(tmp_path, NodeFile('host:1"\nagent = false # '))
    assert not (tmp_path / "node.toml").exists()
