"""`medfed blind-test`: a second opinion that must prove itself on cases whose diagnosis is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfed.cli.options import (
    PATH,
    NumberRange,
    as_json,
    ledger_option,
    open_own_site,
    open_view,
    passphrase,
    sent,
    site_option,
)
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.diagnosis.blind_odds import Interval
    from medfed.ledger.contracts.blind_test import BlindTest

_HOUR_MS = 3600 * 1000


@click.group("blind-test")
def blind_test() -> None:
    """Ask a service about a case hidden among diagnosed ones, and get its answer or FALSE.

    TEST and MODEL are identifiers, or as many of their first digits as are unique.
    """


@blind_test.command()
@click.argument("model")
@ledger_option
@site_option
@click.option(
    "--operating", type=NumberRange(0.001, 0.999), default=0.5, show_default=True,
    help="The score from which a finding is said to be there.",
)  # fmt: skip
@click.option("--stop", is_flag=True, help="Take the offer back; tests that are under way go on.")
@as_json
def serve(model: str, ledger: Path, site: Path, operating: float, stop: bool, as_json: bool) -> None:
    """Offer a registered model for blind tests. This site's agent then answers what it is asked."""
    from medfed.hospital.acting import acting_for
    from medfed.hospital.blind_testing import serve_model
    from medfed.hospital.lookup import find_model
    from medfed.ledger.contracts.blind_test import OfferBlindTests, is_offered

    with acting_for(site, ledger, passphrase(f"Passphrase of {site}")) as acting:
        digest = find_model(acting.view, model)
        if not stop:
            serve_model(acting.site.vault, digest, operating)
        if is_offered(acting.view, acting.site.name, digest) and not stop:
            facts: dict[str, Any] = {"operating": operating}
        else:
            facts = sent(acting.send(OfferBlindTests(digest, not stop)), site)
    if as_json:
        print_json(facts | {"model": digest, "offered": not stop})
    else:
        click.echo(f"model {digest.hex()[:12]}: {'no longer offered' if stop else 'offered for blind tests'}")


@blind_test.command()
@click.argument("diagnosed", type=PATH)
@click.argument("undiagnosed", type=PATH)
@ledger_option
@site_option
@click.option("--service", required=True, metavar="NAME", help="Who is asked.")
@click.option("--model", required=True, metavar="HEX", help="The model that it offers; see `blind-test record`.")
@click.option("--columns", help="Names of the columns, separated by commas, for files without a header line.")
@click.option(
    "--count",
    type=click.IntRange(2, 256),
    default=30,
    show_default=True,
    help="m: how many diagnosed cases go with it.",
)
@click.option(
    "--threshold", default="0.7", show_default=True, help="M: the share that must be right, more than which passes."
)
@click.option("--hours", type=NumberRange(1e-4, 1000), default=24.0, show_default=True, help="Time for each step.")
@click.option("--cleared", is_flag=True, help="You have looked: no text in the undiagnosed picture names anybody.")
@as_json
def ask(
    diagnosed: Path, undiagnosed: Path, ledger: Path, site: Path, service: str, model: str, columns: str | None,
    count: int, threshold: str, hours: float, cleared: bool, as_json: bool,
) -> None:  # fmt: skip
    """Hide the case in UNDIAGNOSED among cases of DIAGNOSED, and send them to a service.

    For a model of tables both are CSV files in the format of its study, and UNDIAGNOSED has one row; for a model of
    pictures DIAGNOSED is an image set and UNDIAGNOSED a PNG or JPEG file. Only features, or pixels, are sent, encrypted
    for the service. The site's agent does the rest; `blind-test show` then has the answer or FALSE.
    """
    from medfed.hospital.acting import acting_for
    from medfed.hospital.blind_asking import ask_service, read_material
    from medfed.hospital.lookup import find_model

    names = columns.split(",") if columns else None
    with acting_for(site, ledger, passphrase(f"Passphrase of {site}")) as acting:
        digest = find_model(acting.view, model)
        material = read_material(acting.site.blobs, digest, diagnosed, undiagnosed, names, cleared=cleared)
        body = ask_service(
            acting.site, acting.view, service, digest, material, count=count, threshold=threshold,
            phase_ms=int(hours * _HOUR_MS),
        )  # fmt: skip
        receipt = sent(acting.send(body), site)
    if as_json:
        print_json(receipt | {"test": body.test, "service": service, "model": digest, "diagnosed": count})
    else:
        click.echo(f"test {body.test.hex()}: {count} diagnosed cases and one other, for {service}")


@blind_test.command("list")
@ledger_option
@as_json
def list_(ledger: Path, as_json: bool) -> None:
    """List the blind tests of a ledger."""
    from medfed.ledger.contracts.blind_test import blind_tests

    with open_view(ledger) as view:
        tests = blind_tests(view)
    if as_json:
        print_json({"tests": [_facts(test) for test in tests]})
        return
    rows = [(test.test.hex()[:12], test.requester, test.service, str(test.diagnosed), _phase(test)) for test in tests]
    table(f"{len(rows)} blind tests", ("test", "requester", "service", "diagnosed", "phase"), rows)


@blind_test.command()
@click.argument("test")
@ledger_option
@site_option
@as_json
def show(test: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Show the diagnosis, or FALSE and nothing else; or how far the test is. Only for the site that has asked."""
    from medfed.hospital.blind_testing import verdict_of
    from medfed.hospital.lookup import find_blind_test

    with open_view(ledger) as view:
        found = find_blind_test(view, test)
    facts = _facts(found)
    decided = found.phase in ("passed", "failed", "expired")
    if decided:
        with open_own_site(site, ledger) as opened:
            verdict = verdict_of(view, opened.vault, found.test)
        facts |= {"passed": verdict.passed, "diagnosis": verdict.diagnosis if verdict.passed else False}
        if not as_json:
            click.echo(str(verdict))
    if as_json:
        print_json(facts)
        return
    threshold = f"more than {found.num}/{found.den} of {found.diagnosed} diagnosed cases must be right"
    click.echo(f"test {found.test.hex()[:12]} by {found.service}: {_phase(found)}; {threshold}", err=decided)


@blind_test.command()
@click.argument("test")
@ledger_option
@site_option
def stop(test: str, ledger: Path, site: Path) -> None:
    """Reveal nothing more in a test of this site. It expires, and that stands against this site if it was its turn."""
    from medfed.hospital.blind_testing import stop_blind_test
    from medfed.hospital.lookup import find_blind_test

    with open_view(ledger) as view:
        found = find_blind_test(view, test)
    with open_own_site(site, ledger) as opened:
        stop_blind_test(view, opened.vault, found.test)
    click.echo(f"stopped: {found.test.hex()[:12]} ends at its deadline")


@blind_test.command()
@ledger_option
@click.option("--service", metavar="NAME", help="Only this service.")
@click.option("--confidence", type=NumberRange(0.5, 0.999), default=0.95, show_default=True, help="Of the intervals.")
@as_json
def record(ledger: Path, service: str | None, confidence: float, as_json: bool) -> None:
    """Show what blind tests have found: the public record of every service and model, with its interval."""
    from medfed.diagnosis.blind_record import service_record, tested_services
    from medfed.ledger.contracts.blind_test import is_offered

    with open_view(ledger) as view:
        found = [
            (name, model, is_offered(view, name, model), service_record(view, name, model, confidence))
            for name, model in tested_services(view)
            if service in (None, name)
        ]
    if as_json:
        print_json(
            {
                "services": [
                    {
                        "service": name, "model": model, "offered": offered, "requesters": one.requesters,
                        "accuracy": _interval(one.accuracy),
                        "rows": [
                            {"requester": row.requester, "counts": row.counts, "accuracy": _interval(row.accuracy)}
                            for row in one.rows
                        ],
                    }
                    for name, model, offered, one in found
                ]
            }
        )  # fmt: skip
        return
    rows: list[list[str]] = []
    for name, model, offered, one in found:
        said = "yes" if offered else "no"
        rows.append([name, model.hex()[:12], said, f"all ({one.requesters})", "", "", "", _share(one.accuracy)])
        for row in one.rows:
            counts = row.counts
            silent = f"{counts.unanswered + counts.unopened} / {counts.unrevealed}"
            rows.append(
                ["", "", "", row.requester, str(counts.passed), str(counts.failed), silent, _share(row.accuracy)]
            )
    columns = ("service", "model", "offered", "requester", "passed", "failed", "silent: service / requester", "right")
    table(f"{len(found)} services and models", columns, rows)


@blind_test.command()
@click.option("--count", type=click.IntRange(2, 256), default=30, show_default=True, help="m: diagnosed cases.")
@click.option("--threshold", default="0.7", show_default=True, help="M.")
@as_json
def odds(count: int, threshold: str, as_json: bool) -> None:
    """Print how often a service of some accuracy gets FALSE, by the exact binomial sum."""
    from medfed.diagnosis.blind_odds import false_refusals
    from medfed.hospital.blind_asking import threshold_of

    num, den = threshold_of(threshold)
    if num * count >= den * (count - 1):
        raise InvalidInput(f"threshold {threshold}: even a perfect service might not pass with {count} diagnosed cases")
    curve = [(at / 100, false_refusals(at / 100, count, num, den)) for at in range(50, 101, 5)]
    if as_json:
        print_json({"count": count, "num": num, "den": den, "false_refusals": [list(row) for row in curve]})
        return
    rows = [(f"{accuracy:.2f}", f"{chance:.4f}") for accuracy, chance in curve]
    table(f"{count} diagnosed cases, more than {num}/{den} right", ("accuracy", "gets FALSE"), rows)


def _phase(test: BlindTest) -> str:
    return f"expired ({test.awaited} was silent)" if test.phase == "expired" else test.phase


def _facts(test: BlindTest) -> dict[str, Any]:
    return {
        "test": test.test,
        "requester": test.requester,
        "service": test.service,
        "model": test.model,
        "diagnosed": test.diagnosed,
        "threshold": [test.num, test.den],
        "phase": test.phase,
        "deadline_ms": test.deadline_ms,
        "awaited": test.awaited,
    }


def _interval(found: Interval | None) -> dict[str, float] | None:
    return None if found is None else {"share": found.share, "low": found.low, "high": found.high}


def _share(found: Interval | None) -> str:
    return "-" if found is None else f"{found.share:.3f} [{found.low:.3f}, {found.high:.3f}]"
