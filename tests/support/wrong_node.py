"""A node unlike the others on purpose: `medfed node run` with one part exchanged. Arguments: which, its own."""

from __future__ import annotations

import random
import sys
from typing import Any

from msgspec.structs import replace

from medfed.hospital import agent_loop, site_directory
from medfed.ledger import transition
from medfed.ledger.block import Block, seal_block
from medfed.ledger.engines.cometbft import application, calling, configuration, host
from medfed.ledger.engines.cometbft.application import Application
from medfed.ledger.engines.cometbft.messages import PrepareProposalResponse
from medfed.ledger.engines.cometbft.proposal import decode_entries, encode_entries
from medfed.node import blob_server, daemon

TEN_MINUTES = 600_000


def shift_clock(milliseconds: int) -> None:
    right = site_directory.wall_clock

    def wrong() -> int:
        return right() + milliseconds

    for module in (site_directory, agent_loop, daemon):
        module.wall_clock = wrong  # type: ignore[attr-defined]


def propose_nonsense() -> None:
    """Every proposal is broken in another way; seals are its own, and good."""
    honest = Application._prepare_proposal
    chance = random.Random(1)

    def dishonest(self: Any, request: Any) -> PrepareProposalResponse:
        response = honest(self, request)
        block = decode_entries(response.txs)
        if block is None:
            return PrepareProposalResponse((b"nonsense",))
        header = block.header
        header = chance.choice(
            [
                replace(header, state_digest=bytes(32)),
                replace(header, time_ms=header.time_ms + 10 * application.MAX_DRIFT_MS),
                replace(header, engine_height=header.engine_height + 1),
                replace(header, previous=bytes(32)),
            ]
        )
        forged = Block(header, seal_block(header, self._key, 0), block.transactions)
        return PrepareProposalResponse(encode_entries(forged))

    Application._prepare_proposal = dishonest  # type: ignore[method-assign]
    Application._process_proposal = lambda self, request: application.ProcessProposalResponse(1)  # type: ignore[method-assign]


def serve_wrong_blobs() -> None:
    """Every blob comes with its first byte changed, and the right length."""
    honest = blob_server._Handler._copy

    class Changed:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def read(self, size: int) -> bytes:
            data = self._stream.read(size)
            return bytes([data[0] ^ 1]) + data[1:] if data else data

    blob_server._Handler._copy = lambda self, stream, start: honest(self, Changed(stream), start)  # type: ignore[method-assign]


def forget_peers() -> None:
    """CometBFT itself knows no peer, as one that has given up calling them; the node looks for them every second."""
    right = configuration._config
    configuration._config = lambda settings, *rest: right(replace(settings, peers=()), *rest)  # type: ignore[assignment]
    host.PeerCalls = lambda rpc, peers: calling.PeerCalls(rpc, peers, every=1.0)  # type: ignore[assignment,misc]


def main() -> None:
    from medfed.cli.main import main as medfed

    wrong = sys.argv.pop(1)
    if wrong == "nonsense":
        propose_nonsense()
    elif wrong == "blobs":
        serve_wrong_blobs()
    elif wrong == "forgetful":
        forget_peers()
    elif wrong == "newer":
        transition.RULES = 2  # type: ignore[misc]
    else:
        shift_clock({"fast": TEN_MINUTES, "slow": -TEN_MINUTES}[wrong])
    medfed(["node", "run", *sys.argv[1:]])


if __name__ == "__main__":
    main()
