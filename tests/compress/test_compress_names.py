"""Finding a compressor, its options, and whether a strategy can use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsparse import compress
from fedsparse.compress import (
    QSGD,
    BlockTopK,
    Compressor,
    HasStreams,
    Identity,
    Natural,
    RandK,
    Scaled,
    Threshold,
    TopK,
    require,
)
from fedsparse.compress.counts import kept
from fedsparse.errors import ConfigError
from fedsparse.message import Dense, Payload


def test_the_compressors_are_the_modules_that_have_one() -> None:
    assert compress.names() == [
        "block_topk", "identity", "lowbit", "natural", "qsgd", "randk", "scaled", "sign", "threshold", "topk",
    ]  # fmt: skip


@pytest.mark.parametrize("name", compress.names())
def test_each_name_gives_a_compressor_with_defaults(name: str) -> None:
    assert isinstance(compress.get(name)(), Compressor)


def test_a_name_gives_the_class_of_its_module() -> None:
    assert compress.get("block_topk") is BlockTopK


def test_an_unknown_name_is_answered_with_the_nearest_and_all_others() -> None:
    with pytest.raises(
        ConfigError, match=r"compressor=topkk: no such compressor; did you mean 'topk'\? There are block_topk"
    ):
        compress.get("topkk")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which compressors are looked for, too."""
    monkeypatch.setattr(compress, "__path__", [*compress.__path__, str(tmp_path)])
    return tmp_path


def test_adding_a_file_adds_a_compressor(folder: Path) -> None:
    (folder / "zz_half.py").write_text(
        "from fedsparse.compress.topk import TopK\nclass Half(TopK):\n    'A subclass of an imported one.'\n"
    )
    assert "zz_half" in compress.names()
    assert compress.get("zz_half").__name__ == "Half"


def test_a_file_with_two_compressors_is_refused(folder: Path) -> None:
    (folder / "zz_two.py").write_text(
        "from fedsparse.compress.topk import TopK\nclass A(TopK): ...\nclass B(TopK): ...\n"
    )
    with pytest.raises(ConfigError, match="must define one Compressor, it has A, B"):
        compress.get("zz_two")


def test_machinery_is_not_a_compressor() -> None:
    with pytest.raises(ConfigError, match="compressor=select: no such compressor"):
        compress.get("select")


@pytest.mark.parametrize(
    ("fraction", "size", "expected"),
    [
        (0.01, 1000, 10),
        (0.01, 40, 1),
        (0.001, 10, 1),
        (0.5, 5, 3),
        (0.5, 3, 2),
        (0.1, 24, 2),
        (1.0, 7, 7),
        (0.3, 1, 1),
    ],
)
def test_a_fraction_is_rounded_to_the_nearest_count_of_at_least_one(
    fraction: float, size: int, expected: int
) -> None:
    assert kept(fraction, size) == expected


def test_a_count_overrides_the_fraction() -> None:
    assert kept(0.5, 10, 3) == 3


@pytest.mark.parametrize("compressor", [TopK(k=11), RandK(k=11)], ids=str)
def test_more_entries_than_the_vector_has_is_refused(compressor: Compressor) -> None:
    with pytest.raises(ConfigError, match="k=11: a vector of 10 entries"):
        compressor.delta(10)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: TopK(0.0), "fraction=0.0"),
        (lambda: TopK(1.5), "fraction=1.5"),
        (lambda: TopK(k=0), "k=0"),
        (lambda: RandK(values="fp8"), "values=fp8"),
        (lambda: QSGD(levels=0), "levels=0"),
        (lambda: QSGD(norm="l1"), "norm=l1"),
        (lambda: Threshold(2.0), "relative=2.0"),
        (lambda: BlockTopK(block=0), "block=0"),
    ],
)
def test_absurd_options_are_refused_by_key(make: object, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make()  # type: ignore[operator]


@dataclass(frozen=True)
class Expansive(Compressor):
    """Neither unbiased nor contractive."""

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Payload:
        del ctx, stream
        return Dense(3 * x)


UNBIASED_FITS = [Identity(), RandK(), QSGD(), Natural()]
CONTRACTIVE_FITS = [
    Identity(),
    TopK(),
    RandK(unbiased=False),
    Scaled(),
    Natural(),
    Threshold(),
    Identity("int8"),
]


@pytest.mark.parametrize("compressor", UNBIASED_FITS, ids=str)
def test_unbiased_compressors_satisfy_who_needs_one(compressor: Compressor) -> None:
    require(compressor, "unbiased", 1000, "scallion")


@pytest.mark.parametrize("compressor", CONTRACTIVE_FITS, ids=str)
def test_contractive_compressors_satisfy_who_needs_one(compressor: Compressor) -> None:
    require(compressor, "contractive", 1000, "scafcom")


def test_anything_satisfies_who_needs_nothing() -> None:
    require(Expansive(), "any", 1000, "fedavg")


REFUSED_AS_BIASED = [
    (TopK(), "topk is contractive .biased.: its error does not average out.*uplink=randk.*strategy=scafcom"),
    (RandK(unbiased=False), "randk with unbiased=false is not scaled.*set uplink.unbiased=true"),
    (RandK(values="fp16"), "randk with values=fp16 is biased by the rounding.*uplink.values=same"),
    (Identity("fp16"), "identity with values=fp16 is biased by the rounding.*uplink.values=same"),
    (Threshold(absolute=1.0), "threshold is biased: its error does not average out"),
    (Scaled(), "scaled divides.*use the inner one"),
]


@pytest.mark.parametrize(("compressor", "words"), REFUSED_AS_BIASED, ids=str)
def test_a_biased_compressor_is_refused_with_the_reason_and_a_way_out(
    compressor: Compressor, words: str
) -> None:
    with pytest.raises(ConfigError, match=f"scallion needs an unbiased uplink compressor; {words}"):
        require(compressor, "unbiased", 1000, "scallion")


REFUSED_AS_EXPANSIVE = [
    (RandK(), "randk is unbiased with omega=99 for d=1000.*set uplink.unbiased=false"),
    (RandK(values="int8"), "randk may leave an error larger than the vector.*set uplink.unbiased=false"),
    (QSGD(levels=1), "qsgd is unbiased with omega=31.62 for d=1000.*uplink=scaled"),
    (Threshold(absolute=1.0), "threshold with absolute=1 may send nothing.*give uplink.relative"),
    (Expansive(), "may leave an error larger than the vector.*use uplink=topk"),
]


@pytest.mark.parametrize(("compressor", "words"), REFUSED_AS_EXPANSIVE, ids=str)
def test_a_compressor_that_is_not_contractive_is_refused_with_the_reason_and_a_way_out(
    compressor: Compressor, words: str
) -> None:
    with pytest.raises(ConfigError, match=f"scafcom .*needs a contractive uplink compressor; .*{words}"):
        require(compressor, "contractive", 1000, "scafcom")


def test_the_class_depends_on_the_size() -> None:
    require(QSGD(levels=1000), "contractive", 1000, "scafcom")
    with pytest.raises(ConfigError, match="omega=10 "):
        require(QSGD(levels=1000), "contractive", 10**8, "scafcom")


def test_scaled_refuses_a_biased_compressor() -> None:
    assert Scaled(TopK()).delta(40) is None

    class Nobody:
        def rng(self, purpose: str) -> object:
            raise AssertionError(purpose)

    with pytest.raises(ConfigError, match=r"not unbiased.*use it directly"):
        Scaled(TopK()).compress(torch.zeros(1, 40), Nobody())
