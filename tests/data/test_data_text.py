"""Texts with labels: tokens, files, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedsparse.data import load
from fedsparse.data.sets._text import hashed
from fedsparse.errors import ConfigError, DataError

TEXTS = ["Stocks rise, again!", "a goal"]
FILES = {
    "ag_news": ("text", ("ag_news_train.parquet", "ag_news_test.parquet"), [3, 0]),
    "sst2": ("sentence", ("sst2_train.parquet", "sst2_validation.parquet"), [1, 0]),
}
by_set = pytest.mark.parametrize("name", FILES)


def write(folder: Path, name: str, labels: list[int] | None = None) -> Path:
    column, files, usual = FILES[name]
    for file in files:
        parquet.write_table(pa.table({column: TEXTS, "label": labels or usual}), folder / file)
    return folder


def token(word: str, vocabulary: int) -> int:
    return 2 + zlib.crc32(word.encode()) % (vocabulary - 2)


def test_words_and_signs_are_hashed_behind_a_beginning_and_filled_up() -> None:
    found = hashed(TEXTS, 7, 100)
    words = ["stocks", "rise", ",", "again", "!"]
    assert found[0].tolist() == [1, *(token(word, 100) for word in words), 0]
    assert found[1].tolist() == [1, token("a", 100), token("goal", 100), 0, 0, 0, 0]


def test_long_texts_are_cut_off() -> None:
    assert hashed(TEXTS, 3, 100)[0].tolist() == [1, token("stocks", 100), token("rise", 100)]


@by_set
def test_texts_are_read_with_their_labels(name: str, tmp_path: Path) -> None:
    data = load(name, write(tmp_path, name), length=7, vocabulary=100)
    assert np.array_equal(data.x, hashed(TEXTS, 7, 100))
    assert data.y.tolist() == data.y_test.tolist() == FILES[name][2]


@by_set
def test_what_is_missing_is_named_with_where_it_comes_from(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{FILES[name][1][0]} was not found(.|\n)*of Hugging Face's"):
        load(name, tmp_path)


@by_set
def test_labels_outside_the_classes_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'label' 0 to"):
        load(name, write(tmp_path, name, [4, 0]))


@by_set
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name) / FILES[name][1][1]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=f"{path.name} is damaged"):
        load(name, tmp_path)


@pytest.mark.parametrize("options", [{"length": 1}, {"vocabulary": 2}, {"tokenizer": "./no/where"}])
def test_options_out_of_range_are_refused(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        load("sst2", write(tmp_path, "sst2"), **options)


def test_a_tokeniser_of_hugging_face_can_be_named(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra 'lora' is not installed")
    (tmp_path / "words").mkdir()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "stocks", "goal"]
    (tmp_path / "words" / "vocab.txt").write_text("\n".join(names))
    made = transformers.BertTokenizer(vocab=str(tmp_path / "words" / "vocab.txt"))
    made.save_pretrained(tmp_path / "words")
    data = load("sst2", write(tmp_path, "sst2"), length=5, tokenizer=str(tmp_path / "words"))
    assert data.x.tolist() == [[2, 5, 1, 1, 3], [2, 1, 6, 3, 0]]


@pytest.mark.parametrize(
    ("name", "sizes", "counts"),
    [("ag_news", (None, 7600), [1900] * 4), ("sst2", (67349, 872), [428, 444])],
)
def test_real_texts_have_their_published_sizes(real_data, name: str, sizes, counts) -> None:
    data = load(name, real_data("text"))
    assert sizes[0] in (None, len(data.y))
    assert len(data.y_test) == sizes[1]
    assert np.bincount(data.y_test).tolist() == counts
