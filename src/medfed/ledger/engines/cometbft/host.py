"""One whole node in this process: the copy of the ledger, the application, and CometBFT beside it.

Order matters: the application listens before CometBFT starts and until it has stopped. The directory holds `ledger.db`
and, for CometBFT, `cometbft/`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from medfed.crypto import SigningKey
from medfed.crypto.memory_file import MemoryFile
from medfed.errors import Outdated, Tampered, Unavailable
from medfed.identifiers import Height
from medfed.ledger.engine import Clock, Sealer
from medfed.ledger.engines.cometbft.abci_server import AbciServer
from medfed.ledger.engines.cometbft.application import Application
from medfed.ledger.engines.cometbft.calling import PeerCalls
from medfed.ledger.engines.cometbft.configuration import (
    NodeSettings,
    make_sockets,
    remove_sockets,
    validator_key,
    write_home,
)
from medfed.ledger.engines.cometbft.engine import PoolEngine
from medfed.ledger.engines.cometbft.program import end_orphans, installed_program
from medfed.ledger.engines.cometbft.replica import Replica
from medfed.ledger.engines.cometbft.rpc import RpcClient
from medfed.ledger.engines.cometbft.supervisor import Supervisor
from medfed.ledger.engines.cometbft.wal import trim_wal
from medfed.ledger.engines.ordering import check_sealers
from medfed.ledger.genesis import Genesis, verify_genesis
from medfed.ledger.store import LedgerStore
from medfed.ledger.transition import genesis_tip

__all__ = ["CometEngine"]

_TRIM_SECONDS: Final = 60.0


class CometEngine(PoolEngine):
    """One running node, and the engine on it. See `medfed.ledger.engine.Engine`."""

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
            Unavailable: CometBFT is not installed. InvalidInput: another version, another chain.
        """
        settings = settings or NodeSettings()
        program = program or installed_program()
        replica = Replica(store)
        sockets = make_sockets(root)
        super().__init__(replica, RpcClient(str(sockets.rpc)), clock, sealer)
        home = root / "cometbft"
        key = None if sealer is None else SigningKey.from_seed(sealer.signing_seed)
        self._root = root
        self._key_file = MemoryFile(validator_key(key))
        write_home(home, store.genesis, settings, sockets, self._key_file.path)
        self.application = Application(replica, clock, sealer, settings.validators)
        self._server = AbciServer(sockets.app, self.application.answer)
        self._calls = PeerCalls(self.rpc, settings.peers)
        self._wal = home / "data" / "cs.wal"
        self._trimmed = time.monotonic()
        command = [str(program), "start", "--home", str(home.absolute())]

        def before() -> None:
            end_orphans(command)
            trim_wal(self._wal)
            sockets.rpc.unlink(missing_ok=True)  # a killed one leaves it, and the next would not start

        self.supervisor = Supervisor(
            command,
            home / "cometbft.log",
            # Its garbage collector by default doubles the memory that it needs; a hospital's machine has other work.
            environment={"GOGC": "40", **os.environ},
            before=before,
            wanted=lambda: self._server.failure is None,
            inherited=(self._key_file.descriptor,),
        )
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
        """Begin as a new node of the ledger: with its genesis only. The rest comes from the peers.

        Raises:
            InvalidInput: the genesis does not hold together, or does not know the sealer and its key.
        """
        verify_genesis(genesis)
        if sealer is not None:
            check_sealers(genesis, genesis_tip(genesis)[0], (sealer,))
        store = LedgerStore.create(root / "ledger.db", genesis, replicated=True)
        return CometEngine(root, store, clock, sealer, settings, program)

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

    def check_alive(self) -> None:
        """Raise what has stopped this node, if something has.

        Raises:
            Tampered: consensus contradicts this replica, or the other way round. Outdated: the network goes on by newer
                rules. Unavailable: the application failed
                otherwise; its log says where.
        """
        failure = self._server.failure
        if isinstance(failure, Tampered | Outdated):
            raise failure
        if failure is not None:
            raise Unavailable(f"this node has stopped: {failure}")

    def tend(self) -> None:
        """What CometBFT does not do by itself: call peers that were lost for long, and drop old logs. Ask often."""
        self._calls.look()
        if time.monotonic() - self._trimmed > _TRIM_SECONDS:
            self._trimmed = time.monotonic()
            trim_wal(self._wal)

    def consensus_height(self) -> Height:
        """The last height that CometBFT has decided; blocks without entries count there.

        Raises:
            Unavailable: it does not answer.
        """
        try:
            return int(self.rpc.status()["sync_info"]["latest_block_height"])
        except (KeyError, TypeError, ValueError):
            raise Unavailable("CometBFT's answer is not what v0.38 gives") from None

    def close(self) -> None:
        """Stop CometBFT, then the application."""
        self.supervisor.stop()
        self._server.close()
        super().close()
        self._key_file.close()
        remove_sockets(self._root)
