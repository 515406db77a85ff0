"""Who votes follows from the state, and CometBFT never gets a change that is fatal there."""

from __future__ import annotations

import base64

from tests.support.ledger import FOUR, World, key_of, make_genesis

from medfed.crypto import SigningKey
from medfed.ledger.contracts.membership import Leave, VoteOnParticipant
from medfed.ledger.engines.cometbft.messages import PublicKey, ValidatorUpdate
from medfed.ledger.engines.cometbft.validators import POWER, address_of, validator_updates, validators_of
from medfed.ledger.genesis import genesis_state


def update(key: SigningKey, power: int) -> ValidatorUpdate:
    return ValidatorUpdate(PublicKey(key.public), power)


def test_the_active_hospitals_vote_and_nobody_else() -> None:
    state, _ = genesis_state(make_genesis())
    assert validators_of(state) == {key_of(name).public: name for name in FOUR}
    assert validators_of(state, ("organiser", "nobody")) == {key_of("organiser").public: "organiser"}


def test_an_address_is_what_cometbft_makes_of_the_key() -> None:
    public = base64.b64decode("q+Fi9PkPddjZzNZvre9yoqa4Yod3T6L5gtfirm2Px/k=")  # both from a file of `cometbft init`
    assert address_of(public).hex().upper() == "DAC300AB709FD2ADABA2A106269007F611017BF2"


def test_changed_keys_are_one_removal_and_one_addition() -> None:
    world = World.build()
    before = world.view.state
    world.accept("beta", world.new_keys("beta", 1))
    changes = validator_updates(before, world.view.state)
    assert set(changes) == {update(key_of("beta"), 0), update(key_of("beta", 1), POWER)}


def test_one_who_joins_is_added_when_the_vote_has_passed() -> None:
    world = World.build()
    before = world.view.state
    world.accept("alpha", world.candidate("zeta"))
    for name in FOUR[1:3]:
        assert validator_updates(before, world.view.state) == ()
        world.accept(name, VoteOnParticipant("zeta", True))
    assert validator_updates(before, world.view.state) == (update(key_of("zeta"), POWER),)


def test_nothing_changes_where_no_hospital_does() -> None:
    world = World.build()
    before = world.view.state
    world.accept("organiser", Leave())
    assert validator_updates(before, world.view.state) == ()


def test_the_last_validator_is_never_removed() -> None:
    world = World.build()
    before = world.view.state
    world.accept("organiser", Leave())
    assert validator_updates(before, world.view.state, ("organiser",)) == ()
