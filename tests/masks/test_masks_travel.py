"""What travels of masked values, and what is made of it."""

from typing import Literal, cast

import torch

from fedsparse.aggregate import Inbox, Mean
from fedsparse.masks import at_marks, marked, mean_of_holders, placed, positions, taken
from fedsparse.message import Ragged, Sparse

X = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
MASK = torch.tensor([1, 0, 0, 1]).bool()
OWN = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1]]).bool()


def inbox(weights: list[float]) -> Inbox:
    sent = marked(torch.tensor([[1.0, 2, 9, 9], [5, 9, 9, 0]]), OWN)
    ids = torch.tensor([3, 7])
    return Inbox(ids, torch.tensor([1, 3]), torch.tensor(weights).double(), [{"dx": sent}], Mean())


def mean(messages: Inbox, by: Literal["examples", "one"]) -> torch.Tensor:
    return mean_of_holders(messages, cast("Sparse", messages.payload("dx")), by)


def test_on_a_known_mask_the_values_alone_travel():
    sent = taken(X, MASK)
    assert sent.dense().tolist() == [[1, 4], [5, 8]]
    assert sent.nbytes().tolist() == [2 + 1 + 8] * 2  # head, number of values, two values of four bytes
    assert placed(sent.dense(), MASK).tolist() == [[1, 0, 0, 4], [5, 0, 0, 8]]


def test_on_ones_own_mask_positions_travel_with_the_values():
    sent = marked(X, OWN)
    assert sent.dense().tolist() == [[1, 2, 0, 0], [5, 0, 0, 8]]
    assert positions(sent).equal(OWN)


def test_a_zero_that_was_sent_is_a_position():
    assert positions(inbox([0.25, 0.75]).payload("dx")).equal(OWN)


def test_entries_are_averaged_over_those_who_have_them():
    """Entry 0 is there twice: (1 + 3 * 5) / 4; the others once, however little their holder weighs."""
    assert mean(inbox([0.25, 0.75]), "examples").tolist() == [4, 2, 0, 0]


def test_entries_may_be_averaged_with_all_holders_alike():
    assert mean(inbox([0.25, 0.75]), "one").tolist() == [3, 2, 0, 0]


def test_rows_of_different_lengths_travel_without_positions_where_both_ends_know_them():
    own = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 1]]).bool()
    sent = Ragged.of(X, own)
    assert sent.nbytes().tolist() == [2 + 1 + 1 + 12, 2 + 1 + 1 + 4]
    assert at_marks(sent, own).dense().tolist() == [[1, 2, 3, 0], [0, 0, 0, 8]]
