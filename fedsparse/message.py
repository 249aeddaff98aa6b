"""What strategies send: the payload classes, and rounding to the kinds in which values travel.

=====================  ==============================================  =================================
class                  stands for                                      bytes of one row, about
=====================  ==============================================  =================================
:class:`Dense`         all d coordinates                               4 d
:class:`Sparse`        k chosen ones, with their indices               4 k + k log2(e d / k) / 8
:class:`SeededSparse`  k random ones, which a seed stands for          4 k + 8
:class:`MaskedDense`   those on a support that the receiver knows      4 k
:class:`Ragged`        those on a support of each row's own            4 k
:class:`Mask`          ones at chosen ones, without values             k log2(e d / k) / 8, at most d / 8
:class:`Quantized`     whole numbers times a scale                     d log2(2 levels + 1) / 8, or less
:class:`Exponents`     signed powers of two                            9 d / 8
:class:`Sign`          plus or minus the scale of a block              d / 8 + 4 blocks
:class:`LowRank`       a product of two thin matrices                  4 r (m + n)
:class:`Scalars`       numbers to record                               8 s
:class:`PerEdge`       another row of one of these for each neighbour  their sum
=====================  ==============================================  =================================

A message is a mapping from names to payloads, all with the same number of rows. For the encoding see
:mod:`fedsparse.wire`.
"""

from __future__ import annotations

from fedsparse.wire import (
    KINDS,
    Dense,
    Exponents,
    LowRank,
    Mask,
    MaskedDense,
    Payload,
    PerEdge,
    Quantized,
    Ragged,
    Scalars,
    SeededSparse,
    Sign,
    Sparse,
    concatenate,
    round_to,
)

__all__ = [
    "KINDS",
    "Dense",
    "Exponents",
    "LowRank",
    "Mask",
    "MaskedDense",
    "Payload",
    "PerEdge",
    "Quantized",
    "Ragged",
    "Scalars",
    "SeededSparse",
    "Sign",
    "Sparse",
    "concatenate",
    "round_to",
]
