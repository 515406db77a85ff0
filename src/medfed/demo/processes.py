"""`medfed demo --kill`: four agents as processes of their own, one of them killed in the middle of a round."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from medfed.demo.heart import COLUMNS, FILES, heart_plan
from medfed.demo.place import PASSPHRASE, Place
from medfed.errors import Unavailable
from medfed.federation.plan import Mode, Plan
from medfed.identifiers import Name
from medfed.ledger.contracts.rounds import Round, current_round
from medfed.ledger.contracts.studies import Study, study_record
from medfed.simulation.consortium import office_holders

__all__ = ["impatient_plan", "run_with_kill", "write_site_file"]

_SECOND: Final = 1_000
_LIMIT: Final = 120.0
_ROUND: Final = 6
"""The training round in which the victim dies."""


def impatient_plan(protection: Mode = "masked") -> Plan:
    """The demo's plan with deadlines of seconds, so that nobody waits long for the dead, and fewer rounds."""
    plan = heart_plan(protection)
    deadlines = replace(
        plan.deadlines, update=2 * _SECOND, confirm=2 * _SECOND, reveal=2 * _SECOND, keying=20 * _SECOND
    )
    return replace(plan, deadlines=deadlines, training=replace(plan.training, rounds=8))


def run_with_kill(place: Place, victim: Name, tell: Callable[[str], None]) -> tuple[Study, Round]:
    """Run the agents, kill the victim's once it has submitted in a training round; returns the study and that round.

    Raises:
        Unavailable: the study has not ended in time.
    """
    for name, file in FILES.items():
        write_site_file(place.site(name), file)
    processes = {name: _start(place, name) for name in (*FILES, *office_holders(place.plan.protection))}
    killed: Round | None = None
    end = time.monotonic() + _LIMIT
    try:
        while time.monotonic() < end:
            view = place.engine.view()
            study = study_record(view, place.study)
            current = current_round(view, study) if study is not None else None
            if killed is None and current is not None and _is_the_moment(current, victim):
                processes[victim].send_signal(signal.SIGKILL)
                killed = current
                done = "after its update" if victim in current.submitted else "before its update"
                done = "after confirming the survivors" if victim in current.confirmed else done
                tell(f"kill -9 {processes[victim].pid}: {victim} dies in round {current.number}, {done}")
            if study is not None and study.phase in ("completed", "aborted") and _have_ended(processes, victim):
                return study, killed or _need(current)
            place.engine.wait(view.tip.height, 0.05)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    raise Unavailable(f"the study has not ended within {_LIMIT:.0f} s")


def _is_the_moment(current: Round, victim: Name) -> bool:
    """In an open training round, whatever has come of it: the victim has not revealed yet."""
    is_open = current.phase in ("update", "confirm", "reveal", "sum", "decrypt")
    return current.kind == "training" and current.number >= _ROUND and is_open and victim not in current.revealed


def _have_ended(processes: dict[Name, subprocess.Popen[bytes]], victim: Name) -> bool:
    return all(process.poll() is not None for name, process in processes.items() if name != victim)


def _start(place: Place, name: Name) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "medfed", "agent", "run", "--ledger", str(place.ledger.absolute())]
    command += ["--site", str(place.site(name).absolute()), "--until-complete", "--quiet", "--poll", "0.05"]
    environment = {**os.environ, "MEDFED_PASSPHRASE": PASSPHRASE}
    log = (place.root / f"{name}.log").open("wb")
    with log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def write_site_file(site: Path, file: str) -> None:
    """Give a demo's site its patients, and a policy that approves every study."""
    from importlib.resources import as_file, files

    with as_file(files("medfed.demo").joinpath("data", file)) as path:
        (site / "patients.csv").write_bytes(path.read_bytes())
    columns = ", ".join(f'"{column}"' for column in COLUMNS)
    consent = '[[consent.rule]]\ndecision = "approve"\nprotections = ["masked", "homomorphic", "sealed"]\n'
    text = f'[data]\nfile = "patients.csv"\ncolumns = [{columns}]\n\n{consent}'
    (site / "site.toml").write_text(text, encoding="utf-8")


def _need(current: Round | None) -> Round:
    if current is None:
        raise Unavailable("the study ended before any round was open")
    return current
