"""A whole consortium in one process: one ledger, and a site and an agent for each hospital. Everything is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medfed.blobs import BlobStore
from medfed.crypto import Entropy, SiteKeys
from medfed.encoding import encode
from medfed.errors import InvalidInput, Refused
from medfed.federation.plan import Plan
from medfed.federation.plan_rules import verify_plan
from medfed.federation.study import initial_state
from medfed.federation.tables import Table
from medfed.homomorphic import Cipher, WorkerCipher
from medfed.hospital.agent import Agent
from medfed.hospital.consent import APPROVE_ALL, ConsentPolicy
from medfed.hospital.site import Site
from medfed.hospital.vault import Vault
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.studies import ProposeStudy
from medfed.ledger.engine import Clock, Engine
from medfed.ledger.transaction import Anchor, Transaction, sign
from medfed.ledger.transition import next_sequence

__all__ = ["World", "make_site", "propose_study"]


@dataclass
class World:
    """Agents over one engine."""

    engine: Engine
    agents: dict[Name, Agent]

    @staticmethod
    def build(
        engine: Engine,
        tables: Mapping[Name, Table | None],
        keys: Mapping[Name, SiteKeys],
        blobs: BlobStore,
        clock: Clock,
        entropy: Callable[[Name], Entropy],
        vault: Callable[[SiteKeys, Entropy], Vault],
        consent: ConsentPolicy = APPROVE_ALL,
    ) -> World:
        """One agent for each table, and for each office holder, which has None. They share one encrypting process."""
        agents: dict[Name, Agent] = {}
        cipher = WorkerCipher()
        for name, table in tables.items():
            own = entropy(name)
            site = make_site(keys[name], vault(keys[name], own), blobs, table, consent, clock, own, cipher)
            agents[name] = Agent(site, engine)
        return World(engine, agents)


def make_site(
    keys: SiteKeys,
    vault: Vault,
    blobs: BlobStore,
    table: Table | None,
    consent: ConsentPolicy,
    clock: Clock,
    entropy: Entropy,
    cipher: Cipher | None = None,
) -> Site:
    """A site that has one table for every plan, or none: an office holder's."""

    def data(plan: Any) -> Table:
        if table is None:
            raise InvalidInput(f"{keys.name}: this site has no patients")
        return table

    cipher = cipher if cipher is not None else WorkerCipher()
    return Site(keys, vault, blobs, data, consent, clock, entropy, started_ms=clock(), cipher=cipher)


def propose_study(engine: Engine, proposer: SiteKeys, plan: Plan, study: StudyId) -> None:
    """Put a plan on the ledger.

    Raises:
        InvalidInput: the plan does not hold together. Refused: the ledger does not take it.
    """
    verify_plan(plan)
    view = engine.view()
    body = ProposeStudy(study, plan.terms(initial_state(plan).digest), encode(plan))
    anchor = Anchor(view.tip.height, view.tip.block)
    transaction = Transaction(view.chain, proposer.name, next_sequence(view, proposer.name), anchor, body)
    (receipt,) = engine.submit(sign(transaction, proposer.signing_key))
    if receipt.height is None:
        raise InvalidInput(f"the proposal entered no block: {receipt.message}")
    if receipt.code:
        raise Refused(receipt.code, receipt.message)
