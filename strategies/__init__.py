"""Algorithms, one file each. ``strategy=NAME`` takes the one :class:`~fedsparse.protocol.Strategy` in ``NAME.py``."""
