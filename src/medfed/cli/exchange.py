"""`medfed exchange`: asking another hospital for data, on terms, with an arbiter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from medfed.cli.options import (
    PATH,
    NumberRange,
    act,
    as_json,
    find_study,
    ledger_option,
    open_own_site,
    open_view,
    passphrase,
    sent,
    site_option,
)
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from medfed.hospital.agent import Agent
    from medfed.hospital.duties.exchanging import Matter
    from medfed.ledger.contracts.offered_data import Purpose

_HOUR_MS = 3600 * 1000
_PURPOSES = ("audit", "quality-control", "research", "training", "validation")
_MOST_STEPS = 8


@click.group()
def exchange() -> None:
    """Ask another hospital for data, on its terms; an arbiter decides where a delivery is disputed.

    DATASET and REQUEST are identifiers, or as many of their first digits as are unique. What is due to a site is done
    by its agent; the commands deliver, verify, dispute and arbitrate do it where no agent is running.
    """


@exchange.command()
@click.argument("data", type=PATH, required=False)
@ledger_option
@site_option
@click.option(
    "--kind", type=click.Choice(["images", "cases", "updates"]), required=True,
    help="An image set (folder) or archive; cases as `medfed records export` writes them; the site's own past update.",
)  # fmt: skip
@click.option("--study", "study_text", metavar="HEX", help="With updates: of which study, instead of a file.")
@click.option("--round", "number", type=click.IntRange(0), help="With updates: of which training round.")
@click.option("--arbiter", required=True, metavar="NAME", help="An auditor who decides disputes.")
@click.option("--purpose", "purposes", type=click.Choice(_PURPOSES), multiple=True, required=True, help="Repeat.")
@click.option("--hours", type=NumberRange(1e-4, 10_000), default=72.0, show_default=True, help="Time for each step.")
@as_json
def offer(
    data: Path | None, ledger: Path, site: Path, kind: Literal["images", "cases", "updates"], study_text: str | None,
    number: int | None, arbiter: str, purposes: tuple[Purpose, ...], hours: float, as_json: bool,
) -> None:  # fmt: skip
    """Offer DATA, or a past update, to whoever asks for one of these purposes. Nothing of it leaves before that.

    The ledger gets a salted commitment, the size and the terms. A file must stay where and as it is.
    """
    from medfed.hospital.acting import acting_for
    from medfed.hospital.exchange_material import offered_file
    from medfed.hospital.exchange_state import offer_file
    from medfed.ledger.contracts.offered_data import ExchangeTerms

    if (study_text is None) != (number is None):
        raise InvalidInput("exchange offer: expected DATA, or for updates both a study and a round")
    terms = ExchangeTerms(arbiter, tuple(sorted(set(purposes))), int(hours * _HOUR_MS))
    with acting_for(site, ledger, passphrase(f"Passphrase of {site}")) as acting:
        update = None if study_text is None or number is None else (find_study(acting.view, study_text), number)
        file = offered_file(acting.site, acting.view, site, kind, data, update)
        body = offer_file(acting.site, file, kind, terms)
        receipt = sent(acting.send(body), site)
    if as_json:
        print_json(receipt | {"dataset": body.dataset, "size": body.size, "kind": kind})
    else:
        click.echo(f"dataset {body.dataset.hex()}: {kind}, {body.size} bytes, arbiter {arbiter}")


@exchange.command("take-back")
@click.argument("dataset")
@ledger_option
@site_option
@as_json
def take_back(dataset: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Take no new requests for a dataset; those under way go on."""
    from medfed.hospital.lookup import find_dataset
    from medfed.ledger.contracts.offered_data import TakeDatasetBack

    with open_view(ledger) as view:
        found = find_dataset(view, dataset)
    receipt = act(ledger, site, TakeDatasetBack(found.dataset))
    if as_json:
        print_json(receipt)
    else:
        click.echo(f"dataset {found.dataset.hex()[:12]}: taken back")


@exchange.command("list")
@ledger_option
@as_json
def list_(ledger: Path, as_json: bool) -> None:
    """List what is on offer, who asked for what, and who was found at fault."""
    from medfed.ledger.contracts.exchange import data_requests, faults
    from medfed.ledger.contracts.membership import participants
    from medfed.ledger.contracts.offered_data import offered_datasets

    with open_view(ledger) as view:
        offered, requests = offered_datasets(view), data_requests(view)
        counted = {one.name: faults(view, one.name) for one in participants(view)}
    counted = {name: count for name, count in counted.items() if count}
    if as_json:
        print_json({"datasets": offered, "requests": requests, "faults": counted})
        return
    rows = [
        (one.dataset.hex()[:12], one.owner, one.kind, str(one.size), ", ".join(one.terms.purposes), one.terms.arbiter,
         "no" if one.withdrawn else "yes")
        for one in offered
    ]  # fmt: skip
    columns = ("dataset", "owner", "kind", "bytes", "purposes", "arbiter", "on offer")
    table(f"{len(rows)} datasets", columns, rows, right=("bytes",))
    asked = [
        (one.request.hex()[:12], one.dataset.hex()[:12], one.owner, one.requester, one.purpose, _phase(one))
        for one in requests
    ]
    table(f"{len(asked)} requests", ("request", "dataset", "owner", "requester", "purpose", "phase"), asked)
    for name, count in sorted(counted.items()):
        click.echo(f"{name}: found at fault, or silent after a grant, {count} times")


@exchange.command()
@click.argument("dataset")
@ledger_option
@site_option
@click.option("--purpose", type=click.Choice(_PURPOSES), required=True, help="What it is for; the terms say which.")
@as_json
def request(dataset: str, ledger: Path, site: Path, purpose: Purpose, as_json: bool) -> None:
    """Ask an owner for a dataset. This site's agent receives it and compares it with the ledger."""
    from medfed.crypto import system_entropy
    from medfed.hospital.lookup import find_dataset
    from medfed.ledger.contracts.exchange import RequestData

    with open_view(ledger) as view:
        found = find_dataset(view, dataset)
    body = RequestData(system_entropy(16), found.dataset, purpose)
    receipt = act(ledger, site, body)
    if as_json:
        print_json(receipt | {"request": body.request, "owner": found.owner})
    else:
        click.echo(f"request {body.request.hex()}: asked {found.owner} for {found.kind}, for {purpose}")


@exchange.command()
@click.argument("request")
@ledger_option
@site_option
@click.option("--grant", is_flag=True, help="Grant it: the agent delivers.")
@click.option("--refuse", "code", metavar="CODE", help="Refuse it; the reason is a code of a-z, 0-9 and hyphens.")
@as_json
def decide(request: str, ledger: Path, site: Path, grant: bool, code: str | None, as_json: bool) -> None:
    """Grant or refuse a request for data of this site."""
    from medfed.hospital.lookup import find_matter
    from medfed.identifiers import parse_code
    from medfed.ledger.contracts.exchange import DecideRequest

    if grant == (code is not None):
        raise InvalidInput("exchange decide: expected exactly one of --grant and --refuse CODE")
    reason = parse_code("none" if code is None else code)
    with open_view(ledger) as view:
        found = find_matter(view, request)
    receipt = act(ledger, site, DecideRequest(found.request.request, grant, reason))
    if as_json:
        print_json(receipt)
    else:
        click.echo("granted" if grant else f"refused ({code})")


@exchange.command()
@click.argument("request")
@ledger_option
@as_json
def show(request: str, ledger: Path, as_json: bool) -> None:
    """Show how far a request is, and who was found at fault."""
    from medfed.hospital.lookup import find_matter

    with open_view(ledger) as view:
        found = find_matter(view, request)
    _say(found, as_json, {})


@exchange.command()
@click.argument("request")
@ledger_option
@site_option
@as_json
def deliver(request: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Encrypt what was granted for its requester, now, where no agent is running."""
    _now(request, ledger, site, as_json, "owner", ("granted",))


@exchange.command()
@click.argument("request")
@ledger_option
@site_option
@as_json
def verify(request: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Decrypt a delivery, compare it with the ledger, and say where it is, or what is wrong with it."""
    found, left = _now(
        request, ledger, site, as_json, "requester", ("delivered", "mismatched", "decided", "accepted"), quiet=True
    )
    facts = {} if left else _received(ledger, site, found)
    _say(found, as_json, facts)


@exchange.command()
@click.argument("request")
@ledger_option
@site_option
@as_json
def dispute(request: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Ask the arbiter about a delivery that was found wrong, now, where no agent is running."""
    _now(request, ledger, site, as_json, "requester", ("delivered", "mismatched"))


@exchange.command()
@click.argument("request")
@ledger_option
@site_option
@as_json
def arbitrate(request: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Compare a disputed delivery with what was committed to, and say who is at fault. For its arbiter."""
    _now(request, ledger, site, as_json, "arbiter", ("arbitrated",))


def _now(
    text: str, ledger: Path, site: Path, as_json: bool, role: Literal["owner", "requester", "arbiter"],
    phases: tuple[str, ...], quiet: bool = False,
) -> tuple[Matter, bool]:  # fmt: skip
    """Do what is due to a site in a request, unless its agent does; the request afterwards, and whether it is left."""
    from medfed.hospital.acting import acting_for
    from medfed.hospital.lookup import find_matter

    with acting_for(site, ledger, passphrase(f"Passphrase of {site}")) as acting:
        found = find_matter(acting.view, text)
        if found.name_of(role) != acting.site.name:
            raise Refused("not-yours", f"the {role} of this request is {found.name_of(role)}, not {acting.site.name}")
        if found.request.phase not in phases:
            raise Refused("wrong-phase", f"the request is {_phase(found.request)}; nothing of this is due")
        if acting.agent is None:
            click.echo(f"the agent that is running on {site} does this", err=True)
        else:
            found = _step(acting.agent, found, phases)
        if not quiet:
            _say(found, as_json, {"left_for_agent": acting.agent is None})
        return found, acting.agent is None


def _step(agent: Agent, found: Matter, phases: tuple[str, ...]) -> Matter:
    """Let this site's own agent act until the request has left these phases, or nothing moves; the request then."""
    from medfed.hospital.lookup import find_matter

    for _ in range(_MOST_STEPS):
        moved = agent.step()
        found = find_matter(agent.engine.view(), found.request.request.hex())
        if not moved or found.request.phase not in phases:
            break
    for problem in agent.problems.values():
        click.echo(f"medfed: {problem}", err=True)
    return found


def _received(ledger: Path, site: Path, found: Matter) -> dict[str, Any]:
    from medfed.hospital.exchange_state import outcome_of, received_file

    with open_own_site(site, ledger) as opened:
        outcome = outcome_of(opened, found.request.request)
        path = received_file(opened, found.request.request)
    return {"outcome": outcome, "file": str(path) if outcome == "good" else None}


def _phase(request: Any) -> str:
    if request.phase == "refused":
        return f"refused ({request.code})"
    return f"{request.phase} ({request.fault} at fault)" if request.fault else request.phase


def _say(found: Matter, as_json: bool, facts: dict[str, Any]) -> None:
    if as_json:
        print_json({"request": found.request, "kind": found.dataset.kind, "size": found.dataset.size} | facts)
        return
    one = found.request
    click.echo(f"request {one.request.hex()[:12]} of {one.requester} to {one.owner}: {_phase(one)}")
    if facts.get("file"):
        click.echo(f"as it was committed to: {facts['file']}")
    elif facts.get("outcome"):
        wrong = "its key does not open" if facts["outcome"] == "key" else "it is not what was committed to"
        click.echo(f"wrong: {wrong}")
