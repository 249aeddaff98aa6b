"""LoRA: what is trained, what ``peft`` would compute, and where the base comes from."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedsparse import models
from fedsparse.cohort.batched import Batched
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.steady import steady
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.cohort.tracing import as_one
from fedsparse.data.holdings import Stored
from fedsparse.errors import ConfigError, DataError
from fedsparse.models import build
from fedsparse.models._adapter import Adapter, unwrapped

peft = pytest.importorskip("peft", reason="the extra 'lora' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'lora' is not installed")

GREY = (1, 8, 8)


def layout(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}


def test_adapters_and_head_are_all_that_is_trained() -> None:
    module = build("lora", GREY, 10, 0, base="vit", rank=3)
    adapters = {
        f"blocks.{block}.attention.{part}.lora_{kind}": shape
        for block in range(2)
        for part in "qv"
        for kind, shape in (("A", (3, 64)), ("B", (64, 3)))
    }
    assert layout(module) == {**adapters, "head.weight": (10, 64), "head.bias": (10,)}


def test_adapters_change_nothing_at_first() -> None:
    x = torch.randn(3, *GREY)
    base, module = (build(name, GREY, 10, 0, **o) for name, o in (("vit", {}), ("lora", {"base": "vit"})))
    assert torch.equal(module(x), base(x))


def test_all_linear_layers_but_the_head_can_be_adapted() -> None:
    module = build("lora", (5,), 4, 0, targets="linear")
    adapted = {name for name, part in module.named_modules() if isinstance(part, Adapter)}
    parts = ("attention.q", "attention.k", "attention.v", "attention.out", "fc1", "fc2")
    assert adapted == {f"blocks.{block}.{part}" for block in range(2) for part in parts}


def test_layers_can_be_named_by_their_ends() -> None:
    module = build("lora", (5,), 4, 0, targets="attention.k, fc2")
    adapted = [name for name, part in module.named_modules() if isinstance(part, Adapter)]
    assert adapted == [f"blocks.{b}.{part}" for b in range(2) for part in ("attention.k", "fc2")]


def test_first_values_depend_on_the_seed_alone() -> None:
    one, same, other = (build("lora", GREY, 10, seed, base="vit").state_dict() for seed in (1, 1, 2))
    name = "blocks.0.attention.q.lora_A"
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one[name], other[name])


class Gelu(nn.Module):
    """A model that ``peft`` wraps: two layers to adapt, one to save."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.gelu(self.two(nn.functional.gelu(self.one(x)))))


def wrapped() -> nn.Module:
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(0)
        config = peft.LoraConfig(
            r=2,
            lora_alpha=3,
            target_modules=["one", "two"],
            modules_to_save=["head"],
            init_lora_weights=False,
        )
        return peft.get_peft_model(Gelu(), config)


def test_an_unwrapped_model_has_the_values_and_gradients_of_the_one_by_peft() -> None:
    theirs, x = wrapped(), torch.randn(7, 5)
    expected = theirs(x)
    expected.square().sum().backward()
    gradients = [p.grad.clone() for p in theirs.parameters() if p.requires_grad]
    theirs.zero_grad()
    ours = unwrapped(theirs)
    found = ours(x)
    found.square().sum().backward()
    torch.testing.assert_close(found, expected)
    own = [p.grad for p in ours.parameters() if p.requires_grad]
    key = lambda g: (tuple(g.shape), g.sum().item())  # noqa: E731
    for a, b in zip(sorted(own, key=key), sorted(gradients, key=key), strict=True):
        torch.testing.assert_close(a, b)


def test_an_unwrapped_model_has_plain_names() -> None:
    assert list(layout(unwrapped(wrapped()))) == [
        "one.lora_A", "one.lora_B", "two.lora_A", "two.lora_B", "head.weight", "head.bias",
    ]  # fmt: skip


def test_adapters_of_another_kind_are_refused() -> None:
    config = peft.LoraConfig(target_modules=["one"], use_dora=True)
    with pytest.raises(ConfigError, match=r"layer 'one' has an adapter .* that is not one plain LoRA"):
        unwrapped(peft.get_peft_model(Gelu(), config))


@pytest.mark.parametrize("entries", [0, 5])
def test_clients_together_have_the_values_and_gradients_of_each_alone(entries: int) -> None:
    torch.manual_seed(0)
    module = build("lora", (6,), 4, 0, targets="linear", rank=2, entries=entries)
    inputs = torch.randint(0, 50, (5, 3, 6))
    inputs[:, :, 4:] = 0  # padding
    model = Batched(module, inputs[0])
    x = (model.start.x + 0.1 * torch.randn(5, model.layout.size)).requires_grad_()
    found = model.outputs(x, torch.zeros(5, 0), inputs)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    for client in range(5):
        values = model.layout.split(x[client].detach().clone().requires_grad_())
        expected = torch.func.functional_call(module, values, inputs[client])
        torch.testing.assert_close(found[client], expected, rtol=1e-5, atol=1e-5)
        by_name = torch.autograd.grad(expected.square().sum(), list(values.values()))
        torch.testing.assert_close(
            gradient[client], torch.cat([g.flatten() for g in by_name]), rtol=1e-4, atol=1e-5
        )


def test_outputs_can_be_in_double_precision() -> None:
    x = torch.randn(3, *GREY)
    start = Batched(build("lora", GREY, 10, 0, base="vit"), x).start
    found, expected = (start.forward(start.x.to(kind), x.to(kind)) for kind in (torch.float64, torch.float32))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-5)


def kept_by_hugging_face(folder: Path) -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=30, n_positions=8, n_embd=8, n_layer=1, n_head=2, num_labels=4, pad_token_id=0,
        attn_pdrop=0, resid_pdrop=0, embd_pdrop=0,
    )  # fmt: skip
    transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
    return build("lora", (6,), 4, 0, base=str(folder))


@pytest.mark.parametrize("kind", ["transformer", "gpt2"])
def test_what_is_merged_is_in_the_frozen_weights_of_all_clients(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = kind == "transformer"
    module = build("lora", (6,), 4, 0, targets="linear", rank=2) if ours else kept_by_hugging_face(tmp_path)
    inputs = torch.randint(1, 30, (3, 2, 6))
    model = Batched(module, inputs[0])
    x = model.start.x + 0.1 * torch.randn(3, model.layout.size)
    products = 0.3 * torch.randn(model.layout.products.size)
    found = model.merged(products).outputs(x, torch.zeros(3, 0), inputs)
    assert not torch.allclose(found, model.outputs(x, torch.zeros(3, 0), inputs), atol=1e-2)
    for name, change in model.layout.products.split(products).items():
        layer = module.get_submodule(name.removesuffix(".lora"))
        layer.base.weight.data += layer.scale * (change if ours else change.T)  # GPT-2's are [in, out]
    for client in range(3):
        values = model.layout.split(x[client])
        expected = torch.func.functional_call(module, values, inputs[client])
        torch.testing.assert_close(found[client], expected, rtol=1e-5, atol=1e-5)


def test_frozen_weights_are_held_once() -> None:
    module = build("lora", GREY, 10, 0, base="vit")
    model = Batched(module, torch.zeros(2, *GREY))
    mine = dict(module.named_parameters())
    assert all(value.data_ptr() == mine[name].data_ptr() for name, value in model._fixed.items())


# ---- where the base comes from


def test_a_saved_model_is_the_base(tmp_path: Path) -> None:
    base = build("vit", GREY, 10, 5, width=16)
    models.save(tmp_path, base, "vit", GREY, 10, width=16)
    x = torch.randn(3, *GREY)
    assert torch.equal(build("lora", GREY, 10, 0, base=str(tmp_path))(x), base(x))


def test_a_saved_model_for_other_classes_gets_a_new_head(tmp_path: Path) -> None:
    base = build("vit", GREY, 10, 5, width=16)
    models.save(tmp_path, base, "vit", GREY, 10, width=16)
    one, other = (build("lora", GREY, 3, seed, base=str(tmp_path)) for seed in (0, 1))
    assert torch.equal(one.patches.weight, base.patches.weight)
    assert one.head.weight.shape == (3, 16)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    models.save(tmp_path, build("vit", GREY, 10, 5), "vit", GREY, 10)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        build("lora", GREY, 10, 0, base=str(tmp_path))


def bert(folder: Path) -> str:
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=5,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def test_loading_a_base_of_theirs_draws_no_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = bert(tmp_path)
    capfd.readouterr()
    build("lora", (6,), 5, 0, base=base)
    assert "Loading" not in capfd.readouterr().err
    assert transformers.utils.logging.is_progress_bar_enabled()


def their_vit(folder: Path) -> str:
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, num_labels=10,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    return str(folder)


def gpt2(folder: Path) -> str:
    config = transformers.GPT2Config(
        vocab_size=30, n_positions=8, n_embd=8, n_layer=1, n_head=2, num_labels=5, pad_token_id=0
    )
    transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


FOREIGN = {
    "bert": (bert, (6,), ["attention.self.query", "attention.self.value"], "classifier"),
    "vit": (their_vit, GREY, ["q_proj", "v_proj"], "classifier"),
    "gpt2": (gpt2, (6,), ["attn.c_attn"], "score"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_hugging_face_is_the_base(kind: str, tmp_path: Path) -> None:
    make, shape, adapted, head = FOREIGN[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = make(tmp_path)
    module = build("lora", shape, 10, 0, base=base)
    found = [name for name, part in module.named_modules() if isinstance(part, Adapter)]
    assert len(found) == len(adapted)
    assert all(name.endswith(end) for name, end in zip(found, adapted, strict=True))
    others = [name for name in layout(module) if not name.endswith(("lora_A", "lora_B"))]
    assert all(name.startswith(f"model.{head}.") for name in others)
    x = torch.randint(1, 30, (2, *shape)) if len(shape) == 1 else torch.randn(2, *shape)
    assert module(x).shape == (2, 10)


Theirs = tuple[nn.Module, SupervisedWorkload]

SIZES = (5, 0, 4, 7)
"""Examples of each client; minibatches have four."""


@pytest.fixture(scope="module", params=FOREIGN)
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """A model of Hugging Face's with adapters, and with the dropout that its configuration has by default."""
    make, shape, _, _ = FOREIGN[request.param]
    rng, count = np.random.default_rng(0), sum(SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = make(tmp_path_factory.mktemp(request.param))
        module = build("lora", shape, 10, 0, base=base, rank=3, targets="linear")
    x = rng.standard_normal((count, *shape)).astype(np.float32)
    if len(shape) == 1:
        x = rng.integers(1, 30, (count, *shape))
        x[7:, 4:] = 0  # of the last two clients some have padding, the first has none
    held = Stored(np.arange(count), np.concatenate([[0], np.cumsum(SIZES)]))
    y = rng.integers(0, 10, count)
    return module, SupervisedWorkload(Examples(x, y, x, y, held), module, 4)


def test_a_model_of_hugging_face_trains_all_clients_at_once(theirs: Theirs) -> None:
    assert theirs[1].notes == []


def test_its_clients_together_have_the_values_and_gradients_of_each_alone(theirs: Theirs) -> None:
    (module, work), clients = theirs, 3
    model, inputs = work.model, torch.from_numpy(work.examples.x[:15]).unflatten(0, (clients, 5))
    x = (model.start.x + 0.1 * torch.randn(clients, model.layout.size)).requires_grad_()
    found = model.outputs(x, torch.zeros(clients, 0), inputs)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    for client in range(clients):
        values = model.layout.split(x[client].detach().clone().requires_grad_())
        expected = torch.func.functional_call(module.eval(), values, inputs[client])
        torch.testing.assert_close(found[client], expected, rtol=1e-5, atol=1e-5)
        by_name = torch.autograd.grad(expected.square().sum(), list(values.values()))
        own = torch.cat([g.flatten() for g in by_name])
        torch.testing.assert_close(gradient[client], own, rtol=1e-4, atol=1e-5)


def trained(work: SupervisedWorkload, clients: list[int]) -> torch.Tensor:
    task = work.task(torch.tensor(clients), 3, 2, work.start.buffers[None])
    return task.sgd(work.start.x[None] + 0.01, lr=0.3, steps=4, momentum=0.5).x


def test_with_dropout_its_clients_train_as_they_do_one_after_the_other(theirs: Theirs) -> None:
    module, work = copy.deepcopy(theirs[0]), copy.copy(theirs[1])
    steady(module)
    work.model = copy.copy(work.model)
    work.model.program = as_one(module, "it is the reference")
    found, expected = (trained(each, [0, 1, 2, 3]) for each in (theirs[1], work))
    assert not torch.allclose(found[0], found[2], atol=1e-2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=5e-4)


def test_its_clients_train_to_the_same_bits_in_any_block(theirs: Theirs) -> None:
    everyone = trained(theirs[1], [0, 1, 2, 3])
    for clients in ([0], [2], [3, 0], [3, 2, 1, 0]):
        assert trained(theirs[1], clients).equal(everyone[clients])


def test_what_its_training_computes_and_holds_is_known(theirs: Theirs) -> None:
    layout = theirs[1].model.layout
    assert all(f.positions for f in layout if len(f.shape) > 1)
    assert layout.activations > sum(f.shape[0] * f.positions for f in layout if len(f.shape) > 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 0}, "rank=0: must be a whole number, at least 1"),
        ({"entries": 5000}, "model.entries=5000: layer 'blocks.0.attention.q' has 4096 weights"),
        ({"pruned": 1.0}, "pruned=1.0: must be a finite number, at least 0, at most 0.99"),
        ({"base": "vit", "targets": "query"}, "is called so; it has blocks.0.attention.q,"),
        ({"base": "transfomer"}, "model.base=transfomer: no such model. Did you mean 'transformer'?"),
        ({"base": "lora"}, "adapters of adapters"),
        ({"base": "./nothing/here"}, "is no model of ours, no folder that one was saved in, and transformers cannot"),
        ({"base": "charmodel"}, "none of the base's linear layers is called so; it has none beside the head"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_cannot_be_is_refused(options: dict[str, object], said: str) -> None:
    shape = GREY if options.get("base") == "vit" else (6,)
    with pytest.raises(ConfigError, match=re.escape(said)):
        build("lora", shape, 10, 0, **options)


@pytest.mark.slow
def test_without_adapters_nothing_imports_transformers() -> None:
    code = (
        "import sys, fedsparse.models, fedsparse.cohort.batched as b, torch;"
        "b.Batched(fedsparse.models.build('vit', (1, 4, 4), 2, 0), torch.zeros(2, 1, 4, 4));"
        "sys.exit(any(m.split('.')[0] in ('transformers', 'peft') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_its_clients_train_to_the_same_on_an_accelerator(theirs: Theirs) -> None:
    module, here = theirs
    there = SupervisedWorkload(here.examples, module, here.batch, device="cuda")
    found, again, expected = (trained(work, [0, 1, 2, 3]) for work in (there, there, here))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert found.equal(again)
