"""Figures for a paper."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from report_cases import made

from fedsparse.report.asked import Asked
from fedsparse.report.figures import figures
from fedsparse.report.reading import read_run
from fedsparse.report.write import put_together

SHORT = ["SCAFCOM", "Fed-EF", "FedAvg", "FedPAQ"]
LONG = ["EC-SGD (EF14)", "no compression, 5 steps", "SCAFCOM, 5 steps", "DIANA, rand-k"]
ENDLESS = [
    f"method {k} with all of its options written one after the other, uplink=topk, 0.{k}" for k in range(3)
]


@pytest.mark.parametrize(
    ("labels", "columns"), [(SHORT, 3), (LONG, 2), (ENDLESS, 1)], ids=["short", "long", "endless"]
)
def test_a_legend_is_no_wider_than_its_figure(labels: list[str], columns: int, tmp_path: Path) -> None:
    runs = [
        read_run(made(tmp_path / str(k), [0.2, 0.3 + k / 10], strategy={"name": f"s{k}", "options": {}}))
        for k in range(len(labels))
    ]
    compared = put_together(
        runs, [], Asked([], metric="accuracy", axis="up_bytes", target=None, out=tmp_path)
    )
    groups = [replace(group, label=label) for group, label in zip(compared.groups, labels, strict=True)]
    for _, figure in figures(replace(compared, groups=groups)):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (legend,) = figure.legends
        box = legend.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert legend._ncols == columns
