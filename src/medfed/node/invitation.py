"""The papers by which a consortium is founded and grows: charters, invitations, entries and founding files.

They travel by e-mail or on a stick between machines that share nothing. All are JSON that people can read; none holds a
secret. What a paper claims of a hospital is signed with that hospital's key, and what all must agree on has a digest.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from medfed.crypto import SigningKey, is_valid_signature
from medfed.encoding import Record, decode, digest_of, encode
from medfed.errors import InvalidInput, Refused, Unavailable, brief
from medfed.identifiers import Digest, Name, Signature, short
from medfed.input_file import read_input
from medfed.ledger.contracts.membership import PublicKey, Role, SealingPublicKey, key_proof_message
from medfed.ledger.genesis import Founder, Genesis, Policy, verify_genesis

__all__ = [
    "Candidate",
    "Charter",
    "Entry",
    "Founding",
    "Invitation",
    "LaterInvitation",
    "NodeAddress",
    "Seat",
    "address_message",
    "load_paper",
    "save_paper",
    "signed_address",
    "verify_candidate",
    "verify_charter",
    "verify_entry",
    "verify_node_address",
]

P = TypeVar("P", bound=Record)
_MAX_BYTES: Final = 4 << 20
_PEER: Final = r"^(?:[0-9a-f]{40}@(?:[A-Za-z0-9.-]{1,100}|\[[0-9A-Fa-f:.]{2,50}\]):[0-9]{1,5})?\Z"
PeerAddress = Annotated[str, Meta(max_length=160, pattern=_PEER)]
"""`id@host:port` of a node; empty where it can only call others and not be called."""


class Seat(Record):
    """Somebody who is to found the consortium, by name and role."""

    name: Name
    role: Role


class Charter(Record, dict=True):
    """What the founders are asked to agree to. Whoever convenes writes it; the keys come later, from each founder."""

    consortium: Name
    created_ms: Annotated[int, Meta(ge=0, lt=2**53)]
    seats: Annotated[tuple[Seat, ...], Meta(min_length=1, max_length=200)]
    """Sorted by name."""
    policy: Policy = Policy()

    @cached_property
    def digest(self) -> Digest:
        """What an entry answers to."""
        return digest_of("medfed/charter", self)


class Invitation(Record, tag_field="paper", tag="invitation"):
    """Asks one founder to enter."""

    charter: Charter
    name: Name
    """Whom this one is for."""


class NodeAddress(Record):
    """Where a participant's node is found by others, said by itself."""

    name: Name
    address: PeerAddress
    proof: Signature


class Entry(Record, tag_field="paper", tag="entry"):
    """A founder's answer: its public keys with their proof, and where its node is."""

    charter: Digest
    founder: Founder
    node: NodeAddress


class Founding(Record, tag_field="paper", tag="founding"):
    """The charter and all entries: the genesis follows from them."""

    charter: Charter
    entries: Annotated[tuple[Entry, ...], Meta(min_length=1, max_length=200)]

    def genesis(self) -> Genesis:
        """The genesis of this consortium, the same whoever computes it.

        Raises:
            InvalidInput: an entry does not belong, is missing, or does not prove its key.
        """
        verify_charter(self.charter)
        wanted = {seat.name: seat for seat in self.charter.seats}
        found: dict[Name, Entry] = {}
        for entry in self.entries:
            verify_entry(self.charter, entry)
            if entry.founder.name in found and found[entry.founder.name] != entry:
                raise InvalidInput(f"founding: two different entries of {entry.founder.name}")
            found[entry.founder.name] = entry
        missing = sorted(wanted.keys() - found.keys())
        if missing:
            raise InvalidInput(f"founding: the entries of {', '.join(missing)} are missing")
        founders = tuple(found[name].founder for name in sorted(found))
        genesis = Genesis(self.charter.consortium, self.charter.created_ms, founders, self.charter.policy)
        verify_genesis(genesis)
        return genesis


class LaterInvitation(Record, tag_field="paper", tag="later-invitation"):
    """Asks somebody into a consortium that exists, or back into it with new keys."""

    genesis: Genesis
    name: Name
    role: Role
    nodes: Annotated[tuple[PeerAddress, ...], Meta(max_length=200)]
    """Where to call the members."""


class Candidate(Record, tag_field="paper", tag="candidate"):
    """The answer to a later invitation: the keys that members are asked to admit, or to put in place of lost ones."""

    chain: Digest
    name: Name
    role: Role
    signing_key: PublicKey
    sealing_key: SealingPublicKey
    address: Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z0-9.:/_\[\]-]*\Z")]
    proof: Signature
    """By the signing key, over `key_proof_message`."""


_KINDS: Final[dict[type[Record], str]] = {
    Invitation: "an invitation to found a consortium",
    LaterInvitation: "an invitation into a consortium",
    Entry: "a founder's entry",
    Founding: "a founding file",
    Candidate: "a candidate's entry",
}


def address_message(scope: Digest, name: Name, address: str) -> bytes:
    """What a participant signs to say where its node is; `scope` is the charter's digest."""
    return b"medfed/node-address/1\0" + encode((scope, name, address))


def signed_address(scope: Digest, name: Name, address: str, key: SigningKey) -> NodeAddress:
    """Where a node is, with its owner's signature."""
    return NodeAddress(name, address, key.sign(address_message(scope, name, address)))


def verify_node_address(scope: Digest, found: NodeAddress, key: bytes) -> None:
    """Check that the owner of `key` said so.

    Raises:
        InvalidInput: it did not.
    """
    if not is_valid_signature(key, address_message(scope, found.name, found.address), found.proof):
        raise InvalidInput(f"the address of {found.name}'s node is not signed with its key")


def verify_charter(charter: Charter) -> None:
    """Check what a charter must hold before anybody answers it.

    Raises:
        InvalidInput: says what is wrong.
    """
    names = [seat.name for seat in charter.seats]
    if names != sorted(set(names)):
        raise InvalidInput("charter: founders must be sorted by name, each once")
    if not any(seat.role == "hospital" for seat in charter.seats):
        raise InvalidInput("charter: at least one founder must be a hospital")
    if charter.policy.seal != "signature":
        raise InvalidInput("charter: blocks of a network are sealed with signatures")


def verify_entry(charter: Charter, entry: Entry) -> None:
    """Check one entry against the charter. The founder's own proof is checked with the genesis.

    Raises:
        InvalidInput: says whose entry is wrong, and how.
    """
    founder = entry.founder
    if entry.charter != charter.digest:
        raise InvalidInput(f"the entry of {founder.name} answers another charter ({short(entry.charter)})")
    seat = next((one for one in charter.seats if one.name == founder.name), None)
    if seat is None or seat.role != founder.role or entry.node.name != founder.name:
        raise InvalidInput(f"the charter has no {founder.role} {founder.name}")
    verify_node_address(charter.digest, entry.node, founder.signing_key)


def verify_candidate(candidate: Candidate, chain: Digest) -> None:
    """Check that a candidate asks for this ledger and holds its key.

    Raises:
        InvalidInput: it does not.
    """
    if candidate.chain != chain:
        raise InvalidInput(f"{candidate.name} asks to enter another ledger ({short(candidate.chain)})")
    message = key_proof_message(chain, candidate.name, candidate.signing_key, candidate.sealing_key)
    if not is_valid_signature(candidate.signing_key, message, candidate.proof):
        raise InvalidInput(f"the entry of {candidate.name} is not signed with its key")


def save_paper(path: Path, paper: Record) -> None:
    """Write a paper to a new file; the very same one again is no error.

    Raises:
        Refused: `file-exists`. Unavailable: the file system would not write.
    """
    decode(encode(paper), type(paper))  # made from values, it has not passed its own bounds yet
    data = msgspec.json.format(msgspec.json.encode(paper), indent=1) + b"\n"
    try:
        if path.exists() and path.read_bytes() == data:
            return
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise Refused("file-exists", f"{path}: a file of this name exists") from None
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror or error}") from None


def load_paper(path: Path, *kinds: type[P]) -> P:
    """Read a paper of one of these kinds.

    Raises:
        InvalidInput: it cannot be read, or is something else.
    """
    data = read_input(path, _MAX_BYTES, str(path))
    expected = " or ".join(_KINDS[kind] for kind in kinds)
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    try:
        found: P = msgspec.json.decode(data, type=union, strict=True)
        decode(encode(found), type(found))
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError) as error:
        raise InvalidInput(f"{path}: not {expected}: {brief(error)}") from None
    return found
