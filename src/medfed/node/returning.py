"""A node that was restored from a backup does not know what it has voted for, and so begins without a vote.

A vote that was forgotten is for a height that was in progress before the machine was lost. Once the others have decided
blocks after the restoration, every such height is behind: from then on the node votes again. If one of those blocks
carries a vote under this node's key, another machine runs the same site, and this one must not vote at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.ledger.engines.cometbft.application import MAX_DRIFT_MS
from medfed.ledger.engines.cometbft.commit_proof import CommitProof, proof_from_answer
from medfed.ledger.engines.cometbft.rpc import RpcClient
from medfed.ledger.engines.cometbft.validators import address_of
from medfed.node.node_file import node_directory

__all__ = ["Return", "forget_restored", "mark_restored", "restored_ms"]

_FILE: Final = "restored"


class _Restored(Record):
    restored_ms: int


def mark_restored(site: Path, now_ms: int) -> None:
    """Let the site's node begin without a vote.

    Raises:
        Unavailable: the file system would not write.
    """
    path = node_directory(site) / _FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(encode(_Restored(now_ms)))
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None


def restored_ms(site: Path) -> int | None:
    """When the site was restored, if its node must not vote yet; milliseconds since 1970.

    Raises:
        InvalidInput: the note is not readable; it is never guessed that a node may vote.
    """
    path = node_directory(site) / _FILE
    try:
        return decode(path.read_bytes(), _Restored).restored_ms
    except FileNotFoundError:
        return None
    except (OSError, InvalidInput):
        raise InvalidInput(f"{path}: does not say when this site was restored; restore it anew") from None


def forget_restored(site: Path) -> None:
    """The node may vote from now on.

    Raises:
        Unavailable: the file system would not remove the note.
    """
    path = node_directory(site) / _FILE
    try:
        path.unlink()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None


class Return:
    """Watches for the moment when a restored node may vote."""

    def __init__(self, since_ms: int, key: bytes) -> None:
        """`key` is the public signing key under which it would vote."""
        self._since_ms = since_ms
        self._address = address_of(key)
        self._met: int | None = None
        """The height at which the node had caught up."""

    def is_over(self, rpc: RpcClient) -> bool:
        """Whether the others have decided two blocks since. A clock that is off by less than the ledger allows does no
        harm, nor does a peer that is behind: the blocks must be younger than the restoration, and new to this node.

        Raises:
            Refused: `key-in-use`: another machine votes with this site's key.
        """
        try:
            sync = rpc.status()["sync_info"]
            newest = int(sync["latest_block_height"])
            if sync["catching_up"] or newest < 1:
                return False
            if self._met is None:
                self._met = newest
            if newest < self._met + 2:
                return False
            votes = [proof_from_answer(rpc.commit(height)) for height in (newest - 1, newest)]
        except (Unavailable, InvalidInput, KeyError, TypeError, ValueError):
            return False  # no whole answer yet: it is asked again
        after = [self._is_after(one) for one in votes]  # each is looked at, for a vote of another machine
        return all(after)

    def _is_after(self, proof: CommitProof) -> bool:
        if 1000 * proof.seconds <= self._since_ms + MAX_DRIFT_MS:
            return False
        if any(vote.address == self._address for vote in proof.votes):
            raise Refused(
                "key-in-use", "another machine votes with this site's key; stop one of them, and never run both"
            )
        return True
