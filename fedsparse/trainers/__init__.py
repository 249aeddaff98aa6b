"""Sparse trainers: one file each, whose name is the trainer's name."""
