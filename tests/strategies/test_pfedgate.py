"""pFedGate is a NumPy transcription's, and what it becomes in the limits."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sparse_cases import LAYOUT, PROBLEM, ROUNDS, SHARES, START, gradient, run

from fedsparse.errors import ConfigError
from fedsparse.masks import blocks_of
from fedsparse.protocol import Context, Role, Start, State
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.pfedgate import PFedGate

PARTS = 3
BLOCKS = blocks_of(LAYOUT, PARTS)
OF = BLOCKS.of.numpy()
SIZES = BLOCKS.sizes.numpy()
LOCAL = {"lr": 0.1, "gate_lr": 0.5, "steps": 3, "parts": PARTS}


def kept(importance, budget, least):
    found = BLOCKS.first.numpy().copy()
    if budget >= 1:
        return np.ones_like(found)
    for linear in (True, False):
        items = [b for b in range(len(SIZES)) if bool(BLOCKS.linear[b]) == linear and not BLOCKS.first[b]]
        left = round(SIZES[items].sum() * (budget - least))
        for b in sorted(items, key=lambda b: (-round(10 * importance[b]), b)):
            if SIZES[b] <= left:
                left -= SIZES[b]
                found[b] = True
    return found


def spread(values):
    return np.append(values, 1.0)[OF]


def clipped(g, norm):
    return g * min(1.0, norm / max(np.linalg.norm(g), 1e-300))


def transcription(budgets, alternating=False, clip=10.0):
    """Springs have no inputs, so that a gate is sigmoid(b): the mean over a minibatch of one, normalised to zero."""
    x = START.copy()
    shifts = [np.zeros(len(SIZES)) for _ in SHARES]
    models, shares = [], []
    for _ in range(ROUNDS):
        change, share = np.zeros_like(x), []
        for i, p in enumerate(SHARES):
            y, b, s = x.copy(), shifts[i], budgets[i % len(budgets)]
            least = min(max(1 / PARTS, 0.1), s)
            turns = [(True, False), (False, True)] if alternating else [(True, True)]
            for gates, model in turns:
                for _ in range(3):
                    g = 1 / (1 + np.exp(-b))
                    hard = kept(np.maximum(g, least), s, least)
                    factors = spread(g * hard)
                    slope = gradient(i, factors * y)
                    outer = np.bincount(OF, weights=y * slope, minlength=len(SIZES))[: len(SIZES)]
                    if gates:  # once through the scale t, once straight through the mask's importance
                        b = b - 0.5 * clipped(outer * hard * (1 + g * (g >= least)) * g * (1 - g), clip)
                    if model:
                        y = y - 0.1 * clipped(factors * slope, clip)
                    share.append(SIZES[hard].sum() + np.sum(len(SIZES) == OF))
            shifts[i] = b
            change += p * (y - x)
        x = x + change
        models.append(x)
        shares.append(np.mean(share) / len(x))
    return models, shifts, shares


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"budget": 1.0}, {"budgets": [1.0]}),
        ({"budget": 0.5}, {"budgets": [0.5]}),
        ({"budgets": (1.0, 0.6, 0.4)}, {"budgets": [1.0, 0.6, 0.4]}),
        ({"budget": 0.6, "alternating": True}, {"budgets": [0.6], "alternating": True}),
        ({"budget": 0.6, "clip": 0.3}, {"budgets": [0.6], "clip": 0.3}),
    ],
    ids=["everything", "half", "different budgets", "alternating", "clipped"],
)
def test_every_iterate_is_the_transcription(options, arguments):
    """Gates are float32, so to 1e-5."""
    result = run(PFedGate(**LOCAL, **options))
    models, shifts, shares = transcription(**arguments)
    for ours, reference in zip(result.models, models, strict=True):
        np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=1e-5)
    found = result.clients["gate"][:, -len(SIZES) :].numpy()
    np.testing.assert_allclose(found, np.stack(shifts), rtol=0, atol=1e-5)
    np.testing.assert_allclose([r.scalars["kept"] for r in result.history], shares, rtol=0, atol=1e-12)


@dataclass(frozen=True)
class Open(PFedGate):
    """With gates that are open at first: sigmoid(50) is 1 in float32."""

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        state = dict(super().init(role, start, ctx))
        if role == "client":
            state["gate"][:, -len(SIZES) :] = 50
        return state


def test_with_open_gates_and_a_budget_of_one_it_is_fedavg():
    ours = run(Open(lr=0.05, steps=4, budget=1.0, clip=1e9, parts=PARTS))
    plain = run(FedAvg(lr=0.05, steps=4))
    for one, other in zip(ours.models, plain.models, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gates_that_do_not_learn_train_a_scaled_model():
    """All gates 1/2, but for the bias, which is in no block: FedAvg on x -> f(a x), with gradients a f'(a x)."""
    a = spread(np.full(len(SIZES), 0.5))
    ours = run(PFedGate(lr=0.2, gate_lr=1e-30, steps=1, budget=1.0, clip=1e9, parts=PARTS))
    x = START
    for model in ours.models:
        x = x - 0.2 * sum(p * a * gradient(i, a * x) for i, p in enumerate(SHARES))
        np.testing.assert_allclose(model.numpy(), x, rtol=0, atol=1e-12)


def made(strategy: PFedGate, values: torch.Tensor):
    leaf = values.clone().requires_grad_()
    return leaf, strategy.gated(leaf, torch.zeros(1, 0), BLOCKS, torch.tensor([0.6]).double())


def test_the_mask_passes_gradients_straight_on_where_a_block_is_kept():
    """dM_b/dt = kept_b and dM_b/dĝ = t_b kept_b, with a head for each."""
    count = len(SIZES)
    values = torch.from_numpy(np.random.default_rng(0).uniform(0.4, 0.9, (1, 2 * count)))
    leaf, found = made(PFedGate(parts=PARTS, heads=2), values)
    assert found.factors.detach()[0].equal(values[0, :count] * found.kept[0])
    found.factors.sum().backward()
    assert leaf.grad[0, :count].equal(found.kept[0].double())
    assert leaf.grad[0, count:].equal(values[0, :count] * found.kept[0])
    assert 0 < int(found.kept.sum()) < count


def test_one_head_gets_both_gradients():
    values = torch.from_numpy(np.random.default_rng(0).uniform(0.4, 0.9, (1, len(SIZES))))
    leaf, found = made(PFedGate(parts=PARTS), values)
    found.factors.sum().backward()
    assert torch.allclose(leaf.grad, found.kept * (1 + values))


def test_what_no_step_kept_stays_and_does_not_travel():
    """Up: values of the union behind head 2, size 1, count 1; blocks behind head 2, size 1, count 1, coding 1."""
    result = run(PFedGate(**LOCAL, budget=0.4))
    moved = (result.models[0] != PROBLEM.start).numpy()
    assert 0 < moved.sum() < len(START)
    first = result.history[0]
    share = first.scalars["kept"]
    assert share < 1
    assert first.traffic["up_payload_bytes"] <= 8 * (4 + 8 * moved.sum() + 5 + 2)
    assert first.traffic["down_payload_bytes"] == 8 * (2 + 1 + 8 * len(START))


def test_weights_of_a_part_of_the_clients_are_of_all_examples_or_of_theirs():
    """With three of eight clients the step is smaller by their share of all examples."""
    whole, part = (
        run(PFedGate(**LOCAL, sampled=s), cohort=3).models[0] - PROBLEM.start for s in (True, False)
    )
    ratio = part / whole
    inside = whole.abs() > 1e-9
    assert ratio[inside].std() < 1e-9
    assert 0 < float(ratio[inside][0]) < 1


def test_budgets_are_drawn_once_for_each_client_where_asked():
    strategy = PFedGate(budgets=(1.0, 0.5, 0.3), assigned="drawn")
    rounds = [
        strategy.shares(Context(3, r, phase, torch.arange(300), 300, 300, LAYOUT))
        for r, phase in ((0, "train"), (7, "train"))
    ]
    assert rounds[0].equal(rounds[1])
    assert all(70 < int((rounds[0] == share).sum()) < 130 for share in (1.0, 0.5, 0.3))


def test_a_profile_says_how_many_devices_have_which_budget():
    """Of 400 clients a quarter strong ones, and three quarters weak ones; 5 standard deviations of 8.7 aside."""
    strategy = PFedGate(budgets=(1.0, 0.3, 0.3, 0.3), assigned="drawn")
    found = strategy.shares(Context(3, 0, "train", torch.arange(400), 400, 400, LAYOUT))
    assert abs(int((found == 1.0).sum()) - 100) < 44


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_budget_that_is_no_share_is_refused(share: float):
    with pytest.raises(ConfigError, match=r"strategy\.budget="):
        PFedGate(budgets=(0.5, share))
