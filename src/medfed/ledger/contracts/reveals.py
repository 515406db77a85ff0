"""The reveal phase: seeds come out, by their owners or from escrow, until the sum is public.

Rules:
1. Only survivors reveal, each once; the self seed must match its commitment, and the pair seeds are exactly those with
   the dropped.
2. Past the deadline the whole study roster owes its shares of the missing survivors' keys; a share must match the
   digest that the escrow's owner posted.
3. The threshold of shares opens the escrow. If it does not yield the committed self seed and the pair seeds with
   exactly the dropped, its owner is removed from the study and the round has failed.
4. Late reveals count until the round is done. At the limit the round has failed. Nothing revealed is ever voided.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from medfed.crypto.escrow import open_escrow, share_digest
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Refused
from medfed.identifiers import Digest, Name, StudyId, sha256
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.rounds import (
    Round,
    close_failed,
    close_released,
    dropped_of,
    escrow_threshold,
    need_round,
    put_round,
)
from medfed.ledger.contracts.studies import Study
from medfed.ledger.contracts.survivors import confirmation
from medfed.ledger.contracts.updates import submission
from medfed.ledger.state import Overlay, Reader, Table

__all__ = ["PairSeed", "RevealSeeds", "RevealShares", "Seeds", "escrow_context", "seeds"]

Seed = Annotated[bytes, Meta(min_length=32, max_length=32)]
RoundNumber = Annotated[int, Meta(ge=0)]


class PairSeed(Record):
    """The pair seed that the owner shares with one dropped hospital."""

    name: Name
    seed: Seed


class Seeds(Record):
    """What opens a survivor's masks: its self seed and its pair seeds with the dropped. Also what an escrow holds."""

    self_seed: Seed
    pair_seeds: tuple[PairSeed, ...]


class RevealSeeds(Record, tag_field="type", tag="reveal-seeds"):
    """My seeds of this attempt."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    self_seed: Seed
    pair_seeds: Annotated[tuple[PairSeed, ...], Meta(max_length=50)]


class OpenedShare(Record):
    """My share of `owner`'s escrow key."""

    owner: Name
    share: Annotated[bytes, Meta(min_length=33, max_length=33)]


class RevealShares(Record, tag_field="type", tag="reveal-shares"):
    """My shares of the keys of survivors that have not revealed in time."""

    study: StudyId
    round: RoundNumber
    attempt: RoundNumber
    shares: Annotated[tuple[OpenedShare, ...], Meta(min_length=1, max_length=50)]


_SEEDS: Final[Table[Seeds]] = Table("seeds", Seeds)
_SHARES: Final[Table[dict[str, bytes]]] = Table("shares", dict[str, bytes])


def seeds(reader: Reader, study: StudyId, round_number: int, attempt: int, who: Name) -> Seeds | None:
    """The seeds of `who` that are known, revealed or recovered."""
    return _SEEDS.get(reader, study, round_number, attempt, who)


def posted_shares(reader: Reader, study: StudyId, round_number: int, attempt: int, owner: Name) -> dict[Name, bytes]:
    """The shares of `owner`'s escrow key that holders have posted."""
    return _SHARES.get(reader, study, round_number, attempt, owner) or {}


def escrow_context(chain: Digest, study: StudyId, round_number: int, attempt: int, owner: Name) -> bytes:
    """What binds an escrow and its shares to one attempt and owner."""
    return encode(("medfed/escrow", chain, study, round_number, attempt, owner))


def apply_reveal_seeds(overlay: Overlay, call: Call, body: RevealSeeds) -> None:
    """Rules 1 and 4."""
    study, record = need_round(overlay, body.study, body.round, body.attempt, "reveal")
    if call.sender not in record.survivors:
        raise Refused("not-a-survivor", f"{call.sender} is not among the survivors")
    if call.sender in record.revealed:
        raise Refused("already-revealed", f"the seeds of {call.sender} are known")
    posted = Seeds(body.self_seed, body.pair_seeds)
    if not _fits(overlay, study, record, call.sender, posted):
        raise Refused("wrong-seeds", "the self seed or the list of pair seeds is not what was committed to")
    _enter(overlay, call, study, record, {call.sender: posted})


def apply_reveal_shares(overlay: Overlay, call: Call, body: RevealShares) -> None:
    """Rules 2 and 3."""
    study, record = need_round(overlay, body.study, body.round, body.attempt, "reveal")
    if not record.shares_due:
        raise Refused("too-early", "shares are due only past the reveal deadline")
    if call.sender not in study.roster:
        raise Refused("not-in-study", f"{call.sender} is not on the study roster")
    for entry in body.shares:
        _post_share(overlay, call, study, record, entry)
    outcomes = {entry.owner: _recover(overlay, call, study, record, entry.owner) for entry in body.shares}
    recovered = {name: found for name, found in outcomes.items() if isinstance(found, Seeds)}
    bad = [name for name, found in outcomes.items() if found == "bad"]
    if bad:
        _remove_escrow_owners(overlay, study, _with_seeds(overlay, study, record, recovered), bad)
    elif recovered:
        _enter(overlay, call, study, record, recovered)


def close_reveal(overlay: Overlay, call: Call, study: Study, record: Round) -> None:
    """The deadline has passed: first the shares become due, then the round has failed (rules 2 and 4)."""
    if record.shares_due:
        close_failed(overlay, study, record, "seeds-missing")
        return
    deadline = call.block.time_ms + study.terms.deadlines.reveal
    put_round(overlay, replace(record, shares_due=True, deadline_ms=deadline))


def _post_share(overlay: Overlay, call: Call, study: Study, record: Round, entry: OpenedShare) -> None:
    owner = entry.owner
    if owner not in record.survivors or owner in record.revealed:
        raise Refused("share-not-due", f"no share of {owner} is due")
    confirmed = confirmation(overlay, study.study, record.number, record.attempt, owner)
    expected = next(
        (share.digest for share in confirmed.shares if share.holder == call.sender) if confirmed else iter(()),
        None,
    )
    context = escrow_context(call.block.chain, study.study, record.number, record.attempt, owner)
    if expected is None or share_digest(context, call.sender, entry.share) != expected:
        raise Refused("wrong-share", f"this is not {call.sender}'s share of {owner}'s key")
    shares = posted_shares(overlay, study.study, record.number, record.attempt, owner)
    if call.sender in shares:
        raise Refused("already-posted", f"{call.sender} has posted its share of {owner}'s key")
    shares[call.sender] = entry.share
    _SHARES.put(overlay, shares, study.study, record.number, record.attempt, owner)


def _recover(overlay: Overlay, call: Call, study: Study, record: Round, owner: Name) -> Seeds | str | None:
    """The owner's seeds, "bad" if its escrow is proven wrong, or None while shares are missing."""
    shares = posted_shares(overlay, study.study, record.number, record.attempt, owner)
    threshold = escrow_threshold(study, owner)
    confirmed = confirmation(overlay, study.study, record.number, record.attempt, owner)
    if confirmed is None or len(shares) < threshold:
        return None
    context = escrow_context(call.block.chain, study.study, record.number, record.attempt, owner)
    by_index = {study.roster.index(holder) + 1: share for holder, share in shares.items()}
    try:
        opened = decode(open_escrow(confirmed.escrow, by_index, threshold, context), Seeds)
    except InvalidInput:
        return "bad"
    return opened if _fits(overlay, study, record, owner, opened) else "bad"


def _fits(overlay: Overlay, study: Study, record: Round, owner: Name, found: Seeds) -> bool:
    submitted = submission(overlay, study.study, record.number, record.attempt, owner)
    return (
        submitted is not None
        and sha256(found.self_seed) == submitted.seed_commitment
        and tuple(pair.name for pair in found.pair_seeds) == dropped_of(study, record, owner)
    )


def _enter(overlay: Overlay, call: Call, study: Study, record: Round, found: dict[Name, Seeds]) -> None:
    record = _with_seeds(overlay, study, record, found)
    if record.revealed == record.survivors:
        close_released(overlay, call, study, record)
    else:
        put_round(overlay, record)


def _with_seeds(overlay: Overlay, study: Study, record: Round, found: dict[Name, Seeds]) -> Round:
    for name, entry in found.items():
        _SEEDS.put(overlay, entry, study.study, record.number, record.attempt, name)
    return replace(record, revealed=tuple(sorted({*record.revealed, *found})))


def _remove_escrow_owners(overlay: Overlay, study: Study, record: Round, owners: list[Name]) -> None:
    study = replace(study, expelled=tuple(sorted({*study.expelled, *owners})))
    close_failed(overlay, study, record, "bad-escrow")
