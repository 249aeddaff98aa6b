"""Loops over clients are compiled, and without a compiler give the same bits."""

import importlib.util
from types import ModuleType

import pytest
import torch
from torch import Tensor

from fedsparse.cohort import loops, products

linear = pytest.mark.skipif(products._linear is None, reason="this PyTorch was built without oneDNN")


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The loops where PyTorch has no TorchScript."""
    monkeypatch.delattr(torch.jit, "script")
    spec = importlib.util.spec_from_file_location("plain_loops", loops.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@linear
def test_they_are_compiled():
    assert all(isinstance(loop, torch.jit.ScriptFunction) for loop in (loops.products, loops.write_products))


@linear
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_those_of_the_plain_loop(plain: ModuleType, biased: bool):
    a, b, bias = drawn(3, 6, 5), drawn(3, 4, 5), drawn(3, 4) if biased else None
    found = loops.products(a, b, bias)
    assert found.equal(plain.products(a, b, bias))
    expected = a @ b.mT if bias is None else a @ b.mT + bias[:, None]
    torch.testing.assert_close(found, expected)


@linear
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_products_are_written_with_a_term_more(plain: ModuleType, parts: int, biased: bool, added: bool):
    a, b, plus = drawn(3, 7, 5), drawn(3, 4, 5), drawn(3, 7, 4) if added else None
    bias = drawn(3, 4) if biased else None
    out, other = torch.full((3, 7, 9), 2.0), torch.empty(3, 7, 4)
    loops.write_products(a, b, bias, plus, 0.5, parts, out[:, :, 2:6])
    plain.write_products(a, b, bias, plus, 0.5, parts, other)
    assert out[:, :, 2:6].equal(other)
    assert bool((out[:, :, :2] == 2).all())
    assert bool((out[:, :, 6:] == 2).all())
    expected = loops.products(a, b, bias)
    torch.testing.assert_close(other, expected if plus is None else expected + 0.5 * plus)
