"""Flower's ClientApp: one client of a run, the same ``client_update`` as in a simulation with C = 1.

The settings of a node (``flower-supernode --node-config``):

================  ==============================================================================
``client-id``     which client it is, from 0; ``partition-id``, as Flower has it, does as well
``data-dir``      folder of its data, in the place of the run's ``data_dir``
``device``        what it trains on, in the place of the run's ``device``
``state-dir``     folder of what it keeps; by default ``fedsparse`` in Flower's own folder
================  ==============================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedsparse.command import one_thread
from fedsparse.config.settings import Choice, RunConfig
from fedsparse.errors import ConfigError, DecodeError
from fedsparse.files import make_folder, replacing
from fedsparse.flower.fields import config_of, take
from fedsparse.flower.letters import Order, Presence

if TYPE_CHECKING:
    from fedsparse.parts import Parts

__all__ = ["app", "client_app"]


def client_app() -> ClientApp:
    """A ClientApp that takes part in a run of :func:`fedsparse.flower.server_app.server_app`."""
    made = ClientApp()
    made.query()(_meet)
    made.train()(_work)
    made.evaluate()(_evaluate)
    return made


def _meet(message: Message, context: Context) -> Message:
    """Keeps the configuration of the run, and says which client this is."""
    text = take(config_of(message.content, "hello"), "config", str)
    client, parts = _client(context), _built(text, context)
    import torch

    path = _told(context)
    make_folder(path.parent)
    with replacing(path, len(text)) as file:
        file.write(text.encode())
    examples = int(parts.workload.sizes(torch.tensor([client]))[0])
    return Message(Presence(client, examples).content(), reply_to=message)


def _work(message: Message, context: Context) -> Message:
    """One exchange."""
    return _obeyed(message, context, "obey")


def _evaluate(message: Message, context: Context) -> Message:
    """A test of the device, or the model where there is no server that has one."""
    return _obeyed(message, context, "evaluate")


def _obeyed(message: Message, context: Context, how: Literal["obey", "evaluate"]) -> Message:
    order = Order.of(message.content)
    path = _told(context)
    if not path.exists():
        raise DecodeError("order: this device was never told what the run is")
    parts = _built(path.read_text(encoding="utf-8"), context)
    import torch

    from fedsparse.engine.eligible import Eligible
    from fedsparse.flower.device import Device

    client, workload = _client(context), parts.recipe(parts.arrays)
    folder = _base(context) / f"{order.run:016x}-{client}"
    eligible = Eligible(order.population, order.total, workload.clients - order.population)
    device = Device(client, order.run, parts.plan, workload, eligible, folder)
    with torch.no_grad():
        return Message(getattr(device, how)(order).content(), reply_to=message)


def _client(context: Context) -> int:
    for name in ("client-id", "partition-id"):
        found = context.node_config.get(name)
        if found is not None:
            if type(found) is not int or found < 0:
                raise ConfigError(f"--node-config {name}={found}: must be a whole number of at least 0")
            return found
    raise ConfigError("this node does not say which client it is; start it with --node-config 'client-id=0'")


def _base(context: Context) -> Path:
    given = context.node_config.get("state-dir")
    home = os.environ.get("FLWR_HOME") or Path.home() / ".flwr"
    return Path(str(given)).expanduser() if given is not None else Path(home) / "fedsparse"


def _told(context: Context) -> Path:
    return _base(context) / f"app-{context.run_id}-{_client(context)}.json"


def _built(text: str, context: Context) -> Parts:
    """Everything of a run, on this device."""
    one_thread()
    import torch

    from fedsparse.parts import build

    torch.set_num_threads(1)
    config = _here(_config(json.loads(text)), context)
    if _client(context) >= config.clients:
        raise ConfigError(f"client-id={_client(context)}: the run has clients 0 to {config.clients - 1}")
    return build(config)


def _here(config: RunConfig, context: Context) -> RunConfig:
    """The configuration, with what is particular to this device."""
    node = context.node_config
    config = replace(
        config,
        data_dir=str(node["data-dir"]) if "data-dir" in node else config.data_dir,
        device=str(node.get("device", config.device)),
    )
    if config.partition.name == "own":
        config = replace(config, partition=Choice("own", {"client": _client(context)}))
    return config


def _config(values: Mapping[str, Any]) -> RunConfig:
    """What :func:`dataclasses.asdict` made of a configuration."""
    known = {f.name: f for f in fields(RunConfig)}
    made: dict[str, Any] = dict(values)
    for name, value in values.items():
        if name in known and "Choice" in str(known[name].type) and value is not None:
            made[name] = Choice(**value)
    return RunConfig(**made)


app = client_app()
