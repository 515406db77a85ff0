"""Runs one agent until it is told to stop: steps, waits for the ledger, backs off while something is unavailable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.agent import Agent
from medfed.hospital.blob_exchange.access import BlobIndex, Rows
from medfed.hospital.blob_exchange.directory import PeerDirectory
from medfed.hospital.blob_exchange.peer_blobs import PeerBlobs
from medfed.hospital.blob_exchange.relaying import Relaying
from medfed.hospital.blob_exchange.room import BlobRoom
from medfed.hospital.dealings import all_dealings
from medfed.hospital.key_rotation import settle_keys
from medfed.hospital.site_directory import lock_site, open_own_blobs, open_site, wall_clock
from medfed.hospital.worker import Worker
from medfed.identifiers import Height
from medfed.ledger.contracts.alignment import Alignment, alignment_record, alignments
from medfed.ledger.contracts.membership import ChangeAddress, participant
from medfed.ledger.contracts.offices import offices
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.studies import Study, studies, study_record
from medfed.ledger.engine import Engine, Sealer, StateView
from medfed.ledger.engines.opening import open_engine
from medfed.ledger.store import reading

__all__ = ["LOCK_PATIENCE", "agent_on", "is_done", "run_agent"]

log: Final = logging.getLogger("medfed.hospital")
_LONGEST_BACKOFF: Final = 5.0
LOCK_PATIENCE: Final = 5.0
"""Seconds that a starting agent waits for the site's lock: a person's command may hold it for a moment."""
Observer = Callable[[StateView], None]


@contextmanager
def agent_on(
    directory: Path,
    ledger: Path,
    passphrase: str,
    *,
    blobs_limit: int = 0,
    worker: Worker | None = None,
    patience: float = 0.0,
) -> Generator[Agent]:
    """The agent of a site on a ledger file, with the site's lock held for as long.

    On a node's replica it fetches blobs from peers, and keeps at most `blobs_limit` bytes of them; 0 sets no limit.
    It trains with `worker`, by default in this process. For the lock it waits up to `patience` seconds.

    Raises:
        SiteBusy: another agent is running on this site. Others: as `open_site` and the engine say.
    """
    with reading(ledger) as store:  # opening a site makes its vault and a place for blobs: not for a wrong path
        replicated, view = store.replicated, store.view()
    with lock_site(directory, patience):
        settle_keys(directory, view)
        own = open_own_blobs(directory) if replicated else None
        site = open_site(directory, passphrase, ledger=ledger, blobs=own)
        site.worker = worker or site.worker
        try:
            engine = open_engine(ledger, wall_clock, Sealer(site.name, site.keys.signing_seed))
            peers = PeerDirectory(engine.view, site.keys)
            relaying: Relaying | None = None
            if own is not None:
                index = BlobIndex(_stored(engine))
                room = BlobRoom(own, blobs_limit, lambda: index.spent(engine.view()))
                site.blobs = PeerBlobs(own, peers.peers, room=room)
                relaying = Relaying(site.name, own, index, peers.named_peers)
            try:
                agent = Agent(site, engine)
                if relaying is not None:
                    agent.hand_over = relaying.push
                yield agent
            finally:
                peers.close()
                engine.close()
        finally:
            site.worker.close()
            site.vault.close()


def run_agent(
    agent: Agent,
    stop: Callable[[], bool],
    *,
    poll: float = 0.2,
    until_complete: bool = False,
    observer: Observer | None = None,
    announce: str = "",
    relay: bool = False,
) -> None:
    """Step `agent` until `stop()`; with `until_complete` also when this site's studies have ended.

    `announce` is the address that others shall find this site's blobs at; the ledger is told if it has another. With
    `relay` nobody can call this site, and it hands its blobs to others.

    Raises:
        Tampered: the ledger contradicts what the vault has seen. InvalidInput, Refused: the site must be mended.
    """
    backoff = poll
    while not stop():
        try:
            before = agent.engine.view().tip.height
            if announce:
                _announce(agent, announce)
            moved = agent.step()
            view = agent.engine.view()
            if relay:
                agent.hand_over(view)
            if observer is not None:
                observer(view)
            if until_complete and not moved and is_done(view, agent.site.name):
                return
            if not moved:
                agent.engine.wait(before, poll)
            backoff = poll
        except Unavailable as error:
            log.warning("%s; trying again in %.1f s", error, backoff)
            _pause(backoff, stop)
            backoff = min(2 * backoff, _LONGEST_BACKOFF)


def _stored(engine: Engine) -> Callable[[Height], Rows]:
    from medfed.ledger.engines.cometbft.engine import PoolEngine  # not needed on a ledger of one machine

    if not isinstance(engine, PoolEngine):
        raise InvalidInput("this ledger is not a node's replica")
    return engine.stored


def _announce(agent: Agent, address: str) -> None:
    known = participant(agent.engine.view(), agent.site.name)
    mine = known is not None and known.status == "active" and known.signing_key == agent.site.keys.public.signing
    if known is not None and mine and known.address != address:
        agent.send(ChangeAddress(address))


def is_done(view: StateView, name: str) -> bool:
    """Whether this site was in something, from studies to data requests, and none of it needs it any more."""
    found = [study_record(view, identifier) for identifier in studies(view)]
    records = [record for record in found if record is not None]
    mine = [record for record in records if name in (record.roster or record.terms.invited)]
    aligned = [alignment_record(view, identifier) for identifier in alignments(view)]
    ours = [record for record in aligned if record is not None and name in record.invited]
    dealings = all_dealings(view, name)
    if not dealings.is_idle:
        return False
    served = [record for record in records if _holds_office(view, record, name)]
    if any(_is_unmatched(record, name) for record in ours):
        return False
    if any(record.phase not in ("completed", "aborted") for record in served):
        return False
    return bool(mine or ours or served or dealings.ended) and not any(_is_open(view, record, name) for record in mine)


def _holds_office(view: StateView, record: Study, name: str) -> bool:
    found = offices(view, record)
    return found is not None and name in found.holders


def _is_unmatched(record: Alignment, name: str) -> bool:
    """Whether the alignment is under way, or completed without this hospital's word."""
    if record.phase == "ended" or name not in record.roster:
        return False
    return not any(said == name for said, _ in record.results)


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(0.1, left))


def _is_open(view: StateView, record: Study, name: str) -> bool:
    """Whether the study is under way, or its model is not registered by this hospital yet."""
    if record.phase == "aborted" or name in record.declined:
        return False
    if record.phase != "completed":
        return True
    return not any(
        entry.study == record.study and (entry.registered_by == name or name in entry.endorsers)
        for entry in artefacts(view)
    )
