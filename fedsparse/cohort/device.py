"""What clients train on: the processor, or an NVIDIA accelerator through CUDA."""

from __future__ import annotations

import os
import re

import torch

from fedsparse.errors import ConfigError

__all__ = ["prepared"]


def prepared(name: str) -> torch.device:
    """The device of that name, made ready.

    An accelerator is told to use its deterministic routines and full float32 products. Its bits differ from those of a
    processor, and may depend on the size of a block and on the model of the accelerator; an operation that has no
    deterministic routine there is named in a warning of PyTorch's.

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
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return device
