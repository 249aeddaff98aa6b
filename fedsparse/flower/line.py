"""Bytes on the line between nodes and a SuperLink: a relay on this machine that passes everything on and counts it.

What is counted is what programs read and write: HTTP, or the records of TLS that hide it. Headers of TCP and IP are
not in it, and neither is what the ServerApp and the command ``flwr`` say to the SuperLink, which they reach directly.
"""

from __future__ import annotations

import asyncio
import mmap
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["VARIABLE", "Meter", "main"]

VARIABLE = "FEDSPARSE_FLOWER_METER"
"""The environment variable that says where the file of a meter is, to a ServerApp whose nodes are behind a relay."""

_NAMES = ("up", "down")
_HOST = "127.0.0.1"
_PART = 1 << 16
"""Bytes that are passed on at once."""


class Meter:
    """Two counters in a file that processes share, from nodes up and to nodes down.

    Args:
        path: the file; it is made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(8 * len(_NAMES))
            self._counters = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._seen = self._counters.tolist()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Meter | None:
        """That of the relay which an environment names; None without one."""
        path = environment.get(VARIABLE)
        return Meter(Path(path)) if path else None

    def add(self, at: int, nbytes: int) -> None:
        """Counts bytes, up (0) or down (1); one process only may do that."""
        self._counters[at] += nbytes

    def passed(self) -> dict[str, int]:
        """Bytes since this was asked last, or since the meter was opened."""
        now = self._counters.tolist()
        before, self._seen = self._seen, now
        return {f"{n}_line_bytes": last - first for n, first, last in zip(_NAMES, before, now, strict=True)}


def main(argv: Sequence[str] | None = None) -> int:
    """Passes on until it is ended.

    Args:
        argv: the port that nodes come to, that of the SuperLink, and the file of the meter.
    """
    here, there, path = sys.argv[1:] if argv is None else argv
    asyncio.run(_serve(int(here), int(there), Meter(Path(path))))
    return 0


async def _serve(here: int, there: int, meter: Meter) -> None:
    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection(_HOST, there)
        except OSError:  # the SuperLink is gone, as the node would have found
            writer.close()
            return
        up = _pass_on(reader, onward_writer, meter, 0)
        await asyncio.gather(up, _pass_on(onward_reader, writer, meter, 1))
        for end in (writer, onward_writer):
            end.close()

    server = await asyncio.start_server(come, _HOST, here)
    async with server:
        await server.serve_forever()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meter: Meter, direction: int
) -> None:
    """One direction of a connection, until its end; where that is broken, the other end is told so."""
    try:
        while part := await reader.read(_PART):
            meter.add(direction, len(part))
            writer.write(part)
            await writer.drain()
        writer.write_eof()
    except OSError:  # one of both was killed
        with suppress(OSError):
            writer.transport.abort()


if __name__ == "__main__":
    sys.exit(main())
