"""New keys of a site take the old ones' place when the ledger knows them, wherever the change was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfed.crypto import SiteKeys, load_keystore
from medfed.errors import Refused
from medfed.hospital.agent_loop import agent_on
from medfed.hospital.key_rotation import has_other_keys, prepare_rotation, settle_keys
from medfed.hospital.site_directory import change_passphrase, create_site, key_path, next_key_path, wall_clock
from medfed.ledger.contracts.membership import ChangeAddress, RotateKeys, participant
from medfed.ledger.engine import Sealer
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.genesis import Genesis, found
from medfed.ledger.store import reading
from medfed.ledger.transition import next_sequence

WORD = "a passphrase"


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path, SiteKeys]:
    """A site, its ledger, its keys."""
    keys = create_site(tmp_path / "north", "north", WORD)
    sealer = create_site(tmp_path / "south", "south", WORD)
    founders = [found("heart", one.name, "hospital", one.signing_key, one.sealing_key.public) for one in (keys, sealer)]
    ledger = tmp_path / "ledger.db"
    genesis = Genesis("heart", 1, tuple(founders))
    EmbeddedEngine.create(ledger, genesis, wall_clock, Sealer("south", sealer.signing_seed)).close()
    return tmp_path / "north", ledger, keys


def rotate(site: Path, ledger: Path, *, sealing: bool = False) -> RotateKeys:
    with reading(ledger) as store:
        body = prepare_rotation(site, WORD, store.view().chain, sealing=sealing)
    with agent_on(site, ledger, WORD) as agent:
        assert agent.send(body).accepted
    return body


def test_new_keys_wait_beside_the_old_until_the_ledger_knows_them(place: tuple[Path, Path, SiteKeys]) -> None:
    site, ledger, keys = place
    with reading(ledger) as store:
        view = store.view()
        body = prepare_rotation(site, WORD, view.chain, sealing=False)
        assert not settle_keys(site, view)
        assert not has_other_keys(site, view, keys.public)
    assert load_keystore(key_path(site), WORD) == keys
    assert rotate(site, ledger) == body, "asked again, it is the same new key"
    with reading(ledger) as store:
        view = store.view()
        assert has_other_keys(site, view, keys.public)
        assert settle_keys(site, view)
        assert has_other_keys(site, view, keys.public), "a process with the old keys must still see it"
        assert not settle_keys(site, view)
    new = load_keystore(key_path(site), WORD)
    assert new.public.signing == body.signing_key != keys.public.signing
    assert (new.sealing_seed, new.vault_key, new.split_key) == (keys.sealing_seed, keys.vault_key, keys.split_key)
    assert not next_key_path(site).exists()


def test_the_sealing_key_changes_only_when_it_is_asked_for(place: tuple[Path, Path, SiteKeys]) -> None:
    site, ledger, keys = place
    body = rotate(site, ledger, sealing=True)
    with reading(ledger) as store:
        known = participant(store.view(), "north")
    assert known is not None
    assert known.sealing_key == body.sealing_key != keys.public.sealing


def test_whoever_opens_the_site_next_takes_up_the_new_keys(place: tuple[Path, Path, SiteKeys]) -> None:
    site, ledger, keys = place
    body = rotate(site, ledger)
    with agent_on(site, ledger, WORD) as agent:
        assert agent.site.keys.public.signing == body.signing_key
        assert agent.send(ChangeAddress("here")).accepted
    with pytest.raises(Exception, match="wrong passphrase"):
        load_keystore(key_path(site), "another")
    assert load_keystore(key_path(site), WORD).vault_key == keys.vault_key


def test_what_the_old_key_had_signed_and_could_not_send_is_signed_anew(place: tuple[Path, Path, SiteKeys]) -> None:
    site, ledger, keys = place
    with reading(ledger) as store:
        body = prepare_rotation(site, WORD, store.view().chain, sealing=False)
    with agent_on(site, ledger, WORD) as agent:
        view = agent.engine.view()
        with agent.site.vault.transaction("test"):  # both are on their way when the agent is killed
            agent._outbox.add(view, "rotate", (body,))
            agent._outbox.add(view, "move", (ChangeAddress("there"),))
        rotation, later = agent._outbox.waiting
        assert agent.engine.submit(rotation)[0].accepted
        with pytest.raises(Refused):
            agent.engine.submit(later)
    with agent_on(site, ledger, WORD) as agent:
        assert agent.step() == 1
        known = participant(agent.engine.view(), "north")
        assert known is not None
        assert (known.address, known.signing_key) == ("there", body.signing_key)
        assert next_sequence(agent.engine.view(), "north") == 2
    assert keys.public.signing != body.signing_key


def test_the_passphrase_stays_while_new_keys_wait(place: tuple[Path, Path, SiteKeys]) -> None:
    site, ledger, _ = place
    with reading(ledger) as store:
        prepare_rotation(site, WORD, store.view().chain, sealing=False)
    with pytest.raises(Refused) as refused:
        change_passphrase(site, WORD, "another")
    assert refused.value.code == "keys-change"
