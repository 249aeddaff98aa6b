"""fedsparse itself: the command ``python -m fedsparse.run`` with what is given, and a mark after each round."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from safetensors.numpy import load_file

from experiments.benchmarks.rivals.work import Work, arguments, mark, save
from fedsparse import recorded, run
from fedsparse.progress import Progress
from fedsparse.records import Record


class Marks(Progress):
    """Tells when each round was done and written down; shows nothing."""

    def round(self, record: Record) -> None:
        """Marks the end of a round, and before the first one its start."""
        if record.round == 0:
            print(json.dumps({"mark": "start", "at": time.monotonic() - record.wall_s}))
        mark("round")


def main() -> int:
    """Runs the program; returns the command's exit status."""
    given = arguments()
    recorded.Progress = Marks  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(dir=given.final.parent) as folder:
        fixed = [f"rounds={given.rounds}", f"eval_every={given.rounds}", f"checkpoint_every={given.rounds}"]
        status = run.main([*given.rest, *fixed, f"runs={folder}", "name=run"])
        if status:
            return status
        held = Path(folder, "run")
        summary = json.loads((held / "summary.json").read_text())
        mark("bytes", up=summary["up_bytes"] // given.rounds, down=summary["down_bytes"] // given.rounds)
        final = load_file(held / "model.safetensors")
    save(given.final, [final[name] for name in Work.load(given.work).start])
    return 0


if __name__ == "__main__":
    sys.exit(main())
