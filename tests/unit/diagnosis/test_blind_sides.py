"""A blind test through both sides: never an answer below the threshold, and x0 is found by chance only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from msgspec.structs import replace

from medfed.crypto import Entropy, SealingKey, seeded_entropy
from medfed.diagnosis.blind_odds import false_refusals, passes
from medfed.diagnosis.blind_sides import (
    BlindCase,
    Diagnosis,
    Prepared,
    answer_of,
    candidate_sets,
    choose_balanced,
    diagnosis_code,
    image_of,
    open_images,
    prepare_answer,
    prepare_test,
)
from medfed.errors import InvalidInput, Refused, Tampered
from medfed.identifiers import sha256
from medfed.ledger.contracts.blind_test import BlindTest, codes_commitment

CHAIN = sha256(b"chain")
MODEL = sha256(b"model")
KEY = SealingKey.generate(seeded_entropy(b"service"))
LABELS: tuple[Diagnosis, ...] = (("benign",), ("malignant",), ("normal",))


def _image(name: object) -> BlindCase:
    return BlindCase(f"png of {name}".encode(), "40x30 RGB")


@dataclass
class Run:
    """One test from mixing to verdict, with a service that is a function of what it truly is."""

    entropy: Entropy
    m: int = 30
    threshold: tuple[int, int] = (7, 10)

    def prepare(self) -> Prepared:
        self.truth = {_image(i).data: LABELS[i % 3] for i in range(self.m)}
        pool = [(_image(i), LABELS[i % 3]) for i in range(self.m)]
        self.unknown = _image("x0")
        self.truth[self.unknown.data] = LABELS[1]
        return prepare_test(
            chain=CHAIN,
            requester="beta",
            service="alpha",
            service_key=KEY.public,
            model=MODEL,
            diagnosed=pool,
            undiagnosed=self.unknown,
            threshold=self.threshold,
            phase_ms=1000,
            entropy=self.entropy,
        )

    def record(self, prepared: Prepared) -> BlindTest:
        body = prepared.body
        return BlindTest(
            body.test, "beta", "alpha", MODEL, body.cases, body.commitment, body.num, body.den, 1000, "open", 0
        )

    def decided(self, prepared: Prepared, wrong: set[int]) -> BlindTest:
        """What the contract makes of it; `wrong` are positions on which the service errs."""
        test = self.record(prepared)
        keys = open_images(KEY, CHAIN, test, prepared.body.sealed, prepared.blobs)
        said = [self.truth[image_of(keys, CHAIN, test.test, at, blob)] for at, blob in enumerate(prepared.blobs)]
        said = [LABELS[(LABELS.index(d) + 1) % 3] if at in wrong else d for at, d in enumerate(said)]
        answered = prepare_answer(keys, CHAIN, test, said, self.entropy)
        codes, secret = answered.secret.codes, prepared.secret
        assert codes_commitment("service", CHAIN, test.test, "alpha", codes, answered.secret.salt) == answered.digest
        assert codes_commitment("requester", CHAIN, test.test, "beta", secret.codes, secret.salt) == test.commitment
        test = replace(test, codes=secret.codes, answers=codes)
        verdict = passes(test.equal_codes, test.diagnosed, test.num, test.den)
        return replace(test, phase="passed" if verdict else "failed")


def test_a_good_service_answers_and_the_requester_reads_its_diagnosis_of_x0() -> None:
    run = Run(seeded_entropy(b"good"))
    prepared = run.prepare()
    assert answer_of(run.decided(prepared, set()), prepared.secret, CHAIN, LABELS) == ("malignant",)


def test_simulated_services_never_give_an_answer_below_the_threshold_and_fail_as_often_as_the_curve_says() -> None:
    rng = np.random.default_rng(2)
    for accuracy in (0.5, 0.75, 0.9):
        refused, runs = 0, 400
        for number in range(runs):
            run = Run(seeded_entropy(b"%d" % number), m=20)
            prepared = run.prepare()
            wrong = {at for at in range(21) if rng.random() >= accuracy}
            test = run.decided(prepared, wrong)
            answer = answer_of(test, prepared.secret, CHAIN, LABELS)
            right = sum(at not in wrong for at in range(21) if at != prepared.secret.undiagnosed)
            refused += answer is None
            if answer is not None:
                assert right * 10 > 7 * 20
        # The invented label is one of three, so a service agrees with it by a third, whatever its accuracy.
        expected = false_refusals(accuracy, 20, 7, 10, 1 / 3)
        assert abs(refused - runs * expected) < 4.5 * np.sqrt(runs * expected * (1 - expected)) + 1


@pytest.mark.slow
def test_a_service_that_guesses_x0_is_right_by_chance_only_over_ten_thousand_runs() -> None:
    runs, m = 10_000, 30
    places, first_largest, odd_code = Counter[int](), 0, 0
    for number in range(runs):
        run = Run(seeded_entropy(b"guess %d" % number), m=m)
        prepared = run.prepare()
        at = prepared.secret.undiagnosed
        places[at] += 1
        sizes = [len(blob) for blob in prepared.blobs]
        first_largest += sizes.index(max(sizes)) == at
        odd_code += min(range(m + 1), key=lambda i: prepared.body.cases[i]) == at
    chance = 1 / (m + 1)
    slack = 4.5 * np.sqrt(runs * chance * (1 - chance))
    for hits in (*(places[at] for at in range(m + 1)), first_largest, odd_code):
        assert abs(hits - runs * chance) < slack
    spread = sum((places[at] - runs * chance) ** 2 / (runs * chance) for at in range(m + 1))
    assert spread < m + 4.5 * np.sqrt(2 * m)  # χ² with m degrees of freedom


def test_all_encrypted_images_have_one_length_and_none_opens_elsewhere() -> None:
    run = Run(seeded_entropy(b"length"))
    prepared = run.prepare()
    assert len({len(blob) for blob in prepared.blobs}) == 1
    test = run.record(prepared)
    keys = open_images(KEY, CHAIN, test, prepared.body.sealed, prepared.blobs)
    with pytest.raises(InvalidInput):
        image_of(keys, CHAIN, test.test, 1, prepared.blobs[0])
    with pytest.raises(InvalidInput):
        open_images(KEY, bytes(32), test, prepared.body.sealed, prepared.blobs)
    with pytest.raises(InvalidInput):
        open_images(KEY, CHAIN, replace(test, requester="gamma"), prepared.body.sealed, prepared.blobs)
    with pytest.raises(InvalidInput):
        open_images(KEY, CHAIN, test, prepared.body.sealed, prepared.blobs[::-1])
    other = SealingKey.generate(seeded_entropy(b"other"))
    with pytest.raises(InvalidInput):
        open_images(other, CHAIN, test, prepared.body.sealed, prepared.blobs)


def test_false_is_all_that_a_failed_or_expired_test_gives() -> None:
    run = Run(seeded_entropy(b"bad"))
    prepared = run.prepare()
    failed = run.decided(prepared, set(range(12)))
    assert answer_of(failed, prepared.secret, CHAIN, LABELS) is None
    assert answer_of(replace(failed, phase="expired"), prepared.secret, CHAIN, LABELS) is None
    with pytest.raises(InvalidInput, match="no verdict"):
        answer_of(replace(failed, phase="revealed"), prepared.secret, CHAIN, LABELS)
    passed = run.decided(prepared, set())
    with pytest.raises(Tampered):
        answer_of(replace(passed, codes=passed.codes[::-1]), prepared.secret, CHAIN, LABELS)
    with pytest.raises(InvalidInput, match="none of the diagnoses"):
        answer_of(passed, prepared.secret, CHAIN, [("flu",)])


def _prepare(pool: list[tuple[BlindCase, Diagnosis]], unknown: BlindCase, threshold: tuple[int, int]) -> Prepared:
    return prepare_test(
        chain=CHAIN,
        requester="beta",
        service="alpha",
        service_key=KEY.public,
        model=MODEL,
        diagnosed=pool,
        undiagnosed=unknown,
        threshold=threshold,
        phase_ms=1000,
        entropy=seeded_entropy(b"x"),
    )


def test_a_set_on_which_guessing_passes_is_refused() -> None:
    pool = [(_image(i), LABELS[0]) for i in range(30)]
    with pytest.raises(Refused) as refusal:
        _prepare(pool, _image("x0"), (7, 10))
    assert refusal.value.code == "guessable"


def test_an_x0_that_stands_out_and_an_image_that_repeats_are_refused() -> None:
    pool = [(_image(i), LABELS[i % 3]) for i in range(30)]
    with pytest.raises(Refused) as refusal:
        _prepare(pool, BlindCase(b"larger", "80x60 RGB"), (7, 10))
    assert refusal.value.code == "odd-one-out"
    with pytest.raises(Refused) as refusal:
        _prepare(pool, pool[3][0], (7, 10))
    assert refusal.value.code == "image-twice"
    with pytest.raises(InvalidInput, match="cannot be passed"):
        _prepare(pool, _image("x0"), (29, 30))


def test_images_are_chosen_with_equally_many_of_each_diagnosis() -> None:
    diagnoses: list[Diagnosis] = [LABELS[0]] * 50 + [LABELS[1]] * 20 + [LABELS[2]] * 4
    chosen = choose_balanced(diagnoses, 24, seeded_entropy(b"choice"))
    counts = Counter(diagnoses[index] for index in chosen)
    assert len(set(chosen)) == 24
    assert sorted(counts.values()) == [4, 10, 10]
    with pytest.raises(InvalidInput, match="are needed"):
        choose_balanced(diagnoses, 75, seeded_entropy(b"choice"))


def test_codes_of_the_same_findings_in_any_order_are_equal_and_otherwise_all_different() -> None:
    key = bytes(32)
    assert diagnosis_code(key, CHAIN, b"t", 0, ("a", "b")) == diagnosis_code(key, CHAIN, b"t", 0, ("b", "a"))
    codes = {
        diagnosis_code(k, c, t, i, d)
        for k in (key, sha256(b"k"))
        for c in (CHAIN, MODEL)
        for t in (b"t", b"u")
        for i in (0, 1)
        for d in candidate_sets(("a", "b"))
    }
    assert len(codes) == 2 * 2 * 2 * 2 * 4
    with pytest.raises(InvalidInput, match="classes"):
        candidate_sets([str(number) for number in range(13)])
