"""`medfed node run`: the replica with its CometBFT in this process, the site's agent in another, until told to stop.

The agent trains in a third process, so neither a crash nor an out-of-memory there takes the ledger or the agent down.
What fails here and may be better later is tried again with growing pauses; a ledger that was tampered with ends it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from medfed.crypto import PublicKeys, SiteKeys, load_keystore
from medfed.errors import Outdated, Unavailable
from medfed.hospital.blob_exchange.access import BlobIndex
from medfed.hospital.blob_exchange.room import BlobRoom
from medfed.hospital.key_rotation import has_other_keys, settle_keys
from medfed.hospital.site_directory import key_path, open_own_blobs, wall_clock
from medfed.ledger.engine import Sealer
from medfed.ledger.engines.cometbft.configuration import NodeSettings
from medfed.ledger.engines.cometbft.host import CometEngine
from medfed.ledger.engines.cometbft.stall import StallWatch
from medfed.ledger.engines.cometbft.supervisor import Supervisor
from medfed.ledger.store import reading
from medfed.node.blob_server import BlobServer
from medfed.node.local_api import LocalApi, Running
from medfed.node.node_file import NodeFile, ledger_path, load_node_file, node_directory
from medfed.node.returning import Return, forget_restored, restored_ms

__all__ = ["run_node"]

log: Final = logging.getLogger("medfed.node")
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_WATCH_SECONDS: Final = 0.5


def run_node(site: Path, passphrase: str, stop: threading.Event) -> None:
    """Run a site's node until `stop` is set.

    Raises:
        InvalidInput: no node here, or a wrong passphrase. Unavailable: another process runs this node, or CometBFT is
            not installed. Refused: `key-in-use`: another machine votes with this site's key. Outdated: the ledger goes
            on by newer rules. Tampered: the replica does not verify, or consensus contradicts it.
    """
    file = load_node_file(site)
    load_keystore(key_path(site), passphrase)
    with _lock(site):
        pause = _FIRST_PAUSE
        while not stop.is_set():
            try:
                with reading(ledger_path(site)) as store:
                    settle_keys(site, store.view())
                _run_once(site, file, load_keystore(key_path(site), passphrase), passphrase, stop)
                pause = _FIRST_PAUSE
            except Outdated:
                raise
            except Unavailable as error:
                log.warning("%s; starting again in %.1f s", error, pause)
                stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


def _run_once(site: Path, file: NodeFile, keys: SiteKeys, passphrase: str, stop: threading.Event) -> None:
    listen = "127.0.0.1:0" if file.outgoing_only else file.listen
    settings = NodeSettings(listen, file.peers, moniker=keys.name, external=file.external)
    since = restored_ms(site)
    back = None if since is None else Return(since, keys.public.signing)
    if back is not None:
        log.warning("restored from a backup: the node follows, and votes again when the others have gone on")
    sealer = Sealer(keys.name, keys.signing_seed) if back is None else None
    engine = CometEngine.open(node_directory(site), wall_clock, sealer, settings)
    try:
        blobs = _blob_server(site, file, keys, engine)
        agent = _agent(site, file, passphrase) if file.agent else None
        if agent is not None:
            agent.start()
        mine, watch = keys.public, StallWatch(engine.rpc)
        api = _local_api(site, file, engine, agent)
        try:
            while not stop.wait(_WATCH_SECONDS) and not _has_new_keys(site, engine, mine):
                engine.check_alive()
                engine.tend()
                if watch.is_stalled():
                    engine.supervisor.restart()
                if back is not None and back.is_over(engine.rpc):
                    forget_restored(site)
                    log.info("the others have gone on since the restoration; the node begins anew, with its vote")
                    return
        finally:
            if agent is not None:
                agent.stop()
            for server in (api, blobs):
                if server is not None:
                    server.close()
    finally:
        engine.close()


def _has_new_keys(site: Path, engine: CometEngine, mine: PublicKeys) -> bool:
    """Whether the node must begin anew with keys that the ledger has come to know.

    The old key still votes on the block after, which shows that consensus has taken the change: it waits for that.
    """
    view = engine.view()
    if not has_other_keys(site, view, mine):
        return False
    last = next(iter(engine.blocks(view.tip.height)), None)
    try:
        if last is not None and engine.consensus_height() <= last.header.engine_height:
            return False
    except Unavailable:
        return False
    log.info("the ledger knows this site's new keys; the node begins anew with them")
    return True


def _blob_server(site: Path, file: NodeFile, keys: SiteKeys, engine: CometEngine) -> BlobServer | None:
    if not file.blobs_listen:
        return None
    index = BlobIndex(engine.stored)
    blobs = open_own_blobs(site)
    room = BlobRoom(blobs, file.blobs_limit_mib << 20, lambda: index.spent(engine.view()))
    return BlobServer(file.blobs_listen, keys, blobs, engine.view, index, room=room)


def _local_api(site: Path, file: NodeFile, engine: CometEngine, agent: Supervisor | None) -> LocalApi | None:
    if not file.api_listen:
        return None
    try:
        return LocalApi(
            file.api_listen, site, lambda: Running(engine.supervisor.starts, 0 if agent is None else agent.starts)
        )
    except Unavailable as error:
        log.error("%s; the node goes on without it", error)  # a port that is taken is no reason to stop a ledger
        return None


def _agent(site: Path, file: NodeFile, passphrase: str) -> Supervisor:
    command = [sys.executable, "-m", "medfed", "agent", "run", "--quiet", "--leashed", "--poll", "0.05"]
    command += ["--site", str(site.absolute()), "--ledger", str(ledger_path(site).absolute())]
    if file.blobs_listen:
        command += ["--announce", file.blobs_external or file.blobs_listen]
    if not file.blobs_listen:
        command += ["--relay"]
    if file.blobs_limit_mib:
        command += ["--blobs-limit-mib", str(file.blobs_limit_mib)]
    command += ["--worker", "--training-seconds", str(file.training_seconds)]
    if file.training_memory_mib:
        command += ["--training-memory-mib", str(file.training_memory_mib)]
    if file.agent_memory_mib:
        command += ["--memory-mib", str(file.agent_memory_mib)]
    environment = {**os.environ, "MEDFED_PASSPHRASE": passphrase}
    return Supervisor(command, node_directory(site) / "agent.log", environment=environment, label="agent")


@contextmanager
def _lock(site: Path) -> Generator[None]:
    """One process a node: two of them would vote with one key."""
    path = node_directory(site) / "node.lock"
    try:
        node_directory(site).mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise Unavailable(f"{site}: another process runs this node (process {owner})") from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)
