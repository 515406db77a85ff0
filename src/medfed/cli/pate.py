"""`medfed pate`: label public cases by the noisy vote of hospitals' teachers, and train a student on the labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medfed.cli.options import (
    PATH,
    NumberRange,
    as_json,
    directory_option,
    export_ledger_option,
    find_study,
    ledger_option,
    open_own_site,
    open_view,
    sites_data_option,
)
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.federation.plan import Labelling, Plan
    from medfed.ledger.contracts.labelling_terms import LabellingTerms, VoteNoise
    from medfed.pate.planning import Proposal


MOST_BYTES: Final = 64 << 20
_LONGEST_LINE: Final = 2 << 20
"""Of a file of public cases."""


@click.group()
def pate() -> None:
    """Plan a labelling study: teachers vote with noise, and only a student trained on the labels is released."""


@pate.command()
@click.option("--voters", required=True, type=int, help="Teachers of all hospitals together.")
@click.option("--classes", required=True, type=int, help="Classes to vote for.")
@click.option(
    "--agreement",
    required=True,
    multiple=True,
    type=float,
    help="Share of voters that agree on a typical case; repeat for harder and easier cases.",
)
@click.option("--epsilon", required=True, type=float, help="The budget ε that a patient may be charged.")
@click.option("--delta", default=1e-5, show_default=True, type=float, help="The budget's δ.")
@click.option("--hospitals", required=True, type=int, help="Hospitals that share the noise.")
@click.option("--dropouts", default=0, show_default=True, type=int, help="Hospitals that may be missing in a round.")
@click.option("--colluding", default=1, show_default=True, type=int, help="Hospitals that may pool their shares.")
@click.option("--attended", default=1, show_default=True, type=int, help="Most hospitals that one patient has been at.")
@click.option(
    "--mechanism",
    default="gaussian",
    show_default=True,
    type=click.Choice(["laplace", "gaussian", "confident"]),
    help="How votes are made noisy.",
)
@click.option("--queries", type=int, help="Cases to ask about; left out, as many as the budget pays for.")
@click.option("--gamma", type=float, help="Laplace: use this γ instead of choosing one.")
@click.option("--sigma", type=float, help="Gaussian, and the answers of confident: use this standard deviation.")
@click.option("--screen-sigma", type=float, help="Confident: the standard deviation of the first histogram.")
@click.option("--threshold", type=int, help="Confident: votes that the first histogram's largest count must have.")
@click.option(
    "--reliability", default=0.9, show_default=True, type=float, help="Least share of answers that are right."
)
@as_json
def plan(
    voters: int,
    classes: int,
    agreement: tuple[float, ...],
    epsilon: float,
    delta: float,
    hospitals: int,
    dropouts: int,
    colluding: int,
    attended: int,
    mechanism: str,
    queries: int | None,
    gamma: float | None,
    sigma: float | None,
    screen_sigma: float | None,
    threshold: int | None,
    reliability: float,
    as_json: bool,
) -> None:
    """Say which noise, how many queries and how many right answers a budget allows; refuse what cannot work."""
    from medfed.pate.planning import Wishes, plan_labelling, privacy_curve

    noise = _noise(mechanism, gamma, sigma, screen_sigma, threshold)
    wishes = Wishes(
        voters=voters,
        classes=classes,
        agreement=agreement,
        epsilon=epsilon,
        delta=delta,
        hospitals=hospitals,
        dropouts=dropouts,
        colluding=colluding,
        attended=attended,
        mechanism=mechanism,  # pyright: ignore[reportArgumentType]  # one of click's choices
        queries=queries,
        noise=noise,
        reliability=reliability,
    )
    proposal = plan_labelling(wishes)
    if as_json:
        print_json({"proposal": proposal, "curve": privacy_curve(proposal)})
    else:
        _print(proposal)


def _noise(
    mechanism: str, gamma: float | None, sigma: float | None, screen_sigma: float | None, threshold: int | None
) -> VoteNoise | None:
    """The noise that the options give in full, or nothing where it is to be chosen."""
    from medfed.ledger.contracts.labelling_terms import GAMMA_STEP, ConfidentNoise, GaussianNoise, LaplaceNoise

    given = {"gamma": gamma, "sigma": sigma, "screen-sigma": screen_sigma, "threshold": threshold}
    wanted = {
        "laplace": ("gamma",),
        "gaussian": ("sigma",),
        "confident": ("sigma", "screen-sigma", "threshold"),
    }[mechanism]
    found = [name for name, value in given.items() if value is not None]
    if not found:
        return None
    if sorted(found) != sorted(wanted):
        expected = ", ".join(f"--{name}" for name in wanted)
        raise InvalidInput(f"noise of mechanism {mechanism}: expected {expected} or none, found --{', --'.join(found)}")
    if mechanism == "laplace" and gamma is not None:
        return LaplaceNoise(gamma=_whole("--gamma", gamma * GAMMA_STEP, f"a multiple of 1/{GAMMA_STEP}"))
    variance = _whole("--sigma", (sigma or 0.0) ** 2, "the square root of a whole number")
    if mechanism == "gaussian":
        return GaussianNoise(variance=variance)
    screen = _whole("--screen-sigma", (screen_sigma or 0.0) ** 2, "the square root of a whole number")
    return ConfidentNoise(screen_variance=screen, threshold=threshold or 0, variance=variance)


def _whole(option: str, value: float, what: str) -> int:
    """A whole number that `value` is within a millionth of."""
    if not 0.5 < value < 2**31 or abs(value - round(value)) > 1e-6 * value:
        raise InvalidInput(f"{option}: expected {what} above 0; the plan holds whole numbers")
    return round(value)


def _print(proposal: Proposal) -> None:
    from medfed.federation.labelling_check import describe_noise
    from medfed.pate.planning import privacy_curve

    wishes = proposal.wishes
    click.echo(f"noise     {describe_noise(proposal.noise)}")
    click.echo(
        f"queries   {proposal.queries}, at most {proposal.answers} answers, {proposal.expected_answers:.0f} expected"
    )
    click.echo(
        f"right     {proposal.expected_correct:.1%} of the answers are what most of {wishes.voters} voters chose"
    )
    click.echo(
        f"privacy   ε {proposal.guarantee.epsilon:.4f} at δ {wishes.delta:g} for a patient at up to {wishes.attended} "
        f"of {wishes.hospitals} hospitals, whatever the data; {wishes.dropouts} may be missing, "
        f"{wishes.colluding} may collude"
    )
    rows = [(str(count), f"{epsilon:.4f}") for count, epsilon in privacy_curve(proposal, points=10)]
    table("what part of the queries costs", ("queries", "ε"), rows, right=("queries", "ε"))


@pate.command()
@click.argument("plan_file", metavar="PLAN", type=PATH)
@click.argument("cases_file", metavar="CASES", type=PATH)
@click.option("--ledger", type=PATH, metavar="FILE", help="Put the cases where the agents of this ledger find them.")
@as_json
def cases(plan_file: Path, cases_file: Path, ledger: Path | None, as_json: bool) -> None:
    """Check that the CSV file CASES can be shown to everybody, and print the digest that the plan must name."""
    from medfed.blobs import DirectoryBlobs
    from medfed.federation.plan_file import load_plan
    from medfed.federation.public_cases import verify_deidentified
    from medfed.federation.tables import table_of_bytes
    from medfed.hospital.site_directory import shared_blobs
    from medfed.identifiers import sha256
    from medfed.input_file import read_input

    loaded = load_plan(plan_file)
    data = read_input(cases_file, MOST_BYTES, str(cases_file))
    rows = len(verify_deidentified(loaded, table_of_bytes(data, cases_file.name)))
    digest = sha256(data)
    if ledger is not None:
        DirectoryBlobs(shared_blobs(ledger)).put(data)
    named = getattr(loaded.labelling, "cases", "") == digest.hex()
    if as_json:
        print_json({"cases": digest, "rows": rows, "named_by_plan": named, "stored": ledger is not None})
        return
    click.echo(f"cases     {digest.hex()}\nrows      {rows}, nothing found that points to a person")
    if not named:
        click.echo(f'medfed: the plan names other cases; write cases = "{digest.hex()}" under [labelling]', err=True)


@pate.command()
@click.argument("plan_file", metavar="PLAN", type=PATH)
@sites_data_option
@click.option("--cases", "cases_file", required=True, type=PATH, metavar="CSV", help="The public cases.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Replays keys, noise and schedule.")
@directory_option
@click.option("--save-model", type=PATH, metavar="FILE", help="Write the released student.")
@click.option("--report", type=PATH, metavar="HTML", help="Write a report with the privacy curve.")
@export_ledger_option
@as_json
def run(
    plan_file: Path,
    data: tuple[str, ...],
    cases_file: Path,
    seed: int,
    directory: Path | None,
    save_model: Path | None,
    report: Path | None,
    export_ledger: Path | None,
    as_json: bool,
) -> None:
    """Run the labelling study of PLAN in this process, one hospital for each table."""
    from medfed.cli.simulate import sources
    from medfed.federation.model_file import save_model as write_model
    from medfed.federation.plan_file import load_plan
    from medfed.ledger.contracts.labelling import spent
    from medfed.simulation.api import simulate

    plan = load_plan(plan_file)
    labelling = _labelling(plan)
    study = simulate(plan, sources(data), seed=seed, directory=directory, cases=cases_file)
    model = study.model
    if save_model is not None:
        write_model(save_model, model)
    if report is not None:
        study.report(report)
    if export_ledger is not None:
        study.ledger.export(export_ledger)
    used = spent(study.ledger.view, study.study).histograms
    if as_json:
        print_json(
            {
                "student": model.digest,
                "card": model.card,
                "labels": study.state.votes.labels if study.state.votes else (),
                "spent": used,
                "budget": labelling.terms.budget,
                "genesis": study.ledger.genesis_digest,
                "tip": study.ledger.view.tip,
                "seconds": study.seconds,
            }
        )
        return
    card: Any = model.card.student
    click.echo(f"{plan.purpose.title}: {study.study.phase} in {study.seconds:.1f} s")
    click.echo(f"labels    {card.labels} of {card.queries} public cases, by {card.teachers} teachers' noisy votes")
    click.echo(f"privacy   ε {card.epsilon:g} at δ {card.delta:g} for a {card.unit}, whatever the data")
    click.echo(f"spent     {_of(used, labelling.terms.budget)} histograms")
    click.echo(f"student   {model.digest.hex()}; says what {card.agreement:.1%} of its labels say")
    click.echo(f"genesis   {study.ledger.genesis_digest}")


@pate.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@click.option("--site", type=PATH, metavar="DIR", help="Also show the privacy accounts of this site's patients.")
@as_json
def budget(study_id: str, ledger: Path, site: Path | None, as_json: bool) -> None:
    """Show what a labelling study has spent of its approved budget, and what a site's patients have."""
    from medfed.federation.labelling_rules import cost_of
    from medfed.federation.plan import Words
    from medfed.hospital.aggregation import plan_of
    from medfed.ledger.contracts.labelling import spent
    from medfed.ledger.contracts.studies import study_record
    from medfed.privacy import DELTA_STEP, EPSILON_STEP

    with open_view(ledger) as view:
        record = study_record(view, find_study(view, study_id))
        if record is None:
            raise InvalidInput(f"study {study_id!r}: not on this ledger")
        plan = plan_of(view, record.study)
        terms = _labelling(plan).terms
        used = spent(view, record).histograms
    whole = cost_of(plan, _labelling(plan)).epsilon
    is_words = isinstance(plan.words, Words)  # a patient turns few of the histograms, so they cost less than all would
    facts: dict[str, Any] = {
        "study": record.study,
        "spent": used,
        "budget": terms.budget,
        "epsilon_of_spent": whole * any(used) if is_words else _cost_of(terms, len(plan.participation.hospitals), used),
        "epsilon_of_budget": whole,
        "epsilon_charged": terms.epsilon / EPSILON_STEP,
        "delta": terms.delta / DELTA_STEP,
    }
    if site is not None:
        facts["accounts"] = _accounts(site, ledger)
    if as_json:
        print_json(facts)
        return
    click.echo(f"{plan.purpose.title}\nspent     {_of(used, terms.budget)} histograms")
    click.echo(f"privacy   ε {facts['epsilon_of_spent']:.4f} of {whole:.4f} at δ {facts['delta']:g}, whatever the data")
    click.echo(f"charged   ε {facts['epsilon_charged']:g} to each patient whose rows teachers learn from")
    if site is not None:
        _print_accounts(facts["accounts"])


@pate.command()
@click.argument("file", metavar="MODEL", type=PATH)
@click.option("--members", required=True, type=PATH, metavar="CSV", help="Rows that this hospital's teachers learned.")
@click.option("--outsiders", required=True, type=PATH, metavar="CSV", help="Such rows that nobody learned from.")
@click.option("--teachers", required=True, type=click.IntRange(1, 10_000), help="Teachers of this hospital.")
@click.option("--step", default=0.25, show_default=True, type=NumberRange(0.001, 10), help="To mislead, in σ.")
@as_json
def audit(file: Path, members: Path, outsiders: Path, teachers: int, step: float, as_json: bool) -> None:
    """Attack a released student on this hospital's own rows: membership, extraction, misleading inputs."""
    from medfed.federation.model_file import load_model
    from medfed.federation.tables import table_from
    from medfed.hospital.student_audit import audit_student

    found = audit_student(load_model(file), table_from(members), table_from(outsiders), teachers, step)
    if as_json:
        print_json(found)
        return
    rows = [
        ("membership, AUC", "the teachers' model without privacy", f"{found.membership_without_privacy:.3f}"),
        ("(.5 is guessing)", "one leaked teacher, its own rows", f"{found.membership_of_teacher:.3f}"),
        ("", "the student", f"{found.membership_of_student:.3f}"),
        ("extraction", f"a copy after {found.questions} questions says the same", f"{found.fidelity_of_copy:.1%}"),
        ("misled by", "the copy itself", f"{found.misled_copy:.1%}"),
        (f"{found.step:g} σ an input", "the student", f"{found.misled_student:.1%}"),
        ("", "this hospital's teachers together", f"{found.misled_teachers:.1%}"),
    ]
    table(f"{found.members} members, {found.outsiders} outsiders", ("attack", "on", "found"), rows, right=("found",))


@pate.command()
@click.argument("file", metavar="MODEL", type=PATH)
@click.option(
    "--per-hour", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="Rows a user may ask."
)
@click.option("--decimals", default=2, show_default=True, type=click.IntRange(0, 6), help="Of every probability.")
def serve(file: Path, per_hour: int, decimals: int) -> None:
    """Answer questions to a student, a JSON line each: {"user": …, "rows": [{column: cell}, …]}."""
    import time

    from medfed.hospital.student_door import answer_line, door_to

    door = door_to(file, lambda: time.monotonic_ns() // 1_000_000, per_hour, decimals)
    # Bytes that are no text, or a line without an end, are one user's mistake and must not end the service.
    while line := sys.stdin.buffer.readline(_LONGEST_LINE):
        if line.strip():
            click.echo(answer_line(door, line.decode("utf-8", "replace")))


def _labelling(plan: Plan) -> Labelling:
    from medfed.federation.plan import Labelling

    if not isinstance(plan.labelling, Labelling):
        raise InvalidInput("the plan is not that of a labelling study: it has no section [labelling]")
    return plan.labelling


def _of(used: tuple[int, ...], budget: tuple[int, ...]) -> str:
    return ", ".join(f"{one} of {most}" for one, most in zip(used, budget, strict=True))


def _cost_of(terms: LabellingTerms, hospitals: int, used: tuple[int, ...]) -> float:
    from medfed.privacy import DELTA_STEP, Roster, guarantee
    from medfed.privacy.vote_noise import vote_event

    if not any(used):
        return 0.0
    event = vote_event(terms.noise, Roster(hospitals, terms.dropouts, terms.colluding), used, terms.attended)
    return guarantee(event, terms.delta / DELTA_STEP).epsilon


def _accounts(directory: Path, ledger: Path) -> dict[str, Any]:
    """What the site's vault says, in counts only."""
    from medfed.hospital.enrolled import account_summary

    with open_own_site(directory, ledger) as site:
        return account_summary(site)


def _print_accounts(facts: dict[str, Any]) -> None:
    click.echo(f"cap       ε {facts['cap_epsilon']:g} at δ {facts['cap_delta']:g}, all studies together")
    rows = [
        (name, f"{row['epsilon']:g}", f"{row['delta']:g}", row["patients"]) for name, row in facts["studies"].items()
    ]
    table("charged at this site", ("study", "ε", "δ", "patients"), rows, right=("ε", "δ", "patients"))
    click.echo(f"most that one patient was charged: ε {facts['most_epsilon']:g}, δ {facts['most_delta']:g}")


__all__ = ["pate"]
