"""Rounds without a server: who hears whom, what gets lost, and how it is mixed."""
