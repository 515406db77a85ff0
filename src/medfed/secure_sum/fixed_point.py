"""From a hospital's values to the integers that are summed, and from the sum back to values.

Decoding uses element-wise float64 arithmetic in a fixed order on exact integers, so that every hospital gets
the same bits. An error never quotes a value: it may be a patient's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.secure_sum.manifest import LIMB_BITS, Entry, Manifest, check_hospitals

__all__ = ["decode_sum", "encode_vector", "fixed_scale", "implausible_entries"]

CHUNK: Final = 1 << 16
"""Values encoded at a time: small enough for the temporaries to stay in the processor's cache."""
_LIMB_MASK: Final = 2**LIMB_BITS - 1
_WORD: Final = np.dtype("<u4")

Weight = tuple[int, int]
"""(n_i, N): a hospital's examples, or the survivors', and those of the whole study roster."""


def fixed_scale(bound: float, hospitals: int, noise_bound: int = 0) -> float:
    """Steps in one unit of a `fixed` entry: s = (2^31 - 1 - n - T) / c.

    n is the size of the *study* roster and T bounds the total noise. n leaves room for each hospital's
    rounding; the naive 2^31 / c would wrap a mean of +c to -c.

    Raises:
        InvalidInput: the noise leaves no room.
    """
    room = 2**31 - 1 - hospitals - noise_bound
    if noise_bound < 0 or room < 2**16:
        raise InvalidInput(f"noise bound: expected 0 to {2**31 - 1 - hospitals - 2**16}, found {noise_bound}")
    return room / bound


def encode_vector(
    manifest: Manifest,
    values: Mapping[str, NDArray[Any]],
    weight: Weight,
    hospitals: int,
    *,
    noise: Mapping[str, NDArray[np.int64]] | None = None,
    noise_bound: int = 0,
) -> tuple[NDArray[np.uint32], int]:
    """One hospital's integer vector, and how many `fixed` coordinates were clipped.

    Args:
        manifest: what the vector holds.
        values: for every entry an array of any shape with `length` values: floating-point for `fixed`
            (q = round_half_even(clip(x, ±c) · n_i/N · s)), integers for `count` and `noisy`.
        weight: (n_i, N), this hospital's part of the study roster's examples, 1 ≤ n_i ≤ N.
        hospitals: n, the size of the study roster.
        noise: integers to add to `fixed` entries after rounding, in steps of 1/s.
        noise_bound: T, the bound on the sum of all hospitals' noise.

    Raises:
        InvalidInput: a missing, superfluous or misshapen entry, NaN or infinity, or an integer out of bounds.
    """
    check_hospitals(manifest, hospitals)
    share = _fraction(weight)
    _check_names(manifest, values)
    added = dict(noise or {})
    clipped = 0
    wire = np.empty(manifest.length, dtype=_WORD)
    at = 0
    for entry in manifest.entries:
        array = _flat(entry, values[entry.name])
        part = wire[at : at + entry.elements]
        if entry.kind == "fixed":
            scale = fixed_scale(entry.bound, hospitals, noise_bound)
            extra = added.pop(entry.name, None)
            clipped += _encode_fixed(entry, array, share * scale, part)
            if extra is not None:
                _add_noise(entry, extra, noise_bound, part)
        else:
            _encode_integers(entry, array, part)
        at += entry.elements
    if added:
        raise InvalidInput(f"noise for {sorted(added)[0]!r}: expected the name of a fixed entry")
    return wire, clipped


def decode_sum(
    manifest: Manifest,
    total: NDArray[np.uint32],
    weight_sum: Weight,
    hospitals: int,
    *,
    noise_bound: int = 0,
) -> dict[str, NDArray[Any]]:
    """What the sum over the survivors says, each entry flat.

    Args:
        manifest: what the vector holds.
        total: the unmasked sum, `manifest.length` elements modulo 2^32.
        weight_sum: (Σ_U n_i, N), the survivors' part of the study roster's examples.
        hospitals: n, the size of the *study* roster, as when encoding.
        noise_bound: T, as when encoding.

    Returns:
        float64 weighted means over the survivors for `fixed`, int64 sums for `count` and `noisy`.

    Raises:
        InvalidInput: a total of another shape or type, or a weight that is no fraction.
    """
    check_hospitals(manifest, hospitals)
    share = _fraction(weight_sum)
    if total.dtype != np.uint32 or total.shape != (manifest.length,):
        raise InvalidInput(f"total: expected {manifest.length} uint32, found {total.dtype} of shape {total.shape}")
    decoded: dict[str, NDArray[Any]] = {}
    at = 0
    for entry in manifest.entries:
        part = total[at : at + entry.elements]
        if entry.kind == "fixed":
            mean = part.view(np.int32).astype(np.float64)
            mean /= fixed_scale(entry.bound, hospitals, noise_bound) * share
            decoded[entry.name] = mean
        elif entry.kind == "noisy":
            decoded[entry.name] = part.view(np.int32).astype(np.int64)
        else:
            decoded[entry.name] = _decode_counts(entry, part)
        at += entry.elements
    return decoded


def implausible_entries(
    manifest: Manifest, decoded: Mapping[str, NDArray[Any]], weight_sum: Weight, hospitals: int
) -> list[str]:
    """Names of entries whose decoded sum no honest hospitals could have made: somebody broke the protocol.

    A count above n times its bound, a noisy sum beyond it, or a mean beyond the clip by more than the
    rounding. Without noise on `fixed` entries only.
    """
    share = _fraction(weight_sum)
    return [
        entry.name
        for entry in manifest.entries
        if float(np.abs(decoded[entry.name]).max()) > _largest(entry, share, hospitals)
    ]


def _largest(entry: Entry, share: float, hospitals: int) -> float:
    if entry.kind != "fixed":
        return float(entry.bound) * hospitals
    return (entry.bound + hospitals / (fixed_scale(entry.bound, hospitals) * share)) * (1 + 1e-12)


def _encode_fixed(entry: Entry, array: NDArray[Any], factor: float, out: NDArray[np.uint32]) -> int:
    if not np.issubdtype(array.dtype, np.floating):
        raise InvalidInput(f"{entry.name}: expected floating-point numbers, found {array.dtype}")
    clipped = 0
    bound = float(entry.bound)
    scratch = np.empty(min(CHUNK, array.size), dtype=np.float64)
    signed = out.view("<i4")
    for at in range(0, array.size, CHUNK):
        chunk = array[at : at + CHUNK]
        x = scratch[: chunk.size]
        np.copyto(x, chunk)
        low, high = float(x.min()), float(x.max())
        # NaN spreads through min and max, so this one comparison finds it as well.
        if not (low > -np.inf and high < np.inf):
            raise InvalidInput(f"{entry.name}: expected finite numbers, found NaN or infinity")
        if low < -bound or high > bound:
            clipped += int(np.count_nonzero(np.abs(x) > bound))
            np.clip(x, -bound, bound, out=x)
        x *= factor
        np.rint(x, out=x)
        np.copyto(signed[at : at + CHUNK], x, casting="unsafe")
    return clipped


def _add_noise(entry: Entry, noise: NDArray[np.int64], noise_bound: int, out: NDArray[np.uint32]) -> None:
    extra = _flat(entry, noise)
    if not np.issubdtype(extra.dtype, np.integer):
        raise InvalidInput(f"{entry.name}: expected whole-number noise, found {extra.dtype}")
    if int(extra.min()) < -noise_bound or int(extra.max()) > noise_bound:
        raise InvalidInput(f"{entry.name}: noise exceeds the plan's bound on its total")
    out += extra.astype(np.int64).astype(_WORD)


def _encode_integers(entry: Entry, array: NDArray[Any], out: NDArray[np.uint32]) -> None:
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidInput(f"{entry.name}: expected integers, found {array.dtype}")
    smallest = 0 if entry.kind == "count" else -entry.bound
    if int(array.min()) < smallest or int(array.max()) > entry.bound:
        raise InvalidInput(f"{entry.name}: expected values from {smallest} to {entry.bound}")
    whole = array.astype(np.int64)
    if entry.limbs == 1:
        out[:] = whole.astype(_WORD)
    else:
        out[: entry.length] = (whole & _LIMB_MASK).astype(_WORD)
        out[entry.length :] = (whole >> LIMB_BITS).astype(_WORD)


def _decode_counts(entry: Entry, part: NDArray[np.uint32]) -> NDArray[np.int64]:
    if entry.limbs == 1:
        return part.astype(np.int64)
    return part[: entry.length].astype(np.int64) + (part[entry.length :].astype(np.int64) << LIMB_BITS)


def _fraction(weight: Weight) -> float:
    part, whole = weight
    if not 1 <= part <= whole:
        raise InvalidInput(f"weight: expected (part, whole) with 1 ≤ part ≤ whole, found {weight}")
    return part / whole


def _check_names(manifest: Manifest, values: Mapping[str, NDArray[Any]]) -> None:
    expected = {entry.name for entry in manifest.entries}
    for name in sorted(expected ^ set(values)):
        raise InvalidInput(f"{name}: {'missing' if name in expected else 'not in the manifest'}")


def _flat(entry: Entry, array: NDArray[Any]) -> NDArray[Any]:
    if array.size != entry.length:
        raise InvalidInput(f"{entry.name}: expected {entry.length} values, found {array.size}")
    return array.reshape(-1)
