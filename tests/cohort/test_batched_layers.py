"""Batched layers give what the layers themselves give client by client, and the same bits in any company."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from layer_cases import CASES, Cohort, Outcome, cohort, one_by_one, together, trainable
from torch import Tensor, nn

from fedsparse.cohort import products
from fedsparse.cohort.layers import Pass, batched, batchnorm, known, norm
from fedsparse.cohort.layers.cells import LSTM
from fedsparse.cohort.layers.recurrent import unrolled
from fedsparse.errors import ConfigError

MODES = pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
KINDS = pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)


def assert_close(found: Outcome, expected: Outcome) -> None:
    options = {"rtol": 1e-4, "atol": 1e-5}
    for own, other in zip(found.outputs, expected.outputs, strict=True):
        for a, b in zip(own, other, strict=bool(other)):
            torch.testing.assert_close(a, b, **options)
    for a, b in zip(found.of_inputs, expected.of_inputs, strict=True):
        torch.testing.assert_close(a, b, **options)
    torch.testing.assert_close(found.of_values, expected.of_values, **options)
    torch.testing.assert_close(found.statistics, expected.statistics, **options)


def assert_same_bits(block: Outcome, clients: list[int], part: Outcome) -> None:
    """What ``part`` has for its clients is what ``block`` has for these."""
    for at, client in enumerate(clients):
        for a, b in zip(block.outputs[client], part.outputs[at], strict=True):
            assert a.equal(b)
        assert block.of_inputs[client].equal(part.of_inputs[at])
        for of_block, of_part in ((block.of_values, part.of_values), (block.statistics, part.statistics)):
            for name, value in of_part.items():
                assert of_block[name][client].equal(value[at]), name


def test_every_layer_that_has_a_batched_form_is_tested_here():
    assert set(CASES) == set(known())


@MODES
@KINDS
def test_outputs_gradients_and_statistics_are_those_of_the_layer_itself(kind: type, train: bool):
    for seed in range(4):
        of = cohort(kind, seed)
        assert_close(together(of, train), one_by_one(of, train))


@MODES
@KINDS
def test_a_client_has_the_same_bits_alone_in_a_block_and_at_any_place_of_it(kind: type, train: bool):
    for seed in range(10, 18):
        of = cohort(kind, seed)
        block, clients = together(of, train), len(of.counts)
        for client in range(clients):
            assert_same_bits(block, [client], together(of.part([client]), train))
        turned = [*reversed(range(clients)), 0]
        assert_same_bits(block, turned, together(of.part(turned), train))


@KINDS
def test_weights_that_clients_share_give_the_bits_of_equal_weights_of_their_own(kind: type):
    for seed in range(20, 24):
        of = cohort(kind, seed)
        clients = len(of.counts)
        for name in trainable(of):
            of.values[name] = of.values[name][:1].repeat(clients, *[1] * (of.values[name].dim() - 1))
        shared = replace(of, values=dict(of.values))
        for name in trainable(of):
            shared.values[name] = of.values[name][:1].expand_as(of.values[name])
        assert_same_bits(together(of, True), list(range(clients)), together(shared, True))


@KINDS
def test_a_gradient_may_be_taken_by_torch_func(kind: type):
    of = cohort(kind, 30)
    form, leaves = batched(of.layer, "x"), {name: of.values[name] for name in trainable(of)}
    assert form is not None

    def loss(own: dict[str, Tensor]) -> Tensor:
        run = Pass(len(of.counts), of.counts, {**of.values, **own}, False, of.keys)
        rows = of.inputs.flatten(0, 1)
        out = form(run, *((rows, rows, rows) if kind is nn.MultiheadAttention else (rows,)))
        return (out if isinstance(out, Tensor) else out[0]).square().sum()

    found = torch.func.grad(loss)(leaves)
    own = {name: value.clone().requires_grad_() for name, value in leaves.items()}
    total = loss(own)
    if total.requires_grad:
        total.backward()
    for name, value in own.items():
        torch.testing.assert_close(found[name], value.grad)


# ---- forms for other devices, on a processor


@MODES
@pytest.mark.parametrize(
    "kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("seed", range(4))
def test_batch_norm_of_all_clients_at_once_is_that_of_the_layer_itself(kind: type, seed: int, train: bool):
    of = cohort(kind, seed)
    kinds = ("weight", "bias", "running_mean", "running_var")

    def form(run: Pass, x: Tensor) -> Tensor:
        return batchnorm.together(of.layer, run, x, *(run.values.get(f"x.{k}") for k in kinds))

    assert_close(together(of, train, form), one_by_one(of, train))


@pytest.mark.parametrize("kind", norm.TYPES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_normalisation_of_all_clients_at_once_is_that_of_the_layer_itself(kind: type, seed: int):
    of = cohort(kind, seed)

    def form(run: Pass, x: Tensor) -> Tensor:
        return norm.together(of.layer, run, x, run.values.get("x.weight"), run.values.get("x.bias"))

    assert_close(together(of, True, form), one_by_one(of, True))


@pytest.mark.parametrize("seed", range(8))
def test_an_lstm_step_by_step_is_the_layer_itself(seed: int):
    of = cohort(nn.LSTM, seed)
    form = unrolled(of.layer, "x", LSTM())
    block = together(of, True, form)
    assert_close(block, one_by_one(of, True))
    for client in range(len(of.counts)):
        assert_same_bits(block, [client], together(of.part([client]), True, form))


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
def test_recurrent_layers_have_the_same_bits_however_many_clients_go_side_by_side(kind: type, monkeypatch):
    of = cohort(kind, 3, clients=7)
    block = together(of, True)
    monkeypatch.setattr("fedsparse.cohort.layers.recurrent._CACHE", 1)
    assert_same_bits(block, list(range(7)), together(of, True))


# ---- settings


@pytest.mark.parametrize(
    "options", [{"need_weights": False}, {"average_attn_weights": False}], ids=lambda o: next(iter(o))
)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_to_other_sequences_and_with_a_mask_is_that_of_the_module(
    options: dict[str, bool], masked: bool
):
    layer = nn.MultiheadAttention(6, 2, batch_first=True)
    form = batched(layer, "x")
    assert form is not None
    query, key, value = torch.randn(4, 3, 6), torch.randn(4, 5, 6), torch.randn(4, 5, 6)
    mask = torch.ones(3, 5).tril() == 0 if masked else None
    values = {f"x.{name}": p.detach().expand(2, *p.shape) for name, p in layer.named_parameters()}
    found = form(Pass(2, [2, 2], values, True), query, key, value, attn_mask=mask, **options)
    expected = layer(query, key, value, attn_mask=mask, **options)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Flatten(0),
        nn.Softmax(0),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
        nn.InstanceNorm2d(2, track_running_stats=True),
        nn.BatchNorm1d(2, momentum=None),
        nn.Embedding(3, 2, max_norm=1.0),
        nn.Embedding(3, 2, sparse=True),
        nn.GRU(2, 2),
        nn.LSTM(2, 3, batch_first=True, proj_size=2),
        nn.RNN(2, 2, 2, batch_first=True, dropout=0.5),
        nn.MultiheadAttention(2, 1),
        nn.MultiheadAttention(2, 1, batch_first=True, dropout=0.5),
        nn.MultiheadAttention(2, 1, batch_first=True, kdim=3),
        nn.MultiheadAttention(2, 1, batch_first=True, add_bias_kv=True),
    ],
    ids=repr,
)
def test_a_layer_whose_settings_are_beyond_its_batched_form_has_none(layer: nn.Module):
    assert batched(layer, "x") is None


def test_a_layer_of_a_users_own_class_has_no_batched_form():
    class Linear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    assert batched(Linear(2, 2), "x") is None


def test_batch_norm_says_what_to_do_about_a_minibatch_of_one_example():
    of = cohort(nn.BatchNorm1d, 0)
    of.counts[0] = 1
    with pytest.raises(
        ConfigError, match=r"layer 'x' \(BatchNorm1d\) got a minibatch of one example.*GroupNorm"
    ):
        together(of, True)


def test_a_softmax_over_examples_is_refused():
    form = batched(nn.Softmax(-1), "x")
    assert form is not None
    with pytest.raises(ConfigError, match=r"layer 'x' \(Softmax\) takes examples together"):
        form(Pass(2, [2, 2], {}, True), torch.randn(4))


def test_no_token_reaches_into_another_clients_table():
    form = batched(nn.Embedding(3, 2), "x")
    assert form is not None
    for wrong in (3, -1):
        with pytest.raises(IndexError):
            form(Pass(2, [1, 1], {"x.weight": torch.randn(2, 3, 2)}, True), torch.tensor([[wrong], [0]]))


def test_a_padding_token_has_no_gradient():
    of = cohort(nn.Embedding, 0)
    of.layer = nn.Embedding(7, of.layer.embedding_dim, padding_idx=1)
    of.inputs[:, :, 0] = 1
    assert not together(of, True).of_values["x.weight"][:, 1].any()


def test_a_client_without_examples_keeps_its_statistics_and_has_no_gradient():
    of = cohort(
        nn.BatchNorm2d, int(np.flatnonzero([cohort(nn.BatchNorm2d, s).layer.affine for s in range(9)])[0])
    )
    out = of.counts.index(0)
    found = together(of, True)
    for name, value in found.statistics.items():
        assert value[out].equal(of.values[name][out])
    assert all(not value[out].any() for value in found.of_values.values())


def large(kind: Callable[..., nn.Module]) -> Cohort:
    """Products that are worth calls of their own."""
    of = cohort(kind, 5, clients=3)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(5)
        of.layer = kind(33, 120, batch_first=True)
        of.inputs, of.counts = torch.randn(3, 7, 12, 33), [7, 4, 0]
    of.values = {
        f"x.{name}": torch.stack([p.detach(), -p.detach(), p.detach()])
        for name, p in of.layer.named_parameters()
    }
    return of


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN], ids=lambda kind: kind.__name__)
def test_large_recurrent_layers_are_right_and_have_the_same_bits_in_any_company(kind: type):
    of = large(kind)
    block = together(of, True)
    assert_close(block, one_by_one(of, True))
    for client in range(3):
        assert_same_bits(block, [client], together(of.part([client]), True))


@pytest.mark.parametrize("kind", [nn.Linear, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
def test_layers_do_without_onednn(kind: type, monkeypatch):
    monkeypatch.setattr(products, "_linear", None)
    of = cohort(kind, 2)
    block = together(of, True)
    assert_close(block, one_by_one(of, True))
    for client in range(len(of.counts)):
        assert_same_bits(block, [client], together(of.part([client]), True))
