"""A forward that cannot be traced, run as it is for the examples of all clients at once.

What clients train, and what draws, is put into its batched form in its place. All else is frozen, hence the same for
all clients: there, every function is looked up as it is called, and one that is not known to keep clients apart, with
the same bits in any company, is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedsparse.cohort.functions import function
from fedsparse.cohort.layers import batched
from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.cohort.layers.dropout import KeyedDropout
from fedsparse.cohort.layers.shared import SHARED
from fedsparse.cohort.program import Program, Ref, Step
from fedsparse.errors import ConfigError
from fedsparse.models._saved import Foreign

__all__ = ["untraced"]

_ABOUT = {"__get__", "__len__", "dim", "is_contiguous", "is_floating_point", "numel", "size", "stride"}
"""What may be asked about a tensor; the answer does not depend on its entries."""


def untraced(module: nn.Module) -> Program:
    """The program of one step that calls the module once for all clients.

    Args:
        module: gives one tensor for one; dropout layers inside it are keyed already.

    Raises:
        ConfigError: something is trained that has no batched form.
    """
    return Program((Step(_Forward(module), (Ref(0),)),))


class _Forward:
    """The module as a batched layer; its parameters are shared with the original."""

    def __init__(self, module: nn.Module) -> None:
        self._module = copy.deepcopy(module, {id(p): p for p in module.parameters()})
        self._running: list[_Functions] = []
        # Batched forms are those of the original's layers, whose momentum may be changed for a pass.
        for name, layer in _trained(module):
            form = batched(layer, name)
            if form is None:
                raise ConfigError(
                    f"model: {name or 'the model'} ({type(layer).__name__}) has no batched form"
                )
            self._module.get_submodule(name).forward = self._in_place(form, name, layer)

    def __call__(self, run: Pass, inputs: Tensor) -> Tensor:
        """Outputs ``[C * B, ...]``."""
        self._module.train(run.train)
        self._running.append(_Functions(run, len(inputs), padded=isinstance(self._module, Foreign)))
        try:
            with self._running[-1]:
                out: Tensor = self._module(inputs)
        finally:
            self._running.pop()
        return out

    def _in_place(self, form: Layer, name: str, layer: nn.Module) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            functions = self._running[-1]
            with functions.aside():
                found = form(functions.run, *args, **kwargs)
            if functions.run.made is not None:
                functions.run.made.append((name, layer, found))
            return found

        return forward


def _trained(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost layers with a batched form, and others, that have trained parameters, statistics or dropout."""
    if not _own(module, recurse=True) and not any(isinstance(m, KeyedDropout) for m in module.modules()):
        return
    if _own(module, recurse=False) or batched(module, name) is not None:
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _trained(child, f"{name}.{child_name}" if name else child_name)


def _own(module: nn.Module, recurse: bool) -> bool:
    """Whether a client has something of this module for itself."""
    trained = any(p.requires_grad for p in module.parameters(recurse))
    return trained or any(b.is_floating_point() for b in module.buffers(recurse))


class _Functions(TorchFunctionMode):
    """Puts functions into their batched form as they are called, in this thread.

    Args:
        run: the pass.
        examples: C * B.
        padded: the forward may ask whether there is any padding, in order to leave a mask out that hides nothing. For
            the bits of a client it does not matter what others made of it: here attention always has a mask.
    """

    def __init__(self, run: Pass, examples: int, padded: bool) -> None:
        super().__init__()
        self.run, self._examples, self._padded, self._aside = run, examples, padded, False

    @contextmanager
    def aside(self) -> Iterator[None]:
        """In the meantime functions are PyTorch's own."""
        before, self._aside = self._aside, True
        try:
            yield
        finally:
            self._aside = before

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What is called instead of ``func``."""
        del types
        options, name = kwargs or {}, getattr(func, "__name__", str(func))
        if self._aside or name in _ABOUT:
            return func(*args, **options)
        tensors = [value for value in _flat([*args, *options.values()]) if isinstance(value, Tensor)]
        if any(isinstance(value, nn.Parameter) and value.requires_grad for value in tensors):
            raise ConfigError(f"model: its forward gives trained weights to {name} by hand")
        target = name if getattr(Tensor, name, None) is func else func
        if target not in SHARED and not any(value.is_floating_point() for value in tensors):
            found = func(*args, **options)
            if tensors and not all(isinstance(value, Tensor) for value in _flat([found])):
                self._check_question(name)
            return found
        found = self._batched(target, name, *args, **options)
        if self.run.made is not None and not (_memory(tensors) & _memory([found])):
            self.run.made.append(("", None, found))
        return found

    def _batched(self, target: Any, name: str, *args: Any, **options: Any) -> Any:
        if target in SHARED:
            return SHARED[target](self.run, self._examples, *args, **options)
        form = function(target)
        if form is None:
            raise ConfigError(f"model: its forward calls {name}, which is not known to keep clients apart")
        return form(self.run, *args, **options)

    def _check_question(self, name: str) -> None:
        if not (self._padded and name == "__bool__"):
            raise ConfigError(
                f"model: its forward asks for values by {name}, which would be those of all clients"
            )


def _memory(values: Any) -> set[int]:
    """Where tensors lie: a view is in the memory of another."""
    return {v.untyped_storage().data_ptr() for v in _flat(values) if isinstance(v, Tensor)}


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value
