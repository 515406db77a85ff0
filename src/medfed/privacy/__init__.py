"""Differential privacy: what happened (events), what it costs (accountants), and the exact noise that pays for it.

Pure: randomness is passed in, nothing is stored, and no figure that depends on private votes can be reported.
"""

from medfed.privacy.account import DELTA_STEP, EPSILON_STEP, Account, Charge, apply_charge, charge_for
from medfed.privacy.curve import ORDERS, Guarantee, RenyiCurve
from medfed.privacy.dp_sum import (
    Contribution,
    Lattice,
    LatticeChoice,
    PrivateSum,
    choose_lattice,
    lattice_for,
    private_contribution,
)
from medfed.privacy.events import (
    Composed,
    ConfidentGaussianMax,
    DiscreteLaplaceSum,
    Event,
    GaussianMax,
    GaussianSum,
    LaplaceMax,
    Repeated,
    SampledGaussian,
    SkellamSum,
    SkellamVectorSum,
    Unit,
    vote_shifts,
)
from medfed.privacy.inversion import Sampler
from medfed.privacy.laws import DiscreteGaussian, DiscreteLaplace, NegativeBinomial, Poisson
from medfed.privacy.noise_bound import polya_bound, skellam_bound
from medfed.privacy.rejection import draw_bernoulli_exp, draw_discrete_gaussian, draw_discrete_laplace
from medfed.privacy.renyi import guarantee, renyi_curve, verify_guarantee
from medfed.privacy.shares import PolyaShares, Roster, SkellamShares

__all__ = [
    "DELTA_STEP",
    "EPSILON_STEP",
    "ORDERS",
    "Account",
    "Charge",
    "Composed",
    "ConfidentGaussianMax",
    "Contribution",
    "DiscreteGaussian",
    "DiscreteLaplace",
    "DiscreteLaplaceSum",
    "Event",
    "GaussianMax",
    "GaussianSum",
    "Guarantee",
    "LaplaceMax",
    "Lattice",
    "LatticeChoice",
    "NegativeBinomial",
    "Poisson",
    "PolyaShares",
    "PrivateSum",
    "RenyiCurve",
    "Repeated",
    "Roster",
    "SampledGaussian",
    "Sampler",
    "SkellamShares",
    "SkellamSum",
    "SkellamVectorSum",
    "Unit",
    "apply_charge",
    "charge_for",
    "choose_lattice",
    "draw_bernoulli_exp",
    "draw_discrete_gaussian",
    "draw_discrete_laplace",
    "guarantee",
    "lattice_for",
    "polya_bound",
    "private_contribution",
    "renyi_curve",
    "skellam_bound",
    "verify_guarantee",
    "vote_shifts",
]
