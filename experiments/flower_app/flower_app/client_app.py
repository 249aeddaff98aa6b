"""A device: one client of the run."""

from fedsparse.flower.client_app import client_app

app = client_app()
