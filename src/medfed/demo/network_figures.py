"""What the network demo measures: how long a commit takes, how many transactions pass, what a hospital's node needs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from medfed.crypto import SiteKeys
from medfed.encoding import Record
from medfed.errors import Unavailable
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engine import Engine, StateView
from medfed.ledger.transaction import Anchor, SignedTransaction, Transaction, sign
from medfed.ledger.transition import next_sequence

__all__ = ["NetworkFigures", "commit_latencies", "resident_mib", "throughput"]


class NetworkFigures(Record):
    """Figures of one run; seconds unless said otherwise."""

    study_seconds: float
    embedded_seconds: float
    """The same study on the embedded engine, in one process."""
    overhead_per_round: float
    commit_median: float
    """One transaction at a time, each after the one before: from the hand-over until it is final here."""
    commit_longest: float
    transactions_per_second: float
    resident_mib: dict[Name, dict[str, float]]
    """Of each hospital, by program."""
    result: Digest
    """The learning state that the study ended with."""

    @staticmethod
    def of(
        study_seconds: float,
        embedded_seconds: float,
        rounds: int,
        latencies: list[float],
        rate: float,
        memory: dict[Name, dict[str, float]],
        result: Digest,
    ) -> NetworkFigures:
        """From what was measured."""
        overhead = (study_seconds - embedded_seconds) / rounds
        median = statistics.median(latencies)
        return NetworkFigures(study_seconds, embedded_seconds, overhead, median, max(latencies), rate, memory, result)

    def lines(self) -> list[str]:
        """For people."""
        largest = max((sum(parts.values()), name) for name, parts in self.resident_mib.items())
        parts = ", ".join(f"{program} {size:.0f}" for program, size in self.resident_mib[largest[1]].items())
        return [
            f"study        {self.study_seconds:.1f} s; embedded in one process {self.embedded_seconds:.1f} s: "
            f"{self.overhead_per_round:.2f} s more a round",
            f"commit       median {1000 * self.commit_median:.0f} ms, longest {1000 * self.commit_longest:.0f} ms",
            f"rate         {self.transactions_per_second:.0f} transactions a second, final",
            f"memory       at most {largest[0]:.0f} MiB a hospital ({parts})",
        ]


def commit_latencies(engine: Engine, sender: SiteKeys, count: int) -> list[float]:
    """Seconds until each of `count` transactions, sent one after the other, is final."""
    seconds: list[float] = []
    for number in range(count):
        signed = _harmless(engine.view(), sender, number, 0)
        began = time.perf_counter()
        (receipt,) = engine.submit(signed)
        seconds.append(time.perf_counter() - began)
        if not receipt.accepted:
            raise Unavailable(f"a transaction was not accepted: {receipt.message}")
    return seconds


def throughput(engine: Engine, sender: SiteKeys, count: int) -> float:
    """Transactions a second that become final when `count` are handed over at once."""
    view = engine.view()
    batch = [_harmless(view, sender, number, number) for number in range(count)]
    began = time.perf_counter()
    receipts = engine.submit(*batch)
    spent = time.perf_counter() - began
    return sum(receipt.accepted for receipt in receipts) / spent


def resident_mib(process: int) -> dict[str, float]:
    """Resident memory of a node's process and its children, by what they are; empty where /proc is not there."""
    found: dict[str, float] = {}
    for number in (process, *_children(process)):
        name, size = _resident(number)
        if size:
            label = name if name == "cometbft" else ("node" if number == process else "agent")
            found[label] = found.get(label, 0.0) + size
    return found


def _harmless(view: StateView, sender: SiteKeys, number: int, ahead: int) -> SignedTransaction:
    anchor = Anchor(view.tip.height, view.tip.block)
    sequence = next_sequence(view, sender.name) + ahead
    return sign(
        Transaction(view.chain, sender.name, sequence, anchor, ChangeAddress(f"probe-{number}")), sender.signing_key
    )


def _children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        found += [int(text) for text in task.read_text().split()]
    return found


def _resident(process: int) -> tuple[str, float]:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return "", 0.0
    fields: Mapping[str, str] = dict(line.split(":", 1) for line in lines if ":" in line)
    return fields.get("Name", "").strip(), int(fields.get("VmRSS", "0 kB").split()[0]) / 1024
