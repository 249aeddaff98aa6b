"""Topics of news: world, sports, business, science and technology.

Source: X. Zhang, J. Zhao, Y. LeCun, "Character-level Convolutional Networks for Text Classification", NIPS 2015.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files
from fedsparse.data.sets._text import classified, tokens

__all__ = ["FILES", "load"]

CLASSES = 4
FILES = Files(
    name="ag_news",
    folders=("text", "ag_news", "."),
    origin="It is the data set fancyzhx/ag_news of Hugging Face's: Parquet files with the columns text and label.",
)


def load(
    data_dir: Path | None,
    seed: int,  # noqa: ARG001 - the files have the split
    *,
    length: int = 48,
    vocabulary: int = 4096,
    tokenizer: str = "",
) -> Dataset:
    """Descriptions of news as rows of tokens, with their topic.

    Args:
        data_dir: the data folder, with ``ag_news_train.parquet``, or 10,001 of its rows as
            ``ag_news_train10k.parquet``, and ``ag_news_test.parquet``.
        seed: not used.
        length: tokens of a text, T; what it has more is cut off.
        vocabulary: how many tokens there are.
        tokenizer: a folder or id of Hugging Face's instead of hashed words, for a base with such a vocabulary.

    Returns:
        x ``[N, T]`` int64, y ``[N]`` int64.
    """
    train = FILES.find(data_dir, "ag_news_train.parquet", "ag_news_train10k.parquet")
    test = FILES.find(data_dir, "ag_news_test.parquet")
    return classified(
        "ag_news",
        train,
        test,
        "text",
        CLASSES,
        partial(tokens, length=length, vocabulary=vocabulary, tokenizer=tokenizer),
    )
