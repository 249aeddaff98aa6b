"""BatchNorm statistics are values beside the parameters: averaged, kept by each client, or frozen."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from cohort_cases import examples
from torch import nn

from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.engine.faults import Faults
from fedsparse.errors import ProtocolError
from fedsparse.message import Dense
from fedsparse.protocol import Context, Role, Start, State
from fedsparse.simulation import Result, simulate
from fedsparse.strategies.fedavg import FedAvg

DATA = examples(sizes=[8, 24, 16])


def normed() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 3))


@dataclass(frozen=True)
class Local(FedAvg):
    buffers: ClassVar[Literal["average", "local", "none", "own"]] = "local"


@dataclass(frozen=True)
class Frozen(FedAvg):
    buffers: ClassVar[Literal["average", "local", "none", "own"]] = "none"


@dataclass(frozen=True)
class Own(FedAvg):
    buffers: ClassVar[Literal["average", "local", "none", "own"]] = "own"


def play(strategy: FedAvg, rounds: int = 2, **options) -> Result:
    return simulate(strategy, examples=DATA, model=normed(), batch=0, rounds=rounds, **options)


def test_averaged_statistics_are_the_mean_of_the_clients_by_examples():
    work = SupervisedWorkload(DATA, normed(), 0)
    ids = torch.arange(3)
    ends = work.task(ids, 0, 0, work.start.buffers[None]).sgd(work.start.x[None], lr=0.1, steps=5).buffers
    expected = np.average(ends.numpy(), axis=0, weights=[8, 24, 16])
    np.testing.assert_allclose(
        play(FedAvg(lr=0.1, steps=5), rounds=1).buffers, expected, rtol=1e-5, atol=1e-6
    )


def test_averaged_statistics_go_both_ways_and_cost_bytes():
    average, frozen = (play(strategy(), rounds=1).history[0].traffic for strategy in (FedAvg, Frozen))
    nbytes = int(Dense(torch.zeros(1, 20)).nbytes())
    for direction in ("up", "down"):
        assert average[f"{direction}_payload_bytes"] - frozen[f"{direction}_payload_bytes"] == 3 * nbytes
        assert average[f"{direction}_dense_bytes"] - frozen[f"{direction}_dense_bytes"] == 3 * 20 * 4


def test_a_client_trains_from_the_averaged_statistics():
    first, second = play(FedAvg(), rounds=1).buffers, play(FedAvg(), rounds=2).buffers
    start = SupervisedWorkload(DATA, normed(), 0).start.buffers
    assert (second - first).norm() < (first - start).norm()


def test_local_statistics_stay_with_their_clients():
    result = play(Local(), rounds=2)
    assert result.clients["buffers"].shape == (3, 20)
    assert not result.clients["buffers"][0].equal(result.clients["buffers"][1])
    assert result.buffers.equal(SupervisedWorkload(DATA, normed(), 0).start.buffers)
    assert result.history[0].traffic == play(Frozen(), rounds=1).history[0].traffic


def test_local_statistics_commit_when_the_message_was_accepted():
    faults = Faults(uplink_loss=0.5)
    lossy, perfect = (play(Local(), rounds=1, seed=1, faults=given) for given in (faults, None))
    kept = ~faults.lost("up", 1, 0, "train", 0, range(3))
    assert 0 < kept.sum() < 3
    assert lossy.ids.tolist() == np.flatnonzero(kept).tolist()
    assert lossy.clients["buffers"].equal(perfect.clients["buffers"][torch.from_numpy(kept)])


@pytest.mark.parametrize("strategy", [Frozen, Own])
def test_frozen_statistics_neither_move_nor_travel(strategy: type[FedAvg]):
    result = play(strategy(), rounds=2)
    assert result.buffers.equal(SupervisedWorkload(DATA, normed(), 0).start.buffers)
    assert "buffers" not in result.clients


def test_a_rejected_message_leaves_the_statistics_alone():
    result = play(FedAvg(), rounds=1, faults=Faults(uplink_loss=1.0))
    assert result.buffers.equal(SupervisedWorkload(DATA, normed(), 0).start.buffers)


@pytest.mark.parametrize("encode", [False, True], ids=["count", "encode"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_statistics_do_not_depend_on_blocks_or_encoding(block: int, encode: bool):
    assert play(FedAvg(), block=block, encode=encode).buffers.equal(play(FedAvg()).buffers)


def test_the_name_of_statistics_is_the_machines():
    @dataclass(frozen=True)
    class Taking(FedAvg):
        def init(self, role: Role, start: Start, ctx: Context) -> State:
            return {"x": start.x} if role == "server" else {"buffers": start.x[None]}

        def client_update(self, client, heard, task, ctx):
            _, message = super().client_update({}, heard, task, ctx)
            return {"buffers": heard["x"].expand(len(ctx.ids), -1)}, message

    with pytest.raises(ProtocolError, match=r"Taking: the name 'buffers' is the machine's"):
        play(Taking())


def test_statistics_of_one_minibatch_are_its_mean_and_variance():
    module = nn.Sequential(nn.BatchNorm1d(6, momentum=0.3), nn.Linear(6, 3))
    work = SupervisedWorkload(examples(sizes=[8, 24, 0]), module, 4)
    task = work.task(torch.arange(3), 0, 0, work.start.buffers[None])
    inputs, _, counts = task.batch(1)
    found = work.start.buffer_layout.split(task.statistics(work.start.x[None], 1))
    for client in (0, 1):
        rows = inputs[client, : counts[client]]
        torch.testing.assert_close(found["0.running_mean"][client], rows.mean(0))
        torch.testing.assert_close(found["0.running_var"][client], rows.var(0))
    assert torch.cat([value[2] for value in found.values()]).equal(work.start.buffers)
    assert task.examples.tolist() == [4, 4, 0]


def test_training_advances_statistics_and_forward_leaves_them_alone():
    work = SupervisedWorkload(DATA, normed(), 4)
    task = work.task(torch.arange(3), 0, 0, work.start.buffers[None])
    task.forward(work.start.x[None], task.batch(0)[0])
    assert task.buffers.equal(work.start.buffers.expand(3, -1))
    task.grad(work.start.x[None])
    assert not task.buffers.equal(work.start.buffers.expand(3, -1))


def test_training_may_start_from_statistics_that_are_given():
    work = SupervisedWorkload(DATA, normed(), 4)
    task = work.task(torch.arange(3), 0, 0, work.start.buffers[None])
    given = task.sgd(work.start.x[None], lr=0.1, steps=1, buffers=work.start.buffers[None] + 1)
    own = task.sgd(work.start.x[None], lr=0.1, steps=1, buffers=work.start.buffers[None])
    torch.testing.assert_close(given.buffers - own.buffers, torch.full((3, 20), 0.9))
