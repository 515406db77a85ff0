"""What the engines over a ledger file share: the state that its blocks lead to, each block replayed and checked.

Nothing here takes the file's word for a state: whoever can write the file could have changed its tables.
"""

from __future__ import annotations

from medfed.errors import Tampered
from medfed.ledger.state import State
from medfed.ledger.store import LedgerStore
from medfed.ledger.transition import Tip, apply_block, genesis_tip, tip_after

__all__ = ["catch_up", "replay"]


def replay(store: LedgerStore) -> tuple[State, Tip]:
    """The state that the stored blocks lead to.

    Raises:
        Tampered: a block is not valid, or the stored state is another.
    """
    stored, last = store.load_state()
    state, tip = genesis_tip(store.genesis)
    for block in store.blocks():
        if tip.height == last.height:
            break  # another process goes on meanwhile
        writes, _ = apply_block(store.genesis, state, tip, block)
        state, tip = state.with_writes(writes), tip_after(block.header)
    if tip != last or state.items() != stored.items():
        raise Tampered(f"{store.path}: the state tables are not what the blocks lead to")
    return state, tip


def catch_up(store: LedgerStore, state: State, tip: Tip) -> tuple[State, Tip]:
    """The state after every block that other processes have added since `tip`, each replayed and checked.

    Raises:
        Tampered: a block is not valid, or the block at `tip` is another by now.
    """
    if store.block_id(tip.height) != tip.block:
        raise Tampered(f"{store.path}: block {tip.height} is not the one that this process has seen")
    for block in store.blocks(tip.height + 1):
        writes, _ = apply_block(store.genesis, state, tip, block)
        state, tip = state.with_writes(writes), tip_after(block.header)
    return state, tip
