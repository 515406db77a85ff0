"""What the consortium has made or offers, by digest, each with a card.

Rules:
1. An artefact is registered with its kind and the digest of its card; the first to do so fixes both.
2. Whoever registers the same artefact with the same card afterwards endorses it; another card is refused.
3. A model names the completed study that made it, and only members of that study's roster register it.
4. Only whoever registered a dataset withdraws it; a withdrawn artefact stays readable as withdrawn.
"""

from __future__ import annotations

from typing import Final, Literal

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.studies import study_record
from medfed.ledger.state import Overlay, Reader, Table

__all__ = ["Artefact", "RegisterArtefact", "WithdrawDataset", "artefact", "artefacts"]

ArtefactKind = Literal["model", "dataset", "vocabulary", "case-library"]


class Artefact(Record):
    """A registered thing."""

    artefact: Digest
    kind: ArtefactKind
    card: Digest
    """The blob that says what it is, from which study and round, its metrics, intended use and limits."""
    registered_by: Name
    study: StudyId | None = None
    endorsers: tuple[Name, ...] = ()
    withdrawn: bool = False


class RegisterArtefact(Record, tag_field="type", tag="register-artefact"):
    """Register or endorse."""

    artefact: Digest
    kind: ArtefactKind
    card: Digest
    study: StudyId | None = None


class WithdrawDataset(Record, tag_field="type", tag="withdraw-dataset"):
    """Take a dataset back: nobody may start to use it from now on."""

    artefact: Digest


_ARTEFACTS: Final[Table[Artefact]] = Table("artefact", Artefact)


def artefact(reader: Reader, digest: Digest) -> Artefact | None:
    """The artefact of that digest."""
    return _ARTEFACTS.get(reader, digest)


def artefacts(reader: Reader) -> list[Artefact]:
    """All artefacts, by digest."""
    return [record for _, record in _ARTEFACTS.rows(reader)]


def apply_register_artefact(overlay: Overlay, call: Call, body: RegisterArtefact) -> None:
    """Rules 1 to 3."""
    _check_model_origin(overlay, call, body)
    known = artefact(overlay, body.artefact)
    if known is None:
        new = Artefact(body.artefact, body.kind, body.card, call.sender, body.study)
        _ARTEFACTS.put(overlay, new, body.artefact)
        return
    if (known.kind, known.card, known.study) != (body.kind, body.card, body.study):
        raise Refused("other-card", "this artefact is registered with another kind, card or study")
    if call.sender == known.registered_by or call.sender in known.endorsers:
        raise Refused("already-registered", f"{call.sender} has registered this artefact already")
    endorsed = Artefact(
        known.artefact,
        known.kind,
        known.card,
        known.registered_by,
        known.study,
        tuple(sorted((*known.endorsers, call.sender))),
        known.withdrawn,
    )
    _ARTEFACTS.put(overlay, endorsed, body.artefact)


def apply_withdraw_dataset(overlay: Overlay, call: Call, body: WithdrawDataset) -> None:
    """Rule 4."""
    known = artefact(overlay, body.artefact)
    if known is None or known.kind != "dataset":
        raise Refused("no-such-dataset", "no dataset of this digest is registered")
    if known.registered_by != call.sender:
        raise Refused("not-yours", f"the dataset belongs to {known.registered_by}")
    if known.withdrawn:
        raise Refused("already-withdrawn", "the dataset was withdrawn before")
    gone = Artefact(known.artefact, known.kind, known.card, known.registered_by, known.study, known.endorsers, True)
    _ARTEFACTS.put(overlay, gone, body.artefact)


def _check_model_origin(overlay: Overlay, call: Call, body: RegisterArtefact) -> None:
    if body.kind != "model":
        if body.study is not None:
            raise Refused("study-not-for-this", "only a model names the study that made it")
        return
    study = study_record(overlay, body.study) if body.study is not None else None
    if study is None or study.phase != "completed":
        raise Refused("no-completed-study", "a model comes from a completed study")
    if call.sender not in study.roster:
        raise Refused("not-in-study", f"{call.sender} was not in the study")
