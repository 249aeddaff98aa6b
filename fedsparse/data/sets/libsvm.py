"""LIBSVM's binary classification files: a9a, w8a, mushrooms, phishing, ijcnn1, or yours.

Source: C.-C. Chang, C.-J. Lin, "LIBSVM: a library for support vector machines", ACM TIST, 2011, and the
original publications of the sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole, within
from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, Source
from fedsparse.data.split import stratified
from fedsparse.data.svmlight import Rows, read_svmlight
from fedsparse.errors import ConfigError, DataError

__all__ = ["FILES", "load", "verify"]

SITE = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary"
PUBLISHED = (
    "a9a",
    "a9a.t",
    "w8a",
    "w8a.t",
    "mushrooms",
    "phishing",
    "ijcnn1.bz2",
    "ijcnn1.t.bz2",
    "ijcnn1.val.bz2",
)
FILES = Files(
    name="libsvm",
    folders=("libsvm", "."),
    sources=tuple(Source(filename, (f"{SITE}/{filename}",)) for filename in PUBLISHED),
)
FEATURES = {"a9a": 123, "w8a": 300, "mushrooms": 112, "phishing": 68, "ijcnn1": 22}
OWN_TEST = {"a9a": "a9a.t"}


@dataclass(frozen=True)
class _Counts:
    """What a published file holds: the site states no checksums, but a cut or altered file has other counts.

    ``minority`` is the size of the smaller class, since copies differ in which of the two they label higher.
    """

    rows: int
    nonzeros: int
    minority: int


COUNTS = {
    "a9a": _Counts(32561, 451592, 7841),
    "a9a.t": _Counts(16281, 225731, 3846),
    "w8a": _Counts(49749, 579586, 1479),
    "mushrooms": _Counts(8124, 170604, 3916),
    "phishing": _Counts(11055, 331650, 4898),
    "ijcnn1.val": _Counts(14990, 194870, 1438),
}


def load(
    data_dir: Path | None,
    seed: int,  # noqa: ARG001 - the split is the same in every run
    *,
    file: str = "a9a",
    features: int = 0,
    test_file: str = "",
    test_fraction: float = 0.2,
) -> Dataset:
    """Read a file; the smaller of its two labels becomes class 0, the larger class 1.

    Args:
        data_dir: the data folder.
        seed: not used.
        file: the file's name without ``.gz`` or ``.bz2``.
        features: the number of columns; 0 for the files whose number is known.
        test_file: a second file with the test part; a9a has a published one, ``a9a.t``, which is the default.
        test_fraction: without a test file, the share of the examples, stratified by label, that is the test
            part in every run; 0 tests on the training examples, as optimisation papers do.
    """
    whole("features", features, 0)
    within("test_fraction", test_fraction, 0, 0.9)
    width = features or _known_features(file)
    x, y = _read(data_dir, file, width)
    name = f"libsvm_{file}"
    test_file = test_file or OWN_TEST.get(file, "")
    if test_file:
        return Dataset(name, x, y, *_read(data_dir, test_file, width), classes=2)
    if test_fraction == 0:
        return Dataset(name, x, y, x, y, classes=2)
    train, test = stratified(y, test_fraction, name)
    return Dataset(name, x[train], y[train], x[test], y[test], classes=2)


def _known_features(file: str) -> int:
    stem = file.split(".", maxsplit=1)[0]
    if stem not in FEATURES:
        known = ", ".join(f"{name} ({n})" for name, n in FEATURES.items())
        raise ConfigError(
            f"the number of features of {file!r} is not known, and a file need not show it; give "
            f"data.features=NUMBER. Known: {known}"
        )
    return FEATURES[stem]


def _read(data_dir: Path | None, file: str, features: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return _checked(FILES.find(data_dir, f"{file}.gz", f"{file}.bz2", file), file, features)


def verify(path: Path) -> None:
    """Check a downloaded file.

    Raises:
        DataError: it is not LIBSVM text, or does not hold what the published file does.
    """
    file = path.name.removesuffix(".gz").removesuffix(".bz2")
    _checked(path, file, _known_features(file))


def _checked(path: Path, file: str, features: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rows = read_svmlight(path, features)
    y = _two_classes(path, rows)
    got = _Counts(len(y), rows.nonzeros, int(np.bincount(y).min()))
    if got != COUNTS.get(file, got):
        raise DataError(
            f"{path} is damaged or not the published {file!r}: it has {_words(got)}; the published file has "
            f"{_words(COUNTS[file])}. Get it again; rename your own file and give its features"
        )
    return rows.x, y


def _two_classes(path: Path, rows: Rows) -> NDArray[np.int64]:
    labels = np.unique(rows.labels)
    if len(labels) != 2:
        shown = ", ".join(f"{label:g}" for label in labels[:5])
        raise DataError(f"{path} has {len(labels)} different label(s) ({shown}); two are needed")
    y: NDArray[np.int64] = (rows.labels == labels[1]).astype(np.int64)
    return y


def _words(counts: _Counts) -> str:
    return (
        f"{counts.rows:,} examples, {counts.nonzeros:,} non-zeros, {counts.minority:,} in the smaller class"
    )
