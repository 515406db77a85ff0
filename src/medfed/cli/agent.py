"""`medfed agent`: one hospital's agent as a process."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medfed.cli.options import NumberRange, ledger_option, passphrase, site_option
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.crypto import PublicKeys
    from medfed.hospital.agent import Agent
    from medfed.ledger.engine import StateView

__all__ = ["agent", "step_once"]

_GRACE_SECONDS: Final = 5.0


@click.group()
def agent() -> None:
    """Run a hospital's agent."""


@agent.command()
@ledger_option
@site_option
@click.option("--until-complete", is_flag=True, help="End when no study of this site is open any more.")
@click.option("--poll", default=0.2, show_default=True, type=NumberRange(0.01, 60), help="Seconds between looks.")
@click.option("--quiet", is_flag=True, help="Do not report progress.")
@click.option(
    "--announce", default="", metavar="HOST:PORT", help="Where others find this site's blobs; see the ledger."
)
@click.option("--relay", is_flag=True, help="Nobody can call this site: hand its blobs to others.")
@click.option("--blobs-limit-mib", default=0, type=click.IntRange(0), help="Most room for blobs; 0: no limit.")
@click.option("--leashed", is_flag=True, help="End when standard input does: the node that holds it is gone.")
@click.option("--memory-mib", default=0, type=click.IntRange(0), help="Most memory of the agent; 0: no limit.")
@click.option("--worker", is_flag=True, help="Train in a process of its own: its end does not touch the agent.")
@click.option("--training-memory-mib", default=0, type=click.IntRange(0), help="Most memory of --worker; 0: no limit.")
@click.option(
    "--training-seconds",
    default=86_400,
    show_default=True,
    type=click.IntRange(1),
    help="Most time that --worker may take for one round.",
)
def run(
    ledger: Path,
    site: Path,
    until_complete: bool,
    poll: float,
    quiet: bool,
    announce: str,
    relay: bool,
    blobs_limit_mib: int,
    leashed: bool,
    memory_mib: int,
    worker: bool,
    training_memory_mib: int,
    training_seconds: int,
) -> None:
    """Do what is due, and wait. Several agents on one machine share the ledger file.

    Stop it with Ctrl-C or SIGTERM, or kill it: started again, it goes on where it was.
    """
    from medfed.hospital.agent_loop import LOCK_PATIENCE, agent_on, run_agent
    from medfed.hospital.key_rotation import has_other_keys
    from medfed.hospital.worker import ForkedWorker, InProcess

    if (training_memory_mib or training_seconds != 86_400) and not worker:
        raise InvalidInput("--training-memory-mib and --training-seconds bound the process of --worker; say that too")
    if memory_mib:
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)  # a worker may have a limit of its own, even a higher one
        resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, most))
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    if leashed:
        threading.Thread(target=_wait_for_end, args=(stopped,), daemon=True).start()
    secret, again = passphrase(f"Passphrase of {site}"), True
    while again:  # once, and anew when the ledger has come to know the site's next keys
        training = ForkedWorker(training_memory_mib << 20, training_seconds) if worker else InProcess()
        with agent_on(
            site, ledger, secret, blobs_limit=blobs_limit_mib << 20, worker=training, patience=LOCK_PATIENCE
        ) as one:
            seen: dict[bytes, str] = {}

            def report(view: StateView, one: Agent = one, seen: dict[bytes, str] = seen) -> None:
                if not quiet:
                    _report(view, one.site.name, one.problems, seen)

            def is_over(one: Agent = one, mine: PublicKeys = one.site.keys.public) -> bool:
                return bool(stopped) or has_other_keys(site, one.engine.view(), mine)

            run_agent(
                one,
                is_over,
                poll=poll,
                until_complete=until_complete,
                observer=report,
                announce=announce,
                relay=relay,
            )
            again = not stopped and is_over()


def _wait_for_end(stopped: list[int]) -> None:
    while os.read(0, 4096):
        pass
    stopped.append(0)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)  # in the middle of whatever it was: an agent may be killed anywhere


def step_once(ledger: Path, site: Path) -> int:
    """Do what is due to a site once, without a running agent; returns how many transactions became final."""
    from medfed.hospital.agent_loop import agent_on

    with agent_on(site, ledger, passphrase(f"Passphrase of {site}")) as worker:
        sent = worker.step()
        for problem in worker.problems.values():
            click.echo(f"medfed: {problem}", err=True)
        return sent


def _report(view: StateView, name: str, problems: dict[str, str], seen: dict[bytes, str]) -> None:
    from medfed.ledger.contracts.offices import offices
    from medfed.ledger.contracts.rounds import current_round
    from medfed.ledger.contracts.studies import studies, study_record

    for identifier in studies(view):
        record = study_record(view, identifier)
        if record is None:
            continue
        held = offices(view, record)
        if name not in (record.roster or record.terms.invited) and (held is None or name not in held.holders):
            continue
        current = current_round(view, record)
        where = f" round {current.number} ({current.kind})" if record.phase == "running" and current else ""
        line = f"{name}: study {identifier.hex()[:12]} {record.phase}{where}"
        line += f" ({record.pause_code})" if record.phase in ("paused", "aborted") else ""
        if seen.get(identifier) != line:
            seen[identifier] = line
            click.echo(line, err=True)
    for key, problem in problems.items():
        if seen.get(key.encode()) != problem and not problem.startswith("round"):
            seen[key.encode()] = problem
            click.echo(f"{name}: waiting: {problem}", err=True)
