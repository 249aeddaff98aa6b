"""Training on an accelerator, and what is said where there is none."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from cohort_cases import MODELS, examples, task_of, workload
from tracing_cases import BATCHED, EVERY, build

from fedsparse import recorded
from fedsparse.cohort.device import prepared
from fedsparse.cohort.minibatches import Minibatches
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.config import parse
from fedsparse.errors import ConfigError

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CUDA", "mps", ""])
def test_a_device_of_another_kind_is_refused(name: str):
    with pytest.raises(ConfigError, match="must be cpu, cuda"):
        prepared(name)


def test_a_device_that_is_not_there_is_refused_with_what_there_is():
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match=f"device={missing}: PyTorch .* sees .* CUDA devices"):
        prepared(missing)


def test_a_run_on_a_device_that_is_not_there_leaves_no_folder(tmp_path: Path):
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match=f"device={missing}: PyTorch .* sees"):
        recorded.run(parse([f"device={missing}", "engine=local", f"runs={tmp_path / 'runs'}"]))
    assert not list(tmp_path.iterdir())


def test_a_worker_of_ray_cannot_choose_its_accelerator():
    with pytest.raises(ConfigError, match="device=cuda:1: under Ray each worker has a device of its own"):
        recorded.run(parse(["device=cuda:1", "engine=ray"]))


@pytest.mark.parametrize(("device", "width"), [("cpu", [56, 128, 256]), ("cuda", [56, 85, 100])])
def test_a_pass_over_all_examples_has_room_where_a_minibatch_has(device: str, width: list[int]):
    """On an accelerator blocks are as large as memory allows for a minibatch, or for what one client has else."""
    held = examples(sizes=[50, 120, 400])
    ids, place = torch.arange(3), torch.device(device)
    widths = [
        part._width for batch in (20, 100) for *_, part in Minibatches(held, ids, 0, 0, batch, place).sweeps()
    ]
    assert sorted(set(widths)) == width


@needs_cuda
@pytest.mark.parametrize("model", MODELS)
def test_an_accelerator_trains_to_the_same_as_the_processor(model: str):
    build, shape = MODELS[model]
    there = SupervisedWorkload(examples(shape), build(), 4, device="cuda")
    here = workload(model)
    options = {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.01, "prox": 0.1, "epochs": 3}
    found, expected = (task_of(work).sgd(work.start.x[None], **options) for work in (there, here))
    for name in ("x", "change", "mean_grad", "loss", "steps", "buffers"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.device.type == "cpu"
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@needs_cuda
@pytest.mark.parametrize("model", MODELS)
def test_an_accelerator_gives_the_same_bits_again(model: str):
    build, shape = MODELS[model]
    work = SupervisedWorkload(examples(shape), build(), 4, device="cuda")
    runs = [task_of(work).sgd(work.start.x[None], lr=0.1, epochs=3).x for _ in range(2)]
    assert np.array_equal(*(x.numpy() for x in runs))


@needs_cuda
@pytest.mark.parametrize("name", EVERY)
def test_any_module_trains_to_the_same_as_on_the_processor(name: str):
    module, here = build(name)
    there = SupervisedWorkload(here.examples, module, here.batch, device="cuda")
    found, expected = (task_of(work).sgd(work.start.x[None], lr=0.05, steps=1) for work in (there, here))
    torch.testing.assert_close(found.mean_grad, expected.mean_grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.buffers, expected.buffers, rtol=1e-4, atol=1e-5)
    found, expected = (task_of(work).sgd(work.start.x[None], lr=0.001, epochs=2) for work in (there, here))
    torch.testing.assert_close(found.x, expected.x, rtol=1e-2, atol=1e-3)


@needs_cuda
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", [*MODELS, "batch norm", "attention", "lstm", "gru"])
def test_the_processor_waits_for_no_step(name: str, momentum: float):
    module, shape = (MODELS | BATCHED)[name]
    work = SupervisedWorkload(examples(shape, sizes=[64] * 5), module(), 4, device="cuda")

    def waits(steps: int) -> int:
        """Times that the processor waits for the accelerator."""
        task = task_of(work)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                trained = task.sgd(work.start.x[None], lr=0.01, momentum=momentum, steps=steps)
                assert len(trained.x) == 5
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return len([found for found in caught if "synchronizing" in str(found.message)])

    waits(3)
    assert waits(15) == waits(3) > 0
