"""DSEE: free entries beside an adapter, on a pruned base."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsparse.models import build
from fedsparse.models._adapter import Adapter
from fedsparse.models._dual import far_places

pytest.importorskip("peft", reason="the extra 'lora' is not installed")

GREY = (1, 8, 8)
LAYER = "blocks.0.attention.q"


def layer_of(**options: object) -> Adapter:
    found = build("lora", GREY, 10, 0, base="vit", rank=3, **options).get_submodule(LAYER)
    assert isinstance(found, Adapter)
    return found


def test_a_layer_is_the_pruned_weights_an_adapter_and_a_few_entries() -> None:
    torch.manual_seed(0)
    layer, whole = layer_of(entries=7, pruned=0.5), layer_of()
    for value in (layer.lora_A, layer.lora_B, layer.lora_S):
        value.data.normal_()
    W = whole.base.weight.detach().numpy()
    S1 = np.abs(W) >= np.sort(np.abs(W), axis=None)[W.size // 2]
    S2 = np.zeros_like(W)
    S2[layer.places] = layer.lora_S.detach()
    B, A = layer.lora_B.detach().numpy(), layer.lora_A.detach().numpy()
    x = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    expected = x @ (S1 * W + layer.scale * B @ A + S2).T + whole.base.bias.detach().numpy()
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, rtol=1e-4, atol=1e-5)


def test_free_are_the_entries_farthest_from_the_nearest_matrix_of_the_rank() -> None:
    """A matrix of rank 2, in which three entries are changed by more than everything else is, and a little noise."""
    draw = np.random.default_rng(0)
    low = draw.standard_normal((30, 2)) @ draw.standard_normal((2, 40)) * 3
    changed = ([3, 3, 20], [5, 31, 0])
    low[changed] += 8.0
    rows, columns = far_places(torch.from_numpy(low + 0.01 * draw.standard_normal(low.shape)), 2, 3)
    assert (rows.tolist(), columns.tolist()) == changed


def test_entries_are_in_the_vector_and_change_nothing_at_first() -> None:
    x, plain = torch.randn(3, *GREY), build("lora", GREY, 10, 0, base="vit")
    module = build("lora", GREY, 10, 0, base="vit", entries=7)
    freed = {name: tuple(p.shape) for name, p in module.named_parameters() if name.endswith("lora_S")}
    assert freed == {f"blocks.{b}.attention.{part}.lora_S": (7,) for b in range(2) for part in "qv"}
    assert torch.equal(module(x), plain(x))


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_smallest_weights_of_the_base_are_zero_and_the_others_as_they_were(share: float) -> None:
    pruned, plain = layer_of(pruned=share).base.weight, layer_of().base.weight
    zero = pruned == 0
    assert zero.sum() == int(share * plain.numel())
    assert torch.equal(pruned[~zero], plain[~zero])
    assert plain[zero].abs().max() <= plain[~zero].abs().min()


def test_places_are_those_of_the_base_before_it_is_pruned() -> None:
    free, both = layer_of(entries=7).places, layer_of(entries=7, pruned=0.5).places
    assert all(torch.equal(one, other) for one, other in zip(free, both, strict=True))
