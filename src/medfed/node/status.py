"""What a node is doing now, asked from another process: its replica's file and CometBFT's own socket tell."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable
from medfed.identifiers import Digest, Height
from medfed.ledger.engines.cometbft.commit_proof import CommitProof, proof_from_answer
from medfed.ledger.engines.cometbft.configuration import find_sockets
from medfed.ledger.engines.cometbft.rpc import RpcClient
from medfed.ledger.store import reading
from medfed.node.node_file import ledger_path, node_directory
from medfed.node.returning import restored_ms

__all__ = ["NodeStatus", "is_locked", "last_votes", "node_status"]


class NodeStatus(Record):
    """A node at one moment."""

    running: bool
    agent: bool
    """Whether an agent works on the site."""
    genesis: Digest
    height: Height
    block: Digest
    state_digest: Digest
    time_ms: int
    """Of the last block."""
    consensus_height: int | None
    """CometBFT's; None where it does not answer."""
    catching_up: bool
    peers: tuple[str, ...]
    """The names of the nodes that are connected."""
    waits: bool = False
    """Whether it was restored from a backup and does not vote yet."""
    problem: str = ""


def node_status(site: Path) -> NodeStatus:
    """Where a site's node stands.

    Raises:
        InvalidInput: no node here. Tampered, Unavailable: as the ledger file says.
    """
    with reading(ledger_path(site)) as store:
        tip, genesis = store.tip(), store.genesis
    consensus: dict[str, Any] = {}
    peers: tuple[str, ...] = ()
    problem = ""
    try:
        rpc = RpcClient(str(find_sockets(node_directory(site)).rpc), timeout=3.0)
        consensus = rpc.status()["sync_info"]
        peers = tuple(sorted(str(peer["node_info"]["moniker"]) for peer in rpc.net_info()["peers"]))
        rpc.close()
    except (Unavailable, InvalidInput) as error:
        problem = str(error)
    except (KeyError, TypeError):
        problem = "CometBFT's answer is not what v0.38 gives"
    return NodeStatus(
        running=is_locked(node_directory(site) / "node.lock"),
        agent=is_locked(site / "agent.lock"),
        genesis=genesis.digest,
        height=tip.height,
        block=tip.block,
        state_digest=tip.state_digest,
        time_ms=tip.time_ms,
        consensus_height=int(consensus["latest_block_height"]) if "latest_block_height" in consensus else None,
        catching_up=bool(consensus.get("catching_up", False)),
        peers=peers,
        waits=restored_ms(site) is not None,
        problem=problem,
    )


def last_votes(site: Path) -> tuple[Height, CommitProof]:
    """The last block's height and the network's votes for it.

    Raises:
        Unavailable: the node does not run, or has no block yet.
    """
    with reading(ledger_path(site)) as store:
        tip = store.tip()
        last = next(store.blocks(tip.height), None) if tip.height else None
    if last is None:
        raise Unavailable(f"{site}: there is no block yet, and so no votes")
    rpc = RpcClient(str(find_sockets(node_directory(site)).rpc))
    try:
        return tip.height, proof_from_answer(rpc.commit(last.header.engine_height + 1))
    except InvalidInput as error:
        raise Unavailable(f"the votes are not there yet, try again: {error}") from None
    finally:
        rpc.close()


def is_locked(path: Path) -> bool:
    """Whether a running process holds this lock file."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)
