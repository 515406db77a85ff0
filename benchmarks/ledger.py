"""What the ledger costs: replay and verification, durable throughput, and a ledger of 100,000 transactions.

Bodies are cheap ones (`ChangeAddress`: all that is left is the ledger itself) or those of a real study.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import Section, Target, Timing, alternately, spread, timing_of
from benchmarks.results import say
from benchmarks.workload import synthetic_plan, synthetic_tables

from medfed.crypto import SiteKeys, is_valid_signature
from medfed.identifiers import Name
from medfed.ledger.block import Block
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.engine import Engine
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Genesis
from medfed.ledger.transaction import Anchor, SignedTransaction, Transaction, sign
from medfed.ledger.transition import next_sequence
from medfed.ledger.verify import verify_ledger, verify_store
from medfed.simulation.api import simulate
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import ORGANISER, Consortium, make_consortium, seeded_site_entropy

SENDERS = 4
BATCH = 100
REPLAYED, DURABLE, LARGE, LARGE_SECONDS = 6_000.0, 4_000.0, 100_000, 15.0
BARE = f"bare SQLite commit of {BATCH} rows of 300 bytes"
_LABEL = b"medfed/transaction/1\0"


@dataclass
class Senders:
    """A few hospitals that send cheap transactions to an engine."""

    engine: Engine
    keys: Sequence[SiteKeys]
    sent: int = 0
    spent: list[float] = field(default_factory=list[float])
    """Seconds of each `submit`; signing is not in them."""

    def send(self, count: int) -> None:
        """One batch, signed now and then submitted."""
        view = self.engine.view()
        anchor = Anchor(view.tip.height, view.tip.block)
        sequences = {site.name: next_sequence(view, site.name) for site in self.keys}
        batch = [self._signed(sequences, anchor, view.chain, number) for number in range(count)]
        start = time.perf_counter()
        receipts = self.engine.submit(*batch)
        self.spent.append(time.perf_counter() - start)
        refused = [receipt for receipt in receipts if not receipt.accepted]
        if refused:
            raise RuntimeError(f"benchmark: a transaction was refused: {refused[0]}")
        self.sent += count

    def _signed(self, sequences: dict[Name, int], anchor: Anchor, chain: bytes, number: int) -> SignedTransaction:
        site = self.keys[number % len(self.keys)]
        sequence = sequences[site.name]
        sequences[site.name] += 1
        body = ChangeAddress(f"https://{site.name}.example:{1024 + self.sent % 60_000}")
        return sign(Transaction(chain, site.name, sequence, anchor, body), site.signing_key)


def report(*, quick: bool) -> list[Section]:
    """Replay, durable throughput, and a large ledger."""
    return [_replay(quick=quick), _durable(quick=quick), _large(LARGE // 10 if quick else LARGE)]


def consortium_of(hospitals: int) -> Consortium:
    """Hospitals with seeded keys, and an organiser."""
    names = [f"hospital-{number}" for number in range(hospitals)]
    keys = [SiteKeys.generate(name, seeded_site_entropy(0, name, "keys")) for name in names]
    organiser = SiteKeys.generate(ORGANISER, seeded_site_entropy(0, ORGANISER, "keys"))
    return make_consortium("benchmark", keys, organiser, ManualClock()())


def hospital_keys(consortium: Consortium) -> list[SiteKeys]:
    """Those who send."""
    return [keys for name, keys in sorted(consortium.keys.items()) if name != ORGANISER]


def cheap_ledger(count: int) -> tuple[Genesis, list[Block]]:
    """`count` cheap transactions in blocks of `BATCH`."""
    consortium = consortium_of(SENDERS)
    senders = Senders(MemoryEngine(consortium.genesis, ManualClock(), *consortium.sealers()), hospital_keys(consortium))
    for _ in range(count // BATCH):
        senders.send(BATCH)
    return consortium.genesis, list(senders.engine.blocks())


def study_ledger(hospitals: int, rounds: int) -> tuple[Genesis, list[Block]]:
    """The ledger of a whole simulated study."""
    plan = synthetic_plan(hospitals, rounds, 1_000)
    ended = simulate(plan, synthetic_tables(plan), progress=False)
    return ended.ledger.engine.genesis, list(ended.ledger.engine.blocks())


def _replay(*, quick: bool) -> Section:
    say("ledger: replay and verification")
    ledgers = {
        "cheap bodies": cheap_ledger(2_000 if quick else 10_000),
        "a study of 10 hospitals": study_ledger(10, 10),
    }
    passes = 3 if quick else 7
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    for name, (genesis, blocks) in ledgers.items():
        count = sum(len(block.transactions) for block in blocks)
        size = sum(len(data) for block in blocks for data in block.transactions)
        tasks: dict[str, Callable[[], object]] = {
            "signatures alone": _signature_checks(genesis, blocks),
            "verify": lambda genesis=genesis, blocks=blocks: verify_ledger(genesis, blocks, genesis.digest),
        }
        found = alternately(passes, tasks)
        for task, timing in found.items():
            ratio = f"{timing.minimum / found['signatures alone'].minimum:.2f}"
            rows.append((f"{name}: {task}", f"{count:,}", f"{size / count:.0f}", _rate(count, timing), ratio))
        rate = count / found["verify"].minimum
        targets.append(Target(f"replay and verify, {name}", rate, REPLAYED, "a second and core", at_most=False))
    return Section(
        "Ledger: replay and verification",
        "`verify` from the genesis: links, seals, Merkle roots, signatures, sequences, every transition and state "
        "digest. The floor is libsodium checking the same transactions' signatures and nothing else.",
        ("", "transactions", "bytes each", "a second (median, least)", "of the floor's time"),
        rows,
        targets,
    )


def _signature_checks(genesis: Genesis, blocks: Sequence[Block]) -> Callable[[], object]:
    keys = {founder.name: founder.signing_key for founder in genesis.founders}
    signed = [SignedTransaction.from_bytes(data) for block in blocks for data in block.transactions]
    checks = [(keys[one.transaction.sender], _LABEL + one.payload, one.signature) for one in signed]

    def check() -> None:
        if not all(is_valid_signature(*one) for one in checks):
            raise RuntimeError("benchmark: a signature does not hold")

    return check


def _durable(*, quick: bool) -> Section:
    say("ledger: durable throughput")
    batches = 10 if quick else 40
    consortium = consortium_of(SENDERS)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        memory = MemoryEngine(consortium.genesis, ManualClock(), *consortium.sealers())
        durable = EmbeddedEngine.create(root / "ledger.db", consortium.genesis, ManualClock(), *consortium.sealers())
        engines = {"memory engine": memory, "embedded engine, durable": durable}
        senders = {name: Senders(engine, hospital_keys(consortium)) for name, engine in engines.items()}
        bare: list[float] = []
        commit = _bare_commit(root / "bare.db")
        for _ in range(batches):
            for sender in senders.values():
                sender.send(BATCH)
            start = time.perf_counter()
            commit()
            bare.append(time.perf_counter() - start)
        durable.close()
    found = {BARE: timing_of(bare)}
    found |= {name: timing_of(sender.spent) for name, sender in senders.items()}
    total = sum(senders["embedded engine, durable"].spent)
    floor = found[BARE].minimum
    rows = [(name, _rate(BATCH, timing), f"{timing.minimum / floor:.1f}") for name, timing in found.items()]
    return Section(
        "Ledger: durable throughput",
        f"Batches of {BATCH}, every check on, one block and one synchronous commit each, by the wall clock. Sustained, "
        f"with slow batches: {batches * BATCH / total:,.0f} a second.",
        ("", "a second (median, least)", "of the bare commit's time"),
        rows,
        [
            Target(
                "durable transactions, sustained",
                batches * BATCH / total,
                DURABLE,
                "a second",
                at_most=False,
            )
        ],
    )


def _bare_commit(path: Path) -> Callable[[], object]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL)")

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO entry (bytes) VALUES (?)", [(bytes(300),)] * BATCH)
        connection.execute("COMMIT")

    return commit


def _large(count: int) -> Section:
    say(f"ledger: {count:,} transactions")
    consortium = consortium_of(SENDERS)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.db"
        engine = EmbeddedEngine.create(path, consortium.genesis, ManualClock(), *consortium.sealers())
        senders = Senders(engine, hospital_keys(consortium))
        while senders.sent < count:
            senders.send(BATCH)
        engine.close()
        megabytes = path.stat().st_size / 1e6
        spent = [_verified(path, consortium.genesis, count) for _ in range(3)]
    seconds = timing_of(spent)
    bar = LARGE_SECONDS * count / LARGE
    return Section(
        f"Ledger: a file of {count:,} transactions",
        "`verify_store`: everything that `verify` checks, and the stored receipts, index and state against the replay. "
        "The target allows two cores; this is one.",
        ("", "seconds", "MB"),
        [("verify a file", spread(seconds), f"{megabytes:.0f}")],
        [Target(f"verify a file of {count:,} transactions", seconds.minimum, bar, "s")],
    )


def _verified(path: Path, genesis: Genesis, count: int) -> float:
    start = time.process_time()
    found = verify_store(path, genesis.digest)
    spent = time.process_time() - start
    if found.transactions != count:
        raise RuntimeError(f"benchmark: expected {count} transactions, found {found.transactions}")
    return spent


def _rate(count: int, timing: Timing) -> str:
    return f"{count / timing.minimum:,.0f} ({count / timing.median:,.0f}, {count / timing.maximum:,.0f})"
