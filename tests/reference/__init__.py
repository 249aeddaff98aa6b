"""Independent numpy transcriptions of published algorithms, and toy problems with known answers.

They serve as test oracles. Every transcription is a loop over given cohorts in float64: it starts from x [d],
asks `gradient(client, x)`, compresses with `compress(round, client, vector)` and returns a `Trace`.
"""

from . import cohorts, compressors
from .averaging import fed_ef, fedavg, fedavgm, fedopt, fedprox
from .common import Trace
from .control_variates import scafcom, scaffold, scaffold_with_memory, scallion
from .error_feedback import d_ec, ec_ideal, ec_sgd, econtrol
from .estimates import ef21, ef21_plus, ef21_sgdm
from .toys import Toy, b0_toy, b_toy, divergence_toy, fedavg_fixed_point, lossy_toy, q_toy
from .unbiased import dcgd, diana, dore, fedcom, fedcomgate, fedpaq, marina, masked_fedavg
from .variational import (
    Minibatches,
    compressed_extragradient,
    compressed_gda,
    ef_extragradient,
    extragradient,
    gda,
    masha1,
    masha2,
)

__all__ = [
    "Minibatches",
    "Toy",
    "Trace",
    "b0_toy",
    "b_toy",
    "cohorts",
    "compressed_extragradient",
    "compressed_gda",
    "compressors",
    "d_ec",
    "dcgd",
    "diana",
    "divergence_toy",
    "dore",
    "ec_ideal",
    "ec_sgd",
    "econtrol",
    "ef21",
    "ef21_plus",
    "ef21_sgdm",
    "ef_extragradient",
    "extragradient",
    "fed_ef",
    "fedavg",
    "fedavg_fixed_point",
    "fedavgm",
    "fedcom",
    "fedcomgate",
    "fedopt",
    "fedpaq",
    "fedprox",
    "gda",
    "lossy_toy",
    "marina",
    "masha1",
    "masha2",
    "masked_fedavg",
    "q_toy",
    "scafcom",
    "scaffold",
    "scaffold_with_memory",
    "scallion",
]
