"""Communication graphs, one file for each family. ``topology=NAME`` takes the class in ``NAME.py``."""
