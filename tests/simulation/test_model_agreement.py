"""The real contracts against the executable model of the protocol: the same schedules lead to the same places.

The model (`secure_sum_model.py` of the design) and the contracts get the same actions one by one; after each the phase,
the attempt, the roster, who submitted, survives, confirmed, reported and revealed, and the outcome must be the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Any

import pytest
from tests.support.symbolic_model import load_model, name_of

from medfed.crypto import seeded_entropy
from medfed.crypto.escrow import Holder, make_escrow, open_share
from medfed.encoding import encode
from medfed.errors import Refused
from medfed.identifiers import sha256
from medfed.ledger.contracts.context import BlockContext, Call
from medfed.ledger.contracts.deadlines import Advance, apply_advance
from medfed.ledger.contracts.membership import Participant, admit
from medfed.ledger.contracts.reveals import (
    OpenedShare,
    PairSeed,
    RevealSeeds,
    RevealShares,
    Seeds,
    apply_reveal_seeds,
    apply_reveal_shares,
    escrow_context,
)
from medfed.ledger.contracts.rounds import (
    Round,
    current_round,
    dropped_of,
    escrow_threshold,
    holders_of,
    open_round,
)
from medfed.ledger.contracts.studies import Study, put_study, study_record
from medfed.ledger.contracts.survivors import (
    ConfirmSurvivors,
    ReportMissing,
    apply_confirm_survivors,
    apply_report_missing,
)
from medfed.ledger.contracts.terms import Deadlines, Step, Terms
from medfed.ledger.contracts.updates import SubmitUpdate, apply_submit_update, survivors_digest
from medfed.ledger.state import Overlay, State

CHAIN = bytes(32)
STUDY = b"model agreement!"
PHASE_MS = 1_000


class Contracts:
    """The real contracts, driven with the model's actions over hospitals 0..n-1."""

    def __init__(self, n: int, *, rounds: int, attempts: int, lost: frozenset[frozenset[int]] = frozenset()) -> None:
        self.names = tuple(name_of(i) for i in range(n))
        self.overlay = Overlay(State())
        self.entropy = seeded_entropy(b"contracts")
        self.time = 1
        for i, name in enumerate(self.names):
            admit(self.overlay, Participant(name, "hospital", bytes([i]) * 32, bytes(1216)))
        steps = (Step("statistics"), Step("training", rounds - 1)) if rounds > 1 else (Step("statistics"),)
        deadlines = Deadlines(*([PHASE_MS] * 6), study=10**9)
        quorum = max(3, 2 * n // 3 + 1)
        terms = Terms(bytes(32), self.names, steps, quorum, 1, 10, attempts, self._base(0), deadlines)
        edges = tuple(sorted((name_of(min(edge)), name_of(max(edge))) for edge in lost))
        study = Study(
            STUDY, self.names[0], terms, bytes(32), "running", 0, 10**9, enrolled=self.names, sealed=self.names,
            ready=self.names, roster=self.names, lost_edges=edges, base=self._base(0),
        )  # fmt: skip
        put_study(self.overlay, study)
        open_round(self.overlay, self._call(0), study)
        self.shares: dict[tuple[str, int, int], dict[str, bytes]] = {}

    @property
    def study(self) -> Study:
        found = study_record(self.overlay, STUDY)
        assert found is not None
        return found

    @property
    def round(self) -> Round:
        found = current_round(self.overlay, self.study)
        assert found is not None
        return found

    def apply(self, action: tuple[Any, ...]) -> bool:
        """An action of the model: (kind, sender, r, a, payload). False: refused."""
        kind, i, r, a, payload = action
        place = (STUDY, r, a)
        if kind == "submit":
            return self._try(i, apply_submit_update, self._update(i, place))
        if kind == "confirm":
            body, shares = self._confirmation(i, place, *payload)
            accepted = self._try(i, apply_confirm_survivors, body)
            if accepted:
                self.shares[self.names[i], r, a] = shares
            return accepted
        if kind == "report":
            who = tuple(sorted(map(name_of, payload)))
            return self._try(i, apply_report_missing, ReportMissing(*place, who))
        if kind == "reveal":
            return self._try(i, apply_reveal_seeds, self._reveal(i, place))
        done = [self._try(i, apply_reveal_shares, self._share(i, o, place)) for o in sorted(payload)]
        return any(done)

    def advance(self) -> None:
        self.time += PHASE_MS + 1
        apply_advance(self.overlay, self._call(0), Advance(STUDY))

    def _try(self, i: int, handle: Any, body: Any) -> bool:
        attempt = Overlay(self.overlay)
        try:
            handle(attempt, self._call(i), body)
        except Refused:
            return False
        self.overlay.merge(attempt)
        return True

    def _call(self, i: int) -> Call:
        return Call(self.names[i], BlockContext(CHAIN, 1, self.time, self.names[0], 1))

    def _update(self, i: int, place: tuple[bytes, int, int]) -> SubmitUpdate:
        return SubmitUpdate(*place, self._base(place[1]), True, self._blob(i, place), 4, sha256(self._seed(i, place)))

    def _confirmation(self, i: int, place: tuple[bytes, int, int], U: frozenset[int], good: bool) -> Any:
        name, study = self.names[i], self.study
        context = escrow_context(CHAIN, *place, name)
        holders = tuple(Holder(h, study.roster.index(h) + 1, bytes(32)) for h in holders_of(study, name))
        contents = encode(self._seeds(i, place)) if good else b"garbage"
        escrow = make_escrow(contents, escrow_threshold(study, name), holders, context, self.entropy)
        shares = {share.holder: open_share(bytes(32), share, context) for share in escrow.shares}
        blobs = tuple((name_of(j), self._blob(j, place)) for j in sorted(U))
        body = ConfirmSurvivors(*place, survivors_digest(*place, blobs), escrow.ciphertext, escrow.shares)
        return body, shares

    def _reveal(self, i: int, place: tuple[bytes, int, int]) -> RevealSeeds:
        mine = self._seeds(i, place)
        return RevealSeeds(*place, mine.self_seed, mine.pair_seeds)

    def _share(self, i: int, owner: int, place: tuple[bytes, int, int]) -> RevealShares:
        share = self.shares.get((name_of(owner), place[1], place[2]), {}).get(name_of(i), bytes(33))
        return RevealShares(*place, (OpenedShare(name_of(owner), share),))

    def _seeds(self, i: int, place: tuple[bytes, int, int]) -> Seeds:
        pairs = tuple(PairSeed(d, bytes(32)) for d in dropped_of(self.study, self.round, self.names[i]))
        return Seeds(self._seed(i, place), pairs)

    @staticmethod
    def _base(r: int) -> bytes:
        return sha256(f"base {r}".encode())

    @staticmethod
    def _seed(i: int, place: tuple[bytes, int, int]) -> bytes:
        return sha256(encode(("seed", i, *place)))

    @staticmethod
    def _blob(i: int, place: tuple[bytes, int, int]) -> bytes:
        return sha256(encode(("blob", i, *place)))


def reading_in_force(model: Any, n: int) -> Any:
    """The rules of the page as they are now; the threshold is what `escrow_threshold` gives without lost edges."""
    threshold = min(max(3, 2 * n // 3 + 1), n - 1)
    return model.Reading(
        threshold=threshold, holders="study", confirm_after_report=True, relay=True, silent="absent"
    )  # fmt: skip


class Pair:
    """The model and the contracts side by side."""

    def __init__(self, model: Any, n: int, *, rounds: int = 1, attempts: int = 3) -> None:
        self.model = model
        self.n = n
        everybody = frozenset(range(n))
        self.theirs = model.Contract(n, model.all_edges(n), reading_in_force(model, n), everybody, attempts, rounds)
        self.ours = Contracts(n, rounds=rounds, attempts=attempts)
        self.trace: list[Any] = []

    def apply(self, action: tuple[Any, ...]) -> None:
        self.trace.append(action)
        is_known = name_of(action[1]) in self.ours.round.revealed
        expected, found = self.theirs.apply(action), self.ours.apply(action)
        # The contract also refuses what is there already: a share, or a reveal of what shares have opened.
        if action[0] != "shares" and not (action[0] == "reveal" and is_known):
            assert expected == found, (action, self.trace[-6:], self.ours.round.phase)
        self.check()

    def advance(self) -> None:
        self.trace.append("advance")
        self.theirs.advance()
        self.ours.advance()
        self.check()

    @property
    def is_over(self) -> bool:
        return self.theirs.phase in (self.model.PAUSED, self.model.DONE)

    def check(self) -> None:
        model, theirs, study, ours = self.model, self.theirs, self.ours.study, self.ours.round
        if study.pause_code == "bad-escrow" and theirs.phase == model.REVEAL:
            theirs.advance()  # the contract sees a bad escrow as soon as it opens, the model only that time is up
        if self.is_over:
            outcome = theirs.history[-1][3]
            expected = {"void": "unreleased", "failed": "failed", "done": "released"}[outcome]
            assert ours.phase == expected, self.trace
            assert study.phase == ("agreeing" if theirs.phase == model.DONE else "paused"), self.trace
            return
        phases = {model.SUBMIT: "update", model.CONFIRM: "confirm", model.REVEAL: "reveal"}
        assert (study.phase, ours.phase) == ("running", phases[theirs.phase]), self.trace
        assert (ours.number, ours.attempt) == (theirs.r, theirs.a), self.trace
        pairs = (
            (ours.roster, theirs.roster),
            (ours.submitted, theirs.submitted),
            (ours.tardy, theirs.tardy),
            (ours.survivors, theirs.U),
            (ours.confirmed, theirs.confirmed),
        )
        for mine, other in pairs:
            assert set(mine) == set(map(name_of, other)), self.trace
        assert set(ours.reports) == {(name_of(i), name_of(w)) for i, w in theirs.reports}, self.trace
        opened = {o for o in theirs.U if sum(x == o for _, x in theirs.shares) >= theirs.threshold()}
        assert set(ours.revealed) == set(map(name_of, theirs.revealed | opened)), self.trace
        assert ours.shares_due == theirs.late, self.trace


def random_action(pair: Pair, rng: random.Random) -> tuple[Any, ...] | None:
    """Something that somebody might do now, now and then out of place; None: the deadline passes."""
    c, model, i = pair.theirs, pair.model, rng.randrange(pair.n)
    r, a = (c.r, c.a) if rng.random() < 0.95 else (c.r, c.a + rng.choice((-1, 1)))
    roll = rng.random()
    if roll < 0.03 or (roll < 0.15 and c.phase == model.REVEAL):
        return None
    if rng.random() < 0.05:
        return ("submit" if i not in c.tardy else "reveal", i, r, a, None)
    if c.phase == model.SUBMIT:
        return ("submit", i, r, a, None)
    if c.phase == model.CONFIRM:
        if roll < 0.2 and i not in c.tardy:
            return ("submit", i, r, a, None)
        if roll < 0.4:
            others = sorted(c.U - {i})
            return ("report", i, r, a, frozenset(rng.sample(others, rng.randint(1, len(others)))))
        survivors = c.U if rng.random() < 0.95 else c.U ^ {i}
        return ("confirm", i, r, a, (survivors, rng.random() < 0.9))
    if c.late and roll < 0.6:
        owed = sorted(c.U - c.revealed - {i})
        return ("shares", i, r, a, frozenset(owed)) if owed else ("reveal", i, r, a, None)
    return ("reveal", i, r, a, None)


@pytest.mark.parametrize(("n", "rounds"), [(3, 1), (3, 2), (4, 1), (4, 2), (5, 2), (6, 2), (7, 1)])
def test_random_schedules_lead_the_contracts_where_they_lead_the_model(n: int, rounds: int) -> None:
    model = load_model()
    rng = random.Random(f"agreement {n} {rounds}")
    ends: dict[str, int] = {}
    for _ in range(250):
        pair = Pair(model, n, rounds=rounds)
        for _ in range(200):
            if pair.is_over:
                break
            action = random_action(pair, rng)
            if action is None:
                pair.advance()
            else:
                pair.apply(action)
        end = pair.theirs.history[-1][3] if pair.theirs.history else "open"
        ends[end] = ends.get(end, 0) + 1
    assert {"done", "void"} <= set(ends), ends
    assert ends.get("failed", 0) > 0, ends


@pytest.mark.parametrize("n", [3, 4])
def test_every_phase_level_schedule_of_one_attempt_leads_to_the_same_place(n: int) -> None:
    """Who submits in time, then each survivor confirms, lies in its escrow, reports one, or is silent; then reveals."""
    model = load_model()
    everybody = range(n)
    reached = 0
    for size in range(n + 1):
        for submitters in itertools.combinations(everybody, size):
            choices = [("silent", None), ("good", None), ("bad", None), *(("report", w) for w in submitters)]
            for acts in itertools.product(choices, repeat=size):
                reached += walk_attempt(Pair(model, n), submitters, acts)
                if size < max(3, 2 * n // 3 + 1):
                    break
    assert reached > 0


def walk_attempt(pair: Pair, submitters: tuple[int, ...], acts: tuple[tuple[str, int | None], ...]) -> int:
    for i in submitters:
        pair.apply(("submit", i, 0, 0, None))
    if pair.theirs.phase == pair.model.SUBMIT:
        pair.advance()
    if pair.is_over:
        return 0
    for i, (act, who) in zip(submitters, acts, strict=True):
        if act == "report" and who != i:
            pair.apply(("report", i, 0, 0, frozenset([who])))
        elif act in ("good", "bad"):
            pair.apply(("confirm", i, 0, 0, (pair.theirs.U, act == "good")))
    if pair.theirs.phase != pair.model.REVEAL:
        pair.advance()
        return 0
    for revealers in range(len(submitters) + 1):
        walk_reveal(pair, submitters, acts, revealers)
    return 1


def walk_reveal(
    pair: Pair, submitters: tuple[int, ...], acts: tuple[tuple[str, int | None], ...], revealers: int
) -> None:
    """The first `revealers` reveal in time, then everybody posts shares, then the rest comes late."""
    again = Pair(pair.model, pair.n)
    for action in pair.trace:
        if action == "advance":
            again.advance()
        else:
            again.apply(action)
    for i in submitters[:revealers]:
        again.apply(("reveal", i, 0, 0, None))
    if again.is_over:
        return
    again.advance()
    for i in range(again.n):
        owed = again.theirs.U - again.theirs.revealed - {i}
        if owed and not again.is_over:
            again.apply(("shares", i, 0, 0, frozenset(owed)))
    if not again.is_over:
        again.advance()
    assert again.is_over


def test_the_escrow_threshold_in_force_keeps_the_models_promises() -> None:
    """min(quorum, holders): rosters of exactly the quorum, and lost edges, which have a colluder at one end."""
    model = load_model()
    for invited, roster, colluders in ((3, 3, 1), (4, 3, 1), (5, 4, 2), (5, 5, 2)):
        quorum = max(3, 2 * invited // 3 + 1)
        model.quorum = lambda n, quorum=quorum: quorum
        coalition = frozenset(range(colluders))
        cuts = [frozenset(), *(frozenset([frozenset((0, j))]) for j in range(colluders, colluders + 2))]
        for cut in cuts:
            edges = model.all_edges(roster) - cut
            least = min(min(quorum, sum(i in edge for edge in edges)) for i in range(roster))
            reading = dataclasses.replace(reading_in_force(model, invited), threshold=least)
            for forks in (0, 1) if roster < 5 else (0,):
                found, _ = model.explore(roster, coalition, reading, edges, frozenset(range(roster)), forks=forks)
                assert found is None, (invited, roster, colluders, cut, forks, found)


@pytest.mark.parametrize(("n", "faulty"), [(4, 1), (5, 1), (7, 2)])
def test_the_escrow_threshold_in_force_lets_an_honest_quorum_finish_in_the_model(n: int, faulty: int) -> None:
    model = load_model()
    if n == 7:
        outcomes = model.liveness(n, frozenset(range(faulty)), reading_in_force(model, n))
    else:
        outcomes = model.liveness(n, frozenset(range(faulty)), reading_in_force(model, n), malicious=False)
    assert set(outcomes) == {"done"}, outcomes


def test_among_three_a_crash_after_confirming_is_recovered_by_the_two_others() -> None:
    model = load_model()
    outcomes = model.liveness(3, frozenset([0]), reading_in_force(model, 3))
    assert "done" in outcomes
    assert "failed" not in outcomes
