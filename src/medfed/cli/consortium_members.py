"""`medfed consortium propose`, `vote`, `remove`, `leave`, `replace-keys`, `upgrade` and others: who decides on whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfed.cli.options import PATH, act, as_json, ledger_option, site_option
from medfed.cli.output import print_json
from medfed.identifiers import check_name

if TYPE_CHECKING:
    from medfed.ledger.transaction import Body

_answer = click.argument("answer", type=click.Choice(["yes", "no"]))


@click.command()
@click.argument("entry", type=PATH)
@ledger_option
@site_option
@as_json
def propose(entry: Path, ledger: Path, site: Path, as_json: bool) -> None:
    """Propose that whoever wrote ENTRY be admitted; a hospital's proposal is also its yes."""
    from medfed.ledger.contracts.membership import ProposeParticipant

    one = _candidate(entry, ledger)
    body = ProposeParticipant(one.name, one.role, one.signing_key, one.sealing_key, one.address, one.proof)
    _send(ledger, site, body, as_json, f"{one.name} is proposed as {one.role}; key {one.signing_key.hex()[:16]}")


@click.command()
@click.argument("name")
@_answer
@ledger_option
@site_option
@as_json
def vote(name: str, answer: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Vote on the admission of NAME."""
    from medfed.ledger.contracts.membership import VoteOnParticipant

    _send(ledger, site, VoteOnParticipant(check_name(name), answer == "yes"), as_json, f"{answer} to {name}")


@click.command()
@click.argument("name")
@ledger_option
@site_option
@as_json
def remove(name: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Propose the removal of NAME, whom nobody asks; a hospital's proposal is also its yes."""
    from medfed.ledger.contracts.membership import ProposeRemoval

    _send(ledger, site, ProposeRemoval(check_name(name)), as_json, f"the removal of {name} is proposed")


@click.command("vote-removal")
@click.argument("name")
@_answer
@ledger_option
@site_option
@as_json
def vote_removal(name: str, answer: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Vote on the removal of NAME."""
    from medfed.ledger.contracts.membership import VoteOnRemoval

    _send(ledger, site, VoteOnRemoval(check_name(name), answer == "yes"), as_json, f"{answer} to the removal of {name}")


@click.command("replace-keys")
@click.argument("entry", type=PATH)
@ledger_option
@site_option
@as_json
def replace_keys(entry: Path, ledger: Path, site: Path, as_json: bool) -> None:
    """Ask that the keys in ENTRY take the place of a participant's lost or stolen ones.

    They do as soon as more than two thirds of the other hospitals have asked for the same. Make sure by telephone that
    the entry is theirs.
    """
    from medfed.ledger.contracts.membership import ReplaceKeys

    one = _candidate(entry, ledger)
    body = ReplaceKeys(one.name, one.signing_key, one.sealing_key, one.proof)
    _send(ledger, site, body, as_json, f"asked: {one.name} gets the key {one.signing_key.hex()[:16]}")


@click.command()
@ledger_option
@site_option
@click.confirmation_option(prompt="Leave the consortium for good?", help="Do not ask.")
@as_json
def leave(ledger: Path, site: Path, as_json: bool) -> None:
    """Leave the consortium for good: the name is never given again."""
    from medfed.ledger.contracts.membership import Leave

    _send(ledger, site, Leave(), as_json, "left; the node follows the ledger and votes no more")


@click.command()
@click.argument("address", metavar="HOST:PORT")
@ledger_option
@site_option
@as_json
def move(address: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Say where the others find this site's blobs now. A node with an agent says so itself, from node.toml."""
    from medfed.ledger.contracts.membership import ChangeAddress
    from medfed.node.node_file import NodeFile, check_node_file

    check_node_file(NodeFile(address), "address")
    _send(ledger, site, ChangeAddress(address), as_json, f"the address is {address}")


@click.command()
@click.argument("rules", type=click.IntRange(2, 65_535))
@click.option("--height", type=click.IntRange(1), required=True, help="The first block with these rules; leave time.")
@ledger_option
@site_option
@as_json
def upgrade(rules: int, height: int, ledger: Path, site: Path, as_json: bool) -> None:
    """Propose that the RULES of this version hold from a block on. A node whose program lacks them stops there."""
    from medfed.ledger.contracts.membership import ProposeUpgrade

    _send(ledger, site, ProposeUpgrade(rules, height), as_json, f"rules {rules} from block {height} on are proposed")


@click.command("vote-upgrade")
@click.argument("rules", type=click.IntRange(2, 65_535))
@_answer
@ledger_option
@site_option
@as_json
def vote_upgrade(rules: int, answer: str, ledger: Path, site: Path, as_json: bool) -> None:
    """Vote on proposed RULES."""
    from medfed.ledger.contracts.membership import VoteOnUpgrade

    _send(ledger, site, VoteOnUpgrade(rules, answer == "yes"), as_json, f"{answer} to rules {rules}")


COMMANDS = (propose, vote, remove, vote_removal, replace_keys, leave, move, upgrade, vote_upgrade)


def _candidate(path: Path, ledger: Path) -> Any:
    from medfed.cli.options import open_view
    from medfed.node.invitation import Candidate, load_paper, verify_candidate

    found = load_paper(path, Candidate)
    with open_view(ledger) as view:
        verify_candidate(found, view.chain)
    return found


def _send(ledger: Path, site: Path, body: Body, as_json: bool, done: str) -> None:
    receipt = act(ledger, site, body)
    if as_json:
        print_json(receipt)
        return
    where = "" if "left_for_agent" in receipt else f" (block {receipt['height']})"
    click.echo(f"{done}{where}")
