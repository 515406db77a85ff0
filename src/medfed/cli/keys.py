"""`medfed keys`: a site's keys."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from medfed.cli.options import PATH, as_json, passphrase
from medfed.cli.output import print_json
from medfed.errors import InvalidInput


@click.group()
def keys() -> None:
    """Create and look at a site's keys."""


@keys.command()
@click.argument("site", type=PATH)
@click.option("--name", required=True, help="The participant's name: 1 to 40 of a-z, 0-9 and inner hyphens.")
@as_json
def create(site: Path, name: str, as_json: bool) -> None:
    """Make the directory SITE with new keys and a site.toml to fill in. Never overwrites keys."""
    from medfed.hospital.site_directory import create_site
    from medfed.identifiers import check_name

    check_name(name)
    made = create_site(site, name, passphrase("New passphrase", confirm=True))
    if as_json:
        print_json(made.public)
        return
    click.echo(f"site      {site}\nname      {made.name}\nsigning   {made.signing_key.public.hex()}")
    click.echo(f"next      say in {site / 'site.toml'} where the data are and which studies to join")


@keys.command()
@click.argument("site", type=PATH)
@as_json
def show(site: Path, as_json: bool) -> None:
    """Print a site's public keys; needs no passphrase."""
    from medfed.hospital.site_directory import read_public
    from medfed.identifiers import sha256

    public = read_public(site)
    if as_json:
        print_json(public)
        return
    click.echo(f"name      {public.name}\nsigning   {public.signing.hex()}")
    click.echo(f"sealing   {sha256(public.sealing).hex()} (SHA-256 of {len(public.sealing)} bytes; --json has them)")


@keys.command()
@click.argument("site", type=PATH)
@click.option("--ledger", type=PATH, required=True, metavar="FILE", help="The ledger file.")
@click.option("--sealing", is_flag=True, help="The sealing key too: what was sealed to the old one is lost.")
@as_json
def rotate(site: Path, ledger: Path, sealing: bool, as_json: bool) -> None:
    """Change a site's signing key, with its old key's signature. Interrupted, do it again: it is the same new key.

    On a network the key is the validator's too; the node takes it up by itself.
    """
    from medfed.cli.options import act, open_view
    from medfed.hospital.key_rotation import prepare_rotation, settle_keys

    with open_view(ledger) as view:
        settle_keys(site, view)  # of an earlier time
        body = prepare_rotation(site, passphrase(f"Passphrase of {site}"), view.chain, sealing=sealing)
    receipt = act(ledger, site, body)
    with open_view(ledger) as view:
        settled = settle_keys(site, view)
    if as_json:
        print_json(receipt | {"signing": body.signing_key})
        return
    click.echo(f"signing   {body.signing_key.hex()}")
    click.echo("next      nothing; the new key is in use" if settled else "next      nothing; the node takes it up")


@keys.command("change-passphrase")
@click.argument("site", type=PATH)
def change(site: Path) -> None:
    """Encrypt the same keys under another passphrase.

    The present one is read as always; the new one from MEDFED_NEW_PASSPHRASE, or asked for.
    """
    import os

    from medfed.hospital.site_directory import change_passphrase, read_public

    read_public(site)  # before anybody types two passphrases for nothing
    old = passphrase("Present passphrase")
    new = os.environ.get("MEDFED_NEW_PASSPHRASE")
    if not new and not sys.stdin.isatty():
        raise InvalidInput("no new passphrase: set MEDFED_NEW_PASSPHRASE, or run in a terminal")
    if not new:
        new = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    change_passphrase(site, old, new)
    click.echo(f"{site}: the passphrase was changed")
