"""The command ``python -m fedsparse.topology``: what a gossip graph costs, and how fast it mixes."""

from fedsparse.topology.command import main
from fedsparse.topology.report import Report, report

__all__ = ["Report", "main", "report"]
