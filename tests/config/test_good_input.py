"""What command lines mean."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from fedsparse import schedule
from fedsparse.compress import QSGD, Scaled, TopK
from fedsparse.config import GROUPS, Choice, RunConfig, build, differences, flat, from_yaml, parse, to_yaml
from fedsparse.config.groups import OPTIONAL
from fedsparse.errors import ConfigError, RunFolderError
from fedsparse.registry import strategies

EVERYTHING = shlex.split("""
    strategy=scafcom strategy.beta=0.2 strategy.lr=cosine(0.1,0.001)
    uplink=topk uplink.fraction=0.02 uplink.values=fp16 downlink=topk downlink.fraction=0.05
    data=fashion_mnist data_dir=/data/x model=mlp model.hidden=[64,32] partition=dirichlet partition.alpha=0.5
    cohort=7 rounds=20 engine=local engine.workers=2 network=lognormal network.up=3 faults.uplink_loss=0.2
    seed=1 target=0.9 name=trial deadline=60 wire=encode
""")


def test_nothing_given_is_a_whole_configuration() -> None:
    config = parse([])
    assert config.strategy.name == RunConfig.strategy.name
    assert config.strategy.options["lr"] > 0
    assert all(getattr(config, key) is not None for key in GROUPS if key not in OPTIONAL or key == "uplink")


def test_the_long_command_line_arrives_whole() -> None:
    config = parse(EVERYTHING)
    assert config.uplink == Choice("topk", {"fraction": 0.02, "k": None, "values": "fp16"})
    assert config.downlink == Choice("topk", {"fraction": 0.05, "k": None, "values": "same"})
    assert config.strategy.options["lr"] == "cosine(0.1,0.001)"
    assert config.model.options["hidden"] == (64, 32)
    assert config.faults["uplink_loss"] == 0.2
    assert config.network.options["up"] == 3.0
    assert (config.cohort, config.seed, config.target, config.name) == (7, 1, 0.9, "trial")


def test_yaml_gives_the_same_configuration_back() -> None:
    config = parse(EVERYTHING)
    assert from_yaml(to_yaml(config)) == config


def test_yaml_of_the_defaults_gives_the_same_configuration_back() -> None:
    assert from_yaml(to_yaml(parse([]))) == parse([])


def test_yaml_may_have_a_section_of_versions() -> None:
    config = parse(["seed=3"])
    assert from_yaml(to_yaml(config) + "versions:\n  torch: '2'\n  commit: abc\n") == config


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[1, 2]", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("clinets: 3", "did you mean 'clients'?"),
        ("strategy: fedavg", "must have a name and options"),
        ("clients: ten", "must be a whole number"),
    ],
)
def test_damaged_yaml_is_refused(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml|clients") as caught:
        from_yaml(text)
    assert part in str(caught.value)


def test_differences_name_keys_and_both_values() -> None:
    a, b = parse(["seed=1", "strategy.lr=0.3"]), parse(["seed=2", "strategy.lr=0.4"])
    assert differences(a, b) == ["strategy.lr=0.3 -> 0.4", "seed=1 -> 2"]
    assert differences(a, a) == []


def test_differences_show_options_of_another_member_as_absent() -> None:
    lines = differences(parse(["network=none"]), parse(["network=constant"]))
    assert "network=none -> constant" in lines
    assert any(line.startswith("network.up=absent -> ") for line in lines)


def test_flat_has_every_option_under_its_dotted_key() -> None:
    values = flat(parse(["faults.dropout=0.1", "strategy=scafcom"]))
    assert values["strategy"] == "scafcom"
    assert 0 < values["strategy.beta"] <= 1
    assert values["faults.dropout"] == 0.1
    assert "faults" not in values


def test_uplink_is_the_strategys_own_unless_chosen() -> None:
    config = parse(["strategy=scafcom"])
    assert config.uplink is not None
    assert config.uplink.name == "topk"
    assert build(config, "strategy") == strategies.get("scafcom")()


def test_options_alone_change_the_strategys_own_uplink() -> None:
    config = parse(["strategy=scafcom", "uplink.fraction=0.3"])
    assert build(config, "strategy").uplink == TopK(0.3)


def test_a_chosen_uplink_reaches_the_strategy() -> None:
    config = parse(["strategy=scafcom", "uplink=scaled", "uplink.compressor=qsgd(levels=4)"])
    assert build(config, "strategy").uplink == Scaled(QSGD(levels=4))


def test_schedules_need_no_quotes_and_become_objects() -> None:
    strategy = build(parse(["strategy.lr=cosine(0.1, 0.001)"]), "strategy")
    assert strategy.lr == schedule.Cosine(0.1, 0.001)


def test_a_downlink_is_for_any_strategy() -> None:
    assert build(parse(["downlink=topk", "downlink.fraction=0.5"]), "downlink") == TopK(0.5)
    assert build(parse([]), "downlink") is None
    assert build(parse(["downlink=none"]), "downlink") is None


def test_a_cohort_that_nobody_asked_for_shrinks_to_the_clients() -> None:
    assert parse(["clients=5"]).cohort == 5
    assert parse(["clients=50"]).cohort == RunConfig.cohort


def test_a_cohort_that_nobody_asked_for_is_all_clients_where_the_sampler_draws_all() -> None:
    assert parse(["clients=30", "sampler=full"]).cohort == 30


def test_a_cohort_that_nobody_asked_for_shrinks_to_those_that_can_take_part() -> None:
    assert parse(["clients=12", "sampler.novel=0.5"]).cohort == 6
    assert parse(["clients=50", "sampler.novel=0.5"]).cohort == RunConfig.cohort


def test_the_last_of_equal_keys_counts() -> None:
    assert parse(["seed=1", "seed=2", "strategy=fedavg", "strategy=scafcom"]).strategy.name == "scafcom"
    assert parse(["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("text", ["a=b", "größe", "x y", "it is 50%", "v1.2", "007"])
def test_text_needs_no_quotes(text: str) -> None:
    assert parse([f"name={text}"]).name == text


@pytest.mark.parametrize("text", ["/a b/c=d", "/ü/(1)", "/it's", "C:\\x\\"])
def test_paths_need_no_quotes(text: str) -> None:
    assert parse([f"data_dir={text}"]).data_dir == text


def test_home_is_expanded_in_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse(["data_dir=~/data"]).data_dir == "/home/me/data"


def test_whole_numbers_may_be_written_as_floats() -> None:
    assert parse(["clients=1e3", "rounds=5.0"]).clients == 1000


def test_values_may_refer_to_others() -> None:
    config = parse(["clients=20", "cohort=${clients}", "name=s${seed}"])
    assert (config.cohort, config.name) == (20, "s0")


def test_functions_keep_their_options() -> None:
    load = build(parse(["data=digits"]), "data")
    assert len(load(data_dir=None, seed=0).x) > 1000


def test_parsing_leaves_hydra_as_it_was() -> None:
    store = ConfigStore.instance()
    store.store(name="mine", node={"a": 1})
    with initialize(version_base="1.3", config_path=None):
        hydra = GlobalHydra.instance().hydra
        parse(["strategy=scafcom"])
        assert GlobalHydra.instance().hydra is hydra
        assert compose("mine").a == 1
    assert "strategy" not in store.repo


def test_parsing_makes_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parse(["strategy=scafcom"])
    assert list(tmp_path.iterdir()) == []


def _run_folder(path: Path, *overrides: str) -> Path:
    path.mkdir()
    (path / "config.yaml").write_text(to_yaml(parse(overrides)) + "versions: {torch: '2'}\n")
    return path


def test_resume_takes_the_configuration_of_the_run(tmp_path: Path) -> None:
    folder = _run_folder(
        tmp_path / "old", "strategy=scafcom", "strategy.beta=0.7", "clients=5", "uplink.fraction=0.5"
    )
    config = parse([f"resume={folder}", "engine=local", "quiet=true"])
    assert config.strategy.options["beta"] == 0.7
    assert config.uplink is not None
    assert config.uplink.options["fraction"] == 0.5
    assert (config.clients, config.cohort, config.engine.name) == (5, 5, "local")
    assert config.resume == str(folder)


@pytest.mark.parametrize("other", ["seed=4", "strategy.lr=0.3", "network=none"])
def test_resume_refuses_another_configuration(tmp_path: Path, other: str) -> None:
    folder = _run_folder(tmp_path / "old", "strategy=scafcom")
    with pytest.raises(ConfigError, match=rf"would change .*{other.partition('=')[0]}"):
        parse([f"resume={folder}", other])


def test_resume_of_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"config\.yaml cannot be read"):
        parse([f"resume={tmp_path}"])
