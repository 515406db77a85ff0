"""Agents that intersect private lists over one memory engine, with seams for crashes, silence and lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tests.support.study import SECOND

from medfed.alignment.patients import PatientQuestion
from medfed.alignment.signature import SignatureQuestion
from medfed.blobs import BlobStore, MemoryBlobs
from medfed.crypto import Entropy, SiteKeys
from medfed.federation.tables import table_from
from medfed.hospital.agent import Agent
from medfed.hospital.alignment_state import AlignmentResult, load_result
from medfed.hospital.consent import AlignmentPolicy, ConsentPolicy
from medfed.hospital.vault import Effect, Vault, no_effect
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.alignment import Alignment, AlignmentKind, OpenAlignment, alignment_record
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.transaction import Body, Transaction, sign
from medfed.ledger.transition import Receipt, anchor_of, next_sequence
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import ORGANISER, Consortium, make_consortium, seeded_site_entropy
from medfed.simulation.world import make_site

ID: StudyId = b"alignment-test-1"
STUDY: StudyId = b"a study for test"
JOIN_ALL = ConsentPolicy(alignment=AlignmentPolicy("approve", "approve", "a law"))
Entries = Mapping[bytes, Sequence[str]]


@dataclass
class AlignmentWorld:
    """Sites with entries. A restart loses all but what is durable."""

    consortium: Consortium
    clock: ManualClock
    engine: MemoryEngine
    blobs: BlobStore
    entries: dict[Name, Entries]
    vaults: dict[Name, Vault]
    entropies: dict[Name, Entropy]
    consent: dict[Name, ConsentPolicy]
    agents: dict[Name, Agent] = field(default_factory=dict[Name, Agent])
    silent: set[Name] = field(default_factory=set[Name])

    @staticmethod
    def build(
        entries: Mapping[Name, Entries],
        *,
        seed: int = 0,
        consent: ConsentPolicy = JOIN_ALL,
        effect: Callable[[Name], Effect] | None = None,
        blobs: BlobStore | None = None,
    ) -> AlignmentWorld:
        names = sorted(entries)
        clock = ManualClock()
        keys = [SiteKeys.generate(name, seeded_site_entropy(seed, name, "keys")) for name in names]
        organiser = SiteKeys.generate(ORGANISER, seeded_site_entropy(seed, ORGANISER, "keys"))
        consortium = make_consortium("test", keys, organiser, clock())
        entropies = {name: seeded_site_entropy(seed, name, "run") for name in names}
        vaults = {
            name: Vault(None, consortium.keys[name].vault_key, entropies[name], effect(name) if effect else no_effect)
            for name in names
        }
        engine = MemoryEngine(consortium.genesis, clock, *consortium.sealers())
        consents = dict.fromkeys(names, consent)
        world = AlignmentWorld(
            consortium, clock, engine, blobs or MemoryBlobs(), dict(entries), vaults, entropies, consents
        )
        for name in names:
            world.restart(name)
        return world

    def restart(self, name: Name) -> None:
        """A new agent over what is durable of the old one."""
        table = table_from({"age": np.array([50.0])}, name=name)
        keys, vault, entropy = self.consortium.keys[name], self.vaults[name], self.entropies[name]
        site = make_site(keys, vault, self.blobs, table, self.consent[name], self.clock, entropy)
        entries = self.entries[name]
        site.entries = lambda kind, question: entries
        self.agents[name] = Agent(site, self.engine)

    @property
    def record(self) -> Alignment:
        found = alignment_record(self.engine.view(), ID)
        assert found is not None
        return found

    def send(self, who: Name, body: Body) -> Receipt:
        """What somebody outside of its agent signs."""
        view, keys = self.engine.view(), self.consortium.keys[who]
        transaction = Transaction(view.chain, who, next_sequence(view, who), anchor_of(view.tip), body)
        return self.engine.submit(sign(transaction, keys.signing_key))[0]

    def open(
        self, kind: AlignmentKind = "signatures", *, bound: int = 1_000, least: int = 2, question: bytes | None = None
    ) -> None:
        asked = SignatureQuestion() if kind == "signatures" else PatientQuestion()
        body = OpenAlignment(
            ID, STUDY, kind, question or asked.encode(), bound, least, tuple(sorted(self.entries)),
            60 * SECOND, 60 * SECOND,
        )  # fmt: skip
        receipt = self.send(ORGANISER, body)
        assert receipt.accepted, receipt.message

    def tick(self, step: Callable[[Name], int] | None = None) -> int:
        """Everybody who is not silent steps once; how many transactions became final."""
        one = step or (lambda name: self.agents[name].step())
        return sum(one(name) for name in sorted(self.agents) if name not in self.silent)

    def run(self, step: Callable[[Name], int] | None = None, ticks: int = 2_000) -> Alignment:
        """Until it is over and nobody has anything to do."""
        for _ in range(ticks):
            if not self.tick(step):
                if self.record.phase in ("completed", "ended"):
                    return self.record
                self.clock.advance(2 * SECOND)
        raise AssertionError(f"still {self.record.phase}")

    def result(self, name: Name) -> AlignmentResult:
        found = load_result(self.vaults[name], ID)
        assert found is not None, f"{name} has no result"
        return found


def entries_of(**owned: str) -> dict[Name, Entries]:
    """`alpha="a b"`: hospital alpha has the entries a and b, each standing for one local id."""
    return {
        name: {f"entry {word}".encode(): (f"{name}-{word}",) for word in words.split()} for name, words in owned.items()
    }
