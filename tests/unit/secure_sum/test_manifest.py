from __future__ import annotations

from typing import Any

import pytest

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.secure_sum import Entry, Manifest, check_hospitals

MANIFEST = Manifest(
    (Entry("weights", "fixed", 10, 16), Entry("patients", "count", 3, 2**52 - 1, 2), Entry("votes", "noisy", 4, 100))
)


def test_entries_follow_each_other_and_limbs_take_room() -> None:
    assert MANIFEST.offsets == {"weights": 0, "patients": 10, "votes": 16}
    assert MANIFEST.length == 20


def test_the_digest_depends_on_everything() -> None:
    def one(**change: Any) -> Manifest:
        return Manifest((Entry(**{"name": "a", "kind": "count", "length": 5, "bound": 7, "limbs": 1, **change}),))

    variants = [
        one(),
        one(name="b"),
        one(kind="noisy"),
        one(kind="fixed"),
        one(length=6),
        one(bound=8),
        one(limbs=2),
        Manifest(MANIFEST.entries),
        Manifest(MANIFEST.entries[::-1]),
    ]
    assert len({manifest.digest for manifest in variants}) == len(variants)


def test_a_bound_means_the_same_as_integer_or_float() -> None:
    assert Entry("a", "fixed", 1, 16) == Entry("a", "fixed", 1, 16.0)
    assert encode(Entry("a", "fixed", 1, 16)) == encode(Entry("a", "fixed", 1, 16.0))
    assert encode(Entry("a", "count", 1, 16.0)) == encode(Entry("a", "count", 1, 16))


def test_entries_are_kept_as_they_are_given_and_cannot_be_changed_later() -> None:
    given = [Entry("a", "count", 1, 1)]
    manifest = Manifest(given)  # type: ignore[arg-type]
    given.append(Entry("b", "count", 1, 1))
    assert manifest.entries == (Entry("a", "count", 1, 1),)


def test_a_manifest_survives_encoding() -> None:
    again = decode(encode(MANIFEST), Manifest)
    assert again == MANIFEST
    assert again.digest == MANIFEST.digest


@pytest.mark.parametrize(
    "fields",
    [
        ("", "fixed", 1, 1.0),
        ("x" * 201, "fixed", 1, 1.0),
        ("a", "other", 1, 1.0),
        ("a", "fixed", 0, 1.0),
        ("a", "fixed", 2**28 + 1, 1.0),
        ("a", "fixed", 1, 0.0),
        ("a", "fixed", 1, -1.0),
        ("a", "fixed", 1, float("nan")),
        ("a", "fixed", 1, float("inf")),
        ("a", "fixed", 1, 1.0, 2),
        ("a", "count", 1, 0),
        ("a", "count", 1, 1.5),
        ("a", "count", 1, 2**32),
        ("a", "count", 1, 2**52, 2),
        ("a", "count", 1, 1, 3),
        ("a", "noisy", 1, 2**31),
        ("a", "noisy", 1, 1, 2),
    ],
)
def test_a_bad_entry_is_invalid_input(fields: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput, match="manifest entry"):
        Entry(*fields)


@pytest.mark.parametrize("kind", ["fixed", "count", "noisy"])
@pytest.mark.parametrize("bound", [float("inf"), -float("inf"), float("nan")])
def test_a_bound_must_be_finite(kind: Any, bound: float) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        Entry("a", kind, 1, bound)


def test_bad_bytes_are_invalid_input_too() -> None:
    data = encode(("medfed", 1))
    with pytest.raises(InvalidInput):
        decode(data, Manifest)
    good = encode(Entry("a", "count", 1, 5))
    with pytest.raises(InvalidInput):
        decode(good.replace(encode("count"), encode("coent")), Entry)


def test_a_bad_manifest_is_invalid_input() -> None:
    with pytest.raises(InvalidInput, match="1 to 10,000"):
        Manifest(())
    with pytest.raises(InvalidInput, match="distinct"):
        Manifest((Entry("a", "count", 1, 1), Entry("a", "count", 1, 1)))
    with pytest.raises(InvalidInput, match="elements"):
        Manifest((Entry("a", "fixed", 2**28, 1.0), Entry("b", "count", 1, 1)))


@pytest.mark.parametrize(
    ("kind", "largest"), [("count", (2**32 - 1) // 50), ("noisy", (2**31 - 1) // 50)], ids=["count", "noisy"]
)
def test_a_sum_that_could_wrap_is_refused_and_the_largest_that_cannot_is_not(kind: Any, largest: int) -> None:
    check_hospitals(Manifest((Entry("a", kind, 1, largest),)), 50)
    with pytest.raises(InvalidInput, match=f"at most {largest} for 50 hospitals"):
        check_hospitals(Manifest((Entry("a", kind, 1, largest + 1),)), 50)


@pytest.mark.parametrize("hospitals", [0, 51, -1])
def test_the_number_of_hospitals_is_bounded(hospitals: int) -> None:
    with pytest.raises(InvalidInput, match="hospitals"):
        check_hospitals(MANIFEST, hospitals)


@pytest.mark.parametrize(
    "fields",
    [
        ("x" * 200, "fixed", 1, 1.0),
        ("a", "fixed", 2**28, 1e9),
        ("a", "fixed", 1, 5e-324),
        ("a", "count", 1, 1),
        ("a", "count", 1, 2**32 - 1),
        ("a", "count", 1, 1, 2),
        ("a", "count", 1, 2**52 - 1, 2),
        ("a", "noisy", 1, 1),
        ("a", "noisy", 1, 2**31 - 1),
    ],
)
def test_an_entry_at_a_limit_is_taken(fields: tuple[Any, ...]) -> None:
    entry = Entry(*fields)
    assert (entry.name, entry.bound) == (fields[0], fields[3])


def test_a_clip_beyond_a_thousand_million_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"bound above 0, up to 1e\+09"):
        Entry("a", "fixed", 1, 1e9 + 1)


def test_a_manifest_has_up_to_ten_thousand_entries() -> None:
    entries = tuple(Entry(str(n), "count", 1, 1) for n in range(10_001))
    assert Manifest(entries[1:]).length == 10_000
    with pytest.raises(InvalidInput, match="found 10001"):
        Manifest(entries)


def test_a_manifest_has_up_to_two_to_the_28_elements_limbs_counted() -> None:
    assert Manifest((Entry("a", "count", 2**27, 1, 2),)).length == 2**28
    with pytest.raises(InvalidInput, match=f"found {2**28 + 1}"):
        Manifest((Entry("a", "count", 2**27, 1, 2), Entry("b", "count", 1, 1)))


def test_the_name_that_stands_twice_is_said() -> None:
    with pytest.raises(InvalidInput, match="manifest entry b: expected distinct names"):
        Manifest(tuple(Entry(name, "count", 1, 1) for name in ("a", "b", "c", "b")))


@pytest.mark.parametrize(("kind", "most"), [("count", 2**32 - 1), ("noisy", 2**31 - 1)])
def test_a_sum_may_be_as_large_as_a_word_holds(kind: Any, most: int) -> None:
    check_hospitals(Manifest((Entry("a", kind, 1, most),)), 1)
    with pytest.raises(InvalidInput, match="for 2 hospitals"):
        check_hospitals(Manifest((Entry("a", kind, 1, most),)), 2)


def test_only_a_count_is_advised_to_take_two_limbs_and_with_two_no_sum_wraps() -> None:
    with pytest.raises(InvalidInput, match=r"; a count may take two limbs$"):
        check_hospitals(Manifest((Entry("a", "count", 1, 2**32 - 1),)), 50)
    with pytest.raises(InvalidInput, match=r"found 2147483647$"):
        check_hospitals(Manifest((Entry("a", "noisy", 1, 2**31 - 1),)), 50)
    check_hospitals(Manifest((Entry("a", "count", 1, 2**52 - 1, 2), Entry("b", "fixed", 1, 1e9))), 50)
