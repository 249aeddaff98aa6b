"""Apps, settings and keys: what a person meets before anything runs."""

import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedsparse import config
from fedsparse.errors import ConfigError
from fedsparse.flower.__main__ import main
from fedsparse.flower.keys import make_keys
from fedsparse.flower.letters import Answer, Order, Presence, Stamp, Telling
from fedsparse.flower.new import make_app, run_keys
from fedsparse.flower.settings import check_devices, overrides_of
from fedsparse.flower.versions import Versions

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_empty_is_not_given_and_options_come_last() -> None:
    given = {
        "strategy": "scafcom",
        "clients": 3,
        "quiet": True,
        "data": "",
        "options": "strategy.beta=0.5 seed=2",
    }
    assert overrides_of(given) == [
        "strategy=scafcom", "clients=3", "quiet=true", "engine=flower", "wire=encode", "strategy.beta=0.5", "seed=2",
    ]  # fmt: skip


@pytest.mark.parametrize("given", [{"engine": "ray"}, {"options": "engine=local"}, {"wire": "count"}])
def test_another_engine_than_devices_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="on devices it is"):
        overrides_of(given)


def test_devices_are_not_reached_without_flower(tmp_path: Path) -> None:
    from fedsparse.recorded import run

    with pytest.raises(ConfigError, match=r"python -m fedsparse\.flower trial"):
        run(config.parse(["engine=flower", f"runs={tmp_path}"]))
    with pytest.raises(ConfigError, match="partition=own: is for devices"):
        run(config.parse(["partition=own", "engine=local", f"runs={tmp_path}"]))
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_not_estimated_on_examples_that_only_devices_have() -> None:
    with pytest.raises(ConfigError, match=r"calibration=100: .*partition=own.*leave calibration out"):
        check_devices(config.parse(["engine=flower", "partition=own", "calibration=100"]))


def test_a_new_app_lists_every_key_of_a_run(tmp_path: Path) -> None:
    app = make_app(tmp_path / "my-app")
    project = tomllib.loads((app / "pyproject.toml").read_text())
    assert set(project["tool"]["flwr"]["app"]["config"]) == {*run_keys(), "options"}
    components = project["tool"]["flwr"]["app"]["components"]
    assert components == {"serverapp": "my_app.server_app:app", "clientapp": "my_app.client_app:app"}


def test_a_new_apps_configuration_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(tmp_path / "other-app")
    monkeypatch.syspath_prepend(app)
    given = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    found = config.parse(overrides_of(given))
    assert (found.strategy.name, found.clients, found.data.name) == ("scafcom", 2, "other_app.task:load")


def test_the_app_in_experiments_is_what_new_makes(tmp_path: Path) -> None:
    made = make_app(tmp_path / "flower_app", publisher="fedsparse")
    shown = ROOT / "experiments" / "flower_app"
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert files == sorted(
        p.relative_to(shown) for p in shown.rglob("*") if p.is_file() and p.suffix != ".pyc"
    )
    for path in files:
        assert (made / path).read_text() == (shown / path).read_text()


@pytest.mark.parametrize("name", ["My App", "9lives", "a.b"])
def test_names_that_no_app_can_have_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="small letters"):
        make_app(tmp_path / name)


def test_keys_are_for_their_owner_alone_and_fit_together(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", 2, ["10.0.0.1", "server.example.org"])
    authority = x509.load_pem_x509_certificate(keys.authority.read_bytes())
    server = x509.load_pem_x509_certificate(keys.certificate.read_bytes())
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(n.value) for n in names] == ["localhost", "127.0.0.1", "10.0.0.1", "server.example.org"]
    for number in range(2):
        path = keys.node(number)
        assert path.stat().st_mode & 0o777 == 0o600
        private = load_ssh_private_key(path.read_bytes(), None)
        public = load_ssh_public_key(path.with_suffix(".pub").read_bytes())
        assert private.public_key() == public
    assert keys.secret.stat().st_mode & 0o777 == 0o600


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys", 1)
    with pytest.raises(ConfigError, match="not empty"):
        make_keys(tmp_path / "keys", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fly"], "commands are trial, new, keys"),
        (["trial", "--tsl"], "there is --tls"),
        (["trial", "strategy=scafcmo"], "scafcom"),
        (["trial", "strategy=scafcom"], "as in clients=4"),
        (["trial", "engine=ray"], "on devices it is engine=flower"),
        (["trial", "strategy=dpsgd", "topology=ring", "engine.clock=real"], "without a server"),
        (["new"], "my-app"),
        (["keys", "nodes=2"], "give a folder"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_help_needs_no_torch_and_no_flower() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from fedsparse.flower.__main__ import main; main([]); "
        "print(sorted({'torch', 'ray', 'flwr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_letters_come_back_as_they_were_sent() -> None:
    telling = Telling("said", Stamp(3, 1), "train", 2.5, ("x",), b"bytes")
    order = Order(
        7,
        1,
        Stamp(3, 1),
        "train",
        2.5,
        Stamp(-1, 0),
        Stamp(2, 0),
        Stamp(2, 999),
        5,
        4,
        100,
        ("x", "c"),
        (telling, telling),
    )
    answer = Answer(1, b"bytes", 0.5, 3, 60, scalars={"@kept": 0.25})
    assert Order.of(order.content()) == order
    assert Answer.of(answer.content()) == answer
    assert Presence.of(Presence(1, 60).content()) == Presence(1, 60)


def test_a_half_written_version_is_none(tmp_path: Path) -> None:
    import numpy as np

    versions = Versions(tmp_path, "state")
    for number in range(3):
        versions.write(Stamp(number, 0), {"c": np.full(4, float(number))})
    (tmp_path / "state-0000000003-000.ckpt.tmp").write_bytes(b"half")
    assert versions.stamps() == [Stamp(0, 0), Stamp(1, 0), Stamp(2, 0)]
    versions.forget_from(Stamp(2, 0))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "state-0000000000-000.ckpt", "state-0000000001-000.ckpt",
    ]  # fmt: skip
    assert versions.read(Stamp(1, 0))["c"].tolist() == [1.0] * 4
