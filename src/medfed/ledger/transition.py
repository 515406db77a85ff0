"""The whole state machine, pure: how one transaction and one block change the state.

A transaction enters a block only if (`verify_admissible`, in this order):
1. it is canonical, within its size, and on this chain;
2. its sender is an active participant and signed it with its present key;
3. its `seen` is a block of this chain at most 1,000 back;
4. its sequence is the sender's next.
What a contract then refuses changes nothing but the sender's sequence, and its receipt says why.

A block is valid only if it holds at least one transaction and no more than the policy allows, all admissible in their
order, links to the block before, does not go back in time, and commits to its transactions and to the state that they
lead to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from medfed.encoding import Record, digest_of
from medfed.errors import InvalidInput, Outdated, Refused, Tampered
from medfed.identifiers import Digest, Height, Name
from medfed.ledger.block import Block, Header, has_work, is_sealed_by, transactions_root
from medfed.ledger.contracts import (
    aggregates,
    agreement,
    alignment,
    alignment_blinding,
    blind_test,
    ciphertexts,
    deadlines,
    exchange,
    keying,
    labelling,
    membership,
    offered_data,
    offices,
    registry,
    reveals,
    rewards,
    studies,
    survivors,
    updates,
)
from medfed.ledger.contracts.context import BlockContext, Call
from medfed.ledger.genesis import Genesis, Policy, genesis_state
from medfed.ledger.state import Overlay, Reader, State, Table, Writes, writes_digest
from medfed.ledger.transaction import Anchor, Body, SignedTransaction

__all__ = [
    "RULES",
    "SEEN_WINDOW",
    "Inadmissible",
    "Receipt",
    "Tip",
    "apply_block",
    "apply_transaction",
    "begin_block",
    "check_body",
    "genesis_tip",
    "next_sequence",
    "prepare_block",
    "verify_admissible",
]

SEEN_WINDOW: Final = 1_000
RULES: Final = 1
"""The newest version of the rules that this program knows; it keeps all earlier ones."""


class Inadmissible(Refused):
    """A transaction that can enter no block at this state; `code` says why."""


class Receipt(Record):
    """What became of a transaction. `height` is None if it entered no block."""

    transaction: Digest
    height: Height | None
    index: int
    code: str = ""
    """Empty if the contract accepted it, else the stable reason."""
    message: str = ""

    @property
    def accepted(self) -> bool:
        """Whether it is in a block and the contract accepted it."""
        return self.height is not None and not self.code


class Tip(Record):
    """The last block: what the next one builds on."""

    height: Height
    block: Digest
    time_ms: int
    state_digest: Digest


_SEQUENCES: Final[Table[int]] = Table("sequence", int)
_RECENT: Final[Table[bytes]] = Table("block", bytes)

_HANDLERS: Final[Mapping[type, Callable[[Overlay, Call, Any], None]]] = {
    membership.ProposeParticipant: membership.apply_propose_participant,
    membership.VoteOnParticipant: membership.apply_vote_on_participant,
    membership.RotateKeys: membership.apply_rotate_keys,
    membership.ReplaceKeys: membership.apply_replace_keys,
    membership.ChangeAddress: membership.apply_change_address,
    membership.Leave: membership.apply_leave,
    membership.ProposeRemoval: membership.apply_propose_removal,
    membership.VoteOnRemoval: membership.apply_vote_on_removal,
    membership.ProposeUpgrade: membership.apply_propose_upgrade,
    membership.VoteOnUpgrade: membership.apply_vote_on_upgrade,
    studies.ProposeStudy: labelling.apply_propose_study,
    studies.ApproveStudy: studies.apply_approve_study,
    studies.DeclineStudy: studies.apply_decline_study,
    studies.WithdrawFromStudy: studies.apply_withdraw_from_study,
    studies.Rejoin: studies.apply_rejoin,
    keying.Enrol: keying.apply_enrol,
    keying.SealPairSecrets: keying.apply_seal_pair_secrets,
    keying.ComplainAboutPair: keying.apply_complain_about_pair,
    keying.KeysReady: keying.apply_keys_ready,
    deadlines.AbortStudy: deadlines.apply_abort_study,
    deadlines.ResumeStudy: deadlines.apply_resume_study,
    deadlines.Advance: deadlines.apply_advance,
    offices.PublishEncryptionKey: ciphertexts.apply_publish_encryption_key,
    offices.VoteOnSuccessor: ciphertexts.apply_vote_on_successor,
    ciphertexts.ConfirmCiphertext: ciphertexts.apply_confirm_ciphertext,
    ciphertexts.PublishCiphertextSum: ciphertexts.apply_publish_ciphertext_sum,
    ciphertexts.ReportCiphertexts: ciphertexts.apply_report_ciphertexts,
    ciphertexts.PublishDecryption: ciphertexts.apply_publish_decryption,
    ciphertexts.RefuseSum: ciphertexts.apply_refuse_sum,
    aggregates.IssueSessionKeys: aggregates.apply_issue_session_keys,
    aggregates.ConfirmSealed: aggregates.apply_confirm_sealed,
    aggregates.PublishAggregate: aggregates.apply_publish_aggregate,
    aggregates.ReportUpdates: aggregates.apply_report_updates,
    aggregates.DisputeAggregate: aggregates.apply_dispute_aggregate,
    updates.SubmitUpdate: updates.apply_submit_update,
    survivors.ConfirmSurvivors: survivors.apply_confirm_survivors,
    survivors.ReportMissing: survivors.apply_report_missing,
    survivors.RefuseSurvivors: survivors.apply_refuse_survivors,
    reveals.RevealSeeds: reveals.apply_reveal_seeds,
    reveals.RevealShares: reveals.apply_reveal_shares,
    agreement.Attest: agreement.apply_attest,
    registry.RegisterArtefact: registry.apply_register_artefact,
    registry.WithdrawDataset: registry.apply_withdraw_dataset,
    offered_data.OfferDataset: offered_data.apply_offer_dataset,
    offered_data.TakeDatasetBack: offered_data.apply_take_dataset_back,
    exchange.RequestData: exchange.apply_request_data,
    exchange.DecideRequest: exchange.apply_decide_request,
    exchange.DeliverData: exchange.apply_deliver_data,
    exchange.AcknowledgeDelivery: exchange.apply_acknowledge_delivery,
    exchange.DisputeDelivery: exchange.apply_dispute_delivery,
    exchange.SealToArbiter: exchange.apply_seal_to_arbiter,
    exchange.DecideDispute: exchange.apply_decide_dispute,
    exchange.ExpireRequest: exchange.apply_expire_request,
    blind_test.OfferBlindTests: blind_test.apply_offer_blind_tests,
    blind_test.OpenBlindTest: blind_test.apply_open_blind_test,
    blind_test.AnswerBlindTest: blind_test.apply_answer_blind_test,
    blind_test.RevealCodes: blind_test.apply_reveal_codes,
    blind_test.OpenAnswers: blind_test.apply_open_answers,
    blind_test.ExpireBlindTest: blind_test.apply_expire_blind_test,
    alignment.OpenAlignment: alignment.apply_open_alignment,
    alignment.DeclineAlignment: alignment.apply_decline_alignment,
    alignment.CommitInputs: alignment.apply_commit_inputs,
    alignment_blinding.PublishBlinded: alignment_blinding.apply_publish_blinded,
    alignment_blinding.ReportBlinded: alignment_blinding.apply_report_blinded,
    alignment_blinding.CompleteAlignment: alignment_blinding.apply_complete_alignment,
    alignment_blinding.AdvanceAlignment: alignment_blinding.apply_advance_alignment,
}


def genesis_tip(genesis: Genesis) -> tuple[State, Tip]:
    """The state and the tip before the first block; the genesis digest stands in for a block id."""
    state, digest = genesis_state(genesis)
    return state, Tip(0, genesis.digest, genesis.created_ms, digest)


def next_sequence(reader: Reader, who: Name) -> int:
    """The sequence that `who`'s next transaction must have."""
    return _SEQUENCES.get(reader, who) or 0


def verify_admissible(reader: Reader, signed: SignedTransaction, chain: Digest) -> None:
    """Rules 1 to 4 of the module, but for what decoding has checked.

    Raises:
        Inadmissible: with the code `other-chain`, `unknown-sender`, `bad-signature`, `stale-seen` or `sequence`.
    """
    transaction = signed.transaction
    if transaction.chain != chain:
        raise Inadmissible("other-chain", "the transaction was signed for another ledger")
    sender = membership.participant(reader, transaction.sender)
    if sender is None or sender.status != "active":
        raise Inadmissible("unknown-sender", f"{transaction.sender} is not an active participant")
    if not signed.is_signed_by(sender.signing_key):
        raise Inadmissible("bad-signature", f"the signature is not that of {transaction.sender}'s key")
    if _RECENT.get(reader, transaction.seen.height) != transaction.seen.block:
        raise Inadmissible("stale-seen", "the block that the sender has seen is not on this chain or too far back")
    expected = next_sequence(reader, transaction.sender)
    if transaction.sequence != expected:
        raise Inadmissible("sequence", f"sequence {transaction.sequence} where {expected} is next")


def apply_transaction(overlay: Overlay, signed: SignedTransaction, context: BlockContext, index: int) -> Receipt:
    """Apply an admissible transaction; a refusal leaves only the sender's sequence changed."""
    transaction = signed.transaction
    _SEQUENCES.put(overlay, transaction.sequence + 1, transaction.sender)
    attempt = Overlay(overlay)
    try:
        _handle(attempt, Call(transaction.sender, context), transaction.body)
    except Refused as refusal:
        return Receipt(signed.id, context.height, index, refusal.code, str(refusal))
    overlay.merge(attempt)
    return Receipt(signed.id, context.height, index)


def check_body(genesis: Genesis, state: State, tip: Tip, sender: Name, body: Body, time_ms: int) -> None:
    """Whether the next block would accept `body` from `sender`, if it came first and at that time.

    Raises:
        Refused: a rule says no.
    """
    context = _context(genesis, state, tip, max(time_ms, tip.time_ms), sender)
    _handle(begin_block(state, tip), Call(sender, context), body)


def prepare_block(
    genesis: Genesis,
    state: State,
    tip: Tip,
    candidates: list[SignedTransaction],
    time_ms: int,
    proposer: Name,
    engine_height: int = 0,
) -> tuple[Header, tuple[bytes, ...], Writes, list[Receipt]]:
    """Build the next block from as many candidates as are admissible in their order.

    Returns its header, transactions and writes, and a receipt for every candidate, those left out included. With no
    admissible candidate the transactions are empty and there is no block to make.
    """
    context = _context(genesis, state, tip, max(time_ms, tip.time_ms), proposer)
    overlay = begin_block(state, tip)
    taken: list[bytes] = []
    receipts: list[Receipt] = []
    counts: dict[Name, int] = {}
    accepted_of_others = False
    for signed in candidates:
        sender = signed.transaction.sender
        try:
            _check_room(genesis.policy, len(taken), counts.get(sender, 0))
            verify_admissible(overlay, signed, genesis.digest)
        except Inadmissible as reason:
            receipts.append(Receipt(signed.id, None, 0, reason.code, str(reason)))
            continue
        receipt = apply_transaction(overlay, signed, context, len(taken))
        accepted_of_others |= receipt.accepted and sender != proposer
        counts[sender] = counts.get(sender, 0) + 1
        taken.append(signed.to_bytes())
        receipts.append(receipt)
    if accepted_of_others:
        rewards.award_sealing(overlay, proposer, genesis.policy.seal_points)
    header = Header(
        chain=genesis.digest,
        height=context.height,
        previous=tip.block,
        time_ms=context.time_ms,
        proposer=proposer,
        transactions_root=transactions_root(tuple(taken)),
        state_digest=_chained_digest(tip, overlay.writes),
        engine_height=engine_height,
    )
    return header, tuple(taken), overlay.writes, receipts


def apply_block(genesis: Genesis, state: State, tip: Tip, block: Block) -> tuple[Writes, list[Receipt]]:
    """Check a block against the state it builds on and return its writes and receipts.

    Raises:
        Tampered: names the height and, where there is one, the transaction that is wrong.
    """
    header = block.header
    where = f"block {tip.height + 1}"
    if header.chain != genesis.digest:
        raise Tampered(f"{where}: it belongs to another ledger")
    if header.height != tip.height + 1 or header.previous != tip.block:
        raise Tampered(f"{where}: it does not follow block {tip.height}")
    if header.time_ms < tip.time_ms:
        raise Tampered(f"{where}: time goes backwards")
    _verify_seal(genesis.policy, state, block, where)
    if header.transactions_root != transactions_root(block.transactions):
        raise Tampered(f"{where}: the transactions are not those that the header commits to")
    candidates = [_decode(data, f"{where}, transaction {index}") for index, data in enumerate(block.transactions)]
    made, _, writes, receipts = prepare_block(
        genesis, state, tip, candidates, header.time_ms, header.proposer, header.engine_height
    )
    for index, receipt in enumerate(receipts):
        if receipt.height is None:
            raise Tampered(f"{where}, transaction {index}: {receipt.message}")
    if made != header:
        raise Tampered(f"{where}: the transactions do not lead to the state that the header commits to")
    return writes, receipts


def tip_after(header: Header) -> Tip:
    """The tip that a block leaves."""
    return Tip(header.height, header.id, header.time_ms, header.state_digest)


def anchor_of(tip: Tip) -> Anchor:
    """What a transaction signed at this tip names as seen."""
    return Anchor(tip.height, tip.block)


def _handle(overlay: Overlay, call: Call, body: Body) -> None:
    handle = cast("Callable[[Overlay, Call, Any], None]", _HANDLERS[type(body)])
    handle(overlay, call, body)


def _context(genesis: Genesis, state: State, tip: Tip, time_ms: int, proposer: Name) -> BlockContext:
    rules = membership.rules_at(state, tip.height + 1)
    if rules > RULES:
        raise Outdated(f"block {tip.height + 1} needs rules {rules}; this program knows up to {RULES}: update it")
    return BlockContext(genesis.digest, tip.height + 1, time_ms, proposer, rules)


def begin_block(state: State, tip: Tip) -> Overlay:
    """What the first transaction after `tip` is checked against: the state, with `tip` among what was seen."""
    overlay = Overlay(state)
    _RECENT.put(overlay, tip.block, tip.height)
    if tip.height >= SEEN_WINDOW:
        _RECENT.delete(overlay, tip.height - SEEN_WINDOW)
    return overlay


def _check_room(policy: Policy, taken: int, of_sender: int) -> None:
    if taken >= policy.max_block_transactions:
        raise Inadmissible("block-full", "the block is full; the transaction may enter the next")
    if of_sender >= policy.sender_quota:
        raise Inadmissible("quota", "the sender's share of this block is used up; the transaction may enter the next")


def _chained_digest(tip: Tip, writes: Writes) -> Digest:
    return digest_of("medfed/state", tip.state_digest, writes_digest(writes))


def _decode(data: bytes, where: str) -> SignedTransaction:
    try:
        return SignedTransaction.from_bytes(data)
    except InvalidInput as error:
        raise Tampered(f"{where}: {error}") from None


def _verify_seal(policy: Policy, state: State, block: Block, where: str) -> None:
    proposer = membership.participant(state, block.header.proposer)
    if proposer is None or proposer.status != "active":
        raise Tampered(f"{where}: its proposer {block.header.proposer} is not an active participant")
    if policy.seal == "signature" and not is_sealed_by(block.header, block.seal, proposer.signing_key):
        raise Tampered(f"{where}: the seal is not that of {block.header.proposer}")
    if policy.seal == "none" and block.seal.signature:
        raise Tampered(f"{where}: it carries a seal where the policy asks for none")
    if not has_work(block.header.id, block.seal.nonce, policy.difficulty):
        raise Tampered(f"{where}: the seal's work does not meet the policy's difficulty")
    if policy.difficulty == 0 and block.seal.nonce:
        raise Tampered(f"{where}: it carries a nonce where the policy asks for no work")
