"""What a strategy declares decides what may be configured, and is told to people."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fedsparse import config, parts, recorded
from fedsparse.config import build, parse
from fedsparse.config.help import show_help
from fedsparse.errors import ConfigError
from fedsparse.registry import strategies
from fedsparse.theory import FromTheory

QUADRATIC = ["data=quadratic", "clients=10", "rounds=4", "engine=local", "engine.workers=1"]


def told(topic: str) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show_help(console, topic)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_all_clients_take_part_where_theory_needs_them():
    assert parse(["strategy=ef21", "clients=30"]).cohort == 30
    assert parse(["strategy=scafcom", "clients=30"]).cohort == 10


def test_a_smaller_cohort_is_refused_with_what_to_do():
    with pytest.raises(
        ConfigError,
        match=r"cohort=5: strategy=ef21 needs all clients in every round, clients=30; leave cohort out, or set "
        "strategy.partial=true",
    ):
        parse(["strategy=ef21", "clients=30", "cohort=5"])


def test_the_labelled_variant_may_have_a_smaller_cohort():
    assert parse(["strategy=ef21", "clients=30", "cohort=5", "strategy.partial=true"]).cohort == 5
    assert parse(["strategy=ef21", "clients=30", "strategy.partial=true"]).cohort == 10


def test_everybody_is_the_cohort_of_theory_and_rules_where_the_sampler_draws_all():
    # A trimmed mean without the 6 largest and 6 smallest needs 13 messages: more than the usual cohort has.
    rule = ["aggregator=trimmed_mean", "aggregator.trim=6"]
    made = parts.build(parse([*QUADRATIC, "clients=30", "sampler=full", "strategy.lr=theory", *rule]))
    assert made.plan.cohort == 30
    assert "N = 30, S = 30" in made.settled.reason


def test_a_step_size_from_theory_is_kept_until_the_problem_is_known():
    parsed = parse(["strategy=ef21", "strategy.lr=theory", *QUADRATIC])
    assert parsed.strategy.options["lr"] == "theory"
    assert build(parsed, "strategy").lr == FromTheory()
    assert config.from_yaml(config.to_yaml(parsed)) == parsed


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["strategy=d_ec"], "strategy=d_ec has no formula for its step size; give a number"),
        (["strategy=fedavg", "strategy.server_lr=theory"], "must be a number above 0"),
        (["strategy=fedavg", "strategy.lr=theorie"], "or a schedule such as cosine.*, or theory"),
    ],
)
def test_theory_is_refused_where_it_says_nothing(given: list[str], part: str):
    given = given if any("theor" in text for text in given) else [*given, "strategy.lr=theory"]
    with pytest.raises(ConfigError, match=part):
        parse([*given, *QUADRATIC])


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (
            ["strategy=fedavg", "data=digits"],
            "needs a problem whose constants .* are known, such as data=quadratic",
        ),
        (["strategy=fedavg", "data=saddle"], "has theory for minimisation only"),
        (["strategy=fedavg", "strategy.epochs=1"], "gives strategy=fedavg no step size with these options"),
        (["strategy=topk"], "none with a biased compressor"),
        (["strategy=ef21", "cohort=5", "strategy.partial=true"], "for all clients in every round"),
    ],
)
def test_theory_is_refused_before_a_run_folder_is_made(given: list[str], part: str, tmp_path: Path):
    parsed = parse([*QUADRATIC, *given, "strategy.lr=theory", f"runs={tmp_path}"])
    with pytest.raises(ConfigError, match=part):
        recorded.run(parsed)
    assert list(tmp_path.iterdir()) == []


def test_the_number_and_where_it_comes_from_are_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = ["strategy=fedavg", "strategy.steps=1", "strategy.lr=theory", f"runs={tmp_path}", "name=run"]
    recorded.run(parse([*QUADRATIC, *given]))
    text = (tmp_path / "run" / "config.yaml").read_text()
    lr = config.from_yaml(text).strategy.options["lr"]
    # Gradient descent's 1/L, with L of these ten quadratics.
    assert 0.3 < lr < 0.6
    reason = config.from_theory(text)["strategy.lr"]
    assert reason.startswith("(1-β) / (K η_g (L + 2 ω L_max / S))")
    assert f"L = {1 / lr:.6g}" in reason
    assert f"strategy.lr={lr:.6g} from theory" in capsys.readouterr().out


def test_a_run_with_a_step_size_from_theory_is_that_with_the_number(tmp_path: Path):
    common = [*QUADRATIC, "strategy=ef21", "quiet=true", f"runs={tmp_path}"]
    found = recorded.run(parse([*common, "strategy.lr=theory", "name=theory"]))
    lr = config.from_yaml((tmp_path / "theory" / "config.yaml").read_text()).strategy.options["lr"]
    assert recorded.run(parse([*common, f"strategy.lr={lr!r}", "name=number"])).final == found.final


def test_a_run_with_a_step_size_from_theory_is_resumed_with_the_number(tmp_path: Path):
    given = [*QUADRATIC, "strategy=ef21", "strategy.lr=theory", "quiet=true", f"runs={tmp_path}"]
    whole = recorded.run(parse([*given, "checkpoint_every=2", "name=whole"]))
    recorded.run(parse([*given, "checkpoint_every=2", "name=cut"]))
    folder = tmp_path / "cut"
    (folder / "summary.json").unlink()  # as if it had been killed after its last checkpoint but one
    newest = max((folder / "checkpoint").iterdir(), key=lambda path: path.name)
    newest.unlink()
    assert recorded.run(parse([f"resume={folder}"])).final == whole.final


def test_help_says_what_a_strategy_declares():
    text = " ".join(told("strategy=marina").split())
    assert "down 1 vector, up 1 compressed vector" in text
    assert "with probability 0.01 (at d = 1,000,000): down 1 vector, up 1 vector" in text
    assert "only in round 1: down 1 vector, up 1 vector" in text
    assert "the optimum, at a linear rate: on quadratics that differ between clients" in text
    assert "all of them in every round; strategy.partial=true is a variant with a part" in " ".join(
        told("strategy=ef21").split()
    )


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("choco", "sent 1 compressed vector to each neighbour"),
        ("allreduce", "sent 1 vector of each client by an all-reduce"),
        ("single_merging", "only in the last round: 1 vector of each client by an all-reduce"),
    ],
)
def test_help_says_what_goes_between_neighbours(name: str, sent: str):
    assert sent in " ".join(told(f"strategy={name}").split())


def test_help_compares_all_declarations():
    lines = told("strategy=all").splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:-1] if line.strip()}
    assert list(rows) == strategies.names()
    assert rows["scafcom"] == ["contractive", "min", "any", "1c", "2", "optimum", "yes"]
    assert rows["ef21"] == ["contractive", "min", "all", "1c", "1", "optimum", "yes"]


def test_the_list_of_strategies_points_to_the_comparison():
    assert "--help strategy=all" in told("strategy")
