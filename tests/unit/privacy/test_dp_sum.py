"""Private sums: what goes through the secure sum's own encoding, not a copy of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

from medfed.crypto import seeded_entropy
from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.privacy.dp_sum import Lattice, PrivateSum, choose_lattice, lattice_for, private_contribution
from medfed.privacy.events import GaussianSum
from medfed.privacy.renyi import guarantee
from medfed.secure_sum import Entry, Manifest, decode_sum, encode_vector, fixed_scale

PLAN = PrivateSum(length=2000, bound=16.0, clip=1.0, multiplier=0.5, hospitals=5, dropouts=1)
PLANS = [
    PLAN,
    structs.replace(PLAN, clip=0.01, multiplier=0.05),
    structs.replace(PLAN, clip=10.0, multiplier=3.0, length=7),
    structs.replace(PLAN, bound=1.0, hospitals=50, dropouts=16, length=100_000),
    structs.replace(PLAN, clip=1e-4, multiplier=0.1),
]
WEIGHTS = [100, 250, 50, 400, 200]


def _lattice(plan: PrivateSum) -> Lattice:
    return lattice_for(plan, choose_lattice(plan))


def _updates(length: int, size: float) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=length) * size / math.sqrt(length) for _ in WEIGHTS]


@pytest.mark.parametrize("plan", PLANS)
def test_the_noise_in_units_of_the_mean_is_what_the_plan_says_and_hardly_more(plan: PrivateSum) -> None:
    lattice = _lattice(plan)
    deviation = lattice.choice.step * math.sqrt(lattice.choice.variance) / lattice.scale
    assert 1 <= deviation / (plan.multiplier * plan.clip) < 1.01


@pytest.mark.parametrize("plan", PLANS)
def test_the_scale_is_the_one_that_the_secure_sum_uses(plan: PrivateSum) -> None:
    lattice = _lattice(plan)
    assert lattice.scale == fixed_scale(plan.bound, plan.hospitals, lattice.choice.noise_bound)
    assert lattice.shares.total_bound(plan.length) * lattice.choice.step <= lattice.choice.noise_bound


@pytest.mark.parametrize("size", [0.5, 30.0])
def test_each_contribution_on_the_wire_is_clipped_exactly_and_lies_on_the_lattice(size: float) -> None:
    lattice = _lattice(PLAN)
    manifest = Manifest(entries=(Entry(name="update", kind="fixed", length=PLAN.length, bound=PLAN.bound),))
    for x, part in zip(_updates(PLAN.length, size), WEIGHTS, strict=True):
        weight = (part, sum(WEIGHTS))
        sent = private_contribution(x, weight, PLAN, lattice, seeded_entropy(b"clip"))
        bound = lattice.choice.noise_bound
        wire, clipped = encode_vector(manifest, {"update": sent.values}, weight, 5, noise_bound=bound)
        whole = wire.view(np.int32).astype(np.int64)
        assert clipped == 0
        assert not (whole % lattice.choice.step).any()
        assert not (sent.noise % lattice.choice.step).any()
        steps = whole // lattice.choice.step
        assert int((steps * steps).sum()) <= lattice.norm_squared
        contribution = x * part / sum(WEIGHTS)
        wanted = contribution * min(1, PLAN.clip / float(np.linalg.norm(contribution)))
        assert np.abs(whole / lattice.scale - wanted).max() <= 1.001 * lattice.choice.step / lattice.scale


def test_the_sum_through_the_wire_is_the_mean_of_the_clipped_updates_and_the_noise() -> None:
    lattice = _lattice(PLAN)
    manifest = Manifest(entries=(Entry(name="update", kind="fixed", length=PLAN.length, bound=PLAN.bound),))
    total = np.zeros(PLAN.length, dtype=np.uint32)
    bound, everybody = lattice.choice.noise_bound, sum(WEIGHTS)
    noise = np.zeros(PLAN.length, dtype=np.int64)
    mean = np.zeros(PLAN.length)
    for number, (x, part) in enumerate(zip(_updates(PLAN.length, 0.5), WEIGHTS, strict=True)):
        weight = (part, everybody)
        sent = private_contribution(x, weight, PLAN, lattice, seeded_entropy(bytes([number])))
        wire, _ = encode_vector(
            manifest, {"update": sent.values}, weight, 5, noise={"update": sent.noise}, noise_bound=bound
        )
        total += wire
        noise += sent.noise
        mean += x * part / everybody
    decoded = decode_sum(manifest, total, (everybody, everybody), 5, noise_bound=bound)["update"]
    rounding = 5 * lattice.choice.step / lattice.scale
    np.testing.assert_allclose(decoded, mean + noise / lattice.scale, rtol=0, atol=rounding)
    # All five shares are in: 5/3 of the promised variance.
    expected = PLAN.multiplier * PLAN.clip * math.sqrt(5 / 3)
    assert float(np.std(decoded - mean)) == pytest.approx(expected, rel=0.08)


def test_a_private_sum_costs_hardly_more_than_gaussian_noise_of_the_same_size() -> None:
    ours = guarantee(_lattice(PLAN).event, 1e-5).epsilon
    gaussian = guarantee(GaussianSum(sigma=0.5, l2=1.0, unit="hospital"), 1e-5).epsilon
    # The bound for vectors is for whole orders, hence at most one order more.
    assert 0.999 * gaussian <= ours <= 1.05 * gaussian


def test_protecting_a_patient_counts_both_versions_of_the_data_at_every_hospital_attended() -> None:
    hospital = _lattice(PLAN).event
    patient = _lattice(structs.replace(PLAN, unit="patient", hospitals_attended=3)).event
    assert (hospital.unit, patient.unit) == ("hospital", "patient")
    assert patient.l2 == pytest.approx(6 * hospital.l2)
    assert patient.l1 == pytest.approx(6 * hospital.l1)


def test_values_on_the_edge_of_every_bound_do_not_pass_it() -> None:
    plan = structs.replace(PLAN, length=3, clip=16.0, multiplier=0.01)
    lattice = _lattice(plan)
    for x in ([16.0, 0.0, 0.0], [1e9, -1e9, 1e9], [-16.0, 16.0, 0.0], [0.0, 0.0, 0.0]):
        sent = private_contribution(np.array(x), (1, 1), plan, lattice, seeded_entropy(b"edge"))
        assert np.abs(sent.values).max() <= plan.bound
        steps = np.rint(sent.values * lattice.scale / lattice.choice.step).astype(np.int64)
        assert int((steps * steps).sum()) <= lattice.norm_squared


def test_a_plan_and_its_choice_survive_their_encoding() -> None:
    choice = choose_lattice(PLAN)
    assert decode(encode(PLAN), PrivateSum) == PLAN
    assert decode(encode(choice), type(choice)) == choice


def test_a_choice_with_less_noise_or_no_room_for_it_is_refused() -> None:
    choice = choose_lattice(PLAN)
    with pytest.raises(InvalidInput, match="less noise"):
        lattice_for(PLAN, structs.replace(choice, variance=choice.variance // 2))
    with pytest.raises(InvalidInput, match="less noise"):
        lattice_for(PLAN, structs.replace(choice, step=choice.step - 1))
    with pytest.raises(InvalidInput, match="may pass"):
        lattice_for(PLAN, structs.replace(choice, noise_bound=choice.noise_bound // 2, step=3 * choice.step))
    with pytest.raises(InvalidInput, match="does not fit"):
        lattice_for(PLAN, structs.replace(choice, noise_bound=2**31 - 1))


@pytest.mark.parametrize(
    "change",
    [
        {"multiplier": 1e-9},
        {"multiplier": 1e6},
        {"clip": 0.0},
        {"bound": math.inf},
        {"multiplier": math.nan},
        {"length": 0},
        {"hospitals_attended": 6},
        {"dropouts": 4},
        {"colluding": 0},
    ],
)
def test_plans_that_cannot_be_kept_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        choose_lattice(structs.replace(PLAN, **change))


@pytest.mark.parametrize(
    ("values", "weight"),
    [
        (np.zeros(1999), (1, 2)),
        (np.zeros(2000, dtype=np.int64), (1, 2)),
        (np.full(2000, np.nan), (1, 2)),
        (np.full(2000, np.inf), (1, 2)),
        (np.zeros(2000), (3, 2)),
        (np.zeros(2000), (0, 2)),
    ],
)
def test_values_and_weights_that_are_none_are_refused(values: NDArray[np.float64], weight: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput):
        private_contribution(values, weight, PLAN, _lattice(PLAN), seeded_entropy(b""))
