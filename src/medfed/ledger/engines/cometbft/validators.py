"""Who votes on blocks: a rule over the ledger's own state, so that the genesis fixes the first set and replay the rest.

A validator's key is its participant's signing key and every validator has the same power. This module must never give
CometBFT what is fatal there: a key twice, the removal of one that it does not know, or an empty set.
"""

from __future__ import annotations

from typing import Final

from medfed.errors import InvalidInput
from medfed.identifiers import Name, sha256
from medfed.ledger.contracts.membership import active_hospitals, participant
from medfed.ledger.engines.cometbft.messages import PublicKey, ValidatorUpdate
from medfed.ledger.state import State

__all__ = ["POWER", "address_of", "check_validators", "validator_updates", "validators_of"]

POWER: Final = 10


def address_of(public_key: bytes) -> bytes:
    """CometBFT's name of a validator, 20 bytes: the beginning of the SHA-256 of its key."""
    return sha256(public_key)[:20]


def validators_of(state: State, named: tuple[Name, ...] = ()) -> dict[bytes, Name]:
    """The keys that vote, and whose they are: those of all active hospitals, or of the active ones among `named`."""
    found = [participant(state, name) for name in named or active_hospitals(state)]
    return {one.signing_key: one.name for one in found if one is not None and one.status == "active"}


def validator_updates(before: State, after: State, named: tuple[Name, ...] = ()) -> tuple[ValidatorUpdate, ...]:
    """The one net difference that a block makes to the set, sorted by key; it acts two blocks later.

    A set that would become empty stays as it was: then nobody can seal a block, and the ledger has ended.
    """
    old, new = validators_of(before, named).keys(), validators_of(after, named).keys()
    if not new:
        return ()
    changed = [(key, POWER) for key in new - old] + [(key, 0) for key in old - new]
    return tuple(ValidatorUpdate(PublicKey(key), power) for key, power in sorted(changed))


def check_validators(state: State, named: tuple[Name, ...], found: tuple[ValidatorUpdate, ...]) -> None:
    """Check that CometBFT's genesis has exactly the validators that the ledger's genesis gives.

    Raises:
        InvalidInput: it has others.
    """
    expected = {(key, POWER) for key in validators_of(state, named)}
    given = [(update.pub_key.ed25519 if update.pub_key else b"", update.power) for update in found]
    if len(given) != len(expected) or set(given) != expected:
        raise InvalidInput(
            f"CometBFT's genesis: its {len(given)} validators are not the {len(expected)} that follow from the ledger's"
        )
