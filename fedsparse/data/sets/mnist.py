"""MNIST, 60,000 + 10,000 handwritten digits of 28x28 pixels.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE, 1998.
"""

from __future__ import annotations

from pathlib import Path

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, Source
from fedsparse.data.idx import load_images

__all__ = ["FILES", "load"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FILES = Files(
    name="mnist",
    folders=("mnist", "MNIST/raw", "."),
    sources=tuple(Source(f, tuple(f"{m}/{f}" for m in MIRRORS), sha256) for f, sha256 in SHA256.items()),
)


def load(data_dir: Path | None, seed: int) -> Dataset:  # noqa: ARG001 - a published split
    """Read the four published idx files, gzipped or not; torchvision's folders will do."""
    return load_images(FILES, data_dir)
