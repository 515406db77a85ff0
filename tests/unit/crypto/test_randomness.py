from __future__ import annotations

from medfed.crypto import seeded_entropy, system_entropy


def test_system_entropy_gives_fresh_bytes_of_the_length_asked_for() -> None:
    assert len(system_entropy(33)) == 33
    assert system_entropy(32) != system_entropy(32)


def test_one_seed_gives_one_stream_however_it_is_cut() -> None:
    whole = seeded_entropy(b"seed")(100)
    draw = seeded_entropy(b"seed")
    assert draw(1) + draw(0) + draw(70) + draw(29) == whole


def test_different_seeds_and_later_draws_differ() -> None:
    draw = seeded_entropy(b"a")
    assert len({draw(32), draw(32), seeded_entropy(b"b")(32), seeded_entropy(b"")(32)}) == 4
