"""Taking a module apart into steps: by class of layer, through ``nn.Sequential``, by tracing a user's forward."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional

from fedsparse.cohort.functions import function
from fedsparse.cohort.layers import batched
from fedsparse.cohort.layers.whole import whole
from fedsparse.cohort.line import is_relu
from fedsparse.cohort.program import Program, Ref, Step

__all__ = ["as_one", "traced"]

_TRACING = threading.Lock()
"""While it traces, torch.fx changes ``nn.Module`` for the whole process; workers that are threads start together."""


class _OneLevel(fx.Tracer):
    """Sees the children of a module as they are called, and nothing inside them.

    Modules that other threads run in the meantime come by here, too, and are left alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        mine = threading.get_ident() == self._thread
        return super().call_module(m, forward, args, kwargs) if mine else forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        mine = threading.get_ident() == self._thread
        return super().getattr(attr, attr_val, parameter_proxy_cache) if mine else attr_val

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return True


def traced(module: nn.Module) -> Program:
    """The program of a module of one tensor, whose forward gives one tensor."""
    steps: list[Step] = []
    if _ties(module):
        steps.append(_alone(module, "", (Ref(0),), {}, "its layers share parameters"))
    else:
        with _TRACING:
            found = _emit(module, "", (Ref(0),), {}, steps)
        if found.number < len(steps):  # what comes after it is of no use
            steps.append(Step(lambda _, x: x, (found,)))
    return Program(tuple(_pooled_first(steps)))


def as_one(module: nn.Module, why: str) -> Program:
    """The program that calls the whole module, one client after the other."""
    return Program((_alone(module, "", (Ref(0),), {}, why),))


def _ties(module: nn.Module) -> bool:
    """Whether one parameter has two names."""
    every = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
    return len(every) > len(set(every))


def _alone(
    module: nn.Module, name: str, inputs: tuple[Any, ...], options: Mapping[str, Any], why: str
) -> Step:
    names = [key for key, value in _tensors(module) if value.is_floating_point()]
    layer = whole(module, names, f"{name}." if name else "")
    return Step(layer, inputs, options, name, module, alone=why)


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _emit(
    module: nn.Module, name: str, inputs: tuple[Any, ...], options: Mapping[str, Any], steps: list[Step]
) -> Ref:
    """Adds the steps of a module; where its result is."""
    if type(module) is nn.Sequential and not options and len(inputs) == 1:
        (found,) = inputs
        for child_name, child in module.named_children():
            found = _emit(child, _join(name, child_name), (found,), {}, steps)
        if isinstance(found, Ref):
            return found
    layer = batched(module, name)
    if layer is not None and not name and any(True for _ in module.parameters()):
        # Batched layers find their weights by the layer's name, and a model that is one layer has none.
        steps.append(
            _alone(module, "", inputs, options, "it is a single layer; nn.Sequential around it helps")
        )
        return Ref(len(steps))
    if layer is not None:
        steps.append(Step(layer, inputs, options, name, module))
        return Ref(len(steps))
    inside = None if type(module).__module__.startswith("torch.nn.") else _inside(module)
    if inside is not None:
        before = list(steps)
        found_or_none = _replay(module, inside, name, inputs, options, steps)
        if found_or_none is not None:
            return found_or_none
        steps[:] = before
    steps.append(_alone(module, name, inputs, options, f"{type(module).__name__} has no batched form"))
    return Ref(len(steps))


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _inside(module: nn.Module) -> list[fx.Node] | None:
    """What the module's forward does; ``None`` where that depends on values, or on whether it is training."""
    was = module.training
    try:
        training, evaluating = (_OneLevel().trace(module.train(mode)) for mode in (True, False))
    except Exception:  # noqa: BLE001 - whatever a user's forward raises when its input is only a name
        return None
    finally:
        module.train(was)
    return list(training.nodes) if str(training) == str(evaluating) else None


def _replay(
    module: nn.Module,
    nodes: list[fx.Node],
    name: str,
    inputs: tuple[Any, ...],
    options: Mapping[str, Any],
    steps: list[Step],
) -> Ref | None:
    """Adds the steps of a traced forward; ``None`` where one of them is not known to keep clients apart."""
    places: dict[fx.Node, Any] = {}
    given = list(inputs)
    for node in nodes:
        args: Any = fx.node.map_arg(node.args, lambda n: places[n])
        kwargs: Any = fx.node.map_arg(node.kwargs, lambda n: places[n])
        if node.op == "placeholder":
            usual = node.args[:1] if not given else (given.pop(0),)
            if str(node.target) not in options and not usual:
                return None
            places[node] = options[str(node.target)] if str(node.target) in options else usual[0]
        elif node.op == "call_module":
            child = module.get_submodule(str(node.target))
            places[node] = _emit(child, _join(name, str(node.target)), args, kwargs, steps)
        elif node.op in ("call_function", "call_method"):
            layer = function(node.target)
            if layer is None:
                return None
            steps.append(Step(layer, args, kwargs, function=node.target))
            places[node] = Ref(len(steps))
        elif node.op == "output":
            (found,) = args
            if isinstance(found, Ref):
                return found
            return None
        else:  # a tensor of the module's own, used by hand
            held = operator.attrgetter(str(node.target))(module)
            if isinstance(held, nn.Parameter) or held.is_floating_point():
                return None
            places[node] = held  # a mask or the like, the same for all clients
    return None


def _pooled_first(steps: list[Step]) -> list[Step]:
    """ReLU behind the maximum instead of before it: the same values and gradients on a quarter of the entries."""
    users: dict[int, int] = {}
    for step in steps:
        for ref in _refs([*step.inputs, *step.options.values()]):
            users[ref.number] = users.get(ref.number, 0) + 1
    for k, (first, second) in enumerate(pairwise(steps)):
        follows = second.inputs[:1] == (Ref(k + 1),) and users.get(k + 1) == 1
        if follows and is_relu(first) and _is_maximum(second):
            steps[k] = replace(second, inputs=(*first.inputs[:1], *second.inputs[1:]))
            steps[k + 1] = replace(first, inputs=(Ref(k + 1), *first.inputs[1:]))
    return steps


def _is_maximum(step: Step) -> bool:
    if isinstance(step.module, nn.MaxPool2d):
        return not step.module.return_indices
    return step.function is functional.max_pool2d and not step.options.get("return_indices")


def _refs(value: Any) -> list[Ref]:
    """The results that a step makes use of."""
    if isinstance(value, tuple | list):
        return [ref for part in value for ref in _refs(part)]
    return [value] if isinstance(value, Ref) else []
