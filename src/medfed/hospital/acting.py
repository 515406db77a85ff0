"""What a person does at a site, whether its agent is running or not.

Only one process signs for a participant. Where nobody does, this one takes the site's lock and sends; where an agent
is running, what is to be sent is left in the vault for it, unless the ledger's rules say no to it as things stand: the
person is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from medfed.errors import Refused, Unavailable
from medfed.hospital.agent import Agent
from medfed.hospital.agent_loop import agent_on
from medfed.hospital.requests import request
from medfed.hospital.site import Site
from medfed.hospital.site_directory import SiteBusy, open_own_blobs, open_site
from medfed.ledger.engine import StateView
from medfed.ledger.store import reading
from medfed.ledger.transaction import Body
from medfed.ledger.transition import Receipt, check_body

__all__ = ["Acting", "acting_for"]


class Acting(NamedTuple):
    """A person at a site."""

    site: Site
    view: StateView
    """The ledger as it was when this began."""
    agent: Agent | None
    """This process's own; None where another process runs the agent."""
    send: Callable[[Body], Receipt | None]
    """Sends, and returns the receipt; None where it is left for the running agent. Raises as `acting_for`."""


@contextmanager
def acting_for(directory: Path, ledger: Path, passphrase: str) -> Generator[Acting]:
    """A site opened for a person's commands.

    Raises:
        InvalidInput, Tampered, Unavailable: as the site, its vault and the ledger say. Refused: (from `send`) a rule
            of the ledger said no.
    """
    with ExitStack() as stack:
        try:
            agent = stack.enter_context(agent_on(directory, ledger, passphrase))
        except SiteBusy:
            agent = None
        if agent is not None:
            yield Acting(agent.site, agent.engine.view(), agent, partial(_sent, agent))
            return
        with reading(ledger) as store:
            view, replicated = store.view(), store.replicated
        blobs = open_own_blobs(directory) if replicated else None
        site = open_site(directory, passphrase, ledger=ledger, blobs=blobs)
        try:
            yield Acting(site, view, None, partial(_left, site, view))
        finally:
            site.vault.close()


def _sent(agent: Agent, body: Body) -> Receipt:
    receipt = agent.send(body)
    if receipt.height is None:
        raise Unavailable(f"the transaction entered no block: {receipt.message}")
    if receipt.code:
        raise _refusal(receipt.code, receipt.message)
    return receipt


def _left(site: Site, view: StateView, body: Body) -> None:
    try:
        check_body(view.genesis, view.state, view.tip, site.name, body, site.clock())
    except Refused as refusal:
        raise _refusal(refusal.code, str(refusal)) from None
    request(site.vault, body)


def _refusal(code: str, message: str) -> Refused:
    return Refused(code, f"{message} ({code})")
