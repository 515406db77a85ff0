"""`simulate`: from one table per hospital to a trained model, through the real ledger, agents and encryption.

Everything runs in this process: each hospital has its own keys, vault and agent, and they meet only on the ledger. The
baselines (`comparison`) need all tables in one place and exist only here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from medfed.blobs import BlobStore, DirectoryBlobs, MemoryBlobs
from medfed.crypto import Entropy, SiteKeys, system_entropy
from medfed.encoding import digest_of
from medfed.errors import InvalidInput, MedFedError
from medfed.federation.baselines import Comparison, compare
from medfed.federation.learning_state import LearningState
from medfed.federation.model_file import Model, model_of
from medfed.federation.picture_table import read_source
from medfed.federation.plan import Labelling, Plan
from medfed.federation.plan_file import load_plan
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.tables import Table, TableSource
from medfed.homomorphic import need_library
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.consent import APPROVE_ALL, ConsentPolicy
from medfed.hospital.student_release import student_of
from medfed.hospital.vault import Vault
from medfed.identifiers import Name
from medfed.input_file import read_input
from medfed.ledger.archive import export_blocks
from medfed.ledger.contracts.membership import Role
from medfed.ledger.contracts.rewards import points
from medfed.ledger.contracts.studies import Study
from medfed.ledger.engine import Clock, Engine, StateView
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.verify import Verification, verify_ledger
from medfed.models.settings import ModuleModel
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import (
    ORGANISER,
    Consortium,
    make_consortium,
    office_holders,
    office_roles,
    seeded_site_entropy,
)
from medfed.simulation.progress import Progress, shown_progress
from medfed.simulation.scheduler import Absence, Idle, Scheduler
from medfed.simulation.world import World, propose_study

__all__ = ["LedgerHandle", "SimulatedStudy", "simulate"]

_IDLE_STEP_MS: Final = 500
MAX_CASES: Final = 64 << 20
"""Bytes of a file of public cases."""


@dataclass(frozen=True)
class LedgerHandle:
    """The ledger that a study ran on."""

    engine: Engine

    @property
    def genesis_digest(self) -> str:
        """What an outsider must know to verify everything, as hexadecimal digits."""
        return self.engine.genesis.digest.hex()

    @property
    def view(self) -> StateView:
        """The final state."""
        return self.engine.view()

    def verify(self) -> Verification:
        """Replay everything from the genesis.

        Raises:
            Tampered: something does not fit.
        """
        return verify_ledger(self.engine.genesis, self.engine.blocks(), self.engine.genesis.digest)[0]

    def export(self, path: Path | str) -> None:
        """Write the whole ledger to one new file, for `medfed ledger verify`."""
        export_blocks(self.engine.genesis, self.engine.blocks(), Path(path))


@dataclass
class SimulatedStudy:
    """A finished study with all that a data scientist asks of it."""

    plan: Plan
    study: Study
    state: LearningState
    ledger: LedgerHandle
    blobs: BlobStore
    tables: Mapping[Name, Table] = field(repr=False)
    prepared: Mapping[Name, PreparedData] = field(repr=False)
    """Every hospital's data as the study saw it. Only a simulation has this."""
    seconds: float = 0.0
    _comparison: list[Comparison] | None = field(default=None, repr=False)

    @property
    def model(self) -> Model:
        """The released model, ready to predict."""
        if isinstance(self.plan.labelling, Labelling):
            return student_of(self.plan, self.state, self.blobs)
        return model_of(self.plan, self.state)

    @property
    def rewards(self) -> dict[Name, int]:
        """Points of every hospital."""
        view = self.ledger.view
        return {name: points(view, name) for name in self.tables}

    def metrics(self) -> dict[str, Any]:
        """The released model on all hospitals' test patients: every figure with its interval where it has one."""
        return self.state.test.summary() if self.state.test is not None else {}

    def history(self) -> list[dict[str, Any]]:
        """One row for each training round: the model that it started from on the validation patients."""
        rows: list[dict[str, Any]] = []
        for entry in self.state.history:
            numerator, denominator = entry.score
            score = numerator / denominator if denominator else float("nan")
            rows.append(
                {
                    "round": entry.round,
                    "score": score,
                    "verdict": entry.verdict,
                    "validation_patients": entry.examples,
                    "clipped": entry.clipped,
                    "update_norm": entry.norm,
                }
            )
        return rows

    def comparison(self) -> list[Comparison]:
        """Each hospital's own model, the federated and the pooled one, on each hospital's test patients and on all."""
        if isinstance(self.plan.labelling, Labelling):
            raise InvalidInput("labelling study: it trains no common model to compare; see `medfed pate audit`")
        if self._comparison is None:
            self._comparison = compare(self.plan, self.prepared, self.state)
        return self._comparison

    def report(self, path: Path | str) -> None:
        """Write one self-contained HTML page: figures, charts, comparison, provenance. Needs no network to read."""
        from medfed.simulation.report import write_labelling_report, write_report

        write = write_labelling_report if isinstance(self.plan.labelling, Labelling) else write_report
        write(self, Path(path))


def simulate(
    plan: Plan | Path | str,
    tables: Mapping[str, TableSource],
    *,
    seed: int = 0,
    away: Mapping[str, Absence] | None = None,
    directory: Path | str | None = None,
    progress: Progress | bool | None = None,
    cases: Path | str | None = None,
) -> SimulatedStudy:
    """Run a study with one hospital for each table.

    Args:
        plan: a plan, or the path of its TOML file; it must name exactly the hospitals of `tables`.
        tables: hospital name → CSV path, dict of columns, list of rows, NumPy structured array, pandas or polars
            frame; or an image set, or the folder of one.
        seed: replays the keys, the split of the patients and the schedule. The training's own seed is in the plan.
        away: rounds in which a hospital is not there.
        directory: where to keep a durable ledger, vaults and blobs; without it everything stays in memory.
        cases: only for a labelling study: the CSV file of its public cases.
        progress: called while the study runs; True or False shows a bar or not, None does if somebody is watching.

    Raises:
        InvalidInput: the plan or a table is wrong; says where. Unavailable: the study cannot go on, and why.
    """
    plan = plan if isinstance(plan, Plan) else load_plan(plan)
    read = {name: _table(name, source) for name, source in tables.items()}
    _check_names(plan, read)
    if plan.protection.mode == "homomorphic":
        need_library()
    started = time.perf_counter()
    names = sorted(read)
    keys = [SiteKeys.generate(name, seeded_site_entropy(seed, name, "keys")) for name in names]
    organiser = SiteKeys.generate(ORGANISER, seeded_site_entropy(seed, ORGANISER, "keys"))
    offices: list[tuple[SiteKeys, Role]] = [
        (SiteKeys.generate(name, seeded_site_entropy(seed, name, "keys")), role)
        for name, role in office_roles(plan.protection).items()
    ]
    split_keys = {site.name: site.split_key for site in keys}
    prepared = {name: _prepare(plan, name, table, split_keys[name]) for name, table in read.items()}
    clock = ManualClock() if directory is None else _wall_clock
    consortium = make_consortium("simulation", keys, organiser, clock(), others=offices)
    place = _Place(directory, consortium, clock, seed)
    sites: dict[Name, Table | None] = {**read, **dict.fromkeys(office_holders(plan.protection))}
    world = place.world(sites, consortium.keys, _consent(plan))
    if cases is not None:
        place.blobs.put(read_input(Path(cases), MAX_CASES, str(cases)))
    study = digest_of("medfed/simulated-study", seed, plan.digest)[:16]
    propose_study(place.engine, organiser, plan, study)
    try:
        with shown_progress(progress if not callable(progress) else False) as bar:
            observer = _observer(plan, progress if callable(progress) else bar)
            scheduler = Scheduler(world.agents, place.engine, _idle(clock), seed=seed, away=away, observer=observer)
            ended = scheduler.run(study)
    finally:
        for agent in world.agents.values():
            agent.site.vault.close()
    if ended.phase != "completed":
        raise InvalidInput(f"the study was aborted ({ended.pause_code}): {_why(world) or 'see the ledger'}")
    return SimulatedStudy(
        plan=plan,
        study=ended,
        state=recompute_state(place.engine.view(), study, place.blobs),
        ledger=LedgerHandle(place.engine),
        blobs=place.blobs,
        tables=read,
        prepared=prepared,
        seconds=time.perf_counter() - started,
    )


class _Place:
    """Where a simulation keeps what it writes: in memory with seeded randomness, or durably in a directory."""

    def __init__(self, directory: Path | str | None, consortium: Consortium, clock: Clock, seed: int) -> None:
        self._seed, self._clock = seed, clock
        self._root = Path(directory) if directory is not None else None
        sealers = consortium.sealers()
        self.engine: Engine
        self.blobs: BlobStore
        if self._root is None:
            self.engine = MemoryEngine(consortium.genesis, clock, *sealers)
            self.blobs = MemoryBlobs()
        else:
            self._root.mkdir(parents=True, exist_ok=True)
            self.engine = EmbeddedEngine.create(self._root / "ledger.db", consortium.genesis, clock, *sealers)
            self.blobs = DirectoryBlobs(self._root / "blobs")

    def world(self, sites: Mapping[Name, Table | None], keys: Mapping[Name, SiteKeys], consent: ConsentPolicy) -> World:
        """An agent for each site, here."""
        return World.build(self.engine, sites, keys, self.blobs, self._clock, self.entropy, self.vault, consent)

    def entropy(self, name: Name) -> Entropy:
        return seeded_site_entropy(self._seed, name, "run") if self._root is None else system_entropy

    def vault(self, keys: SiteKeys, entropy: Entropy) -> Vault:
        if self._root is None:
            return Vault(None, keys.vault_key, entropy)
        site = self._root / keys.name
        site.mkdir(exist_ok=True)
        return Vault(site / "vault.db", keys.vault_key, entropy)


def _table(name: str, source: TableSource) -> Table:
    try:
        return read_source(source)
    except MedFedError as error:
        raise type(error)(f"hospital {name}: {error}") from None  # pyright: ignore[reportCallIssue]


def _prepare(plan: Plan, name: Name, table: Table, split_key: bytes) -> PreparedData:
    """In one process a table that does not fit is said at once; a real hospital would just not answer."""
    try:
        return prepare(plan, table, split_key)
    except InvalidInput as error:
        raise InvalidInput(f"hospital {name}: {error}") from None


def _check_names(plan: Plan, tables: Mapping[str, Table]) -> None:
    wanted, given = set(plan.participation.hospitals), set(tables)
    if wanted != given:
        lacking, extra = sorted(wanted - given), sorted(given - wanted)
        parts = [f"no table for {', '.join(lacking)}"] if lacking else []
        parts += [f"the plan does not name {', '.join(extra)}"] if extra else []
        raise InvalidInput(f"hospitals: {'; '.join(parts)}")


def _consent(plan: Plan) -> ConsentPolicy:
    """Who simulates has chosen the code that the plan brings."""
    return replace(APPROVE_ALL, code=(plan.model.source,) if isinstance(plan.model, ModuleModel) else ())


def _idle(clock: Clock) -> Idle:
    def move(due: int | None) -> None:
        if isinstance(clock, ManualClock):
            clock.now_ms = max(clock.now_ms + _IDLE_STEP_MS, due or 0)
        else:
            time.sleep(0.02)

    return move


def _observer(plan: Plan, progress: Progress | None) -> Callable[[StateView, Study], None] | None:
    if progress is None:
        return None
    total = sum(step.count for step in plan.terms(bytes(32)).steps)

    def observe(view: StateView, study: Study) -> None:
        progress(max(0, study.next_round - 1), total, study.phase)

    return observe


def _why(world: World) -> str:
    problems: Sequence[str] = sorted({text for agent in world.agents.values() for text in agent.problems.values()})
    return "; ".join(problems)


def _wall_clock() -> int:
    return time.time_ns() // 1_000_000
