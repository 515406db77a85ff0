"""Who belongs to the consortium, with which keys and in which role.

Rules:
1. A participant is proposed with a proof that it holds its key; more than two thirds of the active hospitals admit it.
2. Names are never given twice, also not after leaving.
3. A participant changes its own keys with its old key and a proof by the new one; no key is used by two participants.
4. Lost keys are replaced when more than two thirds of the *other* active hospitals ask for the same new keys.
5. A removal is decided by more than two thirds of the active hospitals without its target.
6. The last active hospital can neither leave nor be removed.
7. A change of rules is voted with a height that lies ahead; what a node does not know halts it there.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import replace

from medfed.crypto import is_valid_signature
from medfed.encoding import Record, digest_of, encode
from medfed.errors import Refused
from medfed.identifiers import Digest, Height, Name, Signature
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.voting import Ballot, cast_vote, standing
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "ChangeAddress",
    "Leave",
    "Participant",
    "ProposeParticipant",
    "ProposeRemoval",
    "ProposeUpgrade",
    "ReplaceKeys",
    "Role",
    "RotateKeys",
    "VoteOnParticipant",
    "VoteOnRemoval",
    "VoteOnUpgrade",
    "active_hospitals",
    "key_proof_message",
    "participant",
    "participants",
    "rules_at",
]

Role = Literal["hospital", "aggregator", "organiser", "auditor", "user"]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
SealingPublicKey = Annotated[bytes, Meta(min_length=1216, max_length=1216)]
Address = Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z0-9.:/_\[\]-]*\Z")]


class Participant(Record):
    """An organisation on the ledger."""

    name: Name
    role: Role
    signing_key: PublicKey
    sealing_key: SealingPublicKey
    address: Address = ""
    status: Literal["active", "left", "removed"] = "active"


class Proposal(Record):
    """A participant that waits for admission."""

    candidate: Participant
    ballot: Ballot


class KeyReplacement(Record):
    """New keys that others ask for on a participant's behalf."""

    signing_key: PublicKey
    sealing_key: SealingPublicKey
    askers: tuple[Name, ...]


class Upgrade(Record):
    """A change of rules that is being voted or has been decided."""

    rules: int
    height: Height
    ballot: Ballot


class ProposeParticipant(Record, tag_field="type", tag="propose-participant"):
    """Ask for the admission of a new participant; a hospital's proposal is also its yes."""

    name: Name
    role: Role
    signing_key: PublicKey
    sealing_key: SealingPublicKey
    address: Address
    proof: Signature


class VoteOnParticipant(Record, tag_field="type", tag="vote-on-participant"):
    """Vote on a proposed participant."""

    name: Name
    approve: bool


class RotateKeys(Record, tag_field="type", tag="rotate-keys"):
    """Change one's own keys."""

    signing_key: PublicKey
    sealing_key: SealingPublicKey
    proof: Signature


class ReplaceKeys(Record, tag_field="type", tag="replace-keys"):
    """Ask that a participant's lost or stolen keys be replaced by these."""

    name: Name
    signing_key: PublicKey
    sealing_key: SealingPublicKey
    proof: Signature


class ChangeAddress(Record, tag_field="type", tag="change-address"):
    """Say where one's blobs and node are found now."""

    address: Address


class Leave(Record, tag_field="type", tag="leave"):
    """Leave the consortium for good."""


class ProposeRemoval(Record, tag_field="type", tag="propose-removal"):
    """Ask that a participant be removed; a hospital's proposal is also its yes."""

    name: Name


class VoteOnRemoval(Record, tag_field="type", tag="vote-on-removal"):
    """Vote on a proposed removal."""

    name: Name
    approve: bool


class ProposeUpgrade(Record, tag_field="type", tag="propose-upgrade"):
    """Ask that the rules of this version hold from this height on."""

    rules: Annotated[int, Meta(ge=2, le=65_535)]
    height: Height


class VoteOnUpgrade(Record, tag_field="type", tag="vote-on-upgrade"):
    """Vote on a proposed change of rules."""

    rules: Annotated[int, Meta(ge=2, le=65_535)]
    approve: bool


_PARTICIPANTS: Final[Table[Participant]] = Table("participant", Participant)
_KEYS: Final[Table[str]] = Table("signing-key", str)
_PROPOSALS: Final[Table[Proposal]] = Table("participant-proposal", Proposal)
_REMOVALS: Final[Table[Ballot]] = Table("removal", Ballot)
_REPLACEMENTS: Final[Table[KeyReplacement]] = Table("key-replacement", KeyReplacement)
_UPGRADES: Final[Table[Upgrade]] = Table("upgrade", Upgrade)
_ROLL: Final[Table[tuple[Name, ...]]] = Table("active-hospitals", tuple[Name, ...])
_RULES: Final[Table[tuple[tuple[int, int], ...]]] = Table("rules", tuple[tuple[int, int], ...])


def participant(reader: Reader, name: str) -> Participant | None:
    """The participant of that name, active or not."""
    return _PARTICIPANTS.get(reader, name)


def participants(reader: Reader) -> list[Participant]:
    """Everybody who was ever admitted, by name."""
    return sorted((record for _, record in _PARTICIPANTS.rows(reader)), key=lambda record: record.name)


def active_hospitals(reader: Reader) -> tuple[Name, ...]:
    """The electorate: active hospitals, sorted."""
    return _ROLL.get(reader) or ()


def is_active(reader: Reader, name: Name) -> bool:
    """Whether `name` is an active participant of any role."""
    found = participant(reader, name)
    return found is not None and found.status == "active"


def rules_at(reader: Reader, height: Height) -> int:
    """The version of the rules that holds in block `height` (rule 7)."""
    version = 1
    for start, rules in _RULES.get(reader) or ():
        if start <= height:
            version = rules
    return version


def open_votes(reader: Reader) -> list[tuple[str, Ballot]]:
    """What the hospitals are voting on, in words for people, with the votes so far."""
    admissions = [(f"admit {r.candidate.name} as {r.candidate.role}", r.ballot) for _, r in _PROPOSALS.rows(reader)]
    removals = [(f"remove {key[0]}", ballot) for key, ballot in _REMOVALS.rows(reader)]
    keys = [(f"replace keys by {r.signing_key.hex()[:16]}", Ballot(r.askers)) for _, r in _REPLACEMENTS.rows(reader)]
    upgrades = [(f"rules {u.rules} from block {u.height}", u.ballot) for _, u in _UPGRADES.rows(reader)]
    return admissions + removals + keys + upgrades


def key_proof_message(chain: Digest, name: Name, signing_key: bytes, sealing_key: bytes) -> bytes:
    """What a new key signs to prove that its holder asks for `name` on this ledger."""
    return b"medfed/key-proof/1\0" + encode((chain, name, signing_key, sealing_key))


def founding_proof_message(
    consortium: Name, name: Name, role: Role, signing_key: bytes, sealing_key: bytes, address: str
) -> bytes:
    """What a founder's key signs, before there is a chain to name: which consortium it founds, as what, and where."""
    return b"medfed/founder/1\0" + encode((consortium, name, role, signing_key, sealing_key, address))


def admit(overlay: Overlay, new: Participant) -> None:
    """Enter a participant; used by the genesis and by a carried vote."""
    _PARTICIPANTS.put(overlay, new, new.name)
    _KEYS.put(overlay, new.name, new.signing_key)
    if new.role == "hospital":
        _ROLL.put(overlay, tuple(sorted((*active_hospitals(overlay), new.name))))


def apply_propose_participant(overlay: Overlay, call: Call, body: ProposeParticipant) -> None:
    """Rules 1, 2 and 3."""
    electorate, pending = active_hospitals(overlay), _PROPOSALS.get(overlay, body.name)
    outcome = standing(pending.ballot, electorate) if pending else "lost"
    if participant(overlay, body.name) or outcome == "open":
        raise Refused("name-taken", f"the name {body.name} is taken")
    if pending and outcome == "carried":  # by a departure: nobody may be left to cast the vote that settles it
        _settle_admission(overlay, pending)
        return
    _check_new_keys(overlay, call, body.name, body.signing_key, body.sealing_key, body.proof)
    candidate = Participant(body.name, body.role, body.signing_key, body.sealing_key, body.address)
    ballot = Ballot((call.sender,), ()) if call.sender in electorate else Ballot()
    _settle_admission(overlay, Proposal(candidate, ballot))


def apply_vote_on_participant(overlay: Overlay, call: Call, body: VoteOnParticipant) -> None:
    """Rule 1."""
    proposal = _PROPOSALS.get(overlay, body.name)
    if proposal is None:
        raise Refused("no-such-proposal", f"nobody named {body.name} is proposed")
    ballot = cast_vote(proposal.ballot, call.sender, body.approve, active_hospitals(overlay))
    _settle_admission(overlay, Proposal(proposal.candidate, ballot))


def apply_rotate_keys(overlay: Overlay, call: Call, body: RotateKeys) -> None:
    """Rule 3."""
    _check_new_keys(overlay, call, call.sender, body.signing_key, body.sealing_key, body.proof)
    _set_keys(overlay, call.sender, body.signing_key, body.sealing_key)


def apply_replace_keys(overlay: Overlay, call: Call, body: ReplaceKeys) -> None:
    """Rule 4: every asker sends the same body; the last one needed puts it into force."""
    target = _active_target(overlay, body.name)
    electorate = [name for name in active_hospitals(overlay) if name != target.name]
    if call.sender not in electorate:
        raise Refused("not-a-voter", f"{call.sender} has no vote on this")
    _check_new_keys(overlay, call, body.name, body.signing_key, body.sealing_key, body.proof)
    subject = digest_of("medfed/key-replacement", body.name, body.signing_key, body.sealing_key)
    so_far = _REPLACEMENTS.get(overlay, subject)
    ballot = cast_vote(Ballot(so_far.askers if so_far else ()), call.sender, True, electorate)
    if standing(ballot, electorate) == "carried":
        _REPLACEMENTS.delete(overlay, subject)
        _set_keys(overlay, body.name, body.signing_key, body.sealing_key)
    else:
        _REPLACEMENTS.put(overlay, KeyReplacement(body.signing_key, body.sealing_key, ballot.yes), subject)


def apply_change_address(overlay: Overlay, call: Call, body: ChangeAddress) -> None:
    """A participant's address is its own affair."""
    me = _active_target(overlay, call.sender)
    _PARTICIPANTS.put(overlay, replace(me, address=body.address), me.name)


def apply_leave(overlay: Overlay, call: Call, body: Leave) -> None:
    """Rule 6."""
    _retire(overlay, _active_target(overlay, call.sender), "left")


def apply_propose_removal(overlay: Overlay, call: Call, body: ProposeRemoval) -> None:
    """Rule 5."""
    target = _active_target(overlay, body.name)
    if target.name == call.sender:
        raise Refused("own-removal", "a participant leaves by leaving, not by a vote on itself")
    electorate, pending = _electorate_without(overlay, target.name), _REMOVALS.get(overlay, target.name)
    outcome = standing(pending, electorate) if pending else "lost"
    if outcome == "open":
        raise Refused("already-proposed", f"the removal of {target.name} is being voted")
    ballot = Ballot((call.sender,), ()) if call.sender in electorate else Ballot()
    # A departure may have carried the vote that is pending, with nobody left to cast the vote that settles it.
    _settle_removal(overlay, target, pending if pending and outcome == "carried" else ballot)


def apply_vote_on_removal(overlay: Overlay, call: Call, body: VoteOnRemoval) -> None:
    """Rule 5."""
    ballot = _REMOVALS.get(overlay, body.name)
    if ballot is None:
        raise Refused("no-such-proposal", f"no removal of {body.name} is proposed")
    target = _active_target(overlay, body.name)
    ballot = cast_vote(ballot, call.sender, body.approve, _electorate_without(overlay, target.name))
    _settle_removal(overlay, target, ballot)


def apply_propose_upgrade(overlay: Overlay, call: Call, body: ProposeUpgrade) -> None:
    """Rule 7."""
    if body.height <= call.block.height:
        raise Refused("height-passed", f"block {body.height} does not lie ahead")
    pending = _UPGRADES.get(overlay, body.rules)
    lies_ahead = pending is not None and pending.height > call.block.height  # else it can only lapse
    if body.rules <= rules_at(overlay, 2**53) or lies_ahead:
        raise Refused("already-proposed", f"rules {body.rules} are in force, decided or proposed")
    electorate = active_hospitals(overlay)
    ballot = Ballot((call.sender,), ()) if call.sender in electorate else Ballot()
    _settle_upgrade(overlay, call, Upgrade(body.rules, body.height, ballot))


def apply_vote_on_upgrade(overlay: Overlay, call: Call, body: VoteOnUpgrade) -> None:
    """Rule 7."""
    upgrade = _UPGRADES.get(overlay, body.rules)
    if upgrade is None:
        raise Refused("no-such-proposal", f"rules {body.rules} are not proposed")
    ballot = cast_vote(upgrade.ballot, call.sender, body.approve, active_hospitals(overlay))
    _settle_upgrade(overlay, call, Upgrade(upgrade.rules, upgrade.height, ballot))


def _settle_admission(overlay: Overlay, proposal: Proposal) -> None:
    name = proposal.candidate.name
    outcome = standing(proposal.ballot, active_hospitals(overlay))
    if outcome == "open":
        _PROPOSALS.put(overlay, proposal, name)
        return
    _PROPOSALS.delete(overlay, name)
    key_is_free = _KEYS.get(overlay, proposal.candidate.signing_key) is None
    if outcome == "carried" and key_is_free:  # another candidate may have come in with the same key meanwhile
        admit(overlay, proposal.candidate)


def _settle_removal(overlay: Overlay, target: Participant, ballot: Ballot) -> None:
    outcome = standing(ballot, _electorate_without(overlay, target.name))
    if outcome == "open":
        _REMOVALS.put(overlay, ballot, target.name)
        return
    _REMOVALS.delete(overlay, target.name)
    if outcome == "carried":
        _retire(overlay, target, "removed")


def _settle_upgrade(overlay: Overlay, call: Call, upgrade: Upgrade) -> None:
    outcome = standing(upgrade.ballot, active_hospitals(overlay))
    if outcome == "open":
        _UPGRADES.put(overlay, upgrade, upgrade.rules)
        return
    _UPGRADES.delete(overlay, upgrade.rules)
    if outcome == "carried" and upgrade.height > call.block.height:  # decided too late, it lapses
        _RULES.put(overlay, (*(_RULES.get(overlay) or ()), (upgrade.height, upgrade.rules)))


def _retire(overlay: Overlay, who: Participant, status: Literal["left", "removed"]) -> None:
    if who.role == "hospital":
        remaining = tuple(name for name in active_hospitals(overlay) if name != who.name)
        if not remaining:
            raise Refused("last-hospital", f"{who.name} is the last active hospital")
        _ROLL.put(overlay, remaining)
    _REMOVALS.delete(overlay, who.name)
    _PARTICIPANTS.put(overlay, replace(who, status=status), who.name)


def _check_new_keys(
    overlay: Overlay, call: Call, name: Name, signing_key: bytes, sealing_key: bytes, proof: bytes
) -> None:
    if _KEYS.get(overlay, signing_key) is not None:
        raise Refused("key-taken", "this signing key is or was in use on this ledger")
    message = key_proof_message(call.block.chain, name, signing_key, sealing_key)
    if not is_valid_signature(signing_key, message, proof):
        raise Refused("bad-key-proof", "the new signing key did not sign this request")


def _set_keys(overlay: Overlay, name: Name, signing_key: bytes, sealing_key: bytes) -> None:
    who = _active_target(overlay, name)
    _KEYS.put(overlay, name, signing_key)
    _PARTICIPANTS.put(overlay, replace(who, signing_key=signing_key, sealing_key=sealing_key), name)


def _active_target(overlay: Overlay, name: Name) -> Participant:
    found = participant(overlay, name)
    if found is None or found.status != "active":
        raise Refused("not-active", f"{name} is not an active participant")
    return found


def _electorate_without(overlay: Overlay, name: Name) -> list[Name]:
    return [other for other in active_hospitals(overlay) if other != name]
