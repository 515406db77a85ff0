"""`medfed node`: one hospital's node in a network of hospitals that trust no common operator."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from medfed.cli.options import PATH, as_json, passphrase
from medfed.cli.output import print_json
from medfed.errors import Refused

_site = click.option("--site", type=PATH, required=True, metavar="DIR", help="The site directory of the hospital.")


@click.group()
def node() -> None:
    """Run a hospital's node in a network of hospitals."""


@node.command()
@_site
@click.option("--ledger", type=PATH, required=True, metavar="FILE", help="A ledger file or export with the genesis.")
@click.option("--genesis", metavar="DIGEST", help="The genesis digest that all have agreed on.")
@click.option(
    "--listen", default="127.0.0.1:26656", show_default=True, metavar="HOST:PORT", help="For the other nodes."
)
@click.option("--peer", "peers", multiple=True, metavar="ID@HOST:PORT", help="Another node; repeat.")
@click.option("--external", default="", metavar="HOST:PORT", help="How others reach this node, if not at --listen.")
@click.option("--blobs-listen", default="", metavar="HOST:PORT", help="Where to serve blobs to the other hospitals.")
@click.option("--no-agent", is_flag=True, help="Do not run the site's agent with the node.")
@as_json
def init(
    site: Path,
    ledger: Path,
    genesis: str | None,
    listen: str,
    peers: tuple[str, ...],
    external: str,
    blobs_listen: str,
    no_agent: bool,
    as_json: bool,
) -> None:
    """Make the node of a site. Only the genesis is taken from FILE; blocks come from the other nodes."""
    from medfed.identifiers import parse_digest
    from medfed.node.founding import found_node, read_genesis
    from medfed.node.node_file import NodeFile

    known = read_genesis(ledger, None if genesis is None else parse_digest(genesis))
    made = found_node(site, known, NodeFile(listen, peers, external, blobs_listen, agent=not no_agent))
    if as_json:
        print_json(made)
        return
    click.echo(f"genesis   {made.genesis.hex()}")
    click.echo(f"node      {made.address}")
    click.echo(f"next      the others add this line to `peers` in their node.toml; add theirs to {site / 'node.toml'}")
    if not made.votes:
        click.echo(f"note      {made.name} is no founding hospital: its node follows, and votes on no block")


@node.command()
@_site
def run(site: Path) -> None:
    """Run the node until Ctrl-C or SIGTERM. Killed and started again, it goes on where it was."""
    from medfed.node.daemon import run_node

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    run_node(site, passphrase(f"Passphrase of {site}"), stop)


@node.command()
@_site
@click.option("--output", type=PATH, required=True, metavar="FILE", help="A new file for the votes.")
def prove(site: Path, output: Path) -> None:
    """Write down the votes for the last block, for `medfed ledger verify --votes`. The node must run."""
    from medfed.encoding import encode
    from medfed.node.status import last_votes

    height, proof = last_votes(site)
    try:
        with output.open("xb") as file:
            file.write(encode(proof))
    except FileExistsError:
        raise Refused("file-exists", f"{output}: a file of this name exists") from None
    click.echo(f"votes     {len(proof.votes)} for block {height}, in {output}")


@node.command()
@_site
@as_json
def status(site: Path, as_json: bool) -> None:
    """Say where the node stands. Exits 4 where it does not run."""
    from medfed.errors import Unavailable
    from medfed.node.status import node_status

    found = node_status(site)
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"node      {'running' if found.running else 'not running'}; agent {'running' if found.agent else 'not'}"
        )
        click.echo(f"genesis   {found.genesis.hex()}")
        click.echo(f"head      {found.height}:{found.block.hex()}")
        click.echo(f"state     {found.state_digest.hex()}")
        height = "no answer" if found.consensus_height is None else str(found.consensus_height)
        click.echo(f"CometBFT  {height}{', catching up' if found.catching_up else ''}")
        click.echo(f"peers     {', '.join(found.peers) or 'none'}")
        if found.waits:
            click.echo("votes     not yet: restored from a backup, it waits until the others have gone on")
    if not found.running or found.consensus_height is None:
        raise Unavailable(found.problem or f"{site}: the node does not run")


@node.command()
@_site
@as_json
def doctor(site: Path, as_json: bool) -> None:
    """Look for what keeps the node from working, and say what to do. Exits 4 where something does."""
    from medfed.errors import Unavailable
    from medfed.hospital.site_directory import wall_clock
    from medfed.node.doctor import examine

    findings = examine(site, wall_clock)
    if as_json:
        print_json(findings)
    else:
        for one in findings:
            click.echo(f"{'ok ' if one.good else 'BAD'}  {one.subject:10} {one.found}")
            if not one.good:
                click.echo(f"     {'':10} -> {one.remedy}")
    bad = sum(not one.good for one in findings)
    if bad:
        raise Unavailable(f"{bad} of {len(findings)} findings need attention")


@node.command()
@_site
@click.option("--output", type=PATH, required=True, metavar="FILE", help="A new file for the backup.")
@as_json
def backup(site: Path, output: Path, as_json: bool) -> None:
    """Write an encrypted backup of a site; its node and agent may run meanwhile.

    The site's passphrase opens it. Left out is what the other hospitals have, and the record of this node's votes.
    """
    from medfed.hospital.site_directory import wall_clock
    from medfed.node.backup import write_backup

    made = write_backup(site, passphrase(f"Passphrase of {site}"), output, wall_clock)
    if as_json:
        print_json(made)
        return
    click.echo(f"backup    {made.files} files of {made.name}, in {output}")
    for name in made.left_out:
        click.echo(f"left out  {name}: neither a file nor a directory")


@node.command()
@click.argument("backup", type=PATH)
@click.option("--site", type=PATH, required=True, metavar="DIR", help="A new site directory.")
@click.option(
    "--vote-at-once",
    is_flag=True,
    help="Only where the others can decide nothing without this node: it may then vote twice, which others can prove.",
)
@as_json
def restore(backup: Path, site: Path, vote_at_once: bool, as_json: bool) -> None:
    """Make a site anew from a BACKUP, where the machine or its disk was lost. The old one must never run again.

    Its node fetches all blocks from the others, and votes again when they have decided blocks without it.
    """
    from medfed.hospital.site_directory import wall_clock
    from medfed.node.backup import restore_backup

    done = restore_backup(backup, site, passphrase("Passphrase of the backup"), wall_clock, may_vote=vote_at_once)
    if as_json:
        print_json(done)
        return
    click.echo(f"restored  {done.files} files of {done.name}, in {site}")
    if done.node:
        click.echo(f"next      medfed node run --site {site}")
