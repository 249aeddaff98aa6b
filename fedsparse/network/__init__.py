"""Seconds: what a client's line and processor make of bytes and examples, and when a round ends."""

from fedsparse.network.deadline import Closed, Deadline, close
from fedsparse.network.links import Links
from fedsparse.network.model import Network
from fedsparse.network.times import NEVER, compute_ns, finish_times, transfer_ns

__all__ = [
    "NEVER",
    "Closed",
    "Deadline",
    "Links",
    "Network",
    "close",
    "compute_ns",
    "finish_times",
    "transfer_ns",
]
