"""What README.md and docs/flower.md say about devices works, command by command, with other ports."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsparse.flower.children import Child, door, surroundings
from fedsparse.flower.keys import make_keys
from fedsparse.runfolder import read_summary

pytestmark = pytest.mark.flower

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0


def commands(document: str) -> list[list[str]]:
    """The words of each command of the blocks ``shell``, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(r"^```shell\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = "".join(found).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


class Flow:
    """The commands of a document, run in a folder."""

    def __init__(self, document: str, folder: Path) -> None:
        self.document, self.folder = document, folder
        folder.mkdir()
        self.environment = surroundings(folder)
        self.children: list[Child] = []
        if document == "README.md":  # one of the two as it is, one as in a trial, which is quicker
            nursery = [sys.executable, "-m", "fedsparse.flower.nursery", str(door(folder))]
            self.children.append(Child(nursery, folder / "logs" / "nursery.log", self.environment))
        self.ports = {port: str(free_port()) for port in ("8000", "9100", "9101")}

    def do(self, words: list[str]) -> None:
        if words[0] == "export":
            self.environment |= dict(word.split("=") for word in words[1:])
        elif words[-1] == "&" or words[:2] == ["flwr", "run"]:
            port = next((p for p in self.ports if p in words or f":{p}" in words), "8000")
            own = [self.at(word) for word in words if word != "&"]
            self.start(Path(words[0]).name, own, self.ports[port])
        else:
            first = [sys.executable] if words[0] == "python" else [str(self.folder / "bin" / words[0])]
            done = subprocess.run(
                [*first, *words[1:]],
                check=False,
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def at(self, word: str) -> str:
        """The word with our ports."""
        return re.sub(r"\b(8000|9100|9101)\b", lambda match: self.ports[match[1]], word)

    def start(self, name: str, words: list[str], port: str) -> None:
        if name == "flower-superlink" and "--port" not in words:
            words = [*words, "--port", port]
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            self.children.append(
                Child(words, self.folder / "logs" / f"{name}-{len(self.children)}.log", self.environment)
            )
        finally:
            os.chdir(before)
        if name == "flower-superlink":
            self.configure()
            wait_for_port(int(port))

    def configure(self) -> None:
        text = (ROOT / "docs/flower.md").read_text(encoding="utf-8")
        (shown,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if self.document == "README.md":
            shown = shown.replace('root-certificates = "keys/ca.pem"', "insecure = true")
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(
            self.at(shown).replace("keys/ca.pem", str(self.folder / "keys/ca.pem"))
        )

    def await_run(self, name: str) -> None:
        end, path = time.monotonic() + PATIENCE, self.folder / "runs" / name
        while not (path / "config.yaml").exists() or read_summary(path) is None:
            assert time.monotonic() < end, "\n".join(child.tail(20) for child in self.children)
            time.sleep(0.2)

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop()


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Flow]]:
    """Both documents at once: most of the time they wait. What README.md has is not done twice."""
    folder = tmp_path_factory.mktemp("documents")
    found = {name: Flow(name, folder / Path(name).stem) for name in ("README.md", "docs/flower.md")}
    trials = [words for words in commands("README.md") if {"fedsparse.run", "trial"} & set(words)]
    try:
        for name, flow in found.items():
            for words in commands(name):
                if words not in trials:
                    flow.do(words)
        for words in trials:  # while the runs go on
            found["README.md"].do(words)
        yield found
    finally:
        for flow in found.values():
            flow.stop()


def test_the_commands_of_the_readme_work(flows: dict[str, Flow]) -> None:
    flow = flows["README.md"]
    flow.await_run("deployed")
    summaries = [read_summary(flow.folder / "runs" / name) for name in ("simulated", "tried")]
    one, other = ({k: v for k, v in (s or {}).items() if k != "wall_s"} for s in summaries)
    assert one == other


def test_the_way_from_keys_to_a_run_works_with_tls_and_registered_nodes(flows: dict[str, Flow]) -> None:
    flows["docs/flower.md"].await_run("first")


def test_a_node_that_is_not_registered_is_refused(flows: dict[str, Flow]) -> None:
    flow = flows["docs/flower.md"]
    make_keys(flow.folder / "stranger", 1)
    words = next(words for words in commands("docs/flower.md") if words[0] == "flower-supernode")
    changed = {"keys/node-0.key": "stranger/node-0.key", "9100": str(free_port())}
    words = [flow.at(changed.get(word, word)) for word in words if word != "&"]
    flow.start("stranger", [*words, "--max-retries", "1"], "")
    stranger, link = flow.children[-1], flow.children[0]
    end = time.monotonic() + PATIENCE
    while stranger.alive and time.monotonic() < end:
        time.sleep(0.2)
    assert stranger.process.returncode != 0
    assert "No SuperNode found with the given public key" in link.log.read_text(errors="replace"), (
        stranger.tail()
    )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for_port(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"nobody listens at {port}")
