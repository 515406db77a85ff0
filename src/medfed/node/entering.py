"""A site answers an invitation, and joins what was founded: its node is made on the way, on its own machine.

1. `accept_founding` makes the node's key and settings and returns the entry, which carries public keys only.
2. `join_founding` checks that the founding file is what this site has accepted, and makes the replica.
3. `accept_later` does both at once for a consortium that exists already.

Each may be interrupted anywhere and done again. This module must never take a genesis that the site's people have not
compared: its digest is asked for, not read from the file.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from medfed.crypto import SiteKeys
from medfed.errors import InvalidInput, Refused
from medfed.identifiers import Digest, Name, check_name
from medfed.ledger.contracts.membership import Role, key_proof_message
from medfed.ledger.engines.cometbft.configuration import node_id
from medfed.ledger.genesis import found
from medfed.node.founding import FoundedNode, found_node, read_genesis
from medfed.node.invitation import (
    Candidate,
    Entry,
    Founding,
    Invitation,
    LaterInvitation,
    load_paper,
    save_paper,
    signed_address,
    verify_charter,
)
from medfed.node.node_file import NodeFile, ledger_path, load_node_file, node_directory, save_node_file

__all__ = ["accept_founding", "accept_later", "invite_later", "join_founding", "own_address"]

_ACCEPTED = "invitation.json"


def accept_founding(site: Path, keys: SiteKeys, invitation: Invitation, file: NodeFile) -> Entry:
    """Enter a consortium that is being founded; `file` says where the node will be.

    Raises:
        InvalidInput: the invitation is for somebody else or does not hold together. Refused: the site has accepted
            another one, or has a node.
    """
    verify_charter(invitation.charter)
    _check_name(site, keys, invitation.name)
    seat = next((one for one in invitation.charter.seats if one.name == keys.name), None)
    if seat is None:
        raise InvalidInput(f"the charter has no seat for {keys.name}")
    if _node_exists(site):
        raise Refused("node-exists", f"{site}: this site has a node already")
    node_directory(site).mkdir(mode=0o700, parents=True, exist_ok=True)
    accepted = node_directory(site) / _ACCEPTED
    if accepted.exists() and load_paper(accepted, Invitation) != invitation:
        raise Refused("other-invitation", f"{site}: this site has accepted another invitation; {accepted} is it")
    save_paper(accepted, invitation)
    save_node_file(site, file)
    founder = found(
        invitation.charter.consortium,
        keys.name,
        seat.role,
        keys.signing_key,
        keys.sealing_key.public,
        file.blobs_external or file.blobs_listen,
    )
    charter = invitation.charter.digest
    return Entry(charter, founder, signed_address(charter, keys.name, own_address(site), keys.signing_key))


def join_founding(site: Path, keys: SiteKeys, founding: Founding, expected: Digest) -> FoundedNode:
    """Make the node of a founder, connected with all the others.

    Raises:
        InvalidInput: the genesis is not the expected one, or not what this site has accepted. Refused: it has a node.
    """
    accepted = node_directory(site) / _ACCEPTED
    if not accepted.exists():
        raise InvalidInput(f"{site}: this site has accepted no invitation; do that first: medfed consortium accept")
    if load_paper(accepted, Invitation).charter != founding.charter:
        raise InvalidInput("the founding file has another charter than the invitation that this site has accepted")
    genesis = founding.genesis()
    if genesis.digest != expected:
        raise InvalidInput(
            f"expected genesis {expected.hex()}, but from these entries follows {genesis.digest.hex()}: "
            "somebody has other entries; find out who before you go on"
        )
    mine = next((entry for entry in founding.entries if entry.founder.name == keys.name), None)
    if mine is None or mine.founder.signing_key != keys.public.signing:
        raise InvalidInput(f"the founding file has another key of {keys.name} than this site")
    if mine.founder.sealing_key != keys.public.sealing:
        raise InvalidInput(f"the founding file has another sealing key of {keys.name} than this site")
    others = (entry.node.address for entry in founding.entries if entry.founder.name != keys.name)
    file = replace(load_node_file(site), peers=tuple(address for address in others if address))
    if not _node_exists(site):
        save_node_file(site, file)
    return found_node(site, genesis, file)


def invite_later(site: Path, name: Name, role: Role) -> LaterInvitation:
    """Ask somebody in, or back in with new keys: with this site's genesis and the nodes that it knows.

    Raises:
        InvalidInput: no node here, or not a name.
    """
    check_name(name)
    nodes = (own_address(site), *load_node_file(site).peers)
    genesis = read_genesis(ledger_path(site))
    return LaterInvitation(genesis, name, role, tuple(address for address in nodes if address))


def accept_later(
    site: Path, keys: SiteKeys, invitation: LaterInvitation, file: NodeFile, expected: Digest
) -> tuple[Candidate, FoundedNode | None]:
    """Make a node that follows the ledger, and the entry for which the members vote.

    The node is None where an earlier try has made it.

    Raises:
        InvalidInput: the invitation is for somebody else, or into another ledger than the expected one.
    """
    _check_name(site, keys, invitation.name)
    chain = invitation.genesis.digest
    if chain != expected:
        raise InvalidInput(f"expected genesis {expected.hex()}, the invitation has {chain.hex()}")
    file = replace(file, peers=invitation.nodes)
    made = None if _node_exists(site) else found_node(site, invitation.genesis, file, new_keys=True)
    message = key_proof_message(chain, keys.name, keys.public.signing, keys.public.sealing)
    proof = keys.signing_key.sign(message)
    address = file.blobs_external or file.blobs_listen
    candidate = Candidate(
        chain, keys.name, invitation.role, keys.public.signing, keys.public.sealing, address, proof
    )  # fmt: skip
    return candidate, made


def own_address(site: Path) -> str:
    """`id@host:port` of a site's node; empty where others cannot call it."""
    file = load_node_file(site)
    if file.outgoing_only:
        return ""
    return f"{node_id(node_directory(site) / 'cometbft')}@{file.external or file.listen}"


def _node_exists(site: Path) -> bool:
    return ledger_path(site).exists()


def _check_name(site: Path, keys: SiteKeys, name: str) -> None:
    if keys.name != name:
        raise InvalidInput(f"the invitation is for {name}, and the keys in {site} are those of {keys.name}")
