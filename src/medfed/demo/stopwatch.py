"""Where the demo's time goes: wraps what the parts call while it measures, and puts everything back."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from medfed.crypto import Cipher, SealingKey
from medfed.hospital import aggregation, computing, noisy_update, outbox, progress
from medfed.hospital.duties import choosing, confirming, encrypting, keying, revealing, sealing, updating
from medfed.hospital.duties.adding import AddCiphertexts
from medfed.hospital.duties.aggregating import AggregateUpdates, IssueKeys
from medfed.hospital.duties.encrypting import SubmitEncryptedUpdate
from medfed.hospital.duties.opening import OpenSum, PublishKey
from medfed.ledger.engines.embedded import EmbeddedEngine

__all__ = ["CALLS", "Calls", "Stopwatch"]


Calls = Sequence[tuple[Any, str, str]]
"""Where each name is looked up, the name, and the part that it counts for."""

CALLS: Final[Calls] = (
    (computing, "contribution", "training"),
    (choosing, "encode_vector", "encryption"),
    (noisy_update, "encode_vector", "encryption"),
    (updating, "mask_update", "encryption"),
    (updating, "attempt_seed", "encryption"),
    (updating, "sha256", "encryption"),
    (aggregation, "unmask_sum", "encryption"),
    (aggregation, "decode_sum", "encryption"),
    (aggregation, "implausible_entries", "encryption"),
    (confirming, "make_escrow", "encryption"),
    (confirming, "hkdf_sha256", "encryption"),
    (confirming, "attempt_seed", "encryption"),
    (revealing, "open_share", "encryption"),
    (SealingKey, "generate", "encryption"),
    (keying, "draw_pair_secret", "encryption"),
    (keying, "seal_pair_secret", "encryption"),
    (keying, "open_pair_secret", "encryption"),
    (progress, "ratchet", "encryption"),
    (Cipher, "encrypt", "encryption"),
    (Cipher, "decrypt", "encryption"),
    (PublishKey, "perform", "encryption"),
    (SubmitEncryptedUpdate, "_encrypted", "encryption"),
    (encrypting, "seal", "encryption"),
    (AddCiphertexts, "perform", "encryption"),
    (OpenSum, "perform", "encryption"),
    (IssueKeys, "perform", "encryption"),
    (sealing, "open_session_key", "encryption"),
    (sealing, "update_commitment", "encryption"),
    (sealing, "seal_update", "encryption"),
    (AggregateUpdates, "perform", "encryption"),
    (outbox, "sign", "ledger"),
    (EmbeddedEngine, "submit", "ledger"),
    (EmbeddedEngine, "view", "ledger"),
    (EmbeddedEngine, "block_id", "ledger"),
)
"""Training with statistics and evaluation; everything cryptographic, the vaults' encryption too, in every protection
mode; the engine and the signatures on what is sent to it."""


class Stopwatch:
    """Seconds by part. Parts never overlap: what a part spends inside another counts for the inner one only."""

    def __init__(self, calls: Calls = CALLS, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {part: 0.0 for _, _, part in calls}
        self._calls = calls
        self._clock = clock
        self._inner = 0.0

    @contextmanager
    def measuring(self) -> Generator[None]:
        """Measure every call that is made inside."""
        originals = [(place, name, getattr(place, name)) for place, name, _ in self._calls]
        for place, name, part in self._calls:
            setattr(place, name, self._timed(getattr(place, name), part))
        try:
            yield
        finally:
            for place, name, original in originals:
                setattr(place, name, original)

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        """Count what runs inside for `name`."""
        outer, self._inner = self._inner, 0.0
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._inner
            self._inner = outer + spent

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            with self.part(part):
                return function(*arguments, **named)

        return run
