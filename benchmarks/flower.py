"""Flower's SecAgg+ as a peer, called as its own client does; absent, it is left out.

What is timed is the whole of the client's stage 2 after training, `_collect_masked_vectors` of its
`secaggplus_mod`: opening the neighbours' shares, quantising, one private and n - 1 pairwise masks, modulo, and the
bytes to send. Stages 0 and 1 have run for real. On the server: summing the masked vectors and taking off the private
masks, with its own functions, as its workflow does when nobody has dropped out.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIP, QUANTISATION, MODULUS, MAX_WEIGHT = 8.0, 1 << 22, 1 << 32, 1000.0
"""Flower's defaults."""


class FlowerClients:
    """`clients` SecAgg+ states that have shared their keys, for a vector of `values`.

    Raises:
        ImportError: Flower is not installed.
    """

    def __init__(self, clients: int, values: NDArray[np.float32]) -> None:
        self._mod: Any = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
        shared_names: Any = import_module("flwr.common")
        self._parameters = shared_names.ndarrays_to_parameters([values])
        self._states = [self._state(number, clients) for number in range(1, clients + 1)]
        keys = {str(state.nid): (state.pk1, state.pk2) for state in self._states}
        shared = [self._mod._share_keys(state, dict(keys)) for state in self._states]
        self._incoming = [_incoming(state.nid, self._states, shared) for state in self._states]

    def masked(self, client: int = 0) -> list[bytes]:
        """Stage 2 of one client."""
        sources, ciphertexts = self._incoming[client]
        key = self._mod.Key
        configs = {key.SOURCE_LIST: sources, key.CIPHERTEXT_LIST: ciphertexts}
        found = self._mod._collect_masked_vectors(self._states[client], configs, 250, self._parameters)
        return found[key.MASKED_PARAMETERS]

    def server_step(self) -> Callable[[], object]:
        """Summing everybody's vectors and unmasking, ready to be timed."""
        arithmetic: Any = import_module("flwr.common.secure_aggregation.ndarrays_arithmetic")
        utilities: Any = import_module("flwr.common.secure_aggregation.secaggplus_utils")
        quantisation: Any = import_module("flwr.common.secure_aggregation.quantization")
        shared_names: Any = import_module("flwr.common")
        sent = [self.masked(number) for number in range(len(self._states))]
        seeds = [state.rd_seed for state in self._states]

        def step() -> object:
            total: Any = None
            for parts in sent:
                arrays = [shared_names.bytes_to_ndarray(part) for part in parts]
                total = arrays if total is None else arithmetic.parameters_addition(total, arrays)
            total = arithmetic.parameters_mod(total, MODULUS)
            shapes = [array.shape for array in total]
            for seed in seeds:
                mask = utilities.pseudo_rand_gen(seed, MODULUS, shapes)
                total = arithmetic.parameters_subtraction(total, mask)
            total = arithmetic.parameters_mod(total, MODULUS)
            factor, rest = arithmetic.factor_extract(total)
            mean = quantisation.dequantize(rest, CLIP, QUANTISATION)
            return arithmetic.parameters_multiply(mean, 1 / factor)

        return step

    def _state(self, number: int, clients: int) -> Any:
        state = self._mod.SecAggPlusState()
        state.nid = number
        key = self._mod.Key
        configs = {
            key.SAMPLE_NUMBER: clients,
            key.SHARE_NUMBER: clients,
            key.THRESHOLD: max(2, 2 * clients // 3 + 1),
            key.CLIPPING_RANGE: CLIP,
            key.TARGET_RANGE: QUANTISATION,
            key.MOD_RANGE: MODULUS,
            key.MAX_WEIGHT: MAX_WEIGHT,
        }
        self._mod._setup(state, configs)
        return state


def _incoming(me: int, states: list[Any], shared: list[Any]) -> tuple[list[int], list[bytes]]:
    """Who sent `me` a share, and the sealed shares."""
    sources: list[int] = []
    sealed: list[bytes] = []
    for state, posted in zip(states, shared, strict=True):
        destinations, ciphertexts = posted.values()
        for to, ciphertext in zip(destinations, ciphertexts, strict=True):
            if to == me:
                sources.append(state.nid)
                sealed.append(ciphertext)
    return sources, sealed
