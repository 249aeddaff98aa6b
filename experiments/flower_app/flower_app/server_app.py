"""The server: any strategy of fedsparse."""

from fedsparse.flower.server_app import server_app

app = server_app()
