"""Training a cohort gives what a plain PyTorch loop over its clients gives, with unequal amounts of data."""

import pytest
import torch
from cohort_cases import BATCH, MODELS, SIZES, batch_of, plain_gradient, plain_sgd, task_of, workload
from torch import Tensor

from fedsparse.cohort.analytic import AnalyticWorkload
from fedsparse.cohort.trainer import Moment
from fedsparse.data.quadratic import Quadratics
from fedsparse.engine.sparse import SparseTask
from fedsparse.errors import ProtocolError
from fedsparse.trainers.set import SET

CLOSE = {"rtol": 1e-4, "atol": 1e-6}

OPTIONS: dict[str, dict[str, float]] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "weight_decay": {"weight_decay": 0.1},
    "prox": {"prox": 0.5},
    "all": {"momentum": 0.5, "weight_decay": 0.01, "prox": 0.1},
}


def passes(size: int) -> int:
    """Minibatches of one pass."""
    return -(-size // BATCH)


def wave(size: int, rows: int = 1) -> Tensor:
    return torch.sin(torch.arange(rows * size, dtype=torch.float32)).reshape(rows, size)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("step", [0, 1, 9])
def test_minibatch_gradients_are_those_of_autograd(model: str, step: int):
    work = workload(model)
    found = task_of(work).grad(work.start.x[None], step)
    for client, size in enumerate(SIZES):
        if size:
            expected, _ = plain_gradient(MODELS[model][0](), work.start.x, *batch_of(work, client, step))
            torch.testing.assert_close(found[client], expected, **CLOSE)
        else:
            assert not found[client].any()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("options", OPTIONS)
def test_epochs_are_those_of_a_loop_without_padding(model: str, options: str):
    work = workload(model)
    found = task_of(work).sgd(work.start.x[None], lr=0.2, epochs=2, **OPTIONS[options])
    assert found.steps.flatten().tolist() == [2 * passes(size) for size in SIZES]
    for client, size in enumerate(SIZES):
        y, mean_grad, loss = plain_sgd(model, work, client, 2 * passes(size), 0.2, **OPTIONS[options])
        torch.testing.assert_close(found.x[client], y, **CLOSE)
        torch.testing.assert_close(found.mean_grad[client], mean_grad, **CLOSE)
        assert float(found.loss[client]) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_equal_steps_go_through_small_clients_more_often(model: str):
    work = workload(model)
    found = task_of(work).sgd(work.start.x[None], lr=0.2, steps=6)
    assert found.steps.flatten().tolist() == [6 if size else 0 for size in SIZES]
    for client in (0, 2):
        torch.testing.assert_close(found.x[client], plain_sgd(model, work, client, 6, 0.2)[0], **CLOSE)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", [1, len(SIZES)])
def test_a_shift_is_added_to_every_gradient(model: str, rows: int):
    work = workload(model)
    shift = 0.1 * wave(work.start.x.numel(), rows)
    found = task_of(work).sgd(work.start.x[None], lr=0.2, epochs=1, shift=shift)
    for client, size in enumerate(SIZES):
        own = shift[client if rows > 1 else 0]
        y, mean_grad, _ = plain_sgd(model, work, client, passes(size), 0.2, shift=own)
        torch.testing.assert_close(found.x[client], y, **CLOSE)
        torch.testing.assert_close(found.mean_grad[client], mean_grad, **CLOSE)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", [1, len(SIZES)])
def test_entries_outside_the_mask_stay_exactly_zero(model: str, rows: int):
    work = workload(model)
    mask = (wave(work.start.x.numel(), rows) > 0).float()
    found = task_of(work).sgd(work.start.x[None], lr=0.2, epochs=1, mask=mask, momentum=0.9)
    for client, size in enumerate(SIZES):
        own = mask[client if rows > 1 else 0]
        y, _, _ = plain_sgd(model, work, client, passes(size), 0.2, mask=own, momentum=0.9)
        torch.testing.assert_close(found.x[client], y, **CLOSE)
        assert not found.x[client][own == 0].any()


@pytest.mark.parametrize("model", MODELS)
def test_clients_may_start_from_points_of_their_own(model: str):
    work = workload(model)
    x = work.start.x + 0.1 * wave(work.start.x.numel(), len(SIZES))
    together = task_of(work).sgd(x, lr=0.2, epochs=1)
    for client in range(len(SIZES)):
        alone = task_of(work, [client]).sgd(x[client : client + 1], lr=0.2, epochs=1)
        assert together.x[client].equal(alone.x[0])


@pytest.mark.parametrize("model", MODELS)
def test_a_client_without_examples_stays_where_it_is(model: str):
    work = workload(model)
    task = task_of(work)
    found = task.sgd(
        work.start.x[None], lr=0.2, epochs=3, momentum=0.9, weight_decay=0.1, shift=wave(len(work.start.x))
    )
    assert found.x[3].equal(work.start.x)
    assert (found.steps[3], found.loss[3], task.gradient_calls[3], task.examples[3]) == (0, 0, 0, 0)
    assert not task.full_grad(work.start.x[None])[3].any()
    assert task.loss(work.start.x[None])[3] == 0


@pytest.mark.parametrize("model", MODELS)
def test_gradients_and_examples_are_counted_for_each_client(model: str):
    work = workload(model)
    task = task_of(work)
    task.sgd(work.start.x[None], lr=0.1, epochs=2)
    assert task.gradient_calls.tolist() == [2 * passes(size) for size in SIZES]
    assert task.examples.tolist() == [2 * size for size in SIZES]
    task.full_grad(work.start.x[None])
    assert task.examples.tolist() == [3 * size for size in SIZES]
    task.batch(0)
    assert task.examples.tolist() == [3 * size + min(size, BATCH) for size in SIZES]


@pytest.mark.parametrize("model", MODELS)
def test_the_mean_gradient_is_precise_where_steps_are_tiny(model: str):
    """With a step of 1e-6, x - y has lost all digits of the gradients."""
    work = workload(model)
    found = task_of(work).sgd(work.start.x[None], lr=1e-6, steps=1)
    expected = task_of(work).grad(work.start.x[None])
    torch.testing.assert_close(found.mean_grad, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", [1, len(SIZES)])
def test_a_gradient_less_something_known_is_the_difference_bit_by_bit(model: str, rows: int):
    work = workload(model)
    known = wave(len(work.start.x), rows)
    found = task_of(work).grad(work.start.x[None], less=known)
    assert found.equal(task_of(work).grad(work.start.x[None]) - known)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", [0, 2, 40])
def test_a_mean_gradient_less_something_known_is_the_difference_bit_by_bit(model: str, steps: int):
    """In any order: 40 steps are more than what is kept in factors."""
    work = workload(model)
    known = wave(len(work.start.x), len(SIZES))
    first, then = (task_of(work).sgd(work.start.x[None], lr=0.1, steps=steps) for _ in range(2))
    less = first.mean_grad_less(known)
    assert less.equal(then.mean_grad - known)
    assert then.mean_grad_less(known).equal(less)
    assert first.mean_grad.equal(then.mean_grad)
    assert first.x.equal(then.x)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", [0, 2, 40])
def test_parts_of_a_mean_gradient_are_those_of_the_whole_bit_by_bit(model: str, steps: int):
    work = workload(model)
    first, then = (task_of(work).sgd(work.start.x[None], lr=0.1, steps=steps) for _ in range(2))
    for field in work.start.layout:
        for rows in (slice(1), slice(1, len(SIZES))):
            part = torch.full((len(SIZES), field.size), torch.nan)[rows]
            first.write_mean_grad(part, rows, field)
            assert part.equal(then.mean_grad[rows, field.slice])


@pytest.mark.parametrize("model", MODELS)
def test_a_step_size_of_zero_moves_nothing_and_still_knows_the_gradient(model: str):
    work = workload(model)
    found = task_of(work).sgd(work.start.x[None], lr=0.0, steps=2)
    assert all(row.equal(work.start.x) for row in found.x)
    assert found.mean_grad.isfinite().all()
    assert found.mean_grad.any()


@pytest.mark.parametrize("given", [{}, {"steps": 1, "epochs": 1}, {"steps": -1}, {"epochs": -2}])
def test_local_training_needs_steps_or_epochs(given: dict[str, int]):
    work = workload("mlp")
    with pytest.raises(ProtocolError, match=r"task\.sgd: give steps or epochs, one of them, at least 0"):
        task_of(work).sgd(work.start.x[None], lr=0.1, **given)


# ---- everything else that a task offers


@pytest.mark.parametrize("model", MODELS)
def test_the_full_gradient_is_that_of_all_examples(model: str):
    work = workload(model, batch=0)
    task = task_of(work)
    torch.testing.assert_close(task.full_grad(work.start.x[None]), task.grad(work.start.x[None]), **CLOSE)


@pytest.mark.parametrize("model", MODELS)
def test_the_full_gradient_of_many_examples_is_put_together_from_pieces(model: str):
    work = workload(model, batch=0, sizes=[700, 3])
    task = task_of(work)
    torch.testing.assert_close(task.full_grad(work.start.x[None]), task.grad(work.start.x[None]), **CLOSE)


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_is_that_of_all_examples(model: str):
    work = workload(model, batch=0)
    task = task_of(work)
    task.grad(work.start.x[None])
    torch.testing.assert_close(task.loss(work.start.x[None]), task.train_loss, **CLOSE)


@pytest.mark.parametrize("model", MODELS)
def test_batch_and_forward_give_the_gradient_of_a_loss_of_ones_own(model: str):
    work = workload(model)
    task = task_of(work)
    inputs, targets, counts = task.batch(1)

    def loss(x: Tensor) -> Tensor:
        outputs = task.forward(x, inputs)
        rows = [
            torch.nn.functional.cross_entropy(o[:n], t[:n])
            for o, t, n in zip(outputs, targets, counts, strict=True)
            if n
        ]
        return torch.stack(rows).sum()

    x = work.start.x.expand(len(SIZES), -1).clone().requires_grad_()
    loss(x).backward()
    torch.testing.assert_close(x.grad, task_of(work).grad(work.start.x[None], 1), **CLOSE)
    torch.testing.assert_close(torch.func.grad(loss)(x.detach()), x.grad, **CLOSE)


def test_a_loss_of_ones_own_needs_examples_and_no_trainer():
    formula = AnalyticWorkload(Quadratics.drawn(2, 3, spread=1.0, noise=0.0, seed=0)).task(
        torch.arange(2), 0, 0, torch.zeros(1, 0)
    )
    with pytest.raises(
        ProtocolError, match=r"task.batch: this problem is given by formulas and has no examples"
    ):
        formula.batch(0)
    work = workload("mlp")
    sparse = SparseTask(task_of(work), SET(), Moment(0, 0, 1, work.start.layout, work.start.x))
    assert sparse.batch(0)[0].equal(task_of(work).batch(0)[0])
    with pytest.raises(ProtocolError, match=r"task.forward: with a trainer .* so leave trainer out"):
        sparse.forward(work.start.x[None], sparse.batch(0)[0])


@pytest.mark.parametrize("model", MODELS)
def test_a_step_names_a_minibatch_of_its_round(model: str):
    work = workload(model, sizes=[40, 40])
    batches = [task_of(work, round_=r).batch(step)[0] for r, step in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert batches[0].equal(batches[1])
    assert not batches[0].equal(batches[2])
    assert not batches[0].equal(batches[3])


def test_a_pass_uses_each_example_once_and_the_next_pass_another_order():
    work = workload("mlp", sizes=[10])
    first, second = (
        torch.cat([batch_of(work, 0, step)[0] for step in range(start, start + 3)]) for start in (0, 3)
    )
    assert len(first) == 10
    assert first.sum(1).sort().values.equal(second.sum(1).sort().values)
    assert not first.equal(second)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("block", [1, 2, 5])
def test_a_client_trains_to_the_same_bits_in_any_block(model: str, block: int):
    work = workload(model)
    whole = task_of(work).sgd(work.start.x[None], lr=0.2, epochs=1, momentum=0.9)
    for first in range(0, len(SIZES), block):
        ids = list(range(first, min(first + block, len(SIZES))))
        part = task_of(work, ids).sgd(work.start.x[None], lr=0.2, epochs=1, momentum=0.9)
        assert part.x.equal(whole.x[ids])
        assert part.mean_grad.equal(whole.mean_grad[ids])
