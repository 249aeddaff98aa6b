"""Experiments as data: a YAML file says what is run and what is expected, one command runs and judges it."""

from fedsparse.experiment.command import main

__all__ = ["main"]
