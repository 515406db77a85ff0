"""Making a site's node: its directory, its node key and a replica that holds the genesis and nothing else yet."""

from __future__ import annotations

from pathlib import Path

from medfed.encoding import Record
from medfed.errors import InvalidInput, Refused
from medfed.hospital.site_directory import read_public
from medfed.identifiers import Digest
from medfed.ledger.archive import is_archive, read_archive
from medfed.ledger.engines.cometbft.configuration import node_id
from medfed.ledger.genesis import Genesis, genesis_state, verify_genesis
from medfed.ledger.store import LedgerStore, reading
from medfed.node.node_file import NodeFile, ledger_path, load_node_file, node_directory, save_node_file

__all__ = ["FoundedNode", "found_node", "read_genesis"]


class FoundedNode(Record):
    """What others have to know of a new node."""

    name: str
    address: str
    """`id@host:port`, for their `node.toml`."""
    genesis: Digest
    votes: bool
    """Whether it is a founding hospital, and so a validator from the first block on."""


def found_node(site: Path, genesis: Genesis, file: NodeFile, *, new_keys: bool = False) -> FoundedNode:
    """Make the node of a site on the ledger with this genesis; where only the replica was lost, make that anew.

    `new_keys` says that a founder comes back with other keys, for which the members vote; one that has only lost its
    replica may have changed its keys before.

    Raises:
        InvalidInput: no site here, or a genesis that does not hold together. Refused: the site has a node already.
    """
    public = read_public(site)
    verify_genesis(genesis)
    directory = node_directory(site)
    if ledger_path(site).exists():
        raise Refused("node-exists", f"{site}: this site has a node already; a ledger is never overwritten")
    mine = next((founder for founder in genesis.founders if founder.name == public.name), None)
    came_here_before = (site / "node.toml").exists()  # and may have changed its keys on the ledger since
    if mine is not None and mine.signing_key != public.signing and not (new_keys or came_here_before):
        raise InvalidInput(
            f"{site}: the genesis knows {public.name} by another key than this site's. Where that was changed since, "
            "restore a backup (`medfed node restore`) or be invited anew (`medfed consortium invite`); else this is "
            "another site or another ledger"
        )
    if came_here_before:
        file = load_node_file(site)  # only the replica was lost: CometBFT replays its blocks into a new one
    else:
        save_node_file(site, file)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    LedgerStore.create(ledger_path(site), genesis, replicated=True).close()
    address = f"{node_id(directory / 'cometbft')}@{file.external or file.listen}"
    votes = mine is not None and mine.role == "hospital" and mine.signing_key == public.signing
    return FoundedNode(public.name, address, genesis.digest, votes)


def read_genesis(path: Path, expected: Digest | None = None) -> Genesis:
    """The genesis in a ledger file or in an exported ledger.

    Raises:
        InvalidInput: the file is neither, or its genesis is not the expected one.
    """
    if is_archive(path):
        genesis = read_archive(path)[0]
    else:
        with reading(path) as store:
            genesis = store.genesis
    if expected is not None and genesis.digest != expected:
        raise InvalidInput(f"{path}: expected genesis {expected.hex()}, found {genesis.digest.hex()}")
    genesis_state(genesis)
    return genesis
