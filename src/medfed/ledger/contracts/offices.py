"""The offices of a study whose updates are not masked: who holds keys, who aggregates, and their successors.

Where updates are encrypted, a key holder opens sums and others add. Where they are sealed, one aggregator opens and
aggregates: it is its own key holder, and its keys are the session keys that it issues.

| phase of the study | what is awaited | then |
|---|---|---|
| awaiting-key | `PublishEncryptionKey`, or `IssueSessionKeys` (`aggregates`) | running with a new round |
| awaiting-key | the deadline | paused, for a successor |
| paused | the quorum names the same successor | awaiting-key, or running with a new round |

Rules:
1. Who may hold an office is in `proposals`: no hospital of the study; where updates are encrypted, the key holder is
   never an aggregator.
2. When enrolment closes, who is enrolled is the study roster; rounds begin once the key holder has published a key.
3. Only the key holder publishes a key, once for each time that it comes to office. No key is ever used twice.
4. While the study is paused, the hospitals that decide on pauses name a successor for an office, each with one vote,
   which it may change. The quorum decides; the study then goes on by itself, with a new key if the key holder is new.
5. A refused sum retires the key: that one was refused tells whoever made it a little about the key, and no more than
   once.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, UnsetType
from msgspec.structs import replace

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.proposals import check_candidate
from medfed.ledger.contracts.studies import Study, need_study, pause, put_study, voters
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "Offices",
    "SuccessorVote",
    "VoteOnSuccessor",
    "await_key",
    "install_key",
    "is_encrypted",
    "is_masked",
    "is_sealed",
    "offices",
    "retire_key",
]


class SuccessorVote(Record):
    """One hospital's word on who follows whom."""

    voter: Name
    leaves: Name
    successor: Name


class Offices(Record):
    """Who holds which office now, and the key in use."""

    key_holder: Name
    aggregators: tuple[Name, ...]
    key: Digest | None = None
    """The digest of the public key's blob; None while the key holder has published none."""
    earlier_keys: tuple[Digest, ...] = ()
    votes: tuple[SuccessorVote, ...] = ()

    @property
    def holders(self) -> tuple[Name, ...]:
        """Everybody with an office, once."""
        return tuple(dict.fromkeys((self.key_holder, *self.aggregators)))


class VoteOnSuccessor(Record, tag_field="type", tag="vote-on-successor"):
    """Let `successor` follow `leaves` in its office."""

    study: StudyId
    leaves: Name
    successor: Name


class PublishEncryptionKey(Record, tag_field="type", tag="publish-encryption-key"):
    """The key holder's public key for this study, a blob."""

    study: StudyId
    key: Digest
    length: Annotated[int, Meta(ge=1, le=2**30)]


_OFFICES: Final[Table[Offices]] = Table("offices", Offices)


def is_encrypted(study: Study) -> bool:
    """Whether the study's updates are summed as ciphertexts."""
    return not isinstance(study.terms.ciphertexts, UnsetType)


def is_sealed(study: Study) -> bool:
    """Whether the study's updates are sealed to an aggregator that opens each."""
    return not isinstance(study.terms.sealed, UnsetType)


def is_masked(study: Study) -> bool:
    """Whether the study's updates are masked, which needs no office."""
    return not is_encrypted(study) and not is_sealed(study)


def offices(reader: Reader, study: Study) -> Offices | None:
    """Who holds which office; None in a study without offices."""
    ciphertexts, sealed = study.terms.ciphertexts, study.terms.sealed
    if not isinstance(sealed, UnsetType):
        return _OFFICES.get(reader, study.study) or Offices(sealed.aggregator, (sealed.aggregator,))
    if isinstance(ciphertexts, UnsetType):
        return None
    return _OFFICES.get(reader, study.study) or Offices(ciphertexts.key_holder, ciphertexts.aggregators)


def need_offices(reader: Reader, study: Study) -> Offices:
    """Who holds which office.

    Raises:
        Refused: `other-protection` in a study without offices.
    """
    found = offices(reader, study)
    if found is None:
        raise Refused("other-protection", "the plan protects updates in another way")
    return found


def await_key(overlay: Overlay, call: Call, study: Study) -> bool:
    """Rule 2: put the study into `awaiting-key` if it needs a key and has none; whether it did."""
    found = offices(overlay, study)
    if found is None or found.key is not None:
        return False
    deadline = call.block.time_ms + study.terms.deadlines.keying
    put_study(overlay, replace(study, phase="awaiting-key", deadline_ms=deadline))
    return True


def close_awaiting_key(overlay: Overlay, study: Study) -> None:
    """The deadline has passed without a key."""
    pause(overlay, study, "no-session-keys" if is_sealed(study) else "no-encryption-key")


def retire_key(overlay: Overlay, study: Study) -> None:
    """Rule 5: the key in use is not used again."""
    _OFFICES.put(overlay, replace(need_offices(overlay, study), key=None), study.study)


def enter_key(overlay: Overlay, call: Call, body: PublishEncryptionKey) -> Study:
    """Rule 3: the study with its new key, whose next round is to be opened."""
    study = need_study(overlay, body.study, "awaiting-key")
    if not is_encrypted(study):
        raise Refused("other-protection", "the plan protects updates in another way")
    if call.sender != need_offices(overlay, study).key_holder:
        raise Refused("not-the-key-holder", f"{call.sender} is not the study's key holder")
    return install_key(overlay, study, body.key)


def install_key(overlay: Overlay, study: Study, key: Digest) -> Study:
    """The study that runs with a key of its key holder, named by its digest."""
    found = need_offices(overlay, study)
    if key in found.earlier_keys:
        raise Refused("used-key", "this key was in use before")
    _OFFICES.put(overlay, replace(found, key=key, earlier_keys=(*found.earlier_keys, key)), study.study)
    return replace(study, phase="running")


def enter_successor_vote(overlay: Overlay, call: Call, body: VoteOnSuccessor) -> Study | None:
    """Rule 4: the study that goes on, or None while the quorum is not reached."""
    study = need_study(overlay, body.study, "paused")
    found = need_offices(overlay, study)
    electorate = voters(study)
    if call.sender not in electorate:
        raise Refused("not-in-study", f"{call.sender} has no vote on the study's offices")
    if body.leaves not in found.holders:
        raise Refused("no-such-office", f"{body.leaves} holds no office in the study")
    if body.successor in found.holders:
        raise Refused("bad-successor", f"{body.successor} holds an office already")
    check_candidate(overlay, body.successor, study.terms.invited, aggregator=body.leaves in found.aggregators)
    vote = SuccessorVote(call.sender, body.leaves, body.successor)
    votes = tuple(sorted((*(v for v in found.votes if v.voter != call.sender), vote), key=lambda v: v.voter))
    backers = {v.voter for v in votes if (v.leaves, v.successor) == (body.leaves, body.successor)}
    if len(electorate & backers) < study.terms.quorum:
        _OFFICES.put(overlay, replace(found, votes=votes), study.study)
        return None
    _OFFICES.put(overlay, _succeeded(found, body.leaves, body.successor), study.study)
    return replace(study, phase="running", pause_code="", resume_votes=(), abort_votes=())


def _succeeded(found: Offices, leaves: Name, successor: Name) -> Offices:
    aggregators = tuple(sorted(successor if name == leaves else name for name in found.aggregators))
    if leaves == found.key_holder:
        return replace(found, key_holder=successor, aggregators=aggregators, key=None, votes=())
    return replace(found, aggregators=aggregators, votes=())
