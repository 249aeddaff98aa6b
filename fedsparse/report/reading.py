"""Run folders, thousands of them: only the lines of rounds that were evaluated are taken apart.

Nothing in a folder is trusted. What cannot be read makes a :class:`~fedsparse.report.course.Unread`, never an end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from fedsparse.errors import RunFolderError
from fedsparse.ledger import sent_bytes
from fedsparse.report.course import Course, Floats, Run, Unread
from fedsparse.runfolder import read_rounds

__all__ = ["folders", "read", "read_run"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SURROUNDINGS = ("versions", "tuning", "theory")
_NOT_EVALUATED = b'"metrics": {}'
_CALLS = re.compile(rb'"gradient_calls": (\d+)')


def folders(paths: Sequence[Path]) -> Iterator[Path]:
    """The run folders that are meant: these, or all that lie in them; of a tuning those with the chosen values.

    A path that holds no run is given as it is, so that it can be said.
    """
    for path in paths:
        if (path / "config.yaml").is_file() or not path.is_dir():
            yield path
            continue
        inside = path / "report" if (path / "tuned.json").is_file() else path
        found = sorted(file.parent for file in inside.glob("**/config.yaml"))
        trials = {tuned.parent / "trials" for tuned in path.glob("**/tuned.json")}
        yield from [folder for folder in found if trials.isdisjoint(folder.parents)] or [path]


def read(paths: Iterable[Path]) -> tuple[list[Run], list[Unread]]:
    """All runs that can be read, and the folders that cannot."""
    runs, unread = [], []
    for path in paths:
        try:
            runs.append(read_run(path))
        except RunFolderError as error:
            unread.append(Unread(path, str(error).removeprefix(f"{path}: ")))
    return runs, unread


def read_run(path: Path) -> Run:
    """One run, finished or not.

    Raises:
        RunFolderError: there is none, or its files are damaged.
    """
    try:
        text = (path / "config.yaml").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunFolderError(f"{path}: not a run folder (no config.yaml)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path}: config.yaml cannot be read: {error}") from None
    sections = _sections(path, text)
    config = _dotted(sections)
    rounds, course = _course(path)
    finished = (path / "summary.json").exists()
    wanted = config.get("rounds")
    if finished and isinstance(wanted, int) and rounds < wanted:
        raise RunFolderError(f"{path}: damaged: rounds.jsonl has {rounds} of its {wanted} rounds")
    versions = sections.get("versions")
    return Run(
        path=path,
        config=config,
        versions=versions if isinstance(versions, Mapping) else {},
        tuning=sections.get("tuning") if isinstance(sections.get("tuning"), Mapping) else None,
        rounds=rounds,
        finished=finished,
        course=course,
    )


# ---- the configuration


def _sections(path: Path, text: str) -> Mapping[str, Any]:
    """The top-level entries. Most of them are alike in many runs, so each text is taken apart once."""
    try:
        found: dict[str, Any] = {}
        for part in re.split(r"^(?=[A-Za-z_])", text, flags=re.MULTILINE):
            found |= _parsed(part)
    except (yaml.YAMLError, TypeError):
        pass  # an alias of another section, or no mapping
    else:
        return found
    try:
        whole = yaml.load(text, Loader=_LOADER)  # noqa: S506 - one of the two safe loaders
    except yaml.YAMLError as error:
        raise RunFolderError(f"{path}: config.yaml is damaged: {' '.join(str(error).split())}") from None
    if not isinstance(whole, Mapping):
        raise RunFolderError(f"{path}: config.yaml is damaged: it is no mapping from keys to values")
    return whole


@lru_cache(maxsize=1 << 14)
def _parsed(text: str) -> Mapping[str, Any]:
    return yaml.load(text, Loader=_LOADER) or {}  # noqa: S506 - one of the two safe loaders


def _dotted(sections: Mapping[str, Any]) -> dict[str, Any]:
    """The values by dotted key. Names and options are not checked: a run of another version can be read, too."""
    values: dict[str, Any] = {}
    for key, section in sections.items():
        if key in _SURROUNDINGS:
            continue
        if not isinstance(section, Mapping):
            values[key] = section
            continue
        options = section.get("options") if "name" in section else section
        values |= {key: section["name"]} if "name" in section else {}
        values |= {f"{key}.{option}": value for option, value in (options or {}).items()}
    return values


# ---- the records


def _course(path: Path) -> tuple[int, Course]:
    """How many rounds there are, and what was evaluated in them."""
    try:
        data = (path / "rounds.jsonl").read_bytes()
    except FileNotFoundError:
        data = b""
    except OSError as error:
        raise RunFolderError(f"{path}: rounds.jsonl cannot be read: {error.strerror}") from None
    end = data.rfind(b"\n") + 1  # a run that lives or was killed may have half a line
    quick = _quickly(data[:end] if end < len(data) else data)
    if quick is not None:
        return quick
    records = _complete(path, read_rounds(path))
    calls = np.cumsum([record.get("gradient_calls", 0) for record in records])
    return len(records), _of([record for record in records if record.get("metrics")], calls)


def _quickly(data: bytes) -> tuple[int, Course] | None:
    """The same from the form that :class:`~fedsparse.runfolder.RunFolder` writes; ``None`` where it is another."""
    lines, calls = data.split(b"\n")[:-1], _CALLS.findall(data)
    if len(calls) != len(lines) or not all(
        line.startswith(b'{"round": %d, ' % number) for number, line in enumerate(lines)
    ):
        return None
    try:
        # What was evaluated stands near the end of a line.
        evaluated = [json.loads(line) for line in lines if line.rfind(_NOT_EVALUATED) < 0]
        return len(lines), _of(evaluated, np.cumsum([int(number) for number in calls]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _complete(path: Path, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records, if they are those of all rounds from the first on."""
    for number, record in enumerate(records):
        whole = record["round"] == number and isinstance(record.get("traffic_total"), dict)
        if not whole or not isinstance(record.get("metrics", {}), dict):
            raise RunFolderError(f"{path}: damaged: line {number + 1} of rounds.jsonl is not round {number}")
    return records


def _of(records: Sequence[Mapping[str, Any]], calls: Any) -> Course:
    """The course of the records of evaluated rounds; ``calls [rounds]`` are gradients since the start."""
    rounds = np.array([record["round"] for record in records], dtype=np.int64)
    traffic = [record["traffic_total"] for record in records]
    up, down = (np.array([sent_bytes(counters, way) for counters in traffic]) for way in ("up", "down"))
    costs = {
        "rounds": rounds + 1,
        "up_bytes": up,
        "total_bytes": up + down,
        "virtual_s": [record["virtual_s"] for record in records],
        "gradient_calls": np.asarray(calls)[rounds],
    }
    if traffic and "radio_payload_bytes" in traffic[0]:
        costs["radio_bytes"] = [t["radio_payload_bytes"] + t.get("radio_header_bytes", 0) for t in traffic]
    names = sorted({name for record in records for name in record["metrics"]})
    metrics = {name: _numbers([record["metrics"].get(name) for record in records]) for name in names}
    losses = _numbers([record.get("train_loss") for record in records])
    if np.isfinite(losses).any():
        metrics.setdefault("train_loss", losses)
    return Course({name: _numbers(values) for name, values in costs.items()}, metrics)


def _numbers(values: Any) -> Floats:
    """Numbers, NaN for ``None``."""
    return np.array(values, dtype=np.float64)
