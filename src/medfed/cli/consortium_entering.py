"""`medfed consortium convene|accept|found|join|invite`: founding between machines, and entering later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medfed.cli.options import PATH, as_json, passphrase
from medfed.cli.output import print_json
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.crypto import SiteKeys
    from medfed.node.founding import FoundedNode

_site = click.option("--site", type=PATH, required=True, metavar="DIR", help="The site directory, with its keys.")
_genesis = click.option("--genesis", metavar="DIGEST", help="The genesis digest, as all have compared it.")
_output = click.option("--output", type=PATH, required=True, metavar="FILE", help="A new file.")
_roles = click.Choice(["hospital", "aggregator", "organiser", "auditor", "user"])


@click.command()
@click.option("--name", required=True, help="The consortium's name.")
@click.option("--hospital", "hospitals", multiple=True, required=True, metavar="NAME", help="Repeat.")
@click.option("--organiser", "organisers", multiple=True, metavar="NAME", help="Proposes studies.")
@click.option("--auditor", "auditors", multiple=True, metavar="NAME", help="Looks on.")
@click.option("--aggregator", "aggregators", multiple=True, metavar="NAME", help="Adds encrypted updates.")
@click.option("--output", type=PATH, required=True, metavar="DIR", help="A directory for the invitations.")
def convene(
    name: str,
    hospitals: tuple[str, ...],
    organisers: tuple[str, ...],
    auditors: tuple[str, ...],
    aggregators: tuple[str, ...],
    output: Path,
) -> None:
    """Write an invitation for each founder, as DIR/NAME.invitation. Nothing in them is secret."""
    from medfed.hospital.site_directory import wall_clock
    from medfed.identifiers import check_name
    from medfed.ledger.contracts.membership import Role
    from medfed.node.invitation import Charter, Invitation, Seat, save_paper, verify_charter

    named: tuple[tuple[Role, tuple[str, ...]], ...] = (
        ("hospital", hospitals),
        ("organiser", organisers),
        ("auditor", auditors),
        ("aggregator", aggregators),
    )
    seats = [Seat(check_name(who), role) for role, names in named for who in names]
    charter = Charter(check_name(name), wall_clock(), tuple(sorted(seats, key=lambda seat: seat.name)))
    verify_charter(charter)
    output.mkdir(parents=True, exist_ok=True)
    for seat in charter.seats:
        path = output / f"{seat.name}.invitation"
        save_paper(path, Invitation(charter, seat.name))
        click.echo(f"{seat.role:10} {path}")
    click.echo("next      send each founder its file; each answers with: medfed consortium accept")


@click.command()
@click.argument("invitation", type=PATH)
@_site
@click.option("--listen", default="0.0.0.0:26656", show_default=True, metavar="HOST:PORT", help="For the other nodes.")
@click.option("--external", default="", metavar="HOST:PORT", help="How others reach this node, if not at --listen.")
@click.option("--blobs-listen", default="", metavar="HOST:PORT", help="Where to serve blobs to the other hospitals.")
@click.option("--blobs-external", default="", metavar="HOST:PORT", help="How others reach that, if not there.")
@click.option("--outgoing-only", is_flag=True, help="Nobody can call this node: it calls the others.")
@click.option("--no-agent", is_flag=True, help="Do not run the site's agent with the node.")
@_genesis
@_output
def accept(
    invitation: Path,
    site: Path,
    listen: str,
    external: str,
    blobs_listen: str,
    blobs_external: str,
    outgoing_only: bool,
    no_agent: bool,
    genesis: str | None,
    output: Path,
) -> None:
    """Answer an INVITATION: make this site's node and the entry to send back, with public keys only.

    An invitation into a consortium that exists needs --genesis.
    """
    from medfed.identifiers import parse_digest
    from medfed.node.entering import accept_founding, accept_later
    from medfed.node.invitation import Invitation, LaterInvitation, load_paper, save_paper
    from medfed.node.node_file import NodeFile, check_node_file

    paper = load_paper(invitation, Invitation, LaterInvitation)
    if outgoing_only:
        listen, external, blobs_listen, blobs_external = "127.0.0.1:0", "", "", ""
    file = NodeFile(listen, (), external, blobs_listen, blobs_external, agent=not no_agent, outgoing_only=outgoing_only)
    check_node_file(file, "options")
    _check_reachable(file.external or file.listen, "--external", outgoing_only)
    if blobs_listen:
        _check_reachable(blobs_external or blobs_listen, "--blobs-external", outgoing_only)
    keys = _keys(site)
    if isinstance(paper, Invitation):
        save_paper(output, accept_founding(site, keys, paper, file))
        click.echo(f"entry     {output}\nnext      send it back; then, with the founding file: medfed consortium join")
        return
    if genesis is None:
        raise InvalidInput(
            "--genesis: this consortium exists; ask a member for the genesis digest over another channel"
        )
    candidate, made = accept_later(site, keys, paper, file, parse_digest(genesis))
    save_paper(output, candidate)
    click.echo(f"entry     {output}\nnext      send it to a member, who proposes it; start the node: medfed node run")
    if made is not None:
        click.echo(f"node      {made.address}")


@click.command()
@click.argument("entries", type=PATH, nargs=-1, required=True)
@click.option("--invitation", type=PATH, required=True, metavar="FILE", help="Any of the invitations.")
@_output
def found(entries: tuple[Path, ...], invitation: Path, output: Path) -> None:
    """Put the founders' ENTRIES together to one founding file, and print the genesis digest that follows.

    Anybody who has the same entries gets the same digest.
    """
    from medfed.node.invitation import Entry, Founding, Invitation, load_paper, save_paper

    charter = load_paper(invitation, Invitation).charter
    loaded = sorted((load_paper(path, Entry) for path in entries), key=lambda entry: entry.founder.name)
    founding = Founding(charter, tuple(loaded))
    genesis = founding.genesis()
    save_paper(output, founding)
    click.echo(f"founding  {output}\ngenesis   {genesis.digest.hex()}")
    click.echo("next      send the file to every founder, and the digest over another channel")


@click.command()
@click.argument("founding", type=PATH)
@_site
@click.option("--genesis", required=True, metavar="DIGEST", help="The genesis digest, as all have compared it.")
@as_json
def join(founding: Path, site: Path, genesis: str, as_json: bool) -> None:
    """Make this founder's node from the FOUNDING file, if it is what this site has accepted."""
    from medfed.identifiers import parse_digest
    from medfed.node.entering import join_founding
    from medfed.node.invitation import Founding, load_paper

    paper = load_paper(founding, Founding)
    made = join_founding(site, _keys(site), paper, parse_digest(genesis))
    if as_json:
        print_json(made)
        return
    _tell(made)
    click.echo(f"next      medfed node run --site {site}")


@click.command()
@click.argument("name")
@click.option("--role", type=_roles, default="hospital", show_default=True, help="As what.")
@_site
@_output
def invite(name: str, role: str, site: Path, output: Path) -> None:
    """Write an invitation for NAME into this consortium, or back into it with new keys after a loss."""
    from typing import cast

    from medfed.ledger.contracts.membership import Role
    from medfed.node.entering import invite_later
    from medfed.node.invitation import save_paper

    paper = invite_later(site, name, cast(Role, role))
    save_paper(output, paper)
    click.echo(f"invitation {output}\ngenesis   {paper.genesis.digest.hex()}: tell it over another channel")


def _keys(site: Path) -> SiteKeys:
    from medfed.crypto import load_keystore
    from medfed.hospital.site_directory import key_path, read_public

    read_public(site)
    return load_keystore(key_path(site), passphrase(f"Passphrase of {site}"))


def _check_reachable(address: str, option: str, outgoing_only: bool) -> None:
    import ipaddress

    try:
        anywhere = ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_unspecified
    except ValueError:
        anywhere = False  # a name
    if anywhere and not outgoing_only:
        raise InvalidInput(f"{option}: others cannot call {address}; say the name or address at which they can")


def _tell(made: FoundedNode) -> None:
    click.echo(f"genesis   {made.genesis.hex()}\nnode      {made.address}")
