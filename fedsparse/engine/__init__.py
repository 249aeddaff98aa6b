"""Rounds, blocks, workers and client states: who runs what, when, and what becomes of it."""
