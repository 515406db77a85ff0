from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfed.crypto import SHARE_BYTES, combine_shares, seeded_entropy, split_secret
from medfed.errors import InvalidInput

PRIME = 2**256 + 297
SECRET = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.integers(1, 8), st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, threshold: int, data: st.DataObject) -> None:
    indices = data.draw(
        st.lists(st.integers(1, 65536), min_size=threshold, max_size=threshold + 4, unique=True), label="indices"
    )
    shares = split_secret(secret, threshold, indices, seeded_entropy(secret))
    subset = data.draw(st.permutations(indices), label="order")[:threshold]
    assert combine_shares({index: shares[index] for index in subset}, threshold) == secret
    assert combine_shares(shares, threshold) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32], ids=["zero", "all ones"])
def test_the_extreme_secrets_are_shared(secret: bytes) -> None:
    shares = split_secret(secret, 3, range(1, 6), seeded_entropy(b"s"))
    for subset in itertools.combinations(shares.items(), 3):
        assert combine_shares(dict(subset), 3) == secret


def test_fewer_shares_are_refused() -> None:
    shares = split_secret(SECRET, 3, [1, 2, 3, 4], seeded_entropy(b"s"))
    with pytest.raises(InvalidInput, match="at least 3, found 2"):
        combine_shares({1: shares[1], 2: shares[2]}, 3)


@given(st.binary(min_size=32, max_size=32))
def test_one_share_short_every_secret_is_still_possible(other: bytes) -> None:
    """Threshold 2, a line: through the share held and any other secret runs a line that is just as likely."""
    share = int.from_bytes(split_secret(SECRET, 2, [1, 2], seeded_entropy(b"s"))[1], "big")
    slope = share - int.from_bytes(other, "big")
    fitting = ((int.from_bytes(other, "big") + 2 * slope) % PRIME).to_bytes(33, "big")
    assert combine_shares({1: share.to_bytes(33, "big"), 2: fitting}, 2) == other


def test_a_wrong_share_gives_another_secret_or_none() -> None:
    shares = split_secret(SECRET, 2, [1, 2, 3], seeded_entropy(b"s"))
    wrong = bytearray(shares[2])
    wrong[-1] ^= 1
    assert combine_shares({1: shares[1], 2: bytes(wrong)}, 2) != SECRET
    with pytest.raises(InvalidInput, match="belong together"):
        # The line through these two meets zero at 2^256, which is no 32 bytes.
        combine_shares({1: (2**256 + 1).to_bytes(33, "big"), 2: (2**256 + 2).to_bytes(33, "big")}, 2)


@pytest.mark.parametrize("share", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_a_malformed_or_out_of_range_share_is_refused(share: bytes) -> None:
    with pytest.raises(InvalidInput, match="share 2"):
        combine_shares({1: bytes(SHARE_BYTES), 2: share}, 2)


@pytest.mark.parametrize(
    ("secret", "threshold", "indices"),
    [
        (bytes(31), 2, [1, 2]),
        (SECRET, 0, [1, 2]),
        (SECRET, 3, [1, 2]),
        (SECRET, 2, [1, 1]),
        (SECRET, 2, [0, 1]),
        (SECRET, 2, [1, 65537]),
    ],
)
def test_bad_parameters_are_refused(secret: bytes, threshold: int, indices: list[int]) -> None:
    with pytest.raises(InvalidInput):
        split_secret(secret, threshold, indices, seeded_entropy(b"s"))


@pytest.mark.parametrize("shares", [{0: bytes(33), 1: bytes(33)}, {}])
def test_bad_combinations_are_refused(shares: dict[int, bytes]) -> None:
    with pytest.raises(InvalidInput):
        combine_shares(shares, 2)
    with pytest.raises(InvalidInput):
        combine_shares(shares, 0)


def test_the_field_is_prime_and_the_smallest_above_two_to_the_256() -> None:
    def is_probably_prime(n: int) -> bool:
        odd, twos = n - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for witness in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
            x = pow(witness, odd, n)
            if x in (1, n - 1):
                continue
            if not any((x := x * x % n) == n - 1 for _ in range(twos - 1)):
                return False
        return True

    assert is_probably_prime(PRIME)
    assert not any(is_probably_prime(2**256 + offset) for offset in range(1, 297, 2))
