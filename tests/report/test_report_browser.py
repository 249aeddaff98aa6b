"""The page in a real browser: it draws, it answers, and its console stays empty."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import browser
import matplotlib.image
import numpy as np
import pytest
from browser import Browser
from report_cases import three

from fedsparse.report import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.found() is None, reason=f"needs a browser, one of {', '.join(browser.NAMES)}"),
]

METHODS = {"scafcom": [0.90, 0.91, 0.92], "fed_ef": [0.91, 0.90, 0.93], "scallion": [0.50, 0.52, 0.91]}
AXES = ["up_bytes", "total_bytes", "rounds", "virtual_s", "gradient_calls"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page that compares three methods."""
    folder = tmp_path_factory.mktemp("page")
    for name, ends in METHODS.items():
        three(folder / "runs", name, ends, target=0.9)
    assert main([str(folder / "runs"), "--out", str(folder / "out"), "--formats", "html"]) == 0
    return (folder / "out" / "index.html").as_uri()


@pytest.fixture(params=[(1200, 900), (390, 844)], ids=["desktop", "phone"])
def seen(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Browser]:
    with Browser(tmp_path / "profile", *request.param) as opened:
        opened.open(page)
        yield opened


def lines(seen: Browser) -> list[str]:
    """The methods whose lines are drawn, and the lines themselves."""
    return seen.value(
        "[...document.querySelectorAll('#chart .line')].map(n => n.dataset.group + n.getAttribute('d'))"
    )


def choose(seen: Browser, menu: str, value: str) -> None:
    chosen = f"const s = document.getElementById('{menu}'); s.value = '{value}'"
    seen.value(f"(() => {{ {chosen}; s.dispatchEvent(new Event('change')); }})()")


def test_all_that_can_be_chosen_draws_without_a_complaint(seen: Browser):
    drawn = set()
    for axis in AXES:
        for metric in ("accuracy", "train_loss"):
            choose(seen, "axis", axis)
            choose(seen, "metric", metric)
            assert len(lines(seen)) == len(METHODS)
            drawn.add(json.dumps(lines(seen)))
    # Rounds, bytes, seconds and gradients of these runs are proportional, so axes that start at zero look alike.
    assert len(drawn) >= 2
    for flag in ("logx", "logy", "bands", "seeds", "front"):
        seen.value(f"document.getElementById('{flag}').click()")
        assert len(lines(seen)) == len(METHODS)
    assert seen.complaints == []


def test_a_page_that_is_not_shown_yet_draws_without_a_complaint(seen: Browser):
    hide = "document.querySelector('main').style.display = '{}'; dispatchEvent(new Event('resize'))"
    seen.value(f"(() => {{ {hide.format('none')} }})()")
    assert seen.value("document.getElementById('chart').parentNode.clientWidth") == 0
    seen.value(f"(() => {{ {hide.format('')} }})()")
    width = seen.value("document.getElementById('chart').parentNode.clientWidth")
    assert seen.value("document.getElementById('chart').viewBox.baseVal.width") == width
    assert seen.complaints == []


def test_another_axis_has_another_title_and_other_units(seen: Browser):
    def ticks() -> str:
        return " ".join(seen.value("[...document.querySelectorAll('#chart text')].map(n => n.textContent)"))

    assert "kB" in ticks()
    choose(seen, "axis", "virtual_s")
    assert seen.value("document.getElementById('x-name').textContent") == "network time"
    assert " s" in ticks()
    assert "kB" not in ticks()


def test_a_method_can_be_hidden_and_the_address_remembers_it(seen: Browser, page: str):
    seen.value("document.querySelector('#legend button').click()")
    assert len(lines(seen)) == len(METHODS) - 1
    assert seen.value("document.querySelector('#legend button').getAttribute('aria-pressed')") == "false"
    address = seen.value("location.href")
    assert "hide=0" in address
    seen.open(address)
    assert len(lines(seen)) == len(METHODS) - 1
    seen.value("document.getElementById('all').click()")
    assert len(lines(seen)) == len(METHODS)
    seen.value("document.getElementById('none').click()")
    assert lines(seen) == []
    assert seen.complaints == []


def test_pointing_says_the_values_there(seen: Browser):
    seen.value(
        "(() => { const c = document.getElementById('chart'), b = c.getBoundingClientRect();"
        "c.dispatchEvent(new PointerEvent('pointermove', { clientX: b.right - 20, clientY: b.top + 50 })); })()"
    )
    said = seen.value("document.getElementById('tip').innerText")
    assert all(name in said for name in METHODS)
    # Just before the fourth round the third counts: 0.8 of what it ends at, 0.91 in the mean.
    assert "scafcom 0.728 ± 0.02" in said.replace("\n", " ")
    assert said.index("fed_ef") < said.index("scafcom") < said.index("scallion")


def test_seeds_that_did_not_get_there_have_an_arrow(seen: Browser):
    assert seen.value("document.querySelectorAll('#target .censored').length") == 2


def test_nothing_is_wider_than_the_screen(seen: Browser):
    assert seen.value("document.documentElement.scrollWidth <= innerWidth")


def test_no_two_texts_of_a_plot_lie_on_each_other(seen: Browser):
    overlaps = """(() => {
      const found = [];
      for (const svg of document.querySelectorAll('#chart, #target')) {
        const boxes = [...svg.querySelectorAll('text')].map(n => [n.textContent, n.getBoundingClientRect()]);
        boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
          const wide = Math.min(p.right, q.right) > Math.max(p.left, q.left);
          const high = Math.min(p.bottom, q.bottom) > Math.max(p.top, q.top) + 4;
          if (wide && high) found.push(a + ' / ' + b);
        }));
      }
      return found;
    })()"""
    for axis in AXES:
        choose(seen, "axis", axis)
        assert seen.value(overlaps) == [], axis


def test_the_plot_can_be_seen(seen: Browser):
    picture = matplotlib.image.imread(io.BytesIO(seen.picture()))
    blue = np.abs(picture[..., :3] - np.array([0x00, 0x64, 0xC8]) / 255).max(axis=-1) < 0.02
    assert blue.sum() > 200  # the line of the first method


def test_what_is_saved_is_a_picture_by_itself(seen: Browser):
    text = seen.value("picture()")
    assert text.startswith("<svg")
    assert "var(" not in text.replace('style="var(', "")
    assert text.count("<text") > len(METHODS)
    assert len(seen.value("table()").splitlines()) == 1 + len(METHODS) * 4
