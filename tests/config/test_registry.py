"""Finding strategies: the installed files, other packages' entry points, modules and files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from fedsparse import aggregate, compress, registry, sources
from fedsparse.config import GROUPS, build, parse
from fedsparse.engine import sampling
from fedsparse.errors import ConfigError
from fedsparse.network import Network

STRATEGY = '''"""A strategy of somebody else."""

from __future__ import annotations

from dataclasses import dataclass

from fedsparse.options import option
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Mine(FedAvg):
    """FedAvg by another name."""

    extra: float = option(0.5, "does nothing", above=0)
'''


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an installed package that brings four strategies."""
    info = tmp_path / "somebody-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fedsparse.strategies]\nmine = somebody_mine\nmine_class = somebody_mine:Mine\n"
        "broken = somebody_broken\nodd = somebody_mine:option\n"
    )
    (tmp_path / "somebody_mine.py").write_text(STRATEGY)
    (tmp_path / "somebody_broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in ("somebody_mine", "somebody_broken"):
        sys.modules.pop(name, None)


def test_names_are_the_files_of_the_package() -> None:
    names = registry.strategies.names()
    assert {"fedavg", "scafcom"} <= set(names)
    assert names == sorted(names)
    assert not any(name.startswith("_") for name in names)


def test_every_shipped_strategy_can_be_taken() -> None:
    for name in sources.modules("fedsparse.strategies"):
        assert registry.strategies.get(name).__module__ == f"fedsparse.strategies.{name}"


def test_entry_points_are_found_without_being_imported(plugins: Path) -> None:
    assert {"mine", "mine_class", "broken", "odd"} <= set(registry.strategies.names())
    assert registry.strategies.summary("mine") == "(plug-in from somebody)"
    assert "somebody_mine" not in sys.modules


@pytest.mark.parametrize("name", ["mine", "mine_class", "somebody_mine:Mine"])
def test_a_plug_in_is_a_strategy_like_any_other(plugins: Path, name: str) -> None:
    config = parse([f"strategy={name}", "strategy.extra=0.7", "strategy.lr=0.3"])
    assert type(build(config, "strategy")).__name__ == "Mine"
    assert config.strategy.options["extra"] == 0.7


def test_a_broken_plug_in_says_why_and_harms_nobody(plugins: Path) -> None:
    with pytest.raises(ConfigError, match=r"somebody.*ModuleNotFoundError.*a_package_that_is_not_there"):
        registry.strategies.get("broken")
    assert parse(["strategy=scafcom"]).strategy.name == "scafcom"


def test_an_entry_point_that_is_no_strategy_is_refused(plugins: Path) -> None:
    with pytest.raises(ConfigError, match="a class of a strategy is needed"):
        registry.strategies.get("odd")


def test_two_packages_with_one_name_are_told_apart_by_the_user(plugins: Path) -> None:
    info = plugins / "other-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[fedsparse.strategies]\nmine = other_mine\n")
    importlib.invalidate_caches()
    with pytest.raises(
        ConfigError, match=r"several packages.*somebody.*other|several packages.*other.*somebody"
    ):
        registry.strategies.get("mine")


def test_a_strategy_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text(STRATEGY)
    monkeypatch.chdir(tmp_path)
    config = parse(["strategy=own.py", "strategy.extra=0.9"])
    assert config.strategy.name == str(tmp_path / "own.py")
    assert registry.strategies.get(config.strategy.name) is registry.strategies.get(str(tmp_path / "own.py"))
    assert type(build(config, "strategy")) is registry.strategies.get(f"{tmp_path}/own.py:Mine")
    assert sys.modules[type(build(config, "strategy")).__module__] in registry.from_files()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "must define one strategy, it defines none"),
        (STRATEGY + "\n\nclass Second(Mine):\n    pass\n", "it defines Mine, Second"),
        ("def f(:\n", "cannot be imported: SyntaxError"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_file_without_exactly_one_strategy_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / f"own{abs(len(text))}.py"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        registry.strategies.get(str(file))
    assert message in str(caught.value)


def test_names_read_from_files_are_those_the_parts_know() -> None:
    assert GROUPS["uplink"].names() == list(compress.names())
    assert sorted(GROUPS["aggregator"].names()) == sorted(aggregate.names())
    assert sorted(GROUPS["sampler"].names()) == sorted(sampling.names())


def test_profiles_are_those_of_the_network() -> None:
    entry = next(spec for spec in Network.__dataclass_fields__.values() if spec.name == "profile")
    assert sorted(GROUPS["network"].names()) == sorted(entry.metadata["choices"])


def test_every_option_of_the_network_belongs_to_some_profile() -> None:
    found = {spec.name for name in GROUPS["network"].names() for spec in GROUPS["network"].options(name)}
    assert found == set(Network.__dataclass_fields__) - {"profile"}


@pytest.mark.parametrize("key", GROUPS)
def test_every_member_has_a_summary_and_options_with_help(key: str) -> None:
    for name in GROUPS[key].names():
        assert GROUPS[key].summary(name), f"{key}={name}"
        for spec in GROUPS[key].options(name):
            assert spec.help, f"{key}.{spec.name} of {name}"
            assert spec.allowed, f"{key}.{spec.name} of {name}"
