"""Every fuzz target by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.fuzz import (
    targets_cometbft,
    targets_contracts,
    targets_crypto,
    targets_encoding,
    targets_homomorphic,
    targets_imaging,
    targets_ledger,
    targets_models,
    targets_network,
    targets_records,
)
from tests.fuzz.target import Target

ALL: Final = (
    *targets_cometbft.TARGETS,
    *targets_contracts.TARGETS,
    *targets_crypto.TARGETS,
    *targets_encoding.TARGETS,
    *targets_homomorphic.TARGETS,
    *targets_imaging.TARGETS,
    *targets_ledger.TARGETS,
    *targets_models.TARGETS,
    *targets_network.TARGETS,
    *targets_records.TARGETS,
)
TARGETS: Final[Mapping[str, Target]] = {target.name: target for target in ALL}
