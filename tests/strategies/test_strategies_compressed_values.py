"""Where values travel as fp16, bf16 or int8, memories and control variates work with what was decoded."""

import numpy as np
import pytest
from strategy_cases import assert_control_is_the_mean, assert_same_bits, assert_same_run, error, run

from fedsparse.compress import TopK
from fedsparse.protocol import Strategy
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.scafcom import Scafcom
from fedsparse.strategies.scaffold import Scaffold
from tests.reference import compressors, fed_ef, scafcom, scaffold_with_memory
from tests.reference.compressors import Compress
from tests.reference.oracle import LOCAL, Q, everybody, sampled
from tests.reference.toys import Array

KINDS = ("fp32", "fp16", "bf16", "int8")
COHORTS = sampled(3, 60)


def coarse(kind: str) -> Compress:
    """Top-k of 10 %, values rounded as on the wire: to fp16 by way of fp32, to int8 in 127ths of the largest."""
    top = compressors.top_k(4)

    def compress(t: int, i: int, x: Array) -> Array:
        kept = top(t, i, x)
        if kind == "int8":
            scale = np.abs(kept).max() / 127
            return np.rint(kept / scale) * scale
        through = kept.astype(np.float32)
        return (through.astype(np.float16) if kind == "fp16" else through).astype(np.float64)

    return compress


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8"])
def test_every_iterate_of_scafcom_is_the_references_with_rounded_values(kind: str):
    given = {"beta": 0.5, "server_lr": 0.3, **LOCAL}
    expected = scafcom(Q.gradient, Q.x0, Q.clients, COHORTS, compress=coarse(kind), **given)
    assert_same_run(run(Scafcom(uplink=TopK(0.1, values=kind), **given), COHORTS), expected)


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8"])
def test_every_iterate_of_scaffold_is_the_references_with_rounded_values(kind: str):
    given = {"server_lr": 0.4, **LOCAL}
    expected = scaffold_with_memory(Q.gradient, Q.x0, Q.clients, COHORTS, compress=coarse(kind), **given)
    assert_same_run(run(Scaffold(uplink=TopK(0.1, values=kind), **given), COHORTS), expected, {"e": "memory"})


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8"])
def test_every_iterate_of_fed_ef_is_the_references_with_rounded_values(kind: str):
    given = {"server_lr": 0.4, **LOCAL}
    expected = fed_ef(Q.gradient, Q.x0, Q.clients, COHORTS, compress=coarse(kind), **given)
    expected.clients["e"] *= -1
    assert_same_run(run(FedEF(uplink=TopK(0.1, values=kind), **given), COHORTS), expected, {"e": "memory"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encode", [False, True], ids=["count", "encode"])
def test_scafcoms_control_stays_the_mean_of_the_clients(kind: str, encode: bool):
    assert_control_is_the_mean(run(Scafcom(uplink=TopK(0.1, values=kind), **LOCAL), COHORTS, encode=encode))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [Scafcom, Scaffold, FedEF])
def test_real_bytes_do_not_change_a_bit(method: type[Strategy], kind: str):
    ours, cohorts = method(uplink=TopK(0.1, values=kind), **LOCAL), COHORTS[:8]
    assert_same_bits(run(ours, cohorts, encode=True), run(ours, cohorts))


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_scafcom_reaches_the_optimum_with_rounded_values(kind: str):
    """What rounding took is sent again: no floor at the precision of the values."""
    assert error(run(Scafcom(beta=0.5, uplink=TopK(0.1, values=kind), **LOCAL), everybody(150))) < 1e-6
