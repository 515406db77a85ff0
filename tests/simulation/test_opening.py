"""The solver that says what a coalition can compute: held against the model's own algebra, and against real bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.support.symbolic_model import load_model, name_of, published_of

from medfed.identifiers import sha256
from medfed.secure_sum import mask_update
from medfed.simulation.opening import Escrowed, MaskedVector, Published, Release, broken_promises, derive
from medfed.simulation.witness import keystream

NAMES = ("a", "b", "c", "d")


def pair_seed(one: str, other: str, attempt: int) -> bytes:
    return sha256(f"{min(one, other)}{max(one, other)}{attempt}".encode())


def self_seed(name: str, attempt: int) -> bytes:
    return sha256(f"self {name}{attempt}".encode())


def published(attempts: dict[int, tuple[str, ...]]) -> Published:
    """Everybody's vectors in attempts of one round with these rosters."""
    found = Published()
    for attempt, roster in attempts.items():
        for name in roster:
            pairs = {
                other: (pair_seed(name, other, attempt), 1 if name < other else -1) for other in roster if other != name
            }
            vector = MaskedVector((name, 0, attempt), (name, b"x"), self_seed(name, attempt), pairs, bytes([attempt]))
            found.vectors[vector.attempt, vector.blob] = vector
    return found


def test_masked_vectors_alone_tell_nothing() -> None:
    assert derive(published({0: NAMES, 1: NAMES[1:]}), {"a"}) == []


def test_all_self_seeds_open_the_sum_over_all_and_nothing_else() -> None:
    facts = published({0: NAMES})
    facts.seeds |= {self_seed(name, 0) for name in NAMES}
    (found,) = derive(facts, {"a"})
    assert found.plain == {("b", b"x"): 1, ("c", b"x"): 1, ("d", b"x"): 1}
    assert broken_promises(facts, {"a"}) != []
    facts.releases[0, 0, frozenset(NAMES)] = Release(0, 0, frozenset(NAMES))
    assert broken_promises(facts, {"a"}) == []


def test_two_attempts_opened_over_survivors_that_differ_by_one_give_that_one_away() -> None:
    facts = published({0: NAMES, 1: NAMES[:3]})
    facts.seeds |= {self_seed(name, 0) for name in NAMES} | {self_seed(name, 1) for name in NAMES[:3]}
    for attempt, survivors in ((0, NAMES), (1, NAMES[:3])):
        facts.releases[0, attempt, frozenset(survivors)] = Release(0, attempt, frozenset(survivors))
    assert "not a released sum" in broken_promises(facts, {"a"})[0]


def test_one_statistic_released_in_two_rounds_over_different_survivors_gives_one_away() -> None:
    facts = Published()
    for number, survivors in ((0, NAMES), (1, NAMES[:3])):
        for name in survivors:
            pairs = {
                other: (pair_seed(name, other, number), 1 if name < other else -1)
                for other in survivors
                if other != name
            }
            vector = MaskedVector((name, number, 0), (name, b"same"), self_seed(name, number), pairs, b"blob")
            facts.vectors[vector.attempt, bytes([number])] = vector
            facts.seeds.add(vector.self_seed)
        facts.releases[number, 0, frozenset(survivors)] = Release(number, 0, frozenset(survivors))
    assert broken_promises(facts, {"a"}) == ["computes the vector of d alone from released sums"]
    assert broken_promises(facts, {"a"}, given_up={"d"}) == []


def test_an_escrow_opens_at_its_threshold_and_not_below() -> None:
    facts = published({0: NAMES})
    for name in NAMES:
        holders = frozenset(NAMES) - {name}
        facts.escrows.append(Escrowed((name, 0, 0), frozenset({self_seed(name, 0)}), holders, 3))
    assert derive(facts, {"a", "b"}) == []
    facts.shares["c", 0, 0] = {"d"}
    assert derive(facts, {"a", "b"}) == []
    facts.shares["d", 0, 0] = {"c"}
    (found,) = derive(facts, {"a", "b"})
    assert set(found.plain) == {("c", b"x"), ("d", b"x")}


def test_a_self_seed_used_in_two_attempts_is_one_unknown() -> None:
    facts = published({0: NAMES[:3], 1: NAMES[:3]})
    reused = {}
    for key, vector in facts.vectors.items():
        owner, _, attempt = vector.attempt
        pairs = {other: (pair_seed(owner, other, 0), sign) for other, (_, sign) in vector.pair_seeds.items()}
        plain = (owner, bytes([attempt]))
        reused[key] = MaskedVector(vector.attempt, plain, self_seed(owner, 0), pairs, vector.blob)
    facts.vectors = reused
    found = {frozenset(entry.plain.items()) for entry in derive(facts, set())}
    assert frozenset({(("b", b"\0"), -1), (("b", b"\1"), 1)}) in found


def test_a_released_sum_over_fewer_than_the_quorum_is_a_breach() -> None:
    facts = published({0: NAMES[:3]})
    facts.seeds |= {self_seed(name, 0) for name in NAMES[:3]}
    facts.releases[0, 0, frozenset(NAMES[:3])] = Release(0, 0, frozenset(NAMES[:3]))
    assert broken_promises(facts, set(), quorum=3) == []
    assert "fewer than the quorum" in broken_promises(facts, set(), quorum=4)[0]


def test_what_is_derived_comes_out_of_masked_bytes() -> None:
    rng = np.random.default_rng(3)
    facts = published({0: NAMES})
    known = {self_seed(name, 0) for name in NAMES}
    facts.seeds |= known
    plain = {name: rng.integers(0, 2**32, 50, dtype=np.uint32) for name in NAMES}
    masked = {
        vector.attempt[0]: mask_update(plain[vector.attempt[0]], vector.self_seed, list(vector.pair_seeds.values()))
        for vector in facts.vectors.values()
    }
    (found,) = derive(facts, set())
    total = np.zeros(50, dtype=np.uint32)
    for index, factor in found.rows.items():
        vector = list(facts.vectors.values())[index]
        assert factor == 1
        total += masked[vector.attempt[0]] - keystream(vector.self_seed, 50)
    assert np.array_equal(total, np.sum(list(plain.values()), axis=0, dtype=np.uint32))


READINGS = (
    {},
    {"threshold": 1},
    {"threshold": 2},
    {"quorum_of": "attempt"},
    {"same_x": True},
    {"vault_one_U": False},
    {"needs_all": False},
    {"silent": "absent", "holders": "study", "confirm_after_report": True},
    {"resume": True},
)


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: ",".join(map(str, reading.items())) or "as written")
@pytest.mark.parametrize(("n", "colluders", "branches"), [(4, 1, 1), (4, 1, 3), (5, 2, 3)])
def test_the_solver_and_the_model_agree_on_every_random_history(
    n: int, colluders: int, branches: int, reading: dict[str, object]
) -> None:
    model = load_model()
    rng = random.Random(f"{reading}{n}{branches}")
    coalition = frozenset(range(colluders))
    chosen = model.Reading(**reading)
    for _ in range(25):
        facts, edges, _ = model.random_run(rng, n, coalition, chosen, branches=branches)
        known = published_of(facts, edges, model.pair)
        names = {name_of(i) for i in coalition}
        theirs, mine = model.derive(facts, coalition, edges), derive(known, names)
        translated = [{("x", int(o[1:]), int(key)): v for (o, key), v in found.plain.items()} for found in mine]
        assert model.rank(theirs) == model.rank(translated) == model.rank(theirs + translated)
        broken = bool(model.violations(facts, coalition, edges, chosen.same_x))
        assert bool(broken_promises(known, names, quorum=0)) == broken


def test_the_solver_flags_every_variant_that_the_model_found_broken() -> None:
    """The model's exhaustive schedules, its own verdict replaced by ours."""
    model = load_model()
    seen: list[str] = []

    def ours(facts, coalition, edges, same_x):  # type: ignore[no-untyped-def]
        return broken_promises(published_of(facts, edges, model.pair), {name_of(i) for i in coalition}, quorum=0)

    model.violations = ours
    variants = {
        "threshold 1": (4, 1, model.Reading(threshold=1), {}),
        "quorum of the attempt": (5, 2, model.Reading(quorum_of="attempt"), {"attempts": 3}),
        "same vector twice": (4, 1, model.Reading(same_x=True), {"rounds": 2}),
        "threshold 2 and the operator": (4, 1, model.Reading(threshold=2), {"forks": 1}),
        "two survivor sets signed": (4, 1, model.Reading(vault_one_U=False), {"forks": 1, "rollback": frozenset([1])}),
    }
    for label, (n, colluders, reading, options) in variants.items():
        found, _ = model.explore(n, frozenset(range(colluders)), reading, **options)
        assert found, label
        seen.append(label)
    for n, colluders, options in ((4, 1, {}), (4, 1, {"forks": 1}), (5, 2, {})):
        assert model.explore(n, frozenset(range(colluders)), model.Reading(), **options)[0] is None
    assert len(seen) == 5
