"""`medfed study`: from a plan to a finished study."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfed.cli.options import (
    PATH,
    NumberRange,
    act,
    as_json,
    find_study,
    ledger_option,
    open_store,
    open_view,
    site_option,
)
from medfed.cli.output import print_json, table
from medfed.errors import Refused

if TYPE_CHECKING:
    from medfed.identifiers import StudyId
    from medfed.ledger.contracts.studies import Study
    from medfed.ledger.engine import StateView
    from medfed.ledger.transaction import Body


@click.group()
def study() -> None:
    """Propose, decide on and follow studies.

    STUDY is a study's identifier, or as many of its first digits as are unique.
    """


@study.command()
@click.argument("plan", type=PATH)
@as_json
def check(plan: Path, as_json: bool) -> None:
    """Check a plan, and say what it costs and what each hospital will reveal."""
    from medfed.federation.plan_check import check_plan
    from medfed.federation.plan_file import load_plan

    found = check_plan(load_plan(plan))
    if as_json:
        from dataclasses import asdict

        print_json(asdict(found))
        return
    click.echo(f"{found.title}\nplan      {found.digest.hex()}")
    click.echo(f"model     {found.task}, {found.inputs} inputs, {found.parameters} coordinates an update")
    click.echo(f"hospitals {', '.join(found.hospitals)}")
    click.echo(f"quorum    {found.quorum}; in a round {found.crashes_tolerated} may be silent")
    rows = [(cost.kind, str(cost.count), f"{cost.bytes_sent:,}", f"{cost.bytes_received:,}") for cost in found.rounds]
    table("", ("rounds", "count", "bytes sent", "bytes fetched"), rows, right=("count", "bytes sent", "bytes fetched"))
    click.echo(f"in all, a hospital sends {found.bytes_sent:,} bytes and fetches at most {found.bytes_received:,}\n")
    click.echo("Deadlines")
    for _, words in found.deadlines:
        click.echo(f"  {words}")
    click.echo("\nWhat each hospital reveals: only sums over the hospitals, of")
    for line in found.reveals:
        click.echo(click.wrap_text(line, 78, "  - ", "    "))
    for line in found.warnings:
        click.echo(click.wrap_text(f"warning: {line}", 78, "", "  "), err=True)


@study.command()
@click.argument("plan", type=PATH)
@ledger_option
@site_option
@as_json
def propose(plan: Path, ledger: Path, site: Path, as_json: bool) -> None:
    """Put a plan on the ledger for the invited hospitals to decide on."""
    from medfed.crypto import system_entropy
    from medfed.encoding import encode
    from medfed.federation.plan_file import load_plan
    from medfed.federation.study import initial_state
    from medfed.ledger.contracts.studies import ProposeStudy

    loaded = load_plan(plan)
    identifier = system_entropy(16)
    body = ProposeStudy(identifier, loaded.terms(initial_state(loaded).digest), encode(loaded))
    receipt = act(ledger, site, body)
    if as_json:
        print_json(receipt | {"study": identifier, "plan": loaded.digest})
    else:
        click.echo(f"study     {identifier.hex()}\nplan      {loaded.digest.hex()}")


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@site_option
@as_json
def approve(study_id: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Approve exactly what was proposed. The site's agent then enrols."""
    from medfed.ledger.contracts.studies import ApproveStudy

    _decide(study_id, ledger, site, as_json, lambda record: ApproveStudy(record.study, record.digest), "approved")


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@site_option
@click.option("--code", default="declined", show_default=True, help="The reason, as a code of a-z, 0-9 and hyphens.")
@as_json
def decline(study_id: str, ledger: Path, site: Path, code: str, as_json: bool) -> None:
    """Decline a proposed study."""
    from medfed.ledger.contracts.studies import DeclineStudy

    _check_code(code)
    _decide(study_id, ledger, site, as_json, lambda record: DeclineStudy(record.study, code), "declined")


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@site_option
@as_json
def enrol(study_id: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Enrol in an approved study now, as the site's agent would."""
    from medfed.cli.agent import step_once

    with open_view(ledger) as view:
        record = _need(view, find_study(view, study_id))
    sent = step_once(ledger, site)
    with open_view(ledger) as view:
        record = _need(view, record.study)
    if as_json:
        print_json({"study": record.study, "enrolled": record.enrolled, "sent": sent})
    else:
        click.echo(f"enrolled so far: {', '.join(record.enrolled) or 'nobody'}")


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@site_option
@as_json
def resume(study_id: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Vote to go on after a pause."""
    from medfed.ledger.contracts.deadlines import ResumeStudy

    _decide(study_id, ledger, site, as_json, lambda record: ResumeStudy(record.study), "voted to resume")


@study.command()
@click.argument("study_id", metavar="STUDY")
@click.argument("leaves")
@click.argument("successor")
@ledger_option
@site_option
@as_json
def succeed(study_id: str, leaves: str, successor: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Vote that SUCCESSOR follows LEAVES, a key holder or an aggregator, in a paused study; it then goes on."""
    from medfed.ledger.contracts.offices import VoteOnSuccessor

    _decide(
        study_id,
        ledger,
        site,
        as_json,
        lambda record: VoteOnSuccessor(record.study, leaves, successor),
        f"voted for {successor} in",
    )


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@site_option
@click.option("--code", default="aborted", show_default=True, help="The reason, as a code of a-z, 0-9 and hyphens.")
@as_json
def abort(study_id: str, ledger: Path, site: Path, code: str, as_json: bool) -> None:
    """Vote to end a study unfinished."""
    from medfed.ledger.contracts.deadlines import AbortStudy

    _check_code(code)
    _decide(study_id, ledger, site, as_json, lambda record: AbortStudy(record.study, code), "voted to abort")


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@site_option
@as_json
def withdraw(study_id: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Take no part in later rounds of a study."""
    from medfed.ledger.contracts.studies import WithdrawFromStudy

    _decide(study_id, ledger, site, as_json, lambda record: WithdrawFromStudy(record.study), "withdrew from")


@study.command("list")
@ledger_option
@as_json
def list_studies(ledger: Path, as_json: bool) -> None:
    """List all studies of a ledger."""
    from medfed.hospital.aggregation import plan_of
    from medfed.ledger.contracts.studies import studies

    with open_view(ledger) as view:
        records = [_need(view, identifier) for identifier in studies(view)]
        titles = [plan_of(view, record.study).purpose.title for record in records]
    if as_json:
        print_json([{"study": r.study, "title": t, "phase": r.phase} for r, t in zip(records, titles, strict=True)])
        return
    rows = [(r.study.hex(), r.phase, t) for r, t in zip(records, titles, strict=True)]
    table("", ("study", "phase", "title"), rows)


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@as_json
def show(study_id: str, ledger: Path, as_json: bool) -> None:
    """Show where a study stands, what its plan reveals, and its rounds."""
    with open_view(ledger) as view:
        identifier = find_study(view, study_id)
        facts = _facts(view, identifier) | {"decline_codes": _decline_codes(ledger, identifier)}
        if as_json:
            print_json(facts)
        else:
            _show(facts)


@study.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@click.option("--every", default=0.5, show_default=True, type=NumberRange(0.05, 60), help="Seconds.")
def watch(study_id: str, ledger: Path, every: float) -> None:
    """Follow a study until it ends."""
    last = ""
    while True:
        with open_view(ledger) as view:
            record = _need(view, find_study(view, study_id))
            line = _status_line(view, record)
        if line != last:
            click.echo(line)
            last = line
        if record.phase == "aborted":
            raise Refused(record.pause_code, f"study {record.study.hex()}: aborted ({record.pause_code})")
        if record.phase == "completed":
            return
        time.sleep(every)


def _decide(study_id: str, ledger: Path, site: Path, as_json: bool, make: Callable[[Study], Body], done: str) -> None:
    with open_view(ledger) as view:
        record = _need(view, find_study(view, study_id))
    receipt = act(ledger, site, make(record))
    if as_json:
        print_json(receipt | {"study": record.study})
    elif "height" in receipt:
        click.echo(f"{done} {record.study.hex()}, in block {receipt['height']}")


def _check_code(code: str) -> None:
    import re

    from medfed.errors import InvalidInput

    if not re.fullmatch(r"[a-z0-9-]{1,40}", code):
        raise InvalidInput(f"--code {code!r}: expected 1 to 40 of a-z, 0-9 and hyphens; prose stays off the ledger")


def _need(view: StateView, identifier: StudyId) -> Study:
    from medfed.errors import InvalidInput
    from medfed.ledger.contracts.studies import study_record

    record = study_record(view, identifier)
    if record is None:
        raise InvalidInput(f"study {identifier.hex()}: not on this ledger")
    return record


def _facts(view: StateView, identifier: StudyId) -> dict[str, Any]:
    from medfed.hospital.aggregation import plan_of
    from medfed.hospital.pause_needs import needs_of
    from medfed.ledger.contracts.offices import offices
    from medfed.ledger.contracts.registry import artefacts
    from medfed.ledger.contracts.rounds import round_record

    record = _need(view, identifier)
    rounds = [round_record(view, identifier, number) for number in range(record.next_round)]
    models = [entry for entry in artefacts(view) if entry.study == identifier]
    facts: dict[str, Any] = {"study": record, "plan": plan_of(view, identifier), "rounds": rounds, "models": models}
    return facts | {"offices": offices(view, record), "needs": needs_of(view, record, facts["plan"])}


def _decline_codes(ledger: Path, identifier: StudyId) -> dict[str, str]:
    """Who declined and why; the codes are in the transactions, not in the state."""
    from medfed.ledger.contracts.studies import DeclineStudy
    from medfed.ledger.transaction import SignedTransaction

    codes: dict[str, str] = {}
    with open_store(ledger) as store:
        for _, block, receipts in store.rows():
            for wire, receipt in zip(block.transactions, receipts, strict=True):
                transaction = SignedTransaction.from_bytes(wire).transaction
                body = transaction.body
                if isinstance(body, DeclineStudy) and body.study == identifier and not receipt.code:
                    codes[transaction.sender] = body.code
    return codes


def _show(facts: dict[str, Any]) -> None:
    from medfed.federation.plan_check import check_plan

    record: Study = facts["study"]
    identifier = record.study
    plan = facts["plan"]
    pause = f" ({record.pause_code})" if record.pause_code else ""
    click.echo(f"{plan.purpose.title}\nstudy     {identifier.hex()}\nplan      {plan.digest.hex()}")
    click.echo(f"phase     {record.phase}{pause}")
    for need in facts["needs"]:
        click.echo(click.wrap_text(need, 100, "needs     ", "          "))
    click.echo(f"proposer  {record.proposer}\ninvited   {', '.join(plan_names(plan))}")
    declined = ", ".join(f"{name} ({code})" for name, code in facts["decline_codes"].items())
    click.echo(f"approved  {', '.join(record.approved) or '-'}\ndeclined  {declined or '-'}")
    click.echo(f"roster    {', '.join(record.roster) or '-'}")
    for label, names in (("withdrawn", record.withdrawn), ("expelled", record.expelled)):
        if names:
            click.echo(f"{label:9} {', '.join(names)}")
    if (held := facts["offices"]) is not None:
        click.echo(f"key       {held.key_holder}: {held.key.hex() if held.key else 'none published'}")
        doing = "opening" if held.key_holder in held.aggregators else "adding"
        click.echo(f"{doing:9} {', '.join(held.aggregators)}")
        for vote in held.votes:
            click.echo(f"vote      {vote.voter}: {vote.successor} follows {vote.leaves}")
    for model in facts["models"]:
        click.echo(f"model     {model.artefact.hex()} (registered by {len(model.endorsers) + 1})")
    click.echo("reveals   only sums over the hospitals, of")
    for line in check_plan(plan).reveals:
        click.echo(click.wrap_text(line, 78, "  - ", "    "))
    rows = [
        (str(r.number), r.kind, r.phase, str(r.attempt), ", ".join(r.survivors) or "-")
        for r in facts["rounds"]
        if r is not None
    ]
    if rows:
        table("", ("round", "kind", "phase", "attempt", "survivors"), rows, right=("round", "attempt"))


def plan_names(plan: Any) -> tuple[str, ...]:
    """The invited hospitals of a plan, sorted."""
    return tuple(sorted(plan.participation.hospitals))


def _status_line(view: StateView, record: Study) -> str:
    from medfed.ledger.contracts.rounds import current_round

    pause = f" ({record.pause_code})" if record.pause_code else ""
    current = current_round(view, record)
    if record.phase != "running" or current is None:
        return f"{record.phase}{pause}"
    done = f"{len(current.submitted)} of {len(current.roster)} updates"
    return f"round {current.number} {current.kind}, attempt {current.attempt}, {current.phase}: {done}"


__all__ = ["plan_names", "study"]
