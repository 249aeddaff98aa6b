"""What messages without a server cost."""

import math

import numpy as np
import torch
from engine_cases import gaussian, gossip, idle, rows

from fedsparse.engine.faults import Faults
from fedsparse.message import Dense
from fedsparse.strategies.allreduce import AllReduce
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.topologies.complete import Complete
from fedsparse.topologies.hub import Hub
from fedsparse.topologies.ring import Ring


def test_a_message_is_charged_on_every_link_and_by_radio_once() -> None:
    n, d = 6, 10
    found = gossip(DPSGD(), idle(n, d), Hub(), 1).history[0].traffic
    each = Dense(torch.zeros(1, d, dtype=torch.float64)).nbytes().item()
    links = 2 * (n - 1)  # of a star, in both directions
    assert found["up_messages"] == links
    assert found["up_payload_bytes"] == links * each
    assert found["radio_messages"] == n
    assert found["radio_payload_bytes"] == n * each
    assert found["down_messages"] == found["down_payload_bytes"] == 0


def test_an_all_reduce_is_charged_two_times_n_minus_one_nths_of_a_message() -> None:
    n, d = 5, 100
    found = gossip(AllReduce(), idle(n, d), Complete(), 1).history[0].traffic
    each = Dense(torch.zeros(1, d, dtype=torch.float64)).nbytes().item()
    assert found["up_payload_bytes"] == n * math.ceil(2 * (n - 1) * each / n)
    assert found["up_dense_bytes"] == n * math.ceil(2 * (n - 1) * 8 * d / n)


def test_all_reduce_gives_everybody_the_mean() -> None:
    x = gaussian(7, 3)
    found = rows(gossip(AllReduce(), idle(7, 3), Ring(), 1, x, block=2))
    np.testing.assert_allclose(found, np.tile(x.mean(0), (7, 1)), rtol=0, atol=1e-15)


def test_lost_messages_are_paid_for_and_counted() -> None:
    record = gossip(DPSGD(), idle(8, 4), Ring(), 1, faults=Faults(link_loss=1.0)).history[0]
    assert record.traffic["up_messages"] == record.traffic["up_lost"] == 16


def test_nothing_is_sent_to_or_by_clients_that_are_away() -> None:
    faults = Faults(dropout=0.5)
    record = gossip(DPSGD(), idle(8, 4), Complete(), 1, faults=faults).history[0]
    there = 8 - record.absent
    assert 1 < there < 8
    assert record.traffic["up_messages"] == there * (there - 1)
