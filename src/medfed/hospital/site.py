"""One hospital's machine as its agent sees it: keys, vault, blobs, data and policy, clock and randomness passed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from medfed.blobs import BlobStore
from medfed.crypto import Entropy, SiteKeys
from medfed.diagnosis.blind_sides import Diagnosis
from medfed.encoding import Record
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.tables import Table
from medfed.homomorphic import Cipher, WorkerCipher
from medfed.hospital.alignment_state import EntrySource
from medfed.hospital.consent import ConsentPolicy
from medfed.hospital.vault import Vault
from medfed.hospital.worker import InProcess, Worker
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.engine import Clock
from medfed.privacy import DELTA_STEP, EPSILON_STEP

__all__ = ["DEFAULT_CAP", "DataSource", "DiagnoseSource", "PrivacyCap", "Progress", "Site"]

DiagnoseSource = Callable[[Digest], Callable[[Sequence[bytes]], Sequence[Diagnosis]]]
"""Finds what answers blind tests of a model: a function from cases to one diagnosis each."""
DataSource = Callable[[Plan], Table]
"""Finds the table for a plan; raises `InvalidInput` if the site has none that fits."""


class Progress(Record):
    """How far a study was followed: rounds below `absorbed` are in `state`."""

    absorbed: int
    state: bytes
    """A `LearningState`."""
    accepted: bool = True
    """Whether the last aggregate was accepted: what the next update says."""
    stop: bool = False
    """Whether the plan's early stopping asks to end the training."""


class PrivacyCap(Record):
    """The most that all studies together may cost a patient of this site."""

    epsilon: Annotated[int, Meta(ge=0, lt=2**53)]
    """Millionths."""
    delta: Annotated[int, Meta(ge=0, lt=2**53)]
    """In units of 10^-15."""


DEFAULT_CAP: Final = PrivacyCap(8 * EPSILON_STEP, DELTA_STEP // 10_000)
"""ε 8 at δ 10^-4, unless `site.toml` says otherwise."""


@dataclass
class Site:
    """Everything that one agent works with. What is cached here can be lost at any time."""

    keys: SiteKeys
    vault: Vault
    blobs: BlobStore
    data: DataSource
    consent: ConsentPolicy
    clock: Clock
    entropy: Entropy
    started_ms: int
    cap: PrivacyCap = DEFAULT_CAP
    entries: EntrySource | None = None
    """What it brings to alignments; None where it has no case library."""
    diagnose: DiagnoseSource | None = None
    """What answers blind tests, where it is not the registered model itself: in simulations."""
    received: Path | None = None
    """Where data that was asked for goes; None where there is no disk."""
    votes: dict[StudyId, NDArray[np.int64]] = field(default_factory=dict[StudyId, NDArray[np.int64]], repr=False)
    """Exact histograms of this hospital's own teachers: in memory only, never stored."""
    cipher: Cipher = field(default_factory=WorkerCipher)
    """Encrypts and opens where a plan asks for it; its process is started at its first use."""
    worker: Worker = field(default_factory=InProcess)
    """Trains."""
    followed: dict[StudyId, Progress] = field(default_factory=dict[StudyId, Progress])
    """What the vault holds as each study's progress, put here only once it is durable."""
    initial: dict[Digest, bytes] = field(default_factory=dict[Digest, bytes], repr=False)
    """Initial learning states by plan, for `computing`."""
    _prepared: dict[Digest, PreparedData] = field(default_factory=dict[Digest, PreparedData])
    _states: dict[StudyId, tuple[Progress, LearningState]] = field(
        default_factory=dict[StudyId, tuple[Progress, LearningState]]
    )

    @property
    def name(self) -> Name:
        """The participant's name."""
        return self.keys.name

    def prepared(self, plan: Plan) -> PreparedData:
        """The site's data for a plan, read once.

        Raises:
            InvalidInput: the table does not fit; the message says where.
        """
        found = self._prepared.get(plan.digest)
        if found is None:
            found = prepare(plan, self.data(plan), self.keys.split_key)
            self._prepared[plan.digest] = found
        return found

    def state_of(self, study: StudyId, progress: Progress) -> LearningState:
        """The learning state in `progress`, decoded once."""
        known = self._states.get(study)
        if known is None or known[0] is not progress:
            known = (progress, LearningState.load(progress.state))
            self._states[study] = known
        return known[1]

    def forget(self, study: StudyId) -> None:
        """Let go of what is cached of a study, and of what is under way for it."""
        self.worker.forget(study.hex())
        self.followed.pop(study, None)
        self._states.pop(study, None)
        self.votes.pop(study, None)
