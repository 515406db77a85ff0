"""The engine that agents use on a node of a CometBFT network: what they submit goes to the pool of this node's
CometBFT, and is final when this node's application has committed it.

Nothing is signed, and nothing is trusted that the replica has not applied. `submit` waits; while it does, it spreads
what is still missing again, so a pool that has lost it (a restart, a peer that was behind) gets it back.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from medfed.crypto import SigningKey
from medfed.errors import Refused, Unavailable
from medfed.identifiers import Digest, Height
from medfed.ledger.block import Block
from medfed.ledger.contracts.membership import participant
from medfed.ledger.engine import Clock, Sealer, StateView
from medfed.ledger.engines.cometbft.abci_server import AbciServer
from medfed.ledger.engines.cometbft.application import Application
from medfed.ledger.engines.cometbft.configuration import NodeSettings, Sockets, write_home
from medfed.ledger.engines.cometbft.replica import Replica
from medfed.ledger.engines.cometbft.rpc import RpcClient
from medfed.ledger.engines.cometbft.spreading import Spreading
from medfed.ledger.engines.cometbft.supervisor import Supervisor, check_program, find_program
from medfed.ledger.engines.ordering import check_bytes, check_sealers, checked_now
from medfed.ledger.genesis import Genesis, verify_genesis
from medfed.ledger.state import State
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import SignedTransaction
from medfed.ledger.transition import Receipt, Tip, genesis_tip, prepare_block

__all__ = ["CometEngine"]

_FULL: Final = ("block-full", "quota")
_CANNOT_SEAL: Final = "the key of this node is not that of an active participant any more"
_LONGEST_SOCKET: Final = 90
"""A unix socket's path has at most 107 bytes on Linux and 103 elsewhere."""


class CometEngine:
    """One node: its replica, its application and its CometBFT. See `medfed.ledger.engine.Engine`."""

    def __init__(
        self,
        root: Path,
        store: LedgerStore,
        clock: Clock,
        sealer: Sealer | None,
        settings: NodeSettings | None = None,
        program: Path | None = None,
    ) -> None:
        """Start a node on the directory `root`; `create` and `open` make the store.

        Raises:
            Unavailable: CometBFT is not installed. InvalidInput: another version, another chain, a sealer that the
            ledger does not know.
        """
        settings = settings or NodeSettings()
        program = program or _installed()
        check_program(program)
        self._root, self._clock, self._sealer = root, clock, sealer
        self._replica = Replica(store)
        self._readings = LedgerStore.open(store.path, read_only=True)
        key = None if sealer is None else SigningKey.from_seed(sealer.signing_seed)
        self._public = None if key is None else key.public
        home = root / "cometbft"
        self._sockets, self._temporary = _sockets(root)
        write_home(home, store.genesis, settings, self._sockets, key)
        self.application = Application(self._replica, clock, sealer, settings.validators)
        self._server = AbciServer(self._sockets.app, self.application.answer)
        self.rpc = RpcClient(str(self._sockets.rpc))
        self.supervisor = Supervisor(program, home, self._sockets.rpc, lambda: self._server.failure is not None)
        self.supervisor.start()

    @staticmethod
    def create(
        root: Path,
        genesis: Genesis,
        clock: Clock,
        sealer: Sealer | None,
        settings: NodeSettings | None = None,
        program: Path | None = None,
    ) -> CometEngine:
        """Begin as a new node of the ledger: with its genesis only. The rest comes from the peers."""
        verify_genesis(genesis)
        if sealer is not None:
            check_sealers(genesis, genesis_tip(genesis)[0], (sealer,))
        return CometEngine(root, LedgerStore.create(root / "ledger.db", genesis), clock, sealer, settings, program)

    @staticmethod
    def open(
        root: Path,
        clock: Clock,
        sealer: Sealer | None,
        settings: NodeSettings | None = None,
        program: Path | None = None,
    ) -> CometEngine:
        """Go on with a node."""
        return CometEngine(root, LedgerStore.open(root / "ledger.db"), clock, sealer, settings, program)

    @property
    def genesis(self) -> Genesis:
        """See `Engine.genesis`."""
        return self._replica.genesis

    def submit(self, *transactions: SignedTransaction) -> list[Receipt]:
        """See `Engine.submit`. Waits for consensus.

        Raises:
            Refused: `cannot-seal`: this node's own key is no longer the ledger's. InvalidInput: the clock is off.
            Unavailable: no consensus in time; the same bytes may still enter a block, and may be sent again.
        """
        checked_now(self._clock)
        check_bytes(transactions)
        receipts = self._order(list({signed.id: signed for signed in transactions}.values()))
        return [receipts[signed.id] for signed in transactions]

    def _order(self, waiting: list[SignedTransaction]) -> dict[Digest, Receipt]:
        """Wait until every transaction is final, or can enter no block; the receipts of all."""
        state, tip = self._replica.now()
        receipts = self._final(waiting, tip)
        known = len(receipts)
        spreading = Spreading(self.rpc.broadcast)
        while waiting := [signed for signed in waiting if signed.id not in receipts]:
            if not self._may_seal(state):
                if len(receipts) == known:
                    raise Refused("cannot-seal", _CANNOT_SEAL)
                left = {signed.id: Receipt(signed.id, None, 0, "cannot-seal", _CANNOT_SEAL) for signed in waiting}
                return receipts | left
            verdicts = self._verdicts(state, tip, waiting)
            able = [signed for signed in waiting if _may_enter(verdicts[signed.id])]
            if not able:
                return receipts | verdicts
            if self._server.failure is not None:
                raise Unavailable(f"this node has stopped: {self._server.failure}")
            self._replica.wait(tip.height, spreading.send(able))
            state, tip = self._replica.now()
            found = self._final(waiting, tip)
            receipts.update(found)
            if found:
                spreading.moved()
        return receipts

    def view(self) -> StateView:
        """See `Engine.view`."""
        state, tip = self._replica.now()
        return StateView(self.genesis, state, tip)

    def wait(self, above: Height, timeout: float) -> Height:
        """See `Engine.wait`."""
        return self._replica.wait(above, timeout)

    def blocks(self, start: Height = 1) -> Iterator[Block]:
        """See `Engine.blocks`."""
        return self._readings.blocks(start)

    def block_id(self, height: Height) -> Digest | None:
        """See `Engine.block_id`."""
        return self._readings.block_id(height)

    def close(self) -> None:
        """Stop CometBFT, then the application."""
        self.supervisor.stop()
        self.rpc.close()
        self._server.close()
        self._replica.close()
        self._readings.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _final(self, transactions: Sequence[SignedTransaction], tip: Tip) -> dict[Digest, Receipt]:
        """The receipts of those that are on the ledger up to `tip`: the file may be a block ahead of the state."""
        found = [self._readings.receipt(signed.id) for signed in transactions]
        return {one.transaction: one for one in found if one is not None and (one.height or 0) <= tip.height}

    def _verdicts(self, state: State, tip: Tip, transactions: list[SignedTransaction]) -> dict[Digest, Receipt]:
        """What would become of the transactions in the next block, if it held nothing else."""
        proposer = self._sealer.name if self._sealer is not None else transactions[0].transaction.sender
        _, _, _, made = prepare_block(self.genesis, state, tip, transactions, tip.time_ms, proposer)
        return {receipt.transaction: receipt for receipt in made}

    def _may_seal(self, state: State) -> bool:
        """A node that only follows leaves sealing to others."""
        if self._sealer is None:
            return True
        found = participant(state, self._sealer.name)
        return found is not None and found.status == "active" and found.signing_key == self._public


def _may_enter(verdict: Receipt) -> bool:
    """Whether a transaction may enter the next block, or one after it as soon as there is room."""
    return verdict.height is not None or verdict.code in _FULL


def _installed() -> Path:
    program = find_program()
    if program is None:
        raise Unavailable("CometBFT is not installed; `make network` installs it")
    return program


def _sockets(root: Path) -> tuple[Sockets, Path | None]:
    """Sockets in the node's own directory, or, where its name is too long for one, in a new private one."""
    home = root.absolute() / "cometbft"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = Sockets(home / "app.sock", home / "rpc.sock")
    if len(str(own.app)) <= _LONGEST_SOCKET:
        return own, None
    short = Path(tempfile.mkdtemp(prefix="medfed-"))
    return Sockets(short / "app.sock", short / "rpc.sock"), short
