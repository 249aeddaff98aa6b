"""Fashion-MNIST, 60,000 + 10,000 pictures of clothing, 28x28 pixels: MNIST's harder twin.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", arXiv:1708.07747 (MIT licence).
"""

from __future__ import annotations

from pathlib import Path

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, Source
from fedsparse.data.idx import load_images

__all__ = ["FILES", "load"]

MIRROR = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
FILES = Files(
    name="fashion_mnist",
    folders=("fashion_mnist", "FashionMNIST/raw", "."),
    sources=tuple(Source(f, (f"{MIRROR}/{f}",), sha256) for f, sha256 in SHA256.items()),
)


def load(data_dir: Path | None, seed: int) -> Dataset:  # noqa: ARG001 - a published split
    """Read the four published idx files, gzipped or not; torchvision's folders will do."""
    return load_images(FILES, data_dir)
