"""`node.toml`: where a site's node listens and whom it is connected with. Nothing in it is a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable, brief
from medfed.hospital.worker import DEFAULT_SECONDS
from medfed.input_file import parse_toml

__all__ = ["NodeFile", "check_node_file", "ledger_path", "load_node_file", "node_directory", "save_node_file"]

_MAX_BYTES: Final = 64 * 1024
_HOST: Final = r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])"
_LISTEN: Final = re.compile(rf"^{_HOST}:[0-9]{{1,5}}\Z")
_PEER: Final = re.compile(rf"^[0-9a-f]{{40}}@{_HOST}:[0-9]{{1,5}}\Z")


class NodeFile(Record):
    """All of `node.toml`."""

    listen: str
    """Host and port for the other hospitals' nodes."""
    peers: Annotated[tuple[str, ...], Meta(max_length=200)] = ()
    """`id@host:port` of the other nodes; a node prints its own at `medfed node init`."""
    external: str = ""
    """Host and port that others reach this node at, where it is behind an address translation."""
    blobs_listen: str = ""
    """Host and port to serve blobs at; empty: this node serves none, and the others cannot fetch its updates."""
    blobs_external: str = ""
    """Host and port that others fetch blobs from, where it is not `blobs_listen`: what the ledger says."""
    agent: bool = True
    """Whether the node runs the site's agent too."""
    agent_memory_mib: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    """Most memory of the agent's process; 0 sets no limit."""
    training_memory_mib: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    """Most memory of one training beyond what the agent has; 0 leaves it the agent's limit."""
    training_seconds: Annotated[int, Meta(ge=1, le=1 << 24)] = DEFAULT_SECONDS
    """Most time of one training, which is ended then and begins again later from where it was last kept."""
    blobs_limit_mib: Annotated[int, Meta(ge=0, le=1 << 30)] = 0
    """Most room for blobs; 0 sets no limit. What nobody needs any more is deleted when it is reached."""
    outgoing_only: bool = False
    """Nobody can call this node, as behind a firewall that lets only outgoing connections through: it calls its peers,
    and listens nowhere. Another hospital passes on what it sends."""
    api_listen: str = ""
    """Host and port on the loopback for health, figures and status; empty: nobody asks this node. See `local_api`."""


def node_directory(site: Path) -> Path:
    """Where a site's node keeps its replica and CometBFT's files."""
    return site / "node"


def ledger_path(site: Path) -> Path:
    """The replica of a site's node."""
    return node_directory(site) / "ledger.db"


def load_node_file(site: Path) -> NodeFile:
    """Read and check a site's `node.toml`.

    Raises:
        InvalidInput: it is missing, or names the field that is wrong.
    """
    path = site / "node.toml"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        document = parse_toml(data.decode("utf-8"), str(path)) if len(data) <= _MAX_BYTES else None
    except FileNotFoundError:
        raise InvalidInput(f"{site}: no node here (node.toml is missing); make one with `medfed node init`") from None
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not TOML: not UTF-8") from None
    if document is None:
        raise InvalidInput(f"{path}: larger than {_MAX_BYTES >> 10} KiB")
    try:
        found = msgspec.convert(document, NodeFile)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: {brief(error)}") from None
    check_node_file(found, str(path))
    return found


def check_node_file(file: NodeFile, where: str) -> None:
    """Check the addresses.

    Raises:
        InvalidInput: one is not what was expected.
    """
    fields = ("listen", "external", "blobs_listen", "blobs_external", "api_listen")
    for field, text in ((name, getattr(file, name)) for name in fields):
        if (field == "listen" or text) and not _is_address(text, _LISTEN):
            raise InvalidInput(f"{where}: {field}: expected host:port, found {text[:80]!r}")
    if file.outgoing_only and file.blobs_listen:
        raise InvalidInput(f"{where}: blobs_listen: a node with outgoing_only listens nowhere; leave this empty")
    for peer in file.peers:
        if not _is_address(peer, _PEER):
            raise InvalidInput(f"{where}: peers: expected id@host:port with 40 digits of id, found {peer[:120]!r}")


def save_node_file(site: Path, file: NodeFile) -> None:
    """Write `node.toml`."""
    check_node_file(file, "node.toml")
    peers = "".join(f'  "{peer}",\n' for peer in file.peers)
    text = (
        "# How this hospital's node is connected. Restart the node after a change.\n\n"
        f'listen = "{file.listen}"      # for the other nodes\n'
        f"peers = [                          # id@host:port of each of them\n{peers}]\n"
        f'external = "{file.external}"       # how they reach this one, if not at `listen`\n'
        f'blobs_listen = "{file.blobs_listen}"   # serves masked updates and models to the other hospitals\n'
        f'blobs_external = "{file.blobs_external}" # how they reach that, if not at `blobs_listen`\n'
        f"blobs_limit_mib = {file.blobs_limit_mib}                # most room for blobs; 0: no limit\n"
        f"outgoing_only = {str(file.outgoing_only).lower()}      # true: nobody can call this node\n"
        f"agent = {str(file.agent).lower()}                       # run the site's agent with the node\n"
        f'api_listen = "{file.api_listen}"     # health, figures and status, for this machine only\n'
        f"agent_memory_mib = {file.agent_memory_mib}               # most memory of the agent; 0: no limit\n"
        f"training_memory_mib = {file.training_memory_mib}        # most memory of a training; 0: the agent's limit\n"
        f"training_seconds = {file.training_seconds}           # most time of a training\n"
    )
    path = site / "node.toml"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror or error}") from None


def _is_address(text: str, form: re.Pattern[str]) -> bool:
    return form.match(text) is not None and 0 <= int(text.rpartition(":")[2]) < 65536
