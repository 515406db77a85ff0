"""An alignment for tests of its contracts, driven by hand: they see digests only, so these are arbitrary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.alignment import ID, STUDY
from tests.support.ledger import FOUR, SECOND, World

from medfed.crypto import commit
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.alignment import Alignment, CommitInputs, OpenAlignment, alignment_record
from medfed.ledger.contracts.alignment_blinding import (
    AdvanceAlignment,
    CompleteAlignment,
    PublishBlinded,
    ReportBlinded,
)

SALT = bytes(32)
QUESTION = b"question"
STAGE_MS = 60 * SECOND
COMMIT_MS = 90 * SECOND


@dataclass
class AlignmentRun:
    """An alignment that can be driven to any phase; the contract sees digests only, so they are arbitrary."""

    world: World
    kind: str = "signatures"

    @property
    def record(self) -> Alignment:
        found = alignment_record(self.world.view, ID)
        assert found is not None
        return found

    def open(self, **changed: object) -> OpenAlignment:
        fields: dict[str, object] = {
            "alignment": ID,
            "study": STUDY,
            "kind": self.kind,
            "question": QUESTION,
            "bound": 100,
            "least": 2,
            "invited": FOUR,
            "commit_ms": COMMIT_MS,
            "stage_ms": STAGE_MS,
        }
        return OpenAlignment(**(fields | changed))  # type: ignore[arg-type]

    def blob(self, who: Name, stage: int = 0) -> Digest:
        return sha256(f"{who} {stage} {self.record.attempt}".encode())

    def commit(self, who: Name, **changed: object) -> CommitInputs:
        fields: dict[str, object] = {
            "alignment": ID,
            "attempt": self.record.attempt,
            "question": self.record.question,
            "inputs": sha256(who.encode()),
            "elements": commit(SALT, self.blob(who)),
            "length": 16,
        }
        return CommitInputs(**(fields | changed))  # type: ignore[arg-type]

    def publish(self, who: Name, **changed: object) -> PublishBlinded:
        stage = self.record.stage
        fields: dict[str, object] = {
            "alignment": ID,
            "attempt": self.record.attempt,
            "stage": stage,
            "blob": self.blob(who, stage),
            "salt": SALT if stage == 0 else None,
        }
        return PublishBlinded(**(fields | changed))  # type: ignore[arg-type]

    def report(self, who: Name, about: Name) -> None:
        self.world.accept(who, ReportBlinded(ID, self.record.attempt, about))

    def committed(self, names: Iterable[Name] = FOUR) -> AlignmentRun:
        for name in names:
            self.world.accept(name, self.commit(name))
        return self

    def published(self, names: Iterable[Name] | None = None) -> AlignmentRun:
        for name in names or self.record.roster:
            self.world.accept(name, self.publish(name))
        return self

    def advance(self) -> None:
        self.world.clock.now_ms = self.record.deadline_ms + 1
        self.world.accept("alpha", AdvanceAlignment(ID))

    def complete(self, who: Name, sizes: bytes = b"sizes") -> None:
        self.world.accept(who, CompleteAlignment(ID, self.record.attempt, sha256(sizes)))

    def to_matching(self) -> AlignmentRun:
        while self.record.phase == "blinding":
            self.published()
        return self
