"""Independent numpy transcriptions of published algorithms, and toy problems with known answers.

They serve as test oracles. Every transcription is a loop over given cohorts in float64: it starts from x [d],
asks `gradient(client, x)`, compresses with `compress(round, client, vector)` and returns a `Trace`. Gossip steps all
nodes at once, from x [n, d] with weights W [receiver, sender], and returns a `GossipTrace`.
"""

from . import cohorts, compressors
from .averaging import fed_ef, fedavg, fedavgm, fedopt, fedprox
from .common import Trace
from .control_variates import scafcom, scaffold, scaffold_with_memory, scallion
from .error_feedback import d_ec, ec_ideal, ec_sgd, econtrol
from .estimates import ef21, ef21_plus, ef21_sgdm
from .gossip import d_psgd, dfedavg, extra, gradient_tracking, push_sum
from .gossip_compressed import beer, choco, choco_copies, deepsqueeze, naive
from .gossip_merging import Send, epidemic, gossip_learning, single_merging
from .gossip_sam import dfedsam
from .gossip_sparse import jwins, partial_model, random_subsampling
from .mixing import GossipTrace
from .toys import Toy, b0_toy, b_toy, divergence_toy, fedavg_fixed_point, lossy_toy, q_toy
from .unbiased import dcgd, diana, dore, fedcom, fedcomgate, fedpaq, marina, masked_fedavg
from .variance import variance_corrected
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
    "GossipTrace",
    "Minibatches",
    "Send",
    "Toy",
    "Trace",
    "b0_toy",
    "b_toy",
    "beer",
    "choco",
    "choco_copies",
    "cohorts",
    "compressed_extragradient",
    "compressed_gda",
    "compressors",
    "d_ec",
    "d_psgd",
    "dcgd",
    "deepsqueeze",
    "dfedavg",
    "dfedsam",
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
    "epidemic",
    "extra",
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
    "gossip_learning",
    "gradient_tracking",
    "jwins",
    "lossy_toy",
    "marina",
    "masha1",
    "masha2",
    "masked_fedavg",
    "naive",
    "partial_model",
    "push_sum",
    "q_toy",
    "random_subsampling",
    "scafcom",
    "scaffold",
    "scaffold_with_memory",
    "scallion",
    "single_merging",
    "variance_corrected",
]
