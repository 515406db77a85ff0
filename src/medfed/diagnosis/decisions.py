"""The audit log of assisted diagnosis, and the way from an answer to a new case (second seed, steps 2 and 3).

answered -> decided -> followed up -> retained. Rules:
1. A decision is for an answer of this log and is made once; what it confirms is named, never taken from the answer.
2. A follow-up needs a decision, and the last one known counts; it lies not before the decision.
3. Only with a decision for a diagnosis and an acceptable course does a question become a case, marked `assisted`.
4. Entries are only appended. Each names the digest of the one before it, so that a changed or removed one shows.
5. Entries hold digests, case ids, codes and scores. What was asked is kept beside the log until it is retained or its
   patient withdraws consent, and can be erased without breaking the chain.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from medfed.encoding import Record, decode, digest_of, encode
from medfed.errors import InvalidInput, Refused, Tampered, Unavailable
from medfed.identifiers import Digest
from medfed.records.case import Case, Course, CourseStatus, Outcome, Treatment
from medfed.records.coding import Coding
from medfed.sqlite_errors import translated

if TYPE_CHECKING:
    from medfed.diagnosis.answer import Answer

__all__ = ["ACCEPTABLE", "Answered", "Decided", "Decisions", "Entry", "FollowedUp", "Reason", "Retained"]

ACCEPTABLE: Final[tuple[CourseStatus, ...]] = ("resolved", "improved")
_START: Final[Digest] = bytes(32)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, answer TEXT NOT NULL, digest BLOB NOT NULL, content BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS entry_of_answer ON entry (answer);
CREATE TABLE IF NOT EXISTS asked (answer TEXT PRIMARY KEY, patient TEXT NOT NULL, content BLOB NOT NULL) WITHOUT ROWID;
"""

Reason = Literal[
    "agrees", "clinical-picture", "new-finding", "contraindication", "patient-wish", "not-similar", "other"
]
User = Annotated[str, Meta(min_length=1, max_length=200)]


class Answered(Record, frozen=True, tag_field="type", tag="answered"):
    """What was shown. `cases` are ids with scores."""

    question: Digest
    model: Digest | None
    vocabulary: Digest
    library_revision: int
    cases: tuple[tuple[str, float], ...]
    diagnoses: tuple[tuple[Coding, float], ...]
    warnings: tuple[str, ...]


class Decided(Record, frozen=True, tag_field="type", tag="decided"):
    """What the doctor decided, and why."""

    decision: Literal["confirm", "adjust", "reject"]
    reason: Reason
    diagnoses: Annotated[tuple[Coding, ...], Meta(max_length=256)] = ()
    treatments: Annotated[tuple[Treatment, ...], Meta(max_length=256)] = ()


class FollowedUp(Record, frozen=True, tag_field="type", tag="followed-up"):
    """How it went."""

    course: CourseStatus
    known: int
    """UTC seconds at which the course was known."""


class Retained(Record, frozen=True, tag_field="type", tag="retained"):
    """The question became a case of the library."""

    case: str


Event = Answered | Decided | FollowedUp | Retained


class Entry(Record, frozen=True):
    """One line of the log."""

    number: int
    answer: str
    time: int
    user: User
    event: Event
    previous: Digest
    """Digest of the entry before; zeros for the first."""

    @property
    def digest(self) -> Digest:
        """Names the whole log up to here."""
        return digest_of("medfed/decision-entry", self)


class Decisions:
    """One site's log in one SQLite file, mode 0600."""

    def __init__(self, path: Path | None) -> None:
        """Open `path`, or make it; None keeps everything in memory.

        Raises:
            InvalidInput: it is no log. Unavailable: it cannot be opened. Tampered: it is damaged.
        """
        try:
            if path is not None:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise Unavailable(f"decisions: the log cannot be opened: {error.strerror}") from None
        with translated("decisions", "log"):
            self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=30.0)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def record_answer(self, answer: Answer, asked: Case) -> Entry:
        """Write down what was shown, and keep what was asked.

        Raises:
            InvalidInput: there is an answer of that identifier.
        """
        if any(True for _ in self.entries(answer.answer)):
            raise InvalidInput("answer: its identifier is in the log already")
        event = Answered(
            answer.question, answer.model, answer.vocabulary, answer.library_revision,
            tuple((one.case, one.score) for one in answer.cases),
            tuple((one.diagnosis, one.combined) for one in answer.diagnoses),
            tuple(code for code, _ in answer.warnings),
        )  # fmt: skip
        return self._append(answer.answer, answer.time, answer.user, event, asked)

    def decide(self, answer: str, decided: Decided, *, user: str, time: int) -> Entry:
        """Write down a decision.

        Raises:
            InvalidInput: no such answer, or a confirmation that names nothing. Refused: "decided-before".
        """
        self._need(answer)
        if self._last(answer, Decided) is not None:
            raise Refused("decided-before", "answer: it was decided; a decision is made once")
        if decided.decision != "reject" and not decided.diagnoses:
            raise InvalidInput("decision: name the diagnosis that is confirmed; nothing is taken from the answer")
        return self._append(answer, time, user, decided)

    def follow_up(self, answer: str, followed: FollowedUp, *, user: str, time: int) -> Entry:
        """Write down how it went.

        Raises:
            InvalidInput: no such answer, or a time before the decision or to come.
            Refused: "not-decided", or "retained" where it is a case already.
        """
        self._need(answer)
        decided = self._last(answer, Decided)
        if decided is None:
            raise Refused("not-decided", "answer: nobody has decided on it yet")
        if self._last(answer, Retained) is not None:
            raise Refused("retained", "answer: it is a case of the library already")
        if not decided.time <= followed.known <= time:
            raise InvalidInput("follow-up: expected a time between the decision and now")
        return self._append(answer, time, user, followed)

    def new_case(self, answer: str) -> Case | None:
        """The case that an answer has become, to be put into the library; None while rule 3 does not hold.

        Raises:
            InvalidInput: no such answer.
        """
        self._need(answer)
        decided, followed = self._last(answer, Decided), self._last(answer, FollowedUp)
        rows = self._rows("SELECT content FROM asked WHERE answer = ?", answer)
        if decided is None or followed is None or not rows:
            return None
        choice, course = decided.event, followed.event
        if not isinstance(choice, Decided) or not isinstance(course, FollowedUp):
            raise Tampered("decisions: an entry is not what its place says")
        if not choice.diagnoses or course.course not in ACCEPTABLE:
            return None
        outcome = Outcome(choice.diagnoses, (), choice.treatments, Course(course.course, course.known))
        try:
            asked = decode(rows[0][0], Case)
        except InvalidInput:
            raise Tampered("decisions: what was asked is damaged") from None
        return msgspec.structs.replace(asked, outcome=outcome, assisted=True)

    def retain(self, answer: str, case: str, *, user: str, time: int) -> Entry:
        """Write down that the library holds the case, and let go of what was asked.

        Raises:
            InvalidInput: no such answer. Refused: "not-followed-up".
        """
        if self.new_case(answer) is None:
            raise Refused("not-followed-up", "answer: no diagnosis was decided, or no acceptable course is known")
        return self._append(answer, time, user, Retained(case), None)

    def erase(self, patient: str) -> int:
        """Erase what was asked about a patient; how many questions went. The log stays, and holds nothing asked."""
        with translated("decisions", "log"):
            gone = self._db.execute("DELETE FROM asked WHERE patient = ?", (patient,)).rowcount
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(gone)

    def entries(self, answer: str | None = None) -> Iterator[Entry]:
        """The log in order, or the lines about one answer."""
        where, values = ("", ()) if answer is None else (" WHERE answer = ?", (answer,))
        for digest, content in self._rows(f"SELECT digest, content FROM entry{where} ORDER BY number", *values):  # noqa: S608 - constants
            try:
                entry = decode(content, Entry)
            except InvalidInput:
                raise Tampered("decisions: an entry is damaged") from None
            if entry.digest != digest:
                raise Tampered(f"decisions: entry {entry.number} is not what was written")
            yield entry

    def verify(self) -> tuple[int, Digest]:
        """How many entries there are, and the digest of the last, which whoever keeps it can compare later.

        Raises:
            Tampered: the chain is broken.
        """
        count, previous = 0, _START
        for entry in self.entries():
            count += 1
            if entry.number != count or entry.previous != previous:
                raise Tampered(f"decisions: entry {count} does not follow the one before it")
            previous = entry.digest
        return count, previous

    def _append(self, answer: str, time: int, user: str, event: Event, asked: Case | None = None) -> Entry:
        with translated("decisions", "log"):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                entry = self._add(answer, time, user, event, asked)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        return entry

    def _add(self, answer: str, time: int, user: str, event: Event, asked: Case | None) -> Entry:
        row = self._db.execute("SELECT number, digest FROM entry ORDER BY number DESC LIMIT 1").fetchone()
        if row is not None and not isinstance(row[1], bytes):
            raise Tampered("decisions: an entry is damaged")
        number, previous = (int(row[0]) + 1, row[1]) if row else (1, _START)
        entry = decode(encode(Entry(number, answer, time, user, event, previous)), Entry)
        self._db.execute("INSERT INTO entry VALUES (?, ?, ?, ?)", (number, answer, entry.digest, encode(entry)))
        if asked is not None:
            self._db.execute("INSERT INTO asked VALUES (?, ?, ?)", (answer, asked.patient, encode(asked)))
        if isinstance(event, Retained):
            self._db.execute("DELETE FROM asked WHERE answer = ?", (answer,))
        return entry

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with translated("decisions", "log"):
            return self._db.execute(query, values).fetchall()

    def _last(self, answer: str, kind: type[Event]) -> Entry | None:
        found = [entry for entry in self.entries(answer) if isinstance(entry.event, kind)]
        return found[-1] if found else None

    def _need(self, answer: str) -> None:
        if next(self.entries(answer), None) is None:
            raise InvalidInput("answer: no such identifier in this site's log")
