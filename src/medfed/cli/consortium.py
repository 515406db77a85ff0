"""`medfed consortium`: founding and entering a consortium, and who belongs to it."""

from __future__ import annotations

from pathlib import Path

import click

from medfed.cli.consortium_entering import accept, convene, found, invite, join
from medfed.cli.consortium_members import COMMANDS
from medfed.cli.options import PATH, as_json, ledger_option, open_view, passphrase
from medfed.cli.output import print_json, table


@click.group()
def consortium() -> None:
    """Found a consortium and look at it."""


for _command in (convene, accept, found, join, invite, *COMMANDS):
    consortium.add_command(_command)


@consortium.command()
@ledger_option
@click.option("--name", required=True, help="The consortium's name.")
@click.option("--hospital", "hospitals", type=PATH, multiple=True, required=True, metavar="SITE", help="Repeat.")
@click.option("--organiser", "organisers", type=PATH, multiple=True, metavar="SITE", help="Proposes studies.")
@click.option("--auditor", "auditors", type=PATH, multiple=True, metavar="SITE", help="Looks on.")
@click.option(
    "--aggregator",
    "aggregators",
    type=PATH,
    multiple=True,
    metavar="SITE",
    help="Adds or opens updates.",
)
@click.option("--difficulty", type=click.IntRange(0, 24), default=0, show_default=True, help="Proof of work, in bits.")
@as_json
def init(
    ledger: Path,
    name: str,
    hospitals: tuple[Path, ...],
    organisers: tuple[Path, ...],
    auditors: tuple[Path, ...],
    aggregators: tuple[Path, ...],
    difficulty: int,
    as_json: bool,
) -> None:
    """Make the ledger FILE with these founders, from site directories on this machine.

    Each founder signs its entry, so every site's passphrase is needed.
    """
    from medfed.crypto import load_keystore
    from medfed.hospital.site_directory import key_path, read_public, wall_clock
    from medfed.identifiers import check_name
    from medfed.ledger.contracts.membership import Role
    from medfed.ledger.engine import Sealer
    from medfed.ledger.engines.embedded import EmbeddedEngine
    from medfed.ledger.genesis import Founder, Genesis, Policy, found

    check_name(name)
    roles: list[tuple[Path, Role]] = []
    named: tuple[tuple[Role, tuple[Path, ...]], ...] = (
        ("hospital", hospitals),
        ("organiser", organisers),
        ("auditor", auditors),
        ("aggregator", aggregators),
    )
    for role, sites in named:
        roles.extend((site, role) for site in sites)
    founders: list[Founder] = []
    sealer: Sealer | None = None
    for site, role in roles:
        read_public(site)
        own = load_keystore(key_path(site), passphrase(f"Passphrase of {site}"))
        founders.append(found(name, own.name, role, own.signing_key, own.sealing_key.public))
        sealer = sealer or Sealer(own.name, own.signing_seed)
    founders.sort(key=lambda founder: founder.name)
    genesis = Genesis(name, wall_clock(), tuple(founders), Policy(difficulty=difficulty))
    EmbeddedEngine.create(ledger, genesis, wall_clock, *([sealer] if sealer else [])).close()
    if as_json:
        print_json({"ledger": str(ledger), "genesis": genesis.digest, "founders": [f.name for f in founders]})
        return
    click.echo(f"ledger    {ledger}\ngenesis   {genesis.digest.hex()}")
    click.echo("next      every founder compares this genesis digest over another channel")


@consortium.command()
@ledger_option
@as_json
def show(ledger: Path, as_json: bool) -> None:
    """Print the genesis digest, the participants, and what is being voted on."""
    from medfed.ledger.contracts.membership import open_votes, participants

    with open_view(ledger) as view:
        members, votes = participants(view), open_votes(view)
        if as_json:
            facts = {"consortium": view.genesis.consortium, "genesis": view.chain, "tip": view.tip}
            print_json(facts | {"policy": view.genesis.policy, "participants": members, "votes": votes})
            return
        click.echo(f"consortium  {view.genesis.consortium}\ngenesis     {view.chain.hex()}")
        click.echo(f"blocks      {view.tip.height}\nhead        {view.tip.block.hex()}")
        rows = [(one.name, one.role, one.status, one.signing_key.hex()[:16]) for one in members]
    table("", ("participant", "role", "status", "signing key"), rows)
    if votes:
        asked = [(what, ", ".join(ballot.yes) or "-", ", ".join(ballot.no) or "-") for what, ballot in votes]
        table("", ("vote", "yes", "no"), asked)
