"""Mixing rules, one file for each. ``mixing=NAME`` takes the class in ``NAME.py``."""
