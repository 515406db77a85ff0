"""Secure sum: several hospitals learn the sum of their integer vectors and nothing else.

Pure: keys, rosters and vectors in, values out. This package never sees the ledger, a vault or a clock.
"""

from medfed.secure_sum.fixed_point import decode_sum, encode_vector, fixed_scale, implausible_entries
from medfed.secure_sum.keying import (
    draw_pair_secret,
    mask_sign,
    open_pair_secret,
    pair_info,
    pair_seed,
    ratchet,
    seal_pair_secret,
)
from medfed.secure_sum.manifest import Entry, Manifest, check_hospitals
from medfed.secure_sum.masking import decode_update, encode_update, mask_update, unmask_sum

__all__ = [
    "Entry",
    "Manifest",
    "check_hospitals",
    "decode_sum",
    "decode_update",
    "draw_pair_secret",
    "encode_update",
    "encode_vector",
    "fixed_scale",
    "implausible_entries",
    "mask_sign",
    "mask_update",
    "open_pair_secret",
    "pair_info",
    "pair_seed",
    "ratchet",
    "seal_pair_secret",
    "unmask_sum",
]
