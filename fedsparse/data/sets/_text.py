"""Texts with a label: reading them from Parquet files, and what a text is as a row of tokens."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole
from fedsparse.data.dataset import Dataset
from fedsparse.data.files import reading
from fedsparse.errors import ConfigError, DataError

__all__ = ["BEGIN", "PADDING", "classified", "hashed", "labelled", "tokens"]

PADDING, BEGIN = 0, 1
"""The tokens behind a text and before it."""

_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def labelled(path: Path, column: str, classes: int) -> tuple[list[str], NDArray[np.int64]]:
    """The texts and labels of a Parquet file with the columns ``column`` and ``label``.

    Raises:
        DataError: the file is damaged, lacks a column, or has something else than texts or a label outside the classes.
    """
    from pyarrow import parquet

    with reading(path):
        table = parquet.read_table(path, columns=[column, "label"])
        texts = table.column(column).to_pylist()
        labels = np.asarray(table.column("label").to_pylist(), dtype=np.int64)
    if any(not isinstance(text, str) for text in texts) or not np.isin(labels, np.arange(classes)).all():
        raise DataError(
            f"{path} is not the file it should be: column {column!r} must hold texts and 'label' 0 to {classes - 1}"
        )
    return texts, labels


def classified(
    name: str,
    train: Path,
    test: Path,
    column: str,
    classes: int,
    tokenised: Callable[[Sequence[str]], NDArray[np.int64]],
) -> Dataset:
    """The data set of two Parquet files, see :func:`labelled`, with texts as rows of tokens ``[n, T]``.

    Raises:
        DataError: a file is damaged or not what it should be.
    """
    (texts, y), (texts_test, y_test) = (labelled(path, column, classes) for path in (train, test))
    return Dataset(name, tokenised(texts), y, tokenised(texts_test), y_test, classes=classes)


def tokens(texts: Sequence[str], length: int, vocabulary: int, tokenizer: str) -> NDArray[np.int64]:
    """Rows of tokens ``[n, length]``, by :func:`hashed` or by a tokeniser of Hugging Face's.

    Args:
        texts: the texts.
        length: tokens of a row; what a text has more is cut off.
        vocabulary: of the hashed tokens.
        tokenizer: a folder or id; empty for hashed tokens.

    Raises:
        ConfigError: numbers out of range, or a tokeniser that cannot be loaded.
    """
    whole("length", length, 2)
    whole("vocabulary", vocabulary, 3)
    if not tokenizer:
        return hashed(texts, length, vocabulary)
    try:
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(tokenizer)
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(
            f"data.tokenizer={tokenizer}: cannot be loaded ({str(error).splitlines()[0]}); give a folder or an id of "
            "Hugging Face's, with the extra 'lora' installed, or leave it out"
        ) from error
    if made.pad_token is None:
        made.pad_token = made.eos_token
    rows = made(list(texts), padding="max_length", truncation=True, max_length=length)["input_ids"]
    return np.asarray(rows, dtype=np.int64)


def hashed(texts: Sequence[str], length: int, vocabulary: int) -> NDArray[np.int64]:
    """Words in lower case and single signs, each by a checksum of it: the same token in every data set.

    Two words in about ``vocabulary / 2`` share a token with a given third one. No vocabulary is learnt, so nothing of
    the test part, or of other clients, is in it.

    Returns:
        ``[n, length]``: 1, then the words' tokens from 2 to ``vocabulary - 1``, then zeros.
    """
    found = np.full((len(texts), length), PADDING, dtype=np.int64)
    found[:, 0] = BEGIN
    for row, text in zip(found, texts, strict=True):
        words = _WORD.findall(text.lower())[: length - 1]
        row[1 : len(words) + 1] = [2 + zlib.crc32(word.encode()) % (vocabulary - 2) for word in words]
    return found
