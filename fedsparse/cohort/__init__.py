"""Training many clients at once: what a strategy sees as its ``task``."""
