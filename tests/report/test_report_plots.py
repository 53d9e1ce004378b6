"""Plots of a comparison: their content, missing data, and labels that do not overlap."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from support.report_example import built, example
from support.tiers import sampled

from yolo_attn.report import plots
from yolo_attn.report.plot_tradeoff import Point, front

FEW = ["person", "a <b> & c", "$x_1$", "a class with quite a long name for a label", *"defghijk"]


def small(**changes):
    return example(**{"arms": 3, "classes": FEW, **changes})


@pytest.fixture(scope="module")
def drawn():
    return plots.draw(built(small()))


def marks(axes, colour=None):
    """Places of the large marks on an axes."""
    lines = [line for line in axes.get_lines() if line.get_marker() == "o"]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines]


def bars(axes, row):
    """Bounds of the interval in a row of a forest plot."""
    found = [
        line.get_xdata()
        for line in axes.get_lines()
        if list(line.get_ydata()) == [row, row] and line.get_marker() == "None"
    ]
    return list(found[0])


def test_differences_stand_where_the_summary_says(drawn):
    (axes,) = drawn["differences"].axes
    found = [arm["difference"]["mAP50-95"] for arm in small()["arms"][1:]]
    assert [x for x, _ in marks(axes)] == [f["estimate"] for f in found]
    assert [bars(axes, row) for row in (0, 1)] == [[f["low"], f["high"]] for f in found]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["yolo11n-ela", "yolo11n-ca"]


def test_only_what_is_significant_is_filled():
    summary = small(arms=4)
    (axes,) = plots.draw(built(summary))["differences"].axes
    faces = [line.get_markerfacecolor() for line in axes.get_lines() if line.get_marker() == "o"]
    verdicts = [arm["difference"]["mAP50-95"]["verdict"] for arm in summary["arms"][1:]]
    assert verdicts == ["better", "worse", "not significant"]
    assert faces == ["#0072b2", "#d55e00", "white"]


def test_classes_show_both_ends(drawn):
    rows = sorted(small()["arms"][1]["per_class"], key=lambda r: -r["estimate"])
    panel = drawn["classes"].axes[0]
    assert [x for x, _ in marks(panel)] == [r["estimate"] for r in rows[:5] + rows[-5:]]


def test_curves_are_means_within_the_range_of_the_seeds(drawn):
    curve = np.array(small()["arms"][1]["curve"]["by_seed"])
    panel = drawn["curves"].axes[0]
    np.testing.assert_allclose(panel.get_lines()[1].get_ydata(), curve.mean(axis=0))
    band = panel.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (curve.min(), curve.max())


def test_a_run_that_stopped_early_ends_its_own_part_of_the_curve():
    summary = small(arms=2)
    curve = summary["arms"][1]["curve"]
    curve["by_seed"] = [[0.1] * 30, [0.2] * 30, [0.6] * 10]
    drawn = plots.draw(built(summary))["curves"].axes[0].get_lines()[1].get_ydata()
    np.testing.assert_allclose(drawn, [0.3] * 10 + [0.15] * 20)


def test_the_front_is_what_no_other_beats():
    places = {"a": (1, 0.2), "b": (2, 0.3), "c": (2, 0.25), "d": (3, 0.3), "e": (4, 0.1), "f": (5, 0.4)}
    points = [Point(name, *place) for name, place in places.items()]
    assert [p.name for p in front(points)] == ["a", "b", "f"]


def test_a_model_stands_where_its_paired_comparison_puts_it(drawn):
    summary = small()
    base, ela = summary["arms"][:2]
    timed = summary["speed"]["measurements"][0]["arms"]
    lines = {line.get_label(): line for line in drawn["tradeoff"].axes[0].get_lines()}
    x, y = lines["yolo11n-ela"].get_xydata()[0]
    assert x == pytest.approx(timed["yolo11n"]["median_ms"] * timed["yolo11n-ela"]["ratio"])
    estimate = ela["difference"]["mAP50-95"]["estimate"]
    assert y == pytest.approx(base["metrics"]["mAP50-95"]["mean"] + estimate)


# --- files ------------------------------------------------------------------------------------------------------------
def test_svg_is_the_same_every_time_and_well_formed(drawn):
    again = plots.draw(built(small()))
    for name, figure in drawn.items():
        svg = plots.to_svg(figure, name)
        assert svg == plots.to_svg(again[name], name), name
        ET.fromstring(svg)
        assert not re.search(r"\d{4}-\d\d-\d\d", svg), "a date"


def test_text_stays_text_and_is_taken_literally():
    summary = small(classes=["a <b> & c", "$x_1$"])
    summary["arms"][1]["name"] = "<script>"
    for name, figure in plots.draw(built(summary)).items():
        svg = ET.fromstring(plots.to_svg(figure, name))
        texts = {e.text for e in svg.iter("{http://www.w3.org/2000/svg}text")}
        assert {"<script>", "yolo11n-ca"} & texts, name
        assert name != "classes" or {"a <b> & c", "$x_1$"} <= texts


def test_png_has_pixels(drawn):
    png = plots.to_png(drawn["differences"])
    assert png.startswith(b"\x89PNG")


# --- whatever is there ------------------------------------------------------------------------------------------------
def missing(*path):
    summary = part = small(arms=2)
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = None
    return summary


def untimed(arm):
    summary = small(arms=2)
    del summary["speed"]["measurements"][0]["arms"][arm]
    return summary


@pytest.mark.parametrize(
    ("summary", "names"),
    [
        (lambda: {**missing("speed"), "arms": [{**small()["arms"][0], "curve": None}]}, set()),
        (lambda: small(arms=1), {"curves"}),
        (lambda: small(arms=2, seeds=(0,)), set(plots.NAMES)),
        (lambda: missing("speed"), set(plots.NAMES) - {"tradeoff", "speed"}),
        (lambda: missing("arms", 1, "curve"), set(plots.NAMES)),
        (lambda: missing("arms", 1, "difference"), {"tradeoff", "curves", "classes", "speed"}),
        (lambda: missing("arms", 1, "per_class"), set(plots.NAMES) - {"classes"}),
        (lambda: untimed("yolo11n"), set(plots.NAMES) - {"tradeoff"}),
        (lambda: untimed("yolo11n-ela"), set(plots.NAMES) - {"tradeoff"}),
    ],
    ids=[
        "nothing",
        "one arm",
        "one seed",
        "no speed",
        "no curve",
        "no difference",
        "no classes",
        "untimed baseline",
        "untimed arm",
    ],
)
def test_what_is_there_is_drawn(summary, names):
    assert set(plots.draw(built(summary()))) == names


def shown(axis):
    """Labels of the ticks that lie within the view; matplotlib keeps more."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


@pytest.mark.parametrize("arms", sampled([7, 20], [7]))
def test_no_label_lies_on_another(arms):
    for name, figure in plots.draw(built(example(arms=arms, classes=FEW))).items():
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        labels = [
            (label.get_text(), label.get_window_extent(renderer))
            for axes in figure.axes
            for label in [*shown(axes.xaxis), *shown(axes.yaxis), *axes.texts, axes.xaxis.label, axes.title]
            if label.get_text() and label.get_visible()
        ]
        box = figure.bbox
        outside = [text for text, b in labels if b.x0 < box.x0 - 1 or b.x1 > box.x1 + 1]
        met = [(a, b) for (a, x), (b, y) in combinations(labels, 2) if x.overlaps(y)]
        assert (name, met, outside) == (name, [], [])
