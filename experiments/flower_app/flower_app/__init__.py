"""The Flower app flower_app."""
