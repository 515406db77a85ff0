"""A small study for tests: synthetic patients, a plan for them, and a world of agents with seams for faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from medfed.blobs import BlobStore, MemoryBlobs
from medfed.crypto import Entropy, SiteKeys
from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    DataFormat,
    EarlyStopping,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    StrategySettings,
    Training,
)
from medfed.federation.tables import Table, table_from
from medfed.homomorphic import Cipher, WorkerCipher
from medfed.hospital.agent import Agent
from medfed.hospital.aggregation import plan_of, unmasked_total
from medfed.hospital.consent import APPROVE_ALL, ConsentPolicy
from medfed.hospital.vault import Effect, Vault, no_effect
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.membership import Role
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.contracts.terms import Deadlines
from medfed.ledger.engine import Engine
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.transaction import Body
from medfed.models.settings import LocalTraining, MlpModel
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import (
    ORGANISER,
    Consortium,
    make_consortium,
    office_roles,
    seeded_site_entropy,
)
from medfed.simulation.scheduler import Absence, Scheduler
from medfed.simulation.world import make_site, propose_study

NAMES = ("alpha", "beta", "delta", "gamma")
STUDY: StudyId = b"a study for test"
SECOND = 1_000


def small_plan(names: Iterable[str] = NAMES, *, rounds: int = 2, quorum: int | None = None, **training: object) -> Plan:
    """A logistic regression over two numbers and a category, with short deadlines."""
    invited = tuple(sorted(names))
    least = max(3, 2 * len(invited) // 3 + 1)
    strategy = training.pop("strategy", StrategySettings())
    stopping = training.pop("stopping", EarlyStopping())
    rate = training.pop("learning_rate", 0.1)
    proximal = training.pop("proximal", 0.0)
    return Plan(
        purpose=Purpose("A test", "test-disease", "none", "testing"),
        data=DataFormat(
            features=(
                NumberFeature("age", 0.0, 100.0, "a"),
                NumberFeature("dose", -5.0, 5.0, "mg"),
                CategoryFeature("ward", ("north", "south", "east")),
            ),
            target=BinaryTarget("ill", ("1",), ("0",)),
            rare_category=2,
        ),
        model=MlpModel(),
        training=Training(
            rounds,
            LocalTraining(steps=5, batch_size=8, learning_rate=rate, proximal=proximal),  # type: ignore[arg-type]
            strategy=strategy,  # type: ignore[arg-type]
            stopping=stopping,  # type: ignore[arg-type]
            **training,  # type: ignore[arg-type]
        ),
        participation=Participation(invited, quorum or least, 5, 10_000, max_attempts=len(invited)),
        deadlines=Deadlines(*([60 * SECOND] * 6), study=24 * 3600 * SECOND),
    )


def patients(name: str, count: int = 40) -> Table:
    """Synthetic patients of one hospital; the same name gives the same patients."""
    rng = np.random.default_rng(sum(name.encode()))
    age, dose = rng.uniform(20, 90, count), rng.normal(0, 2, count)
    ward = rng.choice(["north", "south", "east"], count)
    ill = (rng.random(count) < 1 / (1 + np.exp(-(age - 55) / 10 - dose))).astype(int)
    return table_from({"age": age, "dose": dose, "ward": ward, "ill": ill}, name=name)


@dataclass
class TestWorld:
    """Agents over one memory engine, rebuilt at will over the same vaults: a restart loses all but what is durable."""

    __test__ = False

    plan: Plan
    consortium: Consortium
    clock: ManualClock
    engine: Engine
    blobs: BlobStore
    agents: dict[Name, Agent]
    vaults: dict[Name, Vault]
    entropies: dict[Name, Entropy]
    tables: dict[Name, Table] = field(default_factory=dict[str, Table])
    consent: ConsentPolicy = APPROVE_ALL
    cipher: Cipher = field(default_factory=WorkerCipher)

    @staticmethod
    def build(
        plan: Plan,
        *,
        seed: int = 0,
        effect: Callable[[Name], Effect] | None = None,
        consent: ConsentPolicy = APPROVE_ALL,
        blobs: BlobStore | None = None,
        others: dict[Name, Role] | None = None,
    ) -> TestWorld:
        names = plan.participation.hospitals
        clock = ManualClock()
        keys = [SiteKeys.generate(name, seeded_site_entropy(seed, name, "keys")) for name in names]
        organiser = SiteKeys.generate(ORGANISER, seeded_site_entropy(seed, ORGANISER, "keys"))
        officers: list[tuple[SiteKeys, Role]] = [
            (SiteKeys.generate(name, seeded_site_entropy(seed, name, "keys")), role)
            for name, role in {**office_roles(plan.protection), **(others or {})}.items()
        ]
        consortium = make_consortium("test", keys, organiser, clock(), others=officers)
        everybody = (*names, *(site.name for site, _ in officers))
        entropies = {name: seeded_site_entropy(seed, name, "run") for name in everybody}
        vaults = {
            name: Vault(None, consortium.keys[name].vault_key, entropies[name], effect(name) if effect else no_effect)
            for name in everybody
        }
        engine = MemoryEngine(consortium.genesis, clock, *consortium.sealers())
        world = TestWorld(plan, consortium, clock, engine, blobs or MemoryBlobs(), {}, vaults, entropies)
        world.tables = {name: patients(name) for name in names}
        world.consent = consent
        for name in everybody:
            world.restart(name)
        return world

    def restart(self, name: Name) -> None:
        """A new agent over what is durable of the old one."""
        keys, entropy = self.consortium.keys[name], self.entropies[name]
        table = self.tables.get(name)
        site = make_site(keys, self.vaults[name], self.blobs, table, self.consent, self.clock, entropy, self.cipher)
        self.agents[name] = Agent(site, self.engine)

    def propose(self, study: StudyId = STUDY) -> None:
        propose_study(self.engine, self.consortium.keys[ORGANISER], self.plan, study)

    def idle(self, due: int | None) -> None:
        self.clock.now_ms = max(self.clock.now_ms + 500, due or 0)

    def run(self, study: StudyId = STUDY, *, seed: int = 0, away: dict[Name, Absence] | None = None) -> Study:
        return Scheduler(self.agents, self.engine, self.idle, seed=seed, away=away).run(study)

    @property
    def study(self) -> Study:
        """Where the study stands."""
        found = study_record(self.engine.view(), STUDY)
        assert found is not None
        return found

    def round(self, number: int = 0) -> Round:
        """The round of that number."""
        found = round_record(self.engine.view(), STUDY, number)
        assert found is not None
        return found

    @property
    def rounds(self) -> list[Round]:
        """Every round that was opened."""
        return [self.round(number) for number in range(self.study.next_round)]

    @property
    def totals(self) -> list[bytes]:
        """The sum of every released round, as everybody computes it."""
        view, study = self.engine.view(), self.study
        plan = plan_of(view, STUDY)
        released = [record for record in self.rounds if record.phase == "released"]
        return [unmasked_total(view, study, plan, record, self.blobs).tobytes() for record in released]

    def send(self, who: Name, body: Body) -> None:
        """What a person decides at a site; it must be accepted."""
        receipt = self.agents[who].send(body)
        assert receipt.accepted, receipt.message

    def in_phase(self, phase: str, number: int = 0) -> Callable[[Study], bool]:
        """For `step_until`: whether that round is in `phase`."""
        return lambda study: study.next_round > number and self.round(number).phase == phase

    def step_until(self, reached: Callable[[Study], bool], without: tuple[Name, ...] = ()) -> None:
        """Step everybody but `without`, one after another, until the study has `reached` what is wanted."""
        for _ in range(500):
            moved = 0
            for name, agent in self.agents.items():
                if reached(self.study):
                    return
                if name not in without:
                    moved += agent.step()
            if not moved:
                self.clock.now_ms += 2_000
        raise AssertionError(f"still {self.study.phase}")

    def step_until_paused(self, *away: Name) -> str:
        """Step everybody but `away` until the study pauses; returns why."""
        self.step_until(lambda study: study.phase == "paused", away)
        return self.study.pause_code
