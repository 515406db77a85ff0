"""Options and arguments that many commands share, and opening what they name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.hospital.site import Site
    from medfed.identifiers import StudyId
    from medfed.ledger.engine import StateView
    from medfed.ledger.store import LedgerStore
    from medfed.ledger.transaction import Body
    from medfed.ledger.transition import Receipt

__all__ = [
    "NumberRange",
    "act",
    "as_json",
    "directory_option",
    "export_ledger_option",
    "find_study",
    "ledger_option",
    "open_own_site",
    "open_store",
    "open_view",
    "passphrase",
    "sent",
    "site_option",
    "sites_data_option",
]

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


class NumberRange(click.FloatRange):
    """A number in a range. NaN is in none, though click's own comparison lets it pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType.convert`."""
        found = super().convert(value, param, ctx)
        if found != found:
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found


ledger_option = click.option("--ledger", type=PATH, required=True, metavar="FILE", help="The ledger file.")
site_option = click.option(
    "--site", type=PATH, required=True, metavar="DIR", help="The site directory that signs; asks for its passphrase."
)
sites_data_option = click.option(
    "--data", "data", multiple=True, required=True, metavar="SITE=FILE", help="A hospital's CSV file; repeat."
)
directory_option = click.option(
    "--directory", type=PATH, metavar="DIR", help="Keep ledger, vaults and blobs here; else in memory."
)
export_ledger_option = click.option(
    "--export-ledger", type=PATH, metavar="FILE", help="Write the whole ledger to one file."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def passphrase(prompt: str = "Passphrase", *, confirm: bool = False) -> str:
    """From MEDFED_PASSPHRASE, from the file that MEDFED_PASSPHRASE_FILE names, or asked for. Never an argument.

    Raises:
        InvalidInput: nobody can be asked, or the file cannot be read.
    """
    from medfed.hospital.site_handle import passphrase_from_environment

    found = passphrase_from_environment()
    if found is not None:
        return found
    if not sys.stdin.isatty():
        raise InvalidInput("no passphrase: set MEDFED_PASSPHRASE_FILE or MEDFED_PASSPHRASE, or run in a terminal")
    return click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)


@contextmanager
def open_store(path: Path) -> Generator[LedgerStore]:
    """A ledger file to read."""
    from medfed.ledger.store import reading

    with reading(path) as store:
        yield store


@contextmanager
def open_view(path: Path) -> Generator[StateView]:
    """A ledger file's newest state; `medfed ledger verify` is what checks it."""
    with open_store(path) as store:
        yield store.view()


def find_study(view: StateView, text: str) -> StudyId:
    """The study whose identifier starts with `text`.

    Raises:
        InvalidInput: none does, or several do.
    """
    from medfed.identifiers import find_by_digits
    from medfed.ledger.contracts.studies import studies

    return find_by_digits("study", text, studies(view), lambda identifier: identifier, "; see `medfed study list`")


@contextmanager
def open_own_site(directory: Path, ledger: Path) -> Generator[Site]:
    """A site to read in, whether its agent is running or not; asks for its passphrase."""
    from medfed.hospital.site_directory import open_site

    opened = open_site(directory, passphrase(f"Passphrase of {directory}"), ledger=ledger)
    try:
        yield opened
    finally:
        opened.vault.close()


def act(ledger: Path, directory: Path, body: Body) -> dict[str, Any]:
    """Sign a body as the site and have it ordered; if the site's agent is running, leave it for the agent.

    Raises:
        Refused: a rule of the ledger said no.
    """
    from medfed.hospital.acting import acting_for

    with acting_for(directory, ledger, passphrase(f"Passphrase of {directory}")) as acting:
        return sent(acting.send(body), directory)


def sent(receipt: Receipt | None, directory: Path) -> dict[str, Any]:
    """What became of a body that was sent; says so on standard error where a running agent will send it."""
    if receipt is None:
        click.echo(f"left for the agent that is running on {directory}: it signs and sends it", err=True)
        return {"left_for_agent": True}
    return {"transaction": receipt.transaction, "height": receipt.height, "index": receipt.index}
