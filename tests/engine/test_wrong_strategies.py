"""A strategy that breaks the protocol is told its name, the key, and the difference."""

from typing import Any

import pytest
import torch
from server_cases import Pieces, Pulls

from fedsparse.errors import ProtocolError
from fedsparse.message import Dense, Scalars
from fedsparse.simulation import simulate

PULLS = Pulls(clients=4)
STATE = {"c": torch.zeros(1, 4, dtype=torch.float64), "n": torch.zeros(1, dtype=torch.int64)}
ZEROS = torch.zeros(4, 4, dtype=torch.float64)


def refused(strategy: Pieces, match: str, **options: Any) -> None:
    with pytest.raises(ProtocolError, match=match):
        simulate(strategy, PULLS, rounds=2, block=4, **options)


def working(**new: Any) -> Pieces:
    """Returns these states beside a sound message; without a value the old one, with None none at all."""

    def work(client, heard, task, ctx):
        given = {**client, **new}
        return {k: v for k, v in given.items() if v is not None}, {"g": Dense(task.grad(heard["x"]))}

    return Pieces(state=STATE, work=work)


@pytest.mark.parametrize(
    ("new", "match"),
    [
        ({"c": None}, "client state lacks c$"),
        ({"d": ZEROS}, "client state has d, unknown to init$"),
        ({"c": None, "d": ZEROS, "e": ZEROS}, "client state lacks c and has d, e, unknown to init$"),
        ({"c": ZEROS[:1]}, r"client state 'c' is \(1, 4\) torch.float64; .* must be \(4, 4\)"),
        ({"c": ZEROS[:, :3]}, r"client state 'c' is \(4, 3\)"),
        ({"c": ZEROS[0]}, r"client state 'c' is \(4,\)"),
        ({"c": ZEROS.float()}, "client state 'c' is .* torch.float32; .* torch.float64"),
        ({"n": torch.zeros(4, 1, dtype=torch.int64)}, r"client state 'n' is \(4, 1\)"),
        ({"n": 3}, "client state 'n' is a int; it must be a torch.Tensor"),
    ],
)
def test_client_states_keep_their_keys_shapes_and_dtypes(new: dict[str, Any], match: str):
    refused(working(**new), f"Pieces: {match}")


def test_a_clients_state_is_not_written_to():
    def work(client, heard, task, ctx):
        return {**client, "c": client["c"].add_(1)}, {"g": Dense(task.grad(heard["x"]))}

    refused(Pieces(state=STATE, work=work), "Pieces: client_update writes to its argument, the state 'c'")


@pytest.mark.parametrize(
    ("new", "match"),
    [
        ({}, "server state lacks x$"),
        ({"x": ZEROS[0], "v": ZEROS[0]}, "server state has v, unknown to init$"),
        ({"x": ZEROS}, r"server state 'x' became \(4, 4\) torch.float64; it was \(4,\)"),
        ({"x": ZEROS[0, :1]}, r"server state 'x' became \(1,\)"),
        ({"x": ZEROS[0].float()}, "server state 'x' became .* torch.float32"),
        ({"x": 0.0}, "server state 'x' is a float"),
    ],
)
def test_the_servers_state_keeps_its_keys_shapes_and_dtypes(new: dict[str, Any], match: str):
    refused(Pieces(step=lambda *_: new), f"Pieces: {match}")


def sending(*messages: Any) -> Pieces:
    """Sends these messages, one a round."""
    return Pieces(work=lambda client, heard, task, ctx: (client, messages[ctx.round % len(messages)]))


@pytest.mark.parametrize(
    ("message", "match"),
    [
        ({}, "client_update gave no payload to send"),
        ({"@n": Scalars(ZEROS[:, :1])}, "client_update gave no payload to send"),
        ({"g": ZEROS}, r"message 'g' is a Tensor; it must be a payload, such as Dense"),
        ({"g": Dense(ZEROS[:1])}, "message 'g' has 1 rows; it must have 4, one for each client"),
        ({"buffers": Dense(ZEROS)}, "the name 'buffers' is the machine's"),
    ],
)
def test_a_message_has_a_row_for_each_client(message: dict[str, Any], match: str):
    refused(sending(message), f"Pieces: {match}")


@pytest.mark.parametrize("found", [None, {}, ({},), ({}, [])])
def test_client_update_gives_a_state_and_a_message(found: Any):
    refused(Pieces(work=lambda *_: found), "Pieces: client_update gave .*; it must give")


@pytest.mark.parametrize("encode", [False, True], ids=["count", "encode"])
@pytest.mark.parametrize(
    "second",
    [
        {"h": Dense(ZEROS)},
        {"g": Dense(ZEROS), "h": Dense(ZEROS)},
        {"g": Dense(ZEROS[:, :3])},
        {"g": Dense(ZEROS.float())},
        {"g": Scalars(ZEROS)},
    ],
    ids=["name", "names", "size", "dtype", "class"],
)
def test_the_kind_of_a_message_is_fixed_for_its_phase(second: dict[str, Any], encode: bool):
    messages = ({"g": Dense(ZEROS)}, second)
    strategy = Pieces(
        work=lambda client, heard, task, ctx: (client, messages[ctx.round]), step=lambda s, *_: s
    )
    refused(strategy, "Pieces: a message has .*, but earlier ones of this phase had", encode=encode)


def test_another_phase_may_have_messages_of_another_kind():
    def work(client, heard, task, ctx):
        return client, {ctx.phase: Dense(ZEROS[:, : len(ctx.phase)])}

    strategy = Pieces(phase_names=lambda _: ("a", "bb"), work=work, step=lambda s, *_: s)
    assert not simulate(strategy, PULLS, rounds=2, block=4).history[1].skipped


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"x": Dense(ZEROS[:2])}, "broadcast 'x' has 2 rows; it must have 1, for all, or 4"),
        ({"x": ZEROS[:1]}, "broadcast 'x' is a Tensor; it must be a payload"),
        ({"buffers": Dense(ZEROS[:1])}, "the name 'buffers' is the machine's"),
    ],
)
def test_a_broadcast_has_a_row_for_all_or_one_for_each(said: dict[str, Any], match: str):
    refused(Pieces(say=lambda *_: said), f"Pieces: {match}")


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"c": torch.zeros(4)}, r"init\('client'\) gave 'c' of shape \(4,\)"),
        ({"c": torch.tensor(1.0)}, r"init\('client'\) gave 'c' of shape \(\)"),
        ({"c": 1.0}, r"init\('client'\) gave 'c' as float"),
    ],
)
def test_a_clients_first_value_has_a_leading_axis_of_one(state: dict[str, Any], match: str):
    refused(Pieces(state=state), f"Pieces: {match}")


def test_a_state_of_a_type_that_cannot_be_kept_is_refused():
    refused(Pieces(state={"c": torch.zeros(1, 4, dtype=torch.complex64)}), "'c' has dtype complex64")


class Misjudged(Pieces):
    def model(self, state, ctx):
        return state["x"][:2]


def test_the_evaluated_model_has_the_length_of_the_parameters():
    refused(Misjudged(), r"Misjudged: model 'x' became \(2,\)")


def test_asking_the_inbox_for_another_name_says_which_there_are():
    strategy = Pieces(step=lambda server, inbox, _: {"x": server["x"] + inbox.mean("dx")})
    refused(strategy, "inbox: no message is named 'dx'; there are g")


def test_asking_the_inbox_for_another_weighting_says_which_there_are():
    strategy = Pieces(step=lambda server, inbox, _: {"x": server["x"] + inbox.mean("g", by="size")})
    refused(strategy, "inbox: by='size' is not a weighting; there are 'examples' and 'one'")
