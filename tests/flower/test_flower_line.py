"""The relay passes on every byte, and counts each once."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsparse.flower.line import VARIABLE, Meter

SEEN = b"u" * 300_001
"""More than is passed on at once."""

ANSWER = b"d" * 70_003


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def read_all(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(1 << 16), b""))


@pytest.fixture
def target() -> Iterator[socket.socket]:
    """Where a SuperLink would be."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.settimeout(30)
        yield found


@pytest.fixture
def address(target: socket.socket, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Of a relay to the target."""
    port = free_port()
    ports = [str(port), str(target.getsockname()[1])]
    relay = subprocess.Popen([sys.executable, "-m", "fedsparse.flower.line", *ports, str(tmp_path / "meter")])
    yield "127.0.0.1", port
    relay.kill()
    relay.wait()


def connected(address: tuple[str, int]) -> socket.socket:
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(address, timeout=30)
        except ConnectionRefusedError:  # it is not up yet
            assert time.monotonic() < end
            time.sleep(0.05)


def test_every_byte_arrives_and_is_counted_once(
    target: socket.socket, address: tuple[str, int], tmp_path: Path
) -> None:
    meter, arrived = Meter(tmp_path / "meter"), []

    def answer() -> None:
        line, _ = target.accept()
        with line:
            line.settimeout(30)
            arrived.append(read_all(line))
            line.sendall(ANSWER)

    other = threading.Thread(target=answer)
    other.start()
    with connected(address) as line:
        line.sendall(SEEN)
        line.shutdown(socket.SHUT_WR)
        heard = read_all(line)
    other.join(30)
    assert (arrived, heard) == ([SEEN], ANSWER)
    assert meter.passed() == {"up_line_bytes": len(SEEN), "down_line_bytes": len(ANSWER)}
    assert meter.passed() == {"up_line_bytes": 0, "down_line_bytes": 0}


def test_the_end_of_a_superlink_is_the_end_of_the_connection(
    target: socket.socket, address: tuple[str, int]
) -> None:
    with connected(address) as line:
        target.accept()[0].close()
        assert read_all(line) == b""


def test_without_a_relay_nothing_is_measured(tmp_path: Path) -> None:
    assert Meter.of({}) is None
    meter = Meter.of({VARIABLE: str(tmp_path / "meter")})
    assert meter is not None
    assert meter.passed() == {"up_line_bytes": 0, "down_line_bytes": 0}
