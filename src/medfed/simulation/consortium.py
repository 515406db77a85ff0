"""Making a consortium whose keys are all in one process: for simulations, demonstrations and tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from medfed.crypto import Entropy, SiteKeys, seeded_entropy
from medfed.encoding import digest_of
from medfed.identifiers import Name
from medfed.ledger.contracts.membership import Role
from medfed.ledger.engine import Sealer
from medfed.ledger.genesis import Founder, Genesis, Policy, found

__all__ = ["ORGANISER", "Consortium", "founder_of", "make_consortium", "seeded_site_entropy"]

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


def founder_of(consortium: Name, keys: SiteKeys, role: Role, address: str = "") -> Founder:
    """The founding entry of a site with these keys."""
    return found(consortium, keys.name, role, keys.signing_key, keys.sealing_key.public, address)


def make_consortium(
    name: Name, keys: Iterable[SiteKeys], organiser: SiteKeys, created_ms: int, policy: Policy | None = None
) -> Consortium:
    """A consortium of hospitals with these keys, and one organiser who proposes studies."""
    hospitals = {site.name: site for site in keys}
    founders = [founder_of(name, site, "hospital") for site in hospitals.values()]
    founders.append(founder_of(name, organiser, "organiser"))
    founders.sort(key=lambda founder: founder.name)
    genesis = Genesis(name, created_ms, tuple(founders), policy or Policy())
    return Consortium(genesis, {**hospitals, organiser.name: organiser})


def seeded_site_entropy(seed: int, name: Name, use: str) -> Entropy:
    """Randomness that a simulation can replay. Never at a real site."""
    return seeded_entropy(digest_of("medfed/simulation", seed, name, use))
