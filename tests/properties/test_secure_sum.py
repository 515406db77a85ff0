"""Whoever drops out and whenever, the unmasked aggregate is the sum of the survivors' plain vectors, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.crypto import Entropy, hkdf_sha256, seeded_entropy
from medfed.crypto.escrow import Holder, make_escrow, open_escrow, open_share
from medfed.encoding import decode, encode
from medfed.secure_sum import (
    Entry,
    Manifest,
    decode_sum,
    encode_vector,
    fixed_scale,
    mask_sign,
    mask_update,
    pair_seed,
    ratchet,
    unmask_sum,
)

NAME = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)


Attempt = tuple[int, int]
"""Round and attempt."""


class Hospitals:
    """The pair secrets of one study, and what each hospital derives from them for an attempt."""

    def __init__(self, names: list[str], missing: set[tuple[str, str]], entropy: Entropy) -> None:
        self.names = sorted(names, key=str.encode)
        self.entropy = entropy
        self.secrets = {
            (lower, higher): entropy(32)
            for i, lower in enumerate(self.names)
            for higher in self.names[i + 1 :]
            if (lower, higher) not in missing
        }

    def pair(self, a: str, b: str) -> tuple[str, str]:
        return (a, b) if mask_sign(a, b) == 1 else (b, a)

    def neighbours(self, me: str, roster: list[str]) -> list[str]:
        return [other for other in roster if other != me and self.pair(me, other) in self.secrets]

    def seed(self, attempt: Attempt, a: str, b: str) -> bytes:
        lower, higher = self.pair(a, b)
        return pair_seed(
            self.secrets[lower, higher],
            chain=bytes(32),
            study=bytes(16),
            round=attempt[0],
            kind="training",
            attempt=attempt[1],
            lower=lower,
            higher=higher,
        )

    def signed_seeds(self, attempt: Attempt, me: str, others: list[str]) -> list[tuple[bytes, int]]:
        return [(self.seed(attempt, me, other), mask_sign(me, other)) for other in others]


@st.composite
def hospitals_of_a_study(draw: st.DrawFn) -> Hospitals:
    names = draw(st.lists(NAME, min_size=3, max_size=8, unique=True))
    entropy = seeded_entropy(draw(st.binary(max_size=8)))
    complete = Hospitals(names, set(), entropy)
    missing = draw(st.sets(st.sampled_from(sorted(complete.secrets)), max_size=len(names) // 3))
    return Hospitals(names, missing, entropy)


@settings(max_examples=80, deadline=None)
@given(hospitals_of_a_study(), st.integers(1, 40), st.integers(0, 3), st.integers(1, 3), st.data())
def test_the_aggregate_is_the_plain_sum_for_any_dropout_pattern_and_attempt(
    hospitals: Hospitals, length: int, r: int, attempts: int, data: st.DataObject
) -> None:
    for earlier in range(r):
        hospitals.secrets = {pair: ratchet(secret, earlier) for pair, secret in hospitals.secrets.items()}
    vectors = {name: np.frombuffer(hospitals.entropy(4 * length), dtype=np.uint32) for name in hospitals.names}
    roster = hospitals.names
    seen: set[bytes] = set()
    for number in range(attempts):
        attempt = (r, number)
        # Who lost every edge could not mask, and has left before this.
        able = [name for name in roster if hospitals.neighbours(name, roster)]
        selves = {name: hospitals.entropy(32) for name in able}
        updates = {
            name: mask_update(
                vectors[name],
                selves[name],
                hospitals.signed_seeds(attempt, name, hospitals.neighbours(name, able)),
            )
            for name in able
        }
        # No two attempts share a mask.
        masks = {(updates[name] - vectors[name]).tobytes() for name in updates}
        assert length < 3 or not masks & seen
        seen |= masks
        survivors = sorted(
            data.draw(st.sets(st.sampled_from(sorted(updates)), min_size=1), label="survivors"), key=str.encode
        )
        dropped = [name for name in able if name not in survivors]
        leftover = [
            seed
            for name in survivors
            for seed in hospitals.signed_seeds(attempt, name, hospitals.neighbours(name, dropped))
        ]
        total = unmask_sum([updates[n] for n in survivors], [selves[n] for n in survivors], leftover, length)
        plain = np.zeros(length, dtype=np.uint32)
        for name in survivors:
            plain += vectors[name]
        np.testing.assert_array_equal(total, plain)
        if len(survivors) >= 3:
            roster = survivors


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 8), st.integers(0, 2**32), st.data())
def test_a_survivor_that_falls_silent_is_replaced_by_the_threshold_of_share_holders(
    n: int, seed: int, data: st.DataObject
) -> None:
    names = [f"h{i}" for i in range(n)]
    entropy = seeded_entropy(seed.to_bytes(8, "big"))
    hospitals = Hospitals(names, set(), entropy)
    attempt = (1, 0)
    threshold = 2 if n == 3 else max(3, 2 * n // 3)
    selves = {name: entropy(32) for name in names}
    vectors = {name: np.frombuffer(entropy(40), dtype=np.uint32) for name in names}
    updates = {
        name: mask_update(
            vectors[name], selves[name], hospitals.signed_seeds(attempt, name, hospitals.neighbours(name, names))
        )
        for name in names
    }
    survivors = sorted(data.draw(st.sets(st.sampled_from(names), min_size=2), label="survivors"))
    dropped = [name for name in names if name not in survivors]
    silent = data.draw(st.sampled_from(survivors), label="silent")
    contents = (selves[silent], {name: hospitals.seed(attempt, silent, name) for name in dropped})
    context = encode(("test", attempt, silent))
    keys = {
        name: hkdf_sha256(hospitals.secrets[hospitals.pair(silent, name)], context) for name in names if name != silent
    }
    holders = tuple(Holder(name, names.index(name) + 1, key) for name, key in keys.items())
    escrow = make_escrow(encode(contents), threshold, holders, context, entropy)
    helping = data.draw(st.permutations(escrow.shares), label="order")[:threshold]
    shares = {names.index(s.holder) + 1: open_share(keys[s.holder], s, context) for s in helping}
    opened = open_escrow(escrow.ciphertext, shares, threshold, context)
    self_seed, pair_seeds = decode(opened, tuple[bytes, dict[str, bytes]])
    leftover = [(seed, mask_sign(silent, name)) for name, seed in pair_seeds.items()]
    for name in survivors:
        if name != silent:
            leftover += hospitals.signed_seeds(attempt, name, dropped)
    self_seeds = [self_seed if name == silent else selves[name] for name in survivors]
    total = unmask_sum([updates[name] for name in survivors], self_seeds, leftover, 10)
    np.testing.assert_array_equal(total, np.add.reduce([vectors[n] for n in survivors], dtype=np.uint32))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(3, 50),
    st.floats(1e-3, 1e6),
    st.integers(0, 2**32),
    st.data(),
)
def test_the_decoded_sum_is_right_for_any_clip_weights_and_survivors(
    n: int, clip: float, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    manifest = Manifest((Entry("w", "fixed", 5, clip), Entry("c", "count", 3, 2**40, 2), Entry("k", "count", 2, 10**6)))
    sizes = rng.integers(1, 10_000, n).tolist()
    whole = sum(sizes)
    survivors = data.draw(st.sets(st.integers(0, n - 1), min_size=1), label="survivors")
    w = rng.normal(scale=clip, size=(n, 5))
    c = rng.integers(0, 2**40, (n, 3), endpoint=True)
    k = rng.integers(0, 10**6, (n, 2), endpoint=True)
    total = np.zeros(manifest.length, dtype=np.uint32)
    clipped = 0
    for i in survivors:
        vector, count = encode_vector(manifest, {"w": w[i], "c": c[i], "k": k[i]}, (sizes[i], whole), n)
        total += vector
        clipped += count
    chosen = sorted(survivors)
    part = sum(sizes[i] for i in chosen)
    decoded = decode_sum(manifest, total, (part, whole), n)
    np.testing.assert_array_equal(decoded["c"], c[chosen].sum(axis=0))
    np.testing.assert_array_equal(decoded["k"], k[chosen].sum(axis=0))
    assert clipped == np.count_nonzero(np.abs(w[chosen]) > clip)
    mean = np.average(np.clip(w[chosen], -clip, clip), axis=0, weights=[sizes[i] for i in chosen])
    step = 1 / (fixed_scale(clip, n) * part / whole)
    np.testing.assert_allclose(decoded["w"], mean, rtol=1e-12, atol=0.51 * len(chosen) * step)
