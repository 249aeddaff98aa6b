"""Sentiment of phrases and sentences from film reviews: negative or positive.

Source: R. Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP 2013;
in the split of A. Wang et al., "GLUE", ICLR 2019, whose validation part, the one with labels, is the test part here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files
from fedsparse.data.sets._text import classified, tokens

__all__ = ["FILES", "load"]

CLASSES = 2
FILES = Files(
    name="sst2",
    folders=("text", "sst2", "."),
    origin="It is the data set stanfordnlp/sst2 of Hugging Face's: Parquet files with the columns sentence and label.",
)


def load(
    data_dir: Path | None,
    seed: int,  # noqa: ARG001 - the files have the split
    *,
    length: int = 32,
    vocabulary: int = 4096,
    tokenizer: str = "",
) -> Dataset:
    """Phrases as rows of tokens, with their sentiment.

    Args:
        data_dir: the data folder, with ``sst2_train.parquet`` and ``sst2_validation.parquet``.
        seed: not used.
        length: tokens of a text, T; what it has more is cut off.
        vocabulary: how many tokens there are.
        tokenizer: a folder or id of Hugging Face's instead of hashed words, for a base with such a vocabulary.

    Returns:
        x ``[N, T]`` int64, y ``[N]`` int64.
    """
    train, test = (FILES.find(data_dir, f"sst2_{part}.parquet") for part in ("train", "validation"))
    return classified(
        "sst2",
        train,
        test,
        "sentence",
        CLASSES,
        partial(tokens, length=length, vocabulary=vocabulary, tokenizer=tokenizer),
    )
