"""The genesis: who founds the consortium, and its policy. Its digest names the chain.

Founders prove that they hold their keys, so nobody is made a founder against its will.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Literal

from msgspec import Meta

from medfed.crypto import SigningKey, is_valid_signature
from medfed.encoding import Record, decode, digest_of, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest, Name, Signature
from medfed.ledger.contracts.membership import (
    Address,
    Participant,
    PublicKey,
    Role,
    SealingPublicKey,
    admit,
    founding_proof_message,
)
from medfed.ledger.state import Overlay, State, writes_digest

__all__ = ["MAX_DIFFICULTY", "Founder", "Genesis", "Policy", "found", "genesis_state", "verify_genesis"]

MAX_DIFFICULTY: Final = 32


class Policy(Record):
    """What holds for the whole ledger."""

    seal: Literal["none", "signature"] = "signature"
    difficulty: Annotated[int, Meta(ge=0, le=MAX_DIFFICULTY)] = 0
    """Leading zero bits of a block's proof of work; 0 asks for none."""
    max_block_transactions: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    sender_quota: Annotated[int, Meta(ge=1, le=10_000)] = 250
    """Most transactions of one sender in one block."""
    seal_points: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    """Points for sealing a block that holds an accepted transaction of somebody else."""


class Founder(Record):
    """A founding participant with its proof."""

    name: Name
    role: Role
    signing_key: PublicKey
    sealing_key: SealingPublicKey
    proof: Signature
    address: Address = ""


class Genesis(Record, dict=True):
    """Where a ledger begins."""

    consortium: Name
    created_ms: Annotated[int, Meta(ge=0, lt=2**53)]
    founders: Annotated[tuple[Founder, ...], Meta(min_length=1, max_length=200)]
    """Sorted by name."""
    policy: Policy = Policy()
    version: Literal[1] = 1

    @cached_property
    def digest(self) -> Digest:
        """The chain's name. Asked for with every transaction, and long: so it is computed once."""
        return digest_of("medfed/genesis", self)


def found(
    consortium: Name, name: Name, role: Role, signing_key: SigningKey, sealing_key: bytes, address: str = ""
) -> Founder:
    """A founder's entry in one consortium, signed with its key."""
    message = founding_proof_message(consortium, name, role, signing_key.public, sealing_key, address)
    proof = signing_key.sign(message)
    return Founder(name, role, signing_key.public, sealing_key, proof, address)


def verify_genesis(genesis: Genesis) -> None:
    """Check bounds, names, keys and proofs.

    Raises:
        InvalidInput: says what is wrong with which founder.
    """
    decode(encode(genesis), Genesis)  # made from values, it has not passed its own bounds yet
    names = [founder.name for founder in genesis.founders]
    if names != sorted(set(names)):
        raise InvalidInput("genesis: founders must be sorted by name, each once")
    if len({founder.signing_key for founder in genesis.founders}) != len(names):
        raise InvalidInput("genesis: two founders have the same signing key")
    if not any(founder.role == "hospital" for founder in genesis.founders):
        raise InvalidInput("genesis: at least one founder must be a hospital")
    for founder in genesis.founders:
        keys = (founder.signing_key, founder.sealing_key)
        message = founding_proof_message(genesis.consortium, founder.name, founder.role, *keys, founder.address)
        if not is_valid_signature(founder.signing_key, message, founder.proof):
            raise InvalidInput(f"genesis: the key proof of {founder.name} is not valid")


def genesis_state(genesis: Genesis) -> tuple[State, Digest]:
    """The state at height 0 and its digest."""
    overlay = Overlay(State())
    for founder in genesis.founders:
        keys = (founder.signing_key, founder.sealing_key)
        admit(overlay, Participant(founder.name, founder.role, *keys, founder.address))
    return State().with_writes(overlay.writes), writes_digest(overlay.writes)
