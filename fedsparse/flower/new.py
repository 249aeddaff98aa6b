"""A Flower app around a user's own model and data: what ``flwr run`` takes."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from fedsparse.config.settings import RunConfig
from fedsparse.errors import ConfigError
from fedsparse.files import make_folder
from fedsparse.flower.settings import OPTIONS

__all__ = ["make_app", "run_keys"]

_ELSEWHERE = frozenset({"engine", "wire", "faults"})
"""Keys that say nothing on devices, or whose options are given otherwise."""

_PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "A fedsparse strategy on real devices"
license = "Apache-2.0"
dependencies = ["fedsparse", "flwr>=1.41,<1.43"]

[tool.hatch.build.targets.wheel]
packages = ["{package}"]

[tool.flwr.app]
publisher = "{publisher}"
fab-include = ["{package}/*.py"]

[tool.flwr.app.components]
serverapp = "{package}.server_app:app"
clientapp = "{package}.client_app:app"

# The keys of `python -m fedsparse.run`; an empty text is "not given". Options of groups are further key=value pairs in
# `options`, as in options = "strategy.beta=0.5 uplink.fraction=0.05".
[tool.flwr.app.config]
{keys}
"""

_SERVER = '''"""The server: any strategy of fedsparse."""

from fedsparse.flower.server_app import server_app

app = server_app()
'''

_CLIENT = '''"""A device: one client of the run."""

from fedsparse.flower.client_app import client_app

app = client_app()
'''

_TASK = '''"""What is trained, and on what: yours to change."""

from pathlib import Path

import numpy as np
from torch import nn

from fedsparse.data import Dataset


def load(data_dir: Path | None, seed: int, *, examples: int = 600) -> Dataset:
    """The data set: on a device with partition=own, what this device has; otherwise the whole, which is divided.

    Args:
        data_dir: the folder of the device's data (``--node-config 'data-dir="..."'``); without one, blobs are drawn.
        seed: the run's seed.
        examples: how many blobs.
    """
    if data_dir is not None:
        files = np.load(data_dir / "data.npz")
        x, y = files["x"].astype(np.float32), files["y"].astype(np.int64)
    else:
        draw = np.random.default_rng(seed)
        y = draw.integers(0, 4, examples)
        x = (3 * np.eye(20)[y] + draw.normal(size=(examples, 20))).astype(np.float32)
    cut = len(x) // 5
    return Dataset("mine", x[cut:], y[cut:], x[:cut], y[:cut], classes=4)


class Net(nn.Sequential):
    """The model; its initial weights follow from the run's seed."""

    def __init__(self, example_shape: tuple[int, ...], classes: int, width: int = 32) -> None:
        super().__init__(nn.Linear(example_shape[0], width), nn.ReLU(), nn.Linear(width, classes))
'''


def run_keys() -> list[str]:
    """The keys of a configuration that a run on devices may be given."""
    return [f.name for f in fields(RunConfig) if f.name not in _ELSEWHERE]


def make_app(folder: Path, *, own_task: bool = True, publisher: str = "me") -> Path:
    """Writes an app.

    Args:
        folder: a new one; its name is the app's.
        own_task: with a model and data to be changed; otherwise those of fedsparse.
        publisher: who makes it, as Flower asks.

    Returns:
        the folder.

    Raises:
        ConfigError: the folder exists, or its name is not that of an app.
        ResourceError: it cannot be written to.
    """
    name = folder.name
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise ConfigError(f"{name}: the name of an app has small letters, digits, - and _, as in my-app")
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; give another name")
    package = name.replace("-", "_")
    given = {"data": f"{package}.task:load", "model": f"{package}.task:Net"} if own_task else {}
    given |= {"strategy": "scafcom", "clients": "2", "rounds": "3"}
    keys = [
        f"{key} = {given[key] if given.get(key, '').isdigit() else _quoted(given.get(key, ''))}"
        for key in run_keys()
    ]
    text = _PROJECT.format(
        name=name, package=package, publisher=publisher, keys="\n".join([*keys, f'{OPTIONS} = ""'])
    )
    files = {
        "pyproject.toml": text,
        f"{package}/__init__.py": f'"""The Flower app {name}."""\n',
        f"{package}/server_app.py": _SERVER,
        f"{package}/client_app.py": _CLIENT,
    }
    if own_task:
        files[f"{package}/task.py"] = _TASK
    make_folder(folder / package)
    for path, content in files.items():
        (folder / path).write_text(content, encoding="utf-8")
    return folder


def _quoted(text: str) -> str:
    return f'"{text}"'
