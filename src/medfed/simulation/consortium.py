"""Making a consortium whose keys are all in one process: for simulations, demonstrations and tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import UNSET

from medfed.crypto import Entropy, SiteKeys, seeded_entropy
from medfed.encoding import digest_of
from medfed.federation.plan import Protection
from medfed.identifiers import Name
from medfed.ledger.contracts.membership import Role
from medfed.ledger.engine import Sealer
from medfed.ledger.genesis import Founder, Genesis, Policy, found

__all__ = [
    "ORGANISER",
    "Consortium",
    "founder_of",
    "make_consortium",
    "office_holders",
    "office_roles",
    "seeded_site_entropy",
]

ORGANISER = "organiser"


@dataclass(frozen=True)
class Consortium:
    """A genesis with the keys of everybody in it."""

    genesis: Genesis
    keys: dict[Name, SiteKeys]
    """By name, the organiser's included."""

    def sealers(self) -> tuple[Sealer, ...]:
        """Every hospital, in order: they take turns at making blocks."""
        hospitals = (founder.name for founder in self.genesis.founders if founder.role == "hospital")
        return tuple(Sealer(name, self.keys[name].signing_seed) for name in hospitals)


def office_holders(protection: Protection) -> tuple[Name, ...]:
    """Who holds an office by the plan, sorted."""
    aggregators = () if protection.aggregators is UNSET else protection.aggregators
    key_holder = () if protection.key_holder is UNSET else (protection.key_holder,)
    return tuple(sorted((*key_holder, *aggregators)))


def office_roles(protection: Protection) -> dict[Name, Role]:
    """The roles that office holders get on a ledger that is made for the plan; the organiser has its own already."""
    roles: dict[Name, Role] = {}
    for name in office_holders(protection):
        roles[name] = "auditor" if name == protection.key_holder else "aggregator"
    roles.pop(ORGANISER, None)
    return roles


def founder_of(consortium: Name, keys: SiteKeys, role: Role, address: str = "") -> Founder:
    """The founding entry of a site with these keys."""
    return found(consortium, keys.name, role, keys.signing_key, keys.sealing_key.public, address)


def make_consortium(
    name: Name,
    keys: Iterable[SiteKeys],
    organiser: SiteKeys,
    created_ms: int,
    policy: Policy | None = None,
    others: Iterable[tuple[SiteKeys, Role]] = (),
) -> Consortium:
    """A consortium of hospitals with these keys, one organiser who proposes studies, and `others` in their roles."""
    hospitals = {site.name: site for site in keys}
    rest: dict[Name, tuple[SiteKeys, Role]] = {site.name: (site, role) for site, role in others}
    founders = [founder_of(name, site, "hospital") for site in hospitals.values()]
    founders.append(founder_of(name, organiser, "organiser"))
    founders += [founder_of(name, site, role) for site, role in rest.values()]
    founders.sort(key=lambda founder: founder.name)
    genesis = Genesis(name, created_ms, tuple(founders), policy or Policy())
    everybody = {**hospitals, organiser.name: organiser, **{other: site for other, (site, _) in rest.items()}}
    return Consortium(genesis, everybody)


def seeded_site_entropy(seed: int, name: Name, use: str) -> Entropy:
    """Randomness that a simulation can replay. Never at a real site."""
    return seeded_entropy(digest_of("medfed/simulation", seed, name, use))
