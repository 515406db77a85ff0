"""Four real nodes with a short heart study, for tests that hurt them."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from medfed.crypto import SiteKeys
from medfed.demo.heart import FILES, heart_plan
from medfed.demo.network import agreed_state, embedded_state, wait_for_study
from medfed.demo.network_nodes import Nodes, free_ports
from medfed.demo.place import demo_keys
from medfed.federation.plan import Plan
from medfed.hospital.site_directory import wall_clock
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.membership import Role
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.engines.cometbft.configuration import node_id
from medfed.ledger.engines.cometbft.engine import PoolEngine
from medfed.ledger.transaction import Anchor, Body, Transaction, sign
from medfed.ledger.transition import next_sequence
from medfed.node.founding import found_node
from medfed.node.node_file import NodeFile, load_node_file, save_node_file
from medfed.simulation.consortium import ORGANISER, Consortium, make_consortium
from medfed.simulation.world import propose_study

STUDY: StudyId = b"a study for test"
PARTS = ("cometbft", "node", "agent", "worker")
WORKER_SECONDS = 1.5
"""How long to lie in wait for one: it lives as long as one training."""


def short_plan(rounds: int = 4, *, impatient: bool = False) -> Plan:
    """The heart study with fewer rounds; impatient, it does not wait long for the dead."""
    plan = heart_plan()
    if impatient:
        quick = replace(plan.deadlines, update=4_000, confirm=4_000, reveal=4_000, keying=20_000)
        plan = replace(plan, deadlines=quick)
    return replace(plan, training=replace(plan.training, rounds=rounds))


@dataclass
class Network:
    """A consortium, its nodes, and one study."""

    root: Path
    plan: Plan
    nodes: Nodes
    consortium: Consortium
    organiser: SiteKeys
    kills: list[str] = field(default_factory=list[str])

    @staticmethod
    def make(
        root: Path,
        plan: Plan,
        command: Callable[[Name], Sequence[str]] | None = None,
        route: Callable[[Name, Name, int], int] | None = None,
        auditor: Name | None = None,
    ) -> Network:
        root.mkdir(exist_ok=True)
        keys = {name: demo_keys(root / "sites" / name, name) for name in (*FILES, ORGANISER)}
        organiser = keys.pop(ORGANISER)
        others: list[tuple[SiteKeys, Role]] = (
            [(demo_keys(root / "sites" / auditor, auditor), "auditor")] if auditor else []
        )
        consortium = make_consortium("heart", keys.values(), organiser, created_ms=wall_clock(), others=others)
        nodes = Nodes(root, command) if command is not None else Nodes(root)
        nodes.make(consortium.genesis, route) if route is not None else nodes.make(consortium.genesis)
        return Network(root, plan, nodes, consortium, organiser)

    def begin(self, by: Name = "cleveland") -> None:
        """Start everything and propose the study."""
        self.nodes.start()
        self.nodes.wait_connected()
        client = self.nodes.client(by)
        propose_study(client, self.organiser, self.plan, STUDY)
        client.close()

    def is_over(self, by: Name = "cleveland") -> bool:
        client = self.nodes.client(by)
        record = study_record(client.view(), STUDY)
        client.close()
        return record is not None and record.phase in ("completed", "aborted")

    def rounds(self, by: Name = "cleveland") -> int:
        """How many rounds have been opened, as one replica knows it."""
        client = self.nodes.client(by)
        record = study_record(client.view(), STUDY)
        client.close()
        return 0 if record is None else record.next_round

    def finish(self, by: Name = "cleveland") -> None:
        client = self.nodes.client(by)
        wait_for_study(client, STUDY)
        height = client.view().tip.height
        client.close()
        self.nodes.wait_level(height)

    def check(self, *, whole: bool) -> Digest:
        """All replicas verify and agree and lead to one model; `whole`: to the embedded engine's, bit for bit."""
        self.nodes.stop()
        found = self.nodes.verify(self.consortium.genesis)
        assert len({one.tip for one in found.values()}) == 1, "the replicas differ"
        models = {agreed_state(self.nodes, name, STUDY) for name in FILES if name != "dead"}
        assert len(models) == 1
        model = models.pop()
        if whole:
            assert model == embedded_state(self.consortium, self.organiser, self.plan, STUDY)[0]
        return model

    def without_agents(self) -> None:
        """The test signs for everybody itself."""
        for name in FILES:
            site = self.nodes.site(name)
            save_node_file(site, replace(load_node_file(site), agent=False))

    def add(self, name: Name) -> SiteKeys:
        """A new hospital's site and node; it knows the others, and they do not know it."""
        keys = demo_keys(self.nodes.site(name), name)
        homes = {other: self.nodes.site(other) / "node" / "cometbft" for other in FILES}
        peers = [f"{node_id(home)}@{load_node_file(self.nodes.site(other)).listen}" for other, home in homes.items()]
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        found_node(self.nodes.site(name), self.consortium.genesis, NodeFile(listen, tuple(peers), agent=False))
        return keys

    @staticmethod
    def send(engine: PoolEngine, keys: SiteKeys, body: Body) -> None:
        """Sign as a participant and submit; it must be accepted."""
        view = engine.view()
        anchor = Anchor(view.tip.height, view.tip.block)
        transaction = Transaction(view.chain, keys.name, next_sequence(view, keys.name), anchor, body)
        (receipt,) = engine.submit(sign(transaction, keys.signing_key))
        assert receipt.accepted, receipt

    def processes_of(self, name: Name) -> dict[str, int]:
        """The process numbers of one hospital: its node, its CometBFT, its agent."""
        node = self.nodes.processes.get(name)
        if node is None or node.poll() is not None:
            return {}
        found = {"node": node.pid}
        for task in Path(f"/proc/{node.pid}/task").glob("*/children"):
            try:
                for child in task.read_text().split():
                    command = Path(f"/proc/{child}/cmdline").read_bytes()
                    found["cometbft" if b"cometbft" in command.split(b"\0")[0] else "agent"] = int(child)
            except OSError:
                continue
        return found

    def hurt(self, chance: random.Random) -> bool:
        """Kill one of the twelve processes or a worker, and start a node that was killed a moment later."""
        name, part = chance.choice(sorted(FILES)), chance.choice(PARTS)
        number = self.worker_of(name) if part == "worker" else self.processes_of(name).get(part)
        if number is None:
            return False
        self.kills.append(f"{name}'s {part}")
        if part == "node":
            self.nodes.kill(name)
            time.sleep(chance.uniform(0, 1.0))
            self.nodes.start(name)
        else:
            with suppress(ProcessLookupError):  # a worker that was done meanwhile
                os.kill(number, signal.SIGKILL)
        return True

    def worker_of(self, name: Name) -> int | None:
        """The process that trains for one hospital, as soon as there is one."""
        agent, end = self.processes_of(name).get("agent"), time.monotonic() + WORKER_SECONDS
        while agent is not None and time.monotonic() < end:
            with suppress(OSError):
                for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
                    return int(child)
            time.sleep(0.002)
        return None


def left_over(root: Path) -> list[str]:
    """Command lines of processes that still work under this directory."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(root / "sites") in command:
            found.append(command)
    return found
