"""CometBFT's home directory, made by us: configuration, genesis, and the keys of the validator and of the node.

Everything here follows from the ledger's genesis and from a few settings, so a home can be written again at every
start; only `data/` is CometBFT's own, above all the record of what this validator has signed, which must never be lost
or copied: running one key twice is how a validator betrays. The validator's key is the participant's signing key: it is
handed over in memory and on no disk. The node's own key only names it among its peers; its owner alone can read it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from medfed.crypto import Entropy, SigningKey, system_entropy
from medfed.crypto.private_file import create_private_file, read_private_file
from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable
from medfed.identifiers import Name
from medfed.ledger.engines.cometbft.batches import MAX_BATCH_BYTES
from medfed.ledger.engines.cometbft.validators import POWER, address_of, validators_of
from medfed.ledger.genesis import Genesis, genesis_state

__all__ = [
    "MAX_BLOCK_BYTES",
    "NodeSettings",
    "Sockets",
    "chain_id",
    "find_sockets",
    "make_sockets",
    "node_id",
    "remove_sockets",
    "validator_key",
    "write_home",
]

MAX_BLOCK_BYTES: Final = 8 << 20
_MAX_KEY_FILE: Final = 4096
_NOTE: Final = "sockets"
_LONGEST_PLACE: Final = 80
"""A unix socket's whole path has at most 107 bytes on Linux and 103 elsewhere."""


class NodeSettings(Record):
    """What one node's CometBFT is told beyond the genesis."""

    listen: str = "127.0.0.1:0"
    """Host and port for the other nodes; port 0 takes a free one, for a node without peers."""
    peers: tuple[str, ...] = ()
    """`id@host:port` of nodes to stay connected with."""
    validators: tuple[Name, ...] = ()
    """Who votes on blocks, if not all active hospitals. The same on every node."""
    moniker: str = "medfed"
    external: str = ""
    """The address that other nodes reach this one at, where it is not the one it listens on."""


class Sockets(NamedTuple):
    """Where our application and CometBFT find each other: two unix sockets, nothing on the network."""

    app: Path
    """Our application listens here."""
    rpc: Path
    """CometBFT answers here."""


def make_sockets(root: Path) -> Sockets:
    """Sockets in the node's own directory, or, where its name is too long for one, in a new private one beside others.

    Where they are is written down for the other processes of the machine.
    """
    home = root.absolute() / "cometbft"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    note = home / _NOTE
    place = home
    if len(str(home)) > _LONGEST_PLACE:
        place = Path(note.read_text().strip()) if note.exists() else home
        if place == home or not place.is_dir():
            place = Path(tempfile.mkdtemp(prefix="medfed-"))
    note.write_text(f"{place}\n")
    return _sockets(place)


def find_sockets(root: Path) -> Sockets:
    """The sockets of a node that has run on this directory.

    Raises:
        Unavailable: none has.
    """
    note = root.absolute() / "cometbft" / _NOTE
    try:
        return _sockets(Path(note.read_text(encoding="utf-8").strip()))
    except OSError:
        raise Unavailable(f"{root}: no node has run here yet") from None


def remove_sockets(root: Path) -> None:
    """Leave nothing outside the node's directory; only when the node has stopped."""
    found = find_sockets(root)
    if found.rpc.parent != root.absolute() / "cometbft":
        for path in found:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody has put something else there
            found.rpc.parent.rmdir()


def _sockets(place: Path) -> Sockets:
    return Sockets(place / "app.sock", place / "rpc.sock")


def chain_id(genesis: Genesis) -> str:
    """CometBFT's name of the chain: the first 48 hexadecimal digits of the genesis digest."""
    return genesis.digest.hex()[:48]


def node_id(home: Path, entropy: Entropy = system_entropy) -> str:
    """The id of this node's key, which is made if there is none yet: what others name it by as a peer."""
    path = home / "config" / "node_key.json"
    if not path.exists():
        key = SigningKey.generate(entropy)
        create_private_file(path, _json({"priv_key": _private(key)}))
    document = json.loads(read_private_file(path, _MAX_KEY_FILE))
    try:
        seed = base64.b64decode(document["priv_key"]["value"])[:32]
    except (KeyError, TypeError, ValueError):
        raise InvalidInput(f"{path}: not a node key") from None
    return address_of(SigningKey.from_seed(seed).public).hex()


def validator_key(key: SigningKey | None, entropy: Entropy = system_entropy) -> bytes:
    """The content of CometBFT's key file. It wants a key even where it only follows: one that nobody knows."""
    key = key or SigningKey.generate(entropy)
    return _json(
        {"address": address_of(key.public).hex().upper(), "pub_key": _public(key.public), "priv_key": _private(key)}
    )


def write_home(home: Path, genesis: Genesis, settings: NodeSettings, sockets: Sockets, key_file: str) -> None:
    """Write all files of a home but those of `data/` that are there already.

    `key_file` is where CometBFT will find what `validator_key` gives.

    Raises:
        Unavailable: the directory cannot be written. InvalidInput: the home is another chain's.
    """
    config, data = home / "config", home / "data"
    try:
        for directory in (home, config, data):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        node_id(home)
        (config / "priv_validator_key.json").unlink(missing_ok=True)  # earlier versions wrote the key there
        state = data / "priv_validator_state.json"
        if not state.exists():
            _refuse_lost_state(data)
            state.write_bytes(_json({"height": "0", "round": 0, "step": 0}))
        _write_genesis(config / "genesis.json", genesis, settings.validators)
        (config / "config.toml").write_text(_config(settings, sockets, key_file), encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{home}: cannot be written: {error.strerror or error}") from None


def _refuse_lost_state(data: Path) -> None:
    """A home with blocks but without the record of votes has lost it; starting from nothing could vote twice."""
    if any(entry.name.endswith(".db") for entry in data.iterdir()):
        raise InvalidInput(f"{data}: priv_validator_state.json is missing beside CometBFT's blocks; see the guide")


def _write_genesis(path: Path, genesis: Genesis, named: tuple[Name, ...]) -> None:
    content = _json(_genesis(genesis, named))
    if path.exists():
        if path.read_bytes() != content:
            raise InvalidInput(f"{path}: made for another ledger or other validators than this node's")
        return
    path.write_bytes(content)


def _genesis(genesis: Genesis, named: tuple[Name, ...]) -> dict[str, Any]:
    validators = validators_of(genesis_state(genesis)[0], named)
    if not validators or (named and sorted(validators.values()) != sorted(named)):
        raise InvalidInput(f"validators {', '.join(named)}: expected active founders of {genesis.consortium}")
    try:
        created = datetime.fromtimestamp(genesis.created_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"genesis: made at {genesis.created_ms} ms, beyond the years of a calendar") from None
    return {
        "genesis_time": created,
        "chain_id": chain_id(genesis),
        "initial_height": "1",
        "consensus_params": {
            "block": {"max_bytes": str(MAX_BLOCK_BYTES), "max_gas": "-1"},
            "evidence": {"max_age_num_blocks": "100000", "max_age_duration": "172800000000000", "max_bytes": "1048576"},
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": "0"},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": [
            {"address": address_of(key).hex().upper(), "pub_key": _public(key), "power": str(POWER), "name": name}
            for key, name in sorted(validators.items())
        ],
        "app_hash": "",
    }


def _config(settings: NodeSettings, sockets: Sockets, key_file: str) -> str:
    sections: dict[str, dict[str, Any]] = {
        "": {
            "version": "0.38.17",
            "proxy_app": f"unix://{sockets.app}",
            "moniker": settings.moniker,
            "db_backend": "goleveldb",
            "log_level": "error",
            "log_format": "json",
            "abci": "socket",
            "priv_validator_key_file": key_file,
        },
        "rpc": {
            "laddr": f"unix://{sockets.rpc}",
            "max_body_bytes": 2 * MAX_BATCH_BYTES,
            "max_open_connections": 64,
            "pprof_laddr": "",
            "unsafe": True,  # dial_peers, for `calling`; the socket is in a directory that this user alone can enter
        },
        "p2p": {
            "laddr": f"tcp://{settings.listen}",
            "external_address": settings.external,
            "persistent_peers": ",".join(settings.peers),
            "pex": False,  # nobody is dialled but those whom node.toml names
            "addr_book_strict": False,
            "allow_duplicate_ip": True,
            "flush_throttle_timeout": "2ms",
            "max_packet_msg_payload_size": 16384,
            "send_rate": 20_480_000,
            "recv_rate": 20_480_000,
        },
        "mempool": {
            "type": "flood",
            "recheck": True,
            "size": 2_000,
            "max_txs_bytes": 64 << 20,
            "max_tx_bytes": MAX_BATCH_BYTES,
            "cache_size": 10_000,
        },
        "consensus": {
            "timeout_propose": "1s",
            "timeout_propose_delta": "200ms",
            "timeout_prevote": "300ms",
            "timeout_prevote_delta": "200ms",
            "timeout_precommit": "300ms",
            "timeout_precommit_delta": "200ms",
            # A block of ours is followed by one without entries. Who answers to what has just become final gets into
            # that one if it waits a little, and saves a whole height: see decision 0038.
            "timeout_commit": "40ms",
            "skip_timeout_commit": False,
            "create_empty_blocks": False,
            "peer_gossip_sleep_duration": "10ms",
            "peer_query_maj23_sleep_duration": "500ms",
        },
        "storage": {"discard_abci_responses": True},  # but for the last, which a restart after a crash needs
        "tx_index": {"indexer": "null"},
        "instrumentation": {"prometheus": False},
    }
    return "".join(_section(name, values) for name, values in sections.items())


def _section(name: str, values: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]  # TOML has JSON's strings and numbers
    return "\n".join([*([f"\n[{name}]"] if name else []), *lines, ""])


def _public(key: bytes) -> dict[str, str]:
    return {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(key).decode()}


def _private(key: SigningKey) -> dict[str, str]:
    return {"type": "tendermint/PrivKeyEd25519", "value": base64.b64encode(key.seed + key.public).decode()}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
