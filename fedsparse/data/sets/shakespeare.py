"""Next characters of Shakespeare's plays; a client is a speaking role.

The text is "tiny Shakespeare": speeches apart by blank lines, each headed by ``NAME:``. Play boundaries are
not in it, so that a common name (Messenger, First Citizen) joins several plays, unlike LEAF's (play, role)
pairs.

Source: A. Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015; H. B. McMahan et
al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole, within
from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, Source, read_text
from fedsparse.errors import DataError

__all__ = ["FILES", "load"]

FILES = Files(
    name="shakespeare",
    folders=("shakespeare", "."),
    sources=(
        Source(
            "input.txt",
            ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ),
)


def load(
    data_dir: Path | None,
    seed: int,  # noqa: ARG001 - the split follows the text
    *,
    length: int = 80,
    minimum: int = 1000,
    test_fraction: float = 0.2,
) -> Dataset:
    """Cut each role's speeches, joined in order, into sequences; the target is the text one character later.

    The first part of a role's text is for training, the rest for testing; no character is in both. Sequences
    do not overlap, and what is left at the end of a part is dropped. The vocabulary is all characters of the
    text.

    Args:
        data_dir: the data folder.
        seed: not used.
        length: characters of a sequence, T.
        minimum: roles with fewer characters are left out.
        test_fraction: share of a role's text that is the test part.

    Returns:
        x ``[N, T]`` and y ``[N, T]`` int64; ``groups`` are the roles in the order of their names.
    """
    whole("length", length, 1)
    whole("minimum", minimum, 1)
    within("test_fraction", test_fraction, 0, 0.9, open_low=True)
    path = FILES.find(data_dir, "input.txt")
    text = _decoded(path)
    codes = {character: code for code, character in enumerate(sorted(set(text)))}
    train: list[NDArray[np.int64]] = []
    test: list[NDArray[np.int64]] = []
    groups: list[int] = []
    for speech in _kept(_roles(text), minimum):
        tokens = np.array([codes[c] for c in speech], dtype=np.int64)
        cut = round(len(tokens) * (1 - test_fraction))
        windows, later = _windows(tokens[:cut], length), _windows(tokens[cut:], length)
        if len(windows) and len(later):
            groups += [len(train)] * len(windows)
            train.append(windows)
            test.append(later)
    if not train:
        raise DataError(
            f"{path}: no role has {minimum} characters that fill a training and a test sequence of {length}; "
            f"lower data.minimum or data.length"
        )
    x, x_test = np.concatenate(train), np.concatenate(test)
    return Dataset(
        name="shakespeare",
        x=np.ascontiguousarray(x[:, :-1]),
        y=np.ascontiguousarray(x[:, 1:]),
        x_test=np.ascontiguousarray(x_test[:, :-1]),
        y_test=np.ascontiguousarray(x_test[:, 1:]),
        classes=len(codes),
        groups=np.array(groups, dtype=np.int64),
    )


def _decoded(path: Path) -> str:
    try:
        return read_text(path).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged: {error}; get it again") from error


def _roles(text: str) -> dict[str, str]:
    """The text of each role, its speeches joined by line breaks."""
    speeches: dict[str, list[str]] = {}
    for paragraph in text.split("\n\n"):
        head, _, speech = paragraph.strip("\n").partition("\n")
        if head.endswith(":") and speech:
            speeches.setdefault(head[:-1], []).append(speech)
    return {role: "\n".join(parts) for role, parts in speeches.items()}


def _kept(roles: dict[str, str], minimum: int) -> list[str]:
    return [roles[role] for role in sorted(roles) if len(roles[role]) >= minimum]


def _windows(tokens: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """``[n, length + 1]``: each window's last character is the next one's first."""
    n = (len(tokens) - 1) // length if len(tokens) else 0
    windows: NDArray[np.int64] = tokens[np.arange(n)[:, None] * length + np.arange(length + 1)]
    return windows
