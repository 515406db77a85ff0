"""What an attacker may try in a blind test, on the ledger; see `ledger.md`. Guessing is in the tests of `diagnosis`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.blind import MODEL, OTHER_SALT, SALT, BlindWorld, with_model
from tests.support.ledger import World

from medfed.errors import InvalidInput
from medfed.identifiers import sha256
from medfed.ledger.contracts.blind_test import (
    AnswerBlindTest,
    ExpireBlindTest,
    OfferBlindTests,
    OpenAnswers,
    RevealCodes,
    blind_counts,
    codes_commitment,
    sealed_keys,
)


@pytest.fixture
def blind() -> BlindWorld:
    return BlindWorld(with_model(World.build())).offered()


def test_a_service_that_copies_the_requesters_commitment_as_its_answer_is_refused(blind: BlindWorld) -> None:
    blind.opened()
    copied = AnswerBlindTest(blind.test, blind.record.commitment)
    assert blind.world.refuse(blind.service, copied) == "copied"


def test_a_commitment_made_as_the_requester_makes_it_never_opens_for_the_service(blind: BlindWorld) -> None:
    """Committing to what the requester will reveal needs the service's own name and side in the commitment."""
    blind.revealed(wrong=range(11))
    assert blind.world.refuse(blind.service, OpenAnswers(blind.test, blind.codes, SALT)) == "bad-opening"
    assert blind.world.refuse(blind.service, OpenAnswers(blind.test, blind.codes, OTHER_SALT)) == "bad-opening"


def test_a_service_cannot_change_its_answer_after_it_has_seen_the_codes(blind: BlindWorld) -> None:
    blind.revealed(wrong=(0, 1, 2, 3, 4))
    assert blind.world.refuse(blind.service, blind.open()) == "bad-opening"
    assert blind.world.refuse(blind.service, blind.answer()) == "wrong-phase"
    blind.world.accept(blind.service, blind.open(wrong=(0, 1, 2, 3, 4)))
    assert blind.record.phase == "failed"


def test_a_requester_cannot_change_its_labels_after_it_has_seen_an_answer(blind: BlindWorld) -> None:
    blind.answered()
    better = (sha256(b"another"), *blind.codes[1:])
    assert blind.world.refuse(blind.requester, RevealCodes(blind.test, better, SALT)) == "bad-opening"
    assert blind.world.refuse(blind.requester, RevealCodes(blind.test, blind.codes[::-1], SALT)) == "bad-opening"
    assert blind.world.refuse(blind.requester, RevealCodes(blind.test, blind.codes, OTHER_SALT)) == "bad-opening"


def test_a_service_that_sees_it_would_fail_and_falls_silent_is_recorded(blind: BlindWorld) -> None:
    blind.revealed(wrong=range(6)).expired()
    assert blind.record.phase == "expired"
    assert blind.record.awaited == "service"
    assert blind_counts(blind.world.view, blind.service, MODEL)[blind.requester].unopened == 1


def test_a_requester_that_wants_the_answers_without_revealing_is_recorded(blind: BlindWorld) -> None:
    blind.answered().expired()
    assert blind.record.awaited == "requester"
    assert blind_counts(blind.world.view, blind.service, MODEL)[blind.requester].unrevealed == 1


def test_a_service_that_never_answers_is_recorded(blind: BlindWorld) -> None:
    blind.opened().expired()
    assert blind.record.awaited == "service"
    assert blind_counts(blind.world.view, blind.service, MODEL)[blind.requester].unanswered == 1


def test_a_test_is_not_ended_before_its_deadline_to_put_blame_on_somebody(blind: BlindWorld) -> None:
    blind.answered()
    assert blind.world.refuse(blind.service, ExpireBlindTest(blind.test)) == "too-early"
    blind.world.clock.now_ms = blind.record.deadline_ms
    assert blind.world.refuse(blind.service, ExpireBlindTest(blind.test)) == "too-early"


def test_a_blind_test_cannot_be_replayed_whole_or_with_cases_used_before(blind: BlindWorld) -> None:
    blind.decided()
    first = blind.opening()
    assert blind.world.refuse(blind.requester, first) == "test-exists"
    again = replace(first, test=b"another test id!")
    assert blind.world.refuse(blind.requester, again) == "case-used"
    assert (
        blind.world.refuse("gamma", replace(again, cases=(*first.cases[:1], sha256(b"x"), sha256(b"y")), num=0))
        == "case-used"
    )


def test_codes_of_another_test_or_another_ledger_do_not_open(blind: BlindWorld) -> None:
    blind.answered()
    other = BlindWorld(with_model(World.build(consortium="other"))).offered().answered()
    assert other.record.commitment != blind.record.commitment
    assert other.world.refuse(other.requester, RevealCodes(other.test, blind.codes, sha256(b"salt"))) == "bad-opening"
    second = BlindWorld(blind.world, test=b"a second test id").answered()
    assert blind.world.refuse(blind.requester, RevealCodes(second.test, blind.codes, SALT)) == "bad-opening"


def test_a_test_whose_threshold_a_perfect_service_might_miss_is_refused(blind: BlindWorld) -> None:
    blind.num, blind.den = 9, 10  # 10 diagnosed: 9 · 10 is not below 10 · 9
    assert blind.world.refuse(blind.requester, blind.opening()) == "threshold-too-high"
    blind.num = 8
    blind.world.accept(blind.requester, blind.opening())


def test_nobody_tests_itself_to_better_its_record(blind: BlindWorld) -> None:
    blind.requester = blind.service
    assert blind.world.refuse(blind.service, blind.opening()) == "own-service"


def test_a_service_is_not_drawn_into_a_test_that_it_did_not_offer(blind: BlindWorld) -> None:
    assert blind.world.refuse("beta", replace(blind.opening(), service="gamma")) == "not-offered"
    blind.world.accept(blind.service, OfferBlindTests(MODEL, False))
    assert blind.world.refuse("beta", blind.opening()) == "not-offered"
    assert blind.world.refuse("beta", OfferBlindTests(sha256(b"no model"), True)) == "no-such-model"


def test_a_requester_cannot_flood_a_service_with_tests_it_never_ends(blind: BlindWorld) -> None:
    for number in range(16):
        BlindWorld(blind.world, count=3, num=0, test=b"flood %10d" % number).opened()
    assert blind.world.refuse("beta", blind.opening()) == "too-many-tests"
    BlindWorld(blind.world, count=3, num=0, test=b"flood %10d" % 3).expired()
    blind.world.accept("beta", blind.opening())
    one_more = BlindWorld(blind.world, count=3, num=0, test=b"one more test !!")
    assert blind.world.refuse("beta", one_more.opening()) == "too-many-tests", "one that ended makes room for one"


def test_third_parties_can_neither_answer_nor_reveal_nor_open(blind: BlindWorld) -> None:
    blind.opened()
    for name in ("gamma", "user", blind.requester):
        assert blind.world.refuse(name, blind.answer()) == "not-yours"
    blind.world.accept(blind.service, blind.answer())
    for name in ("gamma", blind.service):
        assert blind.world.refuse(name, blind.reveal()) == "not-yours"
    blind.world.accept(blind.requester, blind.reveal())
    for name in ("gamma", blind.requester):
        assert blind.world.refuse(name, blind.open()) == "not-yours"


def test_what_comes_at_its_deadline_counts(blind: BlindWorld) -> None:
    blind.revealed()
    blind.world.clock.now_ms = blind.record.deadline_ms
    blind.world.accept(blind.service, blind.open())
    assert blind.record.phase == "passed"


def test_what_comes_after_its_deadline_does_not_count(blind: BlindWorld) -> None:
    blind.revealed()
    blind.world.clock.now_ms = blind.record.deadline_ms + 1
    assert blind.world.refuse(blind.service, blind.open()) == "too-late"


def test_codes_that_repeat_and_would_let_third_parties_group_the_diagnoses_are_refused(blind: BlindWorld) -> None:
    codes = (blind.codes[1], *blind.codes[1:])
    commitment = codes_commitment("requester", blind.world.view.chain, blind.test, blind.requester, codes, SALT)
    blind.world.accept(blind.requester, replace(blind.opening(), commitment=commitment))
    blind.world.accept(blind.service, blind.answer())
    assert blind.world.refuse(blind.requester, RevealCodes(blind.test, codes, SALT)) == "code-twice"


def test_a_test_with_too_few_too_many_or_repeated_cases_never_opens(blind: BlindWorld) -> None:
    opening = blind.opening()
    assert blind.world.refuse("beta", replace(opening, cases=(*opening.cases[:-1], opening.cases[0]))) == "case-twice"
    many = tuple(sha256(b"%d" % number) for number in range(258))
    for cases in (opening.cases[:2], many):
        with pytest.raises(InvalidInput):
            blind.world.sign("beta", replace(opening, cases=cases))


@pytest.mark.parametrize("wrong", range(12))
def test_a_verdict_is_passed_exactly_above_the_threshold(wrong: int) -> None:
    blind = BlindWorld(with_model(World.build())).offered().decided(wrong=range(wrong))
    equal_codes = 11 - wrong
    assert blind.record.equal_codes == equal_codes
    assert blind.record.phase == ("passed" if (equal_codes - 1) / 10 > 0.7 else "failed")
    counts = blind_counts(blind.world.view, blind.service, MODEL)["beta"]
    assert (counts.passed, counts.failed) == ((1, 0) if blind.record.phase == "passed" else (0, 1))
    assert (counts.equal_codes, counts.diagnosed) == (equal_codes, 10)


def test_a_pass_means_the_threshold_was_passed_on_diagnosed_images_whatever_the_decoy_says() -> None:
    """All places of x0, all numbers of equal codes: n over the diagnosed alone is above num · m / den in every pass."""
    for m in range(2, 40):
        for num in range(11):
            if num * m >= 10 * (m - 1):
                continue
            for n in range(m + 1):
                for decoy_agrees in (0, 1):
                    if (n + decoy_agrees - 1) * 10 > num * m:
                        assert n * 10 > num * m
            assert (m - 1) * 10 > num * m  # a perfect service passes though the decoy disagrees


def test_what_is_sealed_to_the_service_stays_readable_for_it(blind: BlindWorld) -> None:
    blind.opened()
    assert sealed_keys(blind.world.view, blind.test) == b"keys"
    assert sealed_keys(blind.world.view, b"another test id!") is None
