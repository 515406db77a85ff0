"""Tests that run a real CometBFT are skipped where it is not installed."""

from __future__ import annotations

import pytest

from medfed.ledger.engines.cometbft.program import find_program

needs_cometbft = pytest.mark.skipif(
    find_program() is None, reason="CometBFT is not installed; `make network` installs it (needs Go)"
)
