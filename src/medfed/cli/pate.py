"""`medfed pate`: label public cases by the noisy vote of hospitals' teachers, and train a student on the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from medfed.cli.options import as_json
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.ledger.contracts.labelling_terms import VoteNoise
    from medfed.pate.planning import Proposal


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


def describe_noise(noise: VoteNoise) -> str:
    """A line about a noise."""
    from medfed.ledger.contracts.labelling_terms import GAMMA_STEP, ConfidentNoise, LaplaceNoise

    if isinstance(noise, LaplaceNoise):
        return f"discrete Laplace, γ {noise.gamma / GAMMA_STEP:g}"
    if isinstance(noise, ConfidentNoise):
        return (
            f"Skellam, σ {noise.screen_variance**0.5:.4g} to screen with a threshold of {noise.threshold} votes, "
            f"σ {noise.variance**0.5:.4g} to answer"
        )
    return f"Skellam, σ {noise.variance**0.5:.4g}"


__all__ = ["describe_noise", "pate"]
