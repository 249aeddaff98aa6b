"""Every mistake ends in one line that says what is wrong, what is allowed and what was probably meant."""

from __future__ import annotations

import pytest

from fedsparse.config import parse
from fedsparse.errors import ConfigError

PLAIN = {
    "strategy=scafcon": ["no such strategy", "did you mean 'scafcom'?", "fedavg"],
    "strateggy=scafcom": ["there is no key 'strateggy'", "did you mean 'strategy'?", "topology"],
    "clinets=3": ["there is no key 'clinets'", "did you mean 'clients'?"],
    "lr=0.1": ["there is no key 'lr'", "as in strategy.lr"],
    "clients": ["'clients': write key=value"],
    "+clients=3": ["keys cannot be added or deleted"],
    "~clients=3": ["keys cannot be added or deleted"],
    "clients@x=3": ["there is no key 'clients@x'"],
    "hydra.run.dir=x": ["there is no key 'hydra'"],
    "clients=ten": ["clients=ten: must be a whole number", "registered clients"],
    "clients=1.5": ["clients=1.5: must be a whole number"],
    "clients=0": ["clients=0: must be a number at least 1"],
    "clients=-1": ["clients=-1: must be a number at least 1"],
    "clients=1e9": ["clients=1000000000: must be a number at least 1 and at most"],
    "clients=true": ["clients=true: must be a whole number"],
    "clients=[1": ["clients=[1: must be a whole number"],
    "clients={a:1}": ["must be a whole number"],
    "clients.x=1": ["clients is a value and has no options"],
    "clients=1,2": ["several values make a sweep; add -m"],
    "cohort=101": ["cohort=101: must be at most the number of clients, clients=100"],
    "cohort=0": ["cohort=0: must be a number at least 1"],
    "rounds=0": ["rounds=0: must be a number at least 1"],
    "batch=-1": ["batch=-1: must be a number at least 0"],
    "seed=-1": ["seed=-1: must be a number at least 0"],
    "seed=9223372036854775808": ["seed=9223372036854775808: must be a number at least 0 and at most"],
    "target=nan": ["target=nan: must be a number or null"],
    "target=high": ["target=high: must be a number or null"],
    "quiet=yes": ["quiet=yes: must be true or false"],
    "wire=bytes": ["wire=bytes: must be one of count, encode"],
    "name=a/b": ["name=a/b: must be the name of one folder"],
    "name=..": ["name=..: must be the name of one folder"],
    "strategy=": ["strategy=: must be a name"],
    "strategy={a:1}": ["must be a name"],
    "strategy=3": ["strategy=3: must be a name"],
    "faults=0.1": ["faults=0.1: has no value of its own; write faults.option=value"],
    "uplink=topkk": ["no such compressor", "did you mean 'topk'?", "qsgd"],
    "data=fashion-mnist": ["no such data set", "did you mean 'fashion_mnist'?"],
    "partition=dirichlett": ["no such partition", "did you mean 'dirichlet'?"],
    "model=cnnn": ["no such model", "did you mean 'cnn'?"],
    "sampler=unifrom": ["no such sampler", "did you mean 'uniform'?"],
    "aggregator=avg": ["no such aggregator", "mean"],
    "network=wifi": ["no such network", "constant, lognormal, none, trace"],
    "engine=rai": ["no such engine", "did you mean 'ray'?"],
    "topology=starr": ["no such topology", "did you mean 'star'?"],
    "resume=/no/such/folder": ["resume=/no/such/folder: there is no such folder"],
    "data=file.py": ["write package.module:name"],
}

OPTIONS = {
    "strategy=scafcom strategy.betta=0.1": [
        "strategy=scafcom has no option 'betta'",
        "did you mean 'beta'?",
        "server_lr",
    ],
    "strategy=scafcom strategy.uplink=topk": ["strategy=scafcom has no option 'uplink'"],
    "strategy.lr=nan": ["strategy.lr=nan: must be a number above 0"],
    "strategy.lr=-0.1": ["strategy.lr=-0.1: must be a number above 0"],
    "strategy.lr=fast": ["strategy.lr=fast: must be a number above 0, or a schedule such as cosine"],
    "strategy.lr=cosin(0.1,0.01)": ["strategy.lr: 'cosin(0.1,0.01)' is neither a number nor a schedule"],
    "strategy.lr=cosine(0.1,-0.1)": ["strategy.lr=cosine(0.1,-0.1): must be a number above 0"],
    "strategy.steps=2.5": ["strategy.steps=2.5: must be a whole number at least 1"],
    "strategy.steps=linear(5,1)": ["strategy.steps=linear(5,1): must be a whole number"],
    "strategy=scafcom uplink.fraction=2": [
        "uplink.fraction=2",
        "above 0 and at most 1",
        "share of the entries",
    ],
    "strategy=scafcom uplink=topk uplink.values=fp8": ["uplink.values=fp8: must be one of"],
    "strategy=scafcom uplink=none": ["strategy=scafcom needs a compressor", "identity"],
    "strategy=scafcom uplink=scaled uplink.compressor=qsgd(levls=4)": [
        "uplink.compressor.levls=4",
        "'levels'",
    ],
    "strategy=scafcom uplink=scaled uplink.compressor=qsgd(4)": ["must be option=value"],
    "strategy=fedavg uplink=topk": ["uplink=topk", "strategy=fedavg needs an unbiased uplink"],
    "strategy=masha uplink=threshold uplink.absolute=0.1": [
        "uplink=threshold",
        "an unbiased or a contractive uplink",
    ],
    "strategy=masha downlink=threshold downlink.absolute=0.1": [
        "downlink=threshold",
        "an unbiased or a contractive downlink",
        "unset downlink.absolute",
    ],
    "strategy=scafcom uplink=randk": ["uplink=randk", "contractive"],
    "downlink.fraction=0.1": ["there is no downlink to set it for; choose one, as in downlink=topk"],
    "downlink=topk downlink.fraction=2": ["downlink.fraction=2"],
    "network=none network.up=3": ["network=none has no option 'up'"],
    "network.up_spread=1": ["network=constant has no option 'up_spread'"],
    "network.up=-1": ["network.up=-1", "at least 0"],
    "network=trace": ["needs a CSV file", "network.trace"],
    "faults.uplink_loss=1.5": ["faults.uplink_loss=1.5", "at most 1"],
    "faults.loss=0.1": ["faults has no option 'loss'", "uplink_loss"],
    "engine.workers=0": ["engine.workers=0: must be a number at least 1"],
    "engine=local engine.address=x": ["engine=local has no option 'address'"],
    "aggregator=trimmed_mean aggregator.trim=-1": ["aggregator.trim=-1", "at least 0"],
    "clients=30 sampler=full cohort=5": [
        "cohort=5: sampler=full draws all of clients=30",
        "leave cohort out",
    ],
    "clients=20 sampler.novel=0.3 cohort=15": [
        "cohort=15: with sampler.novel=0.3 only 14 of clients=20 can take part"
    ],
    "strategy=ef21 sampler.novel=0.3": ["sampler.novel=0.3: strategy=ef21 needs all clients", "partial=true"],
    "strategy=dpsgd topology=ring sampler.novel=0.3": ["sampler.novel=0.3: strategy=dpsgd needs all clients"],
    "partition.alpha=-1": ["partition.alpha=-1", "above 0"],
    "model.hidden=[0]": ["model", "hidden=0: must be a whole number, at least 1"],
    "partition.alpha=low": ["partition.alpha=low: must be a number (concentration"],
    "model.hidden=[64,x]": ["model.hidden=[64,x]: must be a list [..] of whole numbers"],
    "model.layers=3": ["model=mlp has no option 'layers'", "hidden"],
    "strategy=no_such_package:Mine": ["no_such_package cannot be imported: ModuleNotFoundError"],
    "strategy=fedsparse.protocol:Contxt": ["has no Contxt", "did you mean 'Context'?"],
    "strategy=fedsparse.protocol:Context": ["Context is not a strategy"],
    "strategy=missing.py": ["there is no file", "missing.py"],
    "model=no_such_package:Net": ["no_such_package cannot be imported"],
    "name=x-${sed}": ["cannot be composed", "sed"],
}


def _message(line: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(line.split())
    return str(caught.value)


@pytest.mark.parametrize("line", PLAIN)
def test_wrong_keys_names_and_values_are_refused_with_the_way_out(line: str) -> None:
    message = _message(line)
    assert [part for part in PLAIN[line] if part not in message] == [], message


@pytest.mark.parametrize("line", OPTIONS)
def test_wrong_options_are_refused_with_the_way_out(line: str) -> None:
    message = _message(line)
    assert [part for part in OPTIONS[line] if part not in message] == [], message


@pytest.mark.parametrize("line", [*PLAIN, *OPTIONS])
def test_messages_are_one_line_without_hydras_advice(line: str) -> None:
    message = _message(line)
    assert "\n" not in message
    assert "append" not in message.lower()
    assert "Traceback" not in message


def test_values_are_checked_before_names_of_modules_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: object, name: str) -> type:
        raise AssertionError(name)

    monkeypatch.setattr("fedsparse.registry.Registry.get", explode)
    assert "clients=0" in _message("strategy=scafcom clients=0")
