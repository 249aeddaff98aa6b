"""What clients train on: the processor, or an NVIDIA accelerator through CUDA."""

from __future__ import annotations

import os
import re

import torch
import torch.utils.deterministic
from torch import Tensor

from fedsparse.errors import ConfigError

__all__ = ["on", "prepared"]

_SOON = 1 << 20
"""Bytes that go to an accelerator without anybody waiting for them; more is better sent from where it is."""

_LOCKED = 1 << 28
"""Bytes that come back to page-locked memory at most: it is not given back to the system."""


def prepared(name: str) -> torch.device:
    """The device of that name, made ready.

    An accelerator is told to use its deterministic routines and full float32 products. Its bits differ from those of a
    processor, and may depend on the size of a block and on the model of the accelerator; an operation that has no
    deterministic routine there is named in a warning of PyTorch's. These are settings of PyTorch for the whole process,
    and they stay.

    Args:
        name: ``"cpu"``, ``"cuda"`` or ``"cuda:0"`` and so on.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    if name == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise ConfigError(f"device={name}: must be cpu, cuda, or cuda:0 and so on")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device(name)
    if (device.index or 0) >= count:
        built = (
            f"it was built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "it was built without CUDA"
        )
        raise ConfigError(
            f"device={name}: PyTorch {torch.__version__} sees {count or 'no'} CUDA devices on this machine ({built}); "
            "use device=cpu, or install a PyTorch for your accelerator's driver"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; determinism needs it
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing reads memory that was not written to, so it need not be filled; host memory would be, too.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # Of the forms of attention one alone has gradients that repeat.
    for fused in ("flash", "mem_efficient", "cudnn"):
        getattr(torch.backends.cuda, f"enable_{fused}_sdp")(False)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return device


def on(device: torch.device, value: Tensor) -> Tensor:
    """The tensor on that device; the same one where it is there already.

    Of what goes to an accelerator a small tensor is on its way when this returns, and what comes back is there. Both go
    through page-locked memory, which PyTorch uses again and again.
    """
    size = value.numel() * value.element_size()
    if device.type == value.device.type:
        return value.to(device)
    if device.type == "cpu":
        return torch.empty(value.shape, dtype=value.dtype, pin_memory=size <= _LOCKED).copy_(value)
    # What is locked already may be written to while it is under way; what is expanded is sent as it is.
    if size > _SOON or not value.is_contiguous() or value.is_pinned():
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)
