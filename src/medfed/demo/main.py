"""`medfed demo`: the story from four hospitals to one verified model, told while it happens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medfed.crypto import system_entropy
from medfed.demo.few_records import few_records
from medfed.demo.heart import CAUTION, FILES, heart_plan, heart_tables
from medfed.demo.place import PASSPHRASE, Place, open_place, prepare_directory, protection_of
from medfed.demo.stopwatch import Stopwatch
from medfed.demo.story import Story
from medfed.demo.tamper import tamper_with_copy
from medfed.errors import Refused, Unavailable
from medfed.federation.metrics import Proportion
from medfed.federation.model_file import save_model
from medfed.federation.plan import Mode, Plan
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.tables import Table
from medfed.homomorphic import WorkerCipher, need_library
from medfed.hospital.agent import Agent
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.site_directory import wall_clock
from medfed.hospital.vault import Vault
from medfed.identifiers import Name
from medfed.ledger.contracts.studies import Study
from medfed.ledger.engine import StateView
from medfed.simulation.api import LedgerHandle, SimulatedStudy
from medfed.simulation.consortium import office_holders
from medfed.simulation.report import write_report
from medfed.simulation.scheduler import Scheduler
from medfed.simulation.world import make_site

__all__ = ["DemoResult", "run_demo"]

_VICTIM: Final = "hungary"


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with."""

    study: SimulatedStudy
    bytes_sent: dict[Name, int]
    ledger_bytes: int
    seconds: dict[str, float]
    few: list[tuple[int, Proportion, Proportion]]
    tampering: str


def run_demo(
    output: Path,
    *,
    kill: bool = False,
    resume: bool = False,
    report: bool = True,
    quiet: bool = False,
    protection: Mode = "masked",
) -> dict[str, Any] | None:
    """Run the demo in the directory `output` and tell it on standard output; if `quiet`, return its facts instead.

    Raises:
        Refused: the directory is somebody else's. InvalidInput: nothing to resume. Unavailable: it cannot be written.
    """
    story = Story(quiet=quiet)
    started = time.perf_counter()
    if kill and resume:
        raise Refused("kill-or-resume", "--kill and --resume do not go together")
    if protection == "homomorphic":
        need_library()
    prepare_directory(output, resume=resume)
    plan = _impatient(protection) if kill else heart_plan(protection_of(output) if resume else protection)
    tables = heart_tables()
    place = open_place(output, plan)
    try:
        keys = place.consortium.keys
        prepared = {name: prepare(plan, table, keys[name].split_key) for name, table in tables.items()}
        story.hospitals(prepared)
        story.consortium(place)
        story.plan(plan)
        stopwatch = Stopwatch()
        ended = _by_processes(place, story) if kill else _in_process(place, tables, stopwatch, story)
        if ended.phase != "completed":
            raise Unavailable(f"the study ended {ended.phase} ({ended.pause_code})")
        result = _finish(place, ended, tables, prepared, stopwatch, story, started, report=report)
        return _facts(place, result) if quiet else None
    finally:
        place.engine.close()


def _impatient(protection: Mode) -> Plan:
    from medfed.demo.processes import impatient_plan

    return impatient_plan(protection)


def _in_process(place: Place, tables: dict[Name, Table], stopwatch: Stopwatch, story: Story) -> Study:
    """All agents in this process, each with its own keys, vault and data, on the durable ledger."""
    agents: dict[Name, Agent] = {}
    vaults: list[Vault] = []
    cipher = WorkerCipher()
    sites: dict[Name, Table | None] = {**tables, **dict.fromkeys(office_holders(place.plan.protection))}
    for name, table in sites.items():
        keys = place.consortium.keys[name]
        vaults.append(Vault(place.site(name) / "vault.db", keys.vault_key, system_entropy))
        site = make_site(keys, vaults[-1], place.blobs, table, APPROVE_ALL, wall_clock, system_entropy, cipher)
        agents[name] = Agent(site, place.engine)

    def observe(view: StateView, study: Study) -> None:
        story.progress(study, place.plan)

    def idle(due: int | None) -> None:
        time.sleep(0.02)

    try:
        with stopwatch.measuring(), stopwatch.part("agents"):
            return Scheduler(agents, place.engine, idle, observer=observe).run(place.study)
    finally:
        cipher.close()
        for vault in vaults:
            vault.close()


def _by_processes(place: Place, story: Story) -> Study:
    from medfed.demo.processes import run_with_kill
    from medfed.ledger.contracts.rounds import round_record

    ended, killed = run_with_kill(place, _VICTIM, story.say)
    after = round_record(place.engine.view(), place.study, killed.number)
    if after is not None:
        story.say(
            f"round {after.number} ended {after.phase} in attempt {after.attempt} "
            f"over {', '.join(after.survivors)}" + ("; seeds were opened from escrow" if after.shares_due else "")
        )
    return ended


def _finish(
    place: Place,
    ended: Study,
    tables: dict[Name, Table],
    prepared: dict[Name, PreparedData],
    stopwatch: Stopwatch,
    story: Story,
    started: float,
    *,
    report: bool,
) -> DemoResult:
    view = place.engine.view()
    study = SimulatedStudy(
        plan=place.plan,
        study=ended,
        state=recompute_state(view, place.study, place.blobs),
        ledger=LedgerHandle(place.engine),
        blobs=place.blobs,
        tables=tables,
        prepared=prepared,
        seconds=time.perf_counter() - started,
    )
    story.trained(study)
    story.comparison(study)
    few = few_records(place.plan, prepared)
    story.few(few)
    save_model(place.root / "heart.safetensors", study.model)
    if report:
        write_report(study, place.root / "report.html", few_records=few, caution=CAUTION)
    tampering = tamper_with_copy(place.ledger, max(1, view.tip.height // 2))
    total = time.perf_counter() - started
    named = dict(stopwatch.seconds) if any(stopwatch.seconds.values()) else {}
    seconds = {**named, "before and after": total - sum(named.values()), "in all": total}
    result = DemoResult(study, _bytes_sent(place, ended), _ledger_bytes(place), seconds, few, tampering)
    story.ending(place, result, report=report)
    return result


def _bytes_sent(place: Place, ended: Study) -> dict[Name, int]:
    """Bytes of protected updates that each hospital submitted, from the ledger."""
    from medfed.ledger.transaction import SubmitUpdate

    sent = dict.fromkeys(FILES, 0)
    for transaction in place.transactions():
        if isinstance(transaction.body, SubmitUpdate) and transaction.sender in sent:
            sent[transaction.sender] += transaction.body.length
    return sent


def _ledger_bytes(place: Place) -> int:
    return sum(len(wire) for block in place.engine.blocks() for wire in block.transactions)


def _facts(place: Place, result: DemoResult) -> dict[str, Any]:
    study = result.study
    tip = study.ledger.view.tip
    return {
        "directory": str(place.root),
        "genesis": study.ledger.genesis_digest,
        "head": {"height": tip.height, "block": tip.block},
        "model": study.model.digest,
        "state": study.state.digest,
        "metrics": study.metrics(),
        "comparison": [
            {"model": row.model, "patients": row.patients, "figures": row.evaluation.summary()}
            for row in study.comparison()
        ],
        "few_records": [{"kept": kept, "own": own, "federated": joint} for kept, own, joint in result.few],
        "points": study.rewards,
        "bytes": {"updates": result.bytes_sent, "ledger": result.ledger_bytes},
        "seconds": result.seconds,
        "tampering": result.tampering,
        "passphrase": PASSPHRASE,
        "verified": study.ledger.verify(),
    }
