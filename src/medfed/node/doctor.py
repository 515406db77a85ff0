"""`medfed node doctor`: what keeps a node from working, and what to do about it. Looks, and changes nothing."""

from __future__ import annotations

import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from medfed.encoding import Record
from medfed.errors import MedFedError
from medfed.hospital.site_directory import key_path, read_public
from medfed.ledger.contracts.membership import participant, rules_at
from medfed.ledger.engine import Clock, StateView
from medfed.ledger.engines.cometbft.application import MAX_DRIFT_MS
from medfed.ledger.engines.cometbft.program import VERSION, installed_program
from medfed.ledger.store import reading
from medfed.ledger.transition import RULES
from medfed.node.bounded_server import split_address
from medfed.node.node_file import NodeFile, ledger_path, load_node_file, node_directory
from medfed.node.status import is_locked, node_status

__all__ = ["Finding", "examine"]

_LEAST_FREE: Final = 1 << 30
_CONNECT_SECONDS: Final = 3.0
_FOR_EVER: Final = 2**53
_SECRETS: Final = ("cometbft/config/node_key.json", "api.token")


class Finding(Record):
    """One thing that was looked at."""

    subject: str
    good: bool
    found: str
    remedy: str = ""


def examine(site: Path, clock: Clock) -> list[Finding]:
    """Everything that can be seen from outside the node. A node that runs is not disturbed."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _program(),
        lambda: _disk(site),
        lambda: _files(site),
        lambda: _ledger(site, clock),
        lambda: _network(site, load_node_file(site)),
        lambda: _running(site),
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check())
        except MedFedError as error:
            findings.append(Finding("node", False, str(error), "mend this first; what depends on it was not looked at"))
    return findings


def _program() -> Iterator[Finding]:
    try:
        yield Finding("CometBFT", True, f"{installed_program()}, version {VERSION}")
    except MedFedError as error:
        yield Finding("CometBFT", False, str(error), "run `make network`, which needs Go")


def _disk(site: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(site if site.exists() else site.absolute().parent).free
    yield Finding("disk", free >= _LEAST_FREE, f"{free >> 20} MiB free", "free some: a full disk stops the node")


def _files(site: Path) -> Iterator[Finding]:
    name = read_public(site).name
    open_files = [path for path in (key_path(site), *_secrets(site)) if path.exists() and _is_open(path)]
    found = (
        f"{name}; others may read {', '.join(map(str, open_files))}" if open_files else f"{name}, readable by you alone"
    )
    yield Finding("keys", not open_files, found, f"run: chmod 600 {' '.join(map(str, open_files))}")


def _secrets(site: Path) -> list[Path]:
    return [node_directory(site) / name for name in _SECRETS]


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _ledger(site: Path, clock: Clock) -> Iterator[Finding]:
    with reading(ledger_path(site)) as store:
        view = store.view()
    yield Finding("genesis", True, f"{view.chain.hex()}: compare it with what the other hospitals have")
    yield _member(site, view)
    rules = rules_at(view, _FOR_EVER)
    found = f"the ledger goes on by rules {rules}; this program knows up to {RULES}"
    yield Finding("rules", rules <= RULES, found, "update the program before they hold, or the node stops there")
    ahead = view.tip.time_ms - clock()
    found = (
        f"block {view.tip.height} is {ahead / 1000:.0f} s ahead of this clock" if ahead > 0 else "not behind the ledger"
    )
    remedy = "set the clock (run a time service): other nodes refuse blocks, and this one refuses theirs"
    yield Finding("clock", ahead <= MAX_DRIFT_MS, found, remedy)


def _member(site: Path, view: StateView) -> Finding:
    public = read_public(site)
    found = participant(view, public.name)
    if found is None or found.status != "active":
        return Finding("member", False, f"{public.name} is not an active participant", "have the hospitals vote on it")
    same = found.signing_key == public.signing
    remedy = "use the keys that the ledger knows, or have the others vote to replace them"
    return Finding("member", same, f"{public.name}, {found.role}" if same else "the ledger knows another key", remedy)


def _network(site: Path, file: NodeFile) -> Iterator[Finding]:
    if not is_locked(node_directory(site) / "node.lock"):
        for address in filter(None, (file.listen, file.blobs_listen, file.api_listen)):
            free = _can_listen(address)
            yield Finding("port", free, f"{address} is {'free' if free else 'in use'}", "name another in node.toml")
    if not file.peers:
        yield Finding("peers", False, "none in node.toml", "add id@host:port of the other hospitals' nodes")
    for peer in file.peers:
        reached = _can_connect(peer.partition("@")[2])
        remedy = "ask that hospital whether its node runs, and let the firewall through"
        yield Finding(
            "peer", reached, f"{peer.partition('@')[2]} {'answers' if reached else 'does not answer'}", remedy
        )


def _running(site: Path) -> Iterator[Finding]:
    status = node_status(site)
    if not status.running:
        yield Finding("running", False, "the node does not run", "start it: medfed node run")
        return
    answers = status.consensus_height is not None
    yield Finding("running", answers, status.problem or "the node runs", "read node/cometbft/cometbft.log in the site")
    yield Finding(
        "agent", status.agent, "an agent works on the site" if status.agent else "no agent works", "read node/agent.log"
    )
    connected = f"connected with {', '.join(status.peers)}" if status.peers else "connected with nobody"
    yield Finding("consensus", bool(status.peers), connected, "check the peers above")
    if status.waits:
        remedy = "nothing, if the others go on without it: it votes again then; else see `medfed node restore --help`"
        yield Finding("votes", False, "restored from a backup; it does not vote yet", remedy)


def _can_listen(address: str) -> bool:
    try:
        with socket.create_server(split_address(address), reuse_port=False):
            return True
    except OSError:
        return False


def _can_connect(address: str) -> bool:
    try:
        with socket.create_connection(split_address(address), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False
