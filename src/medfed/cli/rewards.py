"""`medfed rewards`: points and their causes."""

from __future__ import annotations

from pathlib import Path

import click

from medfed.cli.options import as_json, ledger_option, open_view
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput


@click.command()
@ledger_option
@click.option("--participant", metavar="NAME", help="Every award of one participant with its cause.")
@as_json
def rewards(ledger: Path, participant: str | None, as_json: bool) -> None:
    """Show the points that hospitals have earned, and for what."""
    from medfed.ledger.contracts import membership
    from medfed.ledger.contracts.rewards import points, sealing_points, statement

    with open_view(ledger) as view:
        names = [one.name for one in membership.participants(view)]
        if participant is not None and participant not in names:
            raise InvalidInput(f"participant {participant!r}: not on this ledger")
        totals = {name: points(view, name) for name in names}
        sealing = {name: sealing_points(view, name) for name in names}
        awards = statement(view, participant) if participant else []
    if as_json:
        facts = {"points": totals, "sealing": sealing}
        rows = [{"study": study, "award": award} for study, award in awards]
        print_json(facts | ({"participant": participant, "awards": rows} if participant else {}))
        return
    if participant is None:
        rows_shown = [(name, str(totals[name]), str(sealing[name])) for name in names]
        table(
            "", ("participant", "points", "of these for sealing"), rows_shown, right=("points", "of these for sealing")
        )
        return
    causes = [(study.hex()[:12], str(award.round), award.cause, str(award.points)) for study, award in awards]
    causes.append(("", "", "sealing", str(sealing[participant])))
    table(
        f"{participant}: {totals[participant]} points", ("study", "round", "cause", "points"), causes, right=("points",)
    )
