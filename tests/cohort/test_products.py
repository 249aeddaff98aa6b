"""Products of many clients are right, and have the same bits for a client in any company and with shared weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedsparse.cohort import products
from fedsparse.cohort.layers.packed import repeated
from fedsparse.cohort.rule import Rule

SIZES = st.sampled_from([1, 2, 3, 5, 8, 13, 16, 31, 64, 100, 130, 257])
CLIENTS = st.integers(1, 7)
CASES = settings(max_examples=150)


def numbers(seed: int, *shape: int, turned: bool = False) -> Tensor:
    """Random ones; with the last two axes in the other order in memory, if wanted."""
    generator = np.random.default_rng(seed)
    if turned:
        *clients, m, n = shape
        return torch.from_numpy(generator.standard_normal((*clients, n, m)).astype(np.float32)).mT
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def assert_close(found: Tensor, expected: Tensor, terms: int) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6 * terms)


@CASES
@given(clients=CLIENTS, rows=SIZES, n=SIZES, m=SIZES, biased=st.booleans(), turned=st.booleans())
def test_apply_is_the_product_with_the_same_bits_in_any_company_and_with_shared_weights(
    clients: int, rows: int, n: int, m: int, biased: bool, turned: bool
):
    h, weight = numbers(0, clients, rows, n), numbers(1, clients, m, n, turned=turned)
    bias = numbers(2, clients, m) if biased else None
    found = products.apply(h, weight, bias)
    expected = torch.einsum("cbn,cmn->cbm", h.double(), weight.double())
    assert_close(found, expected if bias is None else expected + bias.double()[:, None], n)
    for i in range(clients):
        own = None if bias is None else bias[i : i + 1]
        assert products.apply(h[i : i + 1].clone(), weight[i : i + 1], own)[0].equal(found[i])
        one = products.apply(h, weight[i : i + 1], own)
        assert one[i].equal(found[i])
        wide = None if own is None else own.expand(clients, -1)
        assert products.apply(h, weight[i : i + 1].expand(clients, -1, -1), wide).equal(one)
    assert (
        products.apply(h.flip(0), weight.flip(0), None if bias is None else bias.flip(0)).flip(0).equal(found)
    )
    assert repeated(weight, bias)(h).equal(found)
    assert repeated(weight[:1].expand(clients, -1, -1), bias)(h).equal(products.apply(h, weight[:1], bias))


def test_shared_weights_go_with_biases_of_ones_own():
    h, weight, bias = numbers(0, 3, 4, 5), numbers(1, 1, 6, 5), numbers(2, 3, 6)
    expected = torch.einsum("cbn,mn->cbm", h, weight[0]) + bias[:, None]
    torch.testing.assert_close(products.apply(h, weight.expand(3, -1, -1), bias), expected)
    torch.testing.assert_close(repeated(weight.expand(3, -1, -1), bias)(h), expected)


@CASES
@given(
    clients=CLIENTS,
    p=SIZES,
    k=SIZES,
    q=SIZES,
    biased=st.booleans(),
    turned=st.tuples(st.booleans(), st.booleans()),
)
def test_each_is_the_product_with_the_same_bits_in_any_company(
    clients: int, p: int, k: int, q: int, biased: bool, turned: tuple[bool, bool]
):
    a, b = numbers(0, clients, p, k, turned=turned[0]), numbers(1, clients, k, q, turned=turned[1])
    bias = numbers(2, clients, q) if biased else None
    found = products.each(a, b, bias)
    expected = torch.einsum("cpk,ckq->cpq", a.double(), b.double())
    assert_close(found, expected if bias is None else expected + bias.double()[:, None], k)
    for i in range(clients):
        own = None if bias is None else bias[i : i + 1]
        assert products.each(a[i : i + 1], b[i : i + 1], own)[0].equal(found[i])
    strided = torch.zeros(clients, 2, p, q)[:, 1]
    assert products.each(a, b, bias, out=strided) is strided
    assert strided.equal(found)
    assert products.each(a.flip(0), b.flip(0), None if bias is None else bias.flip(0)).flip(0).equal(found)


@CASES
@given(clients=CLIENTS, p=SIZES, k=SIZES, q=SIZES, factor=st.sampled_from([1.0, -0.3]))
def test_add_each_adds_the_product_with_the_same_bits_in_any_company(
    clients: int, p: int, k: int, q: int, factor: float
):
    a, b, start = numbers(0, clients, p, k), numbers(1, clients, k, q), numbers(2, clients, p, q)
    found = start.clone()
    products.add_each(found, a, b, factor)
    assert_close(found, start.double() + factor * torch.einsum("cpk,ckq->cpq", a.double(), b.double()), k)
    for i in range(clients):
        own = start[i : i + 1].clone()
        products.add_each(own, a[i : i + 1], b[i : i + 1], factor)
        assert own[0].equal(found[i])


@pytest.mark.parametrize("shape", [(4, 20, 300, 260), (5, 20, 784, 200), (3, 64, 512, 33)])
def test_large_products_have_the_same_bits_in_any_company_and_with_shared_weights(
    shape: tuple[int, int, int, int],
):
    clients, rows, n, m = shape
    h, weight, bias = numbers(0, clients, rows, n), numbers(1, clients, m, n), numbers(3, clients, m)
    forward, d = products.apply(h, weight, bias), numbers(2, clients, rows, m)
    back, gradient = products.apply(d, weight.mT), products.each(d.mT, h)
    for i in range(clients):
        one = slice(i, i + 1)
        assert products.apply(h[one].clone(), weight[one].clone(), bias[one])[0].equal(forward[i])
        assert products.apply(h, weight[one], bias[one])[i].equal(forward[i])
        assert products.apply(d[one].clone(), weight[one].clone().mT)[0].equal(back[i])
        assert products.each(d[one].clone().mT, h[one].clone())[0].equal(gradient[i])


@pytest.mark.parametrize("shape", [(2, 300, 3500), (700, 3, 1000), (1025, 4, 1024), (5, 2, 3)])
def test_parts_of_a_product_have_the_bits_of_the_whole(shape: tuple[int, int, int]):
    p, k, q = shape
    a, b = numbers(0, 1, p, k, turned=True), numbers(1, 1, k, q)
    parts = list(products.in_parts(a, b))
    assert torch.cat([part for _, part in parts], dim=1).equal(products.each(a, b))
    assert [row for rows, _ in parts for row in range(p)[rows]] == list(range(p))


# ---- the rule as a table

SHARES = st.sampled_from([0.0, 0.1, 0.5, 0.9])
RULES = st.builds(
    Rule,
    lr=st.sampled_from([0.0, 0.05, 0.3]),
    momentum=SHARES,
    weight_decay=SHARES,
    prox=st.sampled_from([0.0, 0.7]),
)


def run(
    rule: Rule, y: Tensor, velocity: Tensor, centre: Tensor, shift: Tensor, gradients: Tensor
) -> tuple[Tensor, Tensor]:
    """The rule as it is written down, on numbers."""
    for gradient in gradients:
        velocity = rule.momentum * velocity + (
            gradient + shift + rule.weight_decay * y + rule.prox * (y - centre)
        )
        y = y - rule.lr * velocity
    return y, velocity


@CASES
@given(rule=RULES, steps=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_table_has_what_the_rule_adds_up_to(rule: Rule, steps: int, seed: int):
    start = torch.from_numpy(np.random.default_rng(seed).standard_normal((4, 3)))
    gradients = torch.from_numpy(np.random.default_rng(seed + 100).standard_normal((steps, 3)))
    table = rule.table(steps)
    for t in range(steps + 1):
        y, velocity = run(rule, *start[:2], start[2], start[3], gradients[:t])
        # Rows are in the order point, velocity, centre, shift.
        terms = torch.cat([start, gradients])
        torch.testing.assert_close(table.point[t] @ terms, y)
        torch.testing.assert_close(table.velocity[t] @ terms, velocity)


@CASES
@given(rule=RULES, steps=st.integers(1, 5), seed=st.integers(0, 99))
def test_steps_in_place_are_those_of_the_rule(rule: Rule, steps: int, seed: int):
    x, shift = (torch.from_numpy(np.random.default_rng(seed + k).standard_normal((2, 3))) for k in (0, 100))
    gradients = torch.from_numpy(np.random.default_rng(seed + 200).standard_normal((steps, 2, 3)))
    y, velocity = x.clone(), torch.zeros_like(x) if rule.momentum else None
    for gradient in gradients:
        rule.move(y, gradient.clone(), velocity, torch.tensor([True, False]), x, [(0.5, shift)])
    expected, _ = run(rule, x, torch.zeros_like(x), x, 0.5 * shift, gradients)
    torch.testing.assert_close(y[0], expected[0])
    assert y[1].equal(x[1])


def test_entries_outside_a_mask_stay_zero_in_a_step():
    mask = torch.tensor([[1.0, 0.0, 1.0]])
    y = mask.clone()
    Rule(lr=0.5).move(y, torch.ones(1, 3), None, None, y.clone(), moves=mask)
    assert y.tolist() == [[0.5, 0.0, 0.5]]


def test_only_plain_sgd_has_one_coefficient_for_all_gradients():
    plain = Rule(lr=0.25)
    assert plain.table(4).even == -0.25
    assert replace(plain, prox=1.0).table(4).even is None
    assert replace(plain, momentum=0.5).table(4).even is None
