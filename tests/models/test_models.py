"""Models: sizes, initial weights, shapes, refusals."""

from __future__ import annotations

import sys
import types
from math import sqrt

import pytest
import torch
from torch import nn

from fedsparse.errors import ConfigError, DataError
from fedsparse.models import build, names, options
from fedsparse.models._initial import initialise
from fedsparse.rng import stream

GREY = (1, 28, 28)
CASES = [
    ("linear", GREY, {}, 7850),
    ("mlp", GREY, {"hidden": [200, 200]}, 199_210),
    ("mlp", GREY, {"hidden": []}, 7850),
    ("lenet5", GREY, {}, 61_706),
    ("lenet5", (3, 32, 32), {}, 62_006),
    ("cnn", GREY, {}, 1_663_370),
    ("cnn", (1, 8, 8), {"width": 8, "hidden": 32}, 208 + 3216 + 2080 + 330),
    ("resnet", (3, 32, 32), {}, None),
    ("resnet", (1, 8, 8), {"norm": "batch", "depth": 2, "width": 6}, None),
    ("charmodel", (12,), {}, None),
    ("charmodel", (12,), {"cell": "lstm", "layers": 2, "hidden": 9}, None),
    # embedding, positions, two blocks of 12 e^2 + 13 e, norm, head
    ("transformer", (12,), {"width": 8}, 4096 * 8 + 12 * 8 + 2 * (12 * 64 + 13 * 8) + 16 + 90),
    ("vit", (1, 8, 8), {}, 5 * 64 + 16 * 64 + 2 * (12 * 4096 + 13 * 64) + 128 + 650),
]


def _numbers(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(("name", "shape", "options", "parameters"), [c for c in CASES if c[3]])
def test_parameter_counts(name, shape, options, parameters) -> None:
    assert _numbers(build(name, shape, 10, 0, **options)) == parameters


@pytest.mark.parametrize(("name", "shape", "options", "_"), CASES)
def test_logits_have_one_column_for_each_class(name, shape, options, _) -> None:
    logits = build(name, shape, 10, 0, **options)(torch.zeros(3, *shape))
    expected = (3, *shape, 10) if name == "charmodel" else (3, 10)
    assert logits.shape == expected
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "shape", "options", "_"), CASES)
def test_initial_weights_depend_on_the_seed_alone(name, shape, options, _) -> None:
    torch.rand(3)
    one = build(name, shape, 10, 1, **options)
    torch.rand(5)
    assert _same(one, build(name, shape, 10, 1, **options))
    assert not _same(one, build(name, shape, 10, 2, **options))


@pytest.mark.parametrize("name", ["cnn", "torch.nn:Linear"])
def test_the_global_random_state_is_not_touched(name: str) -> None:
    before = torch.get_rng_state()
    build(name, GREY, 10, 0, **({"in_features": 2, "out_features": 2} if ":" in name else {}))
    assert torch.equal(before, torch.get_rng_state())


def test_every_model_is_tried_here() -> None:
    assert {case[0] for case in CASES} == set(names()) - {"lora", "saved"}  # which have tests of their own


def test_linear_and_convolution_weights_fill_their_interval() -> None:
    model = build("cnn", GREY, 10, 0)
    for name, fan_in in (("conv2", 32 * 25), ("fc1", 3136)):
        weight = model.get_submodule(name).weight
        assert weight.abs().max() <= 1 / sqrt(fan_in)
        assert weight.std().item() == pytest.approx(1 / sqrt(3 * fan_in), rel=0.02)
        assert abs(weight.mean().item()) < 0.01 / sqrt(fan_in)


def test_biases_use_the_fan_in_of_their_weights() -> None:
    bias = build("mlp", GREY, 10, 0, hidden=[2000]).get_submodule("fc1").bias
    assert bias.abs().max() <= 1 / 28
    assert bias.abs().max() > 0.9 / 28


def test_norms_start_as_the_identity() -> None:
    norm = build("resnet", (3, 32, 32), 10, 0, norm="batch").get_submodule("norm")
    assert torch.equal(norm.weight, torch.ones(16))
    assert torch.equal(norm.bias, torch.zeros(16))
    assert torch.equal(norm.running_var, torch.ones(16))
    assert torch.equal(norm.running_mean, torch.zeros(16))
    assert norm.num_batches_tracked == 0


def test_recurrent_weights_and_embeddings_follow_torch() -> None:
    model = build("charmodel", (20,), 50, 0, hidden=64, embedding=40)
    parts = dict(model.named_parameters())
    assert parts["recurrent.weight_hh_l0"].abs().max() <= 1 / 8
    assert parts["embedding.weight"].std().item() == pytest.approx(1, rel=0.05)


def test_group_norm_needs_no_statistics() -> None:
    assert list(build("resnet", (3, 32, 32), 10, 0).buffers()) == []


def test_resnet_halves_the_resolution_twice() -> None:
    model = build("resnet", (3, 32, 32), 10, 0)
    seen = []
    model.get_submodule("pool").register_forward_hook(
        lambda _module, inputs, _out: seen.append(inputs[0].shape)
    )
    model(torch.zeros(1, 3, 32, 32))
    assert seen == [(1, 64, 8, 8)]


def test_charmodel_takes_tokens_gathered_as_floats() -> None:
    model = build("charmodel", (5,), 7, 0)
    tokens = torch.tensor([[0, 1, 2, 3, 6]])
    assert torch.equal(model(tokens), model(tokens.float()))


@pytest.fixture
def own_models(monkeypatch):
    module = types.ModuleType("own_models")

    class Wants(nn.Linear):
        def __init__(self, example_shape, classes, bias: bool = True) -> None:
            super().__init__(example_shape[0], classes, bias=bias)

    module.Wants, module.number = Wants, lambda: 3
    monkeypatch.setitem(sys.modules, "own_models", module)


def test_an_own_class_gets_the_shape_if_it_asks(own_models) -> None:
    model = build("own_models:Wants", (6,), 4, 0, bias=False)
    assert model.weight.shape == (4, 6)
    assert model.bias is None


def test_an_own_class_is_seeded(own_models) -> None:
    one, same, other = (build("own_models:Wants", (6,), 4, seed) for seed in (0, 0, 1))
    assert _same(one, same)
    assert not _same(one, other)


def test_what_is_no_module_is_refused(own_models) -> None:
    with pytest.raises(ConfigError, match=r"gave a int; it must give a torch\.nn\.Module"):
        build("own_models:number", (6,), 4, 0)


def test_a_layer_without_a_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="no rule for the initial weights of 0, a PReLU"):
        initialise(nn.Sequential(nn.PReLU()), stream(0, "init"))


@pytest.mark.parametrize(
    ("name", "shape", "options", "kind", "said"),
    [
        ("lenet5", (1, 8, 8), {}, DataError, "12x12 pixels"),
        ("cnn", (64,), {}, DataError, "(64,)"),
        ("resnet", (3, 2, 2), {}, DataError, "4x4 pixels"),
        ("charmodel", GREY, {}, DataError, "sequences of tokens"),
        ("resnet", GREY, {"norm": "layer"}, ConfigError, "group, batch"),
        ("mlp", GREY, {"hidden": [0]}, ConfigError, "hidden=0"),
        ("charmodel", (5,), {"cell": "rnn"}, ConfigError, "gru, lstm"),
        ("mlp", GREY, {"hidden": 200}, ConfigError, "hidden=200 must be a list of whole numbers"),
        ("linear", GREY, {"bias": "no"}, ConfigError, "bias='no' must be true or false"),
        ("mlp", GREY, {"hiden": [3]}, ConfigError, "Did you mean 'hidden'?"),
        ("transformer", GREY, {}, DataError, "sequences of tokens"),
        ("transformer", (5,), {"heads": 3}, ConfigError, "heads=3: must divide width=64"),
        ("vit", GREY, {"patch": 3}, DataError, "3x3 pixels, and the images have 28x28"),
        ("lenet", GREY, {}, ConfigError, "Did you mean 'lenet5'?"),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, options, kind, said) -> None:
    with pytest.raises(kind) as caught:
        build(name, shape, 10, 0, **options)
    assert said in str(caught.value)


def test_options_have_types_and_defaults() -> None:
    assert options("resnet")["norm"].annotation is str
    assert options("mlp")["hidden"].default == (200,)
