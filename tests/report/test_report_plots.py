"""Plots of a comparison: their content, missing data, colours, and labels that do not overlap."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
from support.report_example import built, example

from yolo_attn.report import plots
from yolo_attn.report.classes import draw_classes
from yolo_attn.report.curves import draw_curves
from yolo_attn.report.document import STYLE
from yolo_attn.report.drawing import LIGHT, Area, Dot, Group, Stroke, Text, text_width, to_png, to_svg, to_svg_file
from yolo_attn.report.forest import differences_scale, of_difference
from yolo_attn.report.html import to_html
from yolo_attn.report.html_table import drawing
from yolo_attn.report.names import distinct, short_names
from yolo_attn.report.scale import scale
from yolo_attn.report.tradeoff import Point, draw_tradeoff, front, points_of

FEW = ["person", "a <b> & c", "$x_1$", "a class with quite a long name for a label", *"defghijk"]
LONG = "yolo11n-attention-in-the-large-neck-variant-{}-hyper-init-identity-P3-P4-P5"


def small(**changes):
    return example(**{"arms": 3, "classes": FEW, **changes})


@pytest.fixture(scope="module")
def drawn():
    return plots.draw(built(small()))


def long_names(arms):
    """Results of models whose names differ in the middle only, and some short ones."""
    summary = example(arms=arms)
    names = {a["name"]: LONG.format(k) for k, a in enumerate(summary["arms"]) if k % 3}
    for arm in summary["arms"]:
        arm["name"] = names.get(arm["name"], arm["name"])
    for measurement in summary["speed"]["measurements"]:
        measurement["arms"] = {names.get(k, k): v for k, v in measurement["arms"].items()}
    return built(summary)


def texts(made):
    return [shape for shape in made.shapes() if isinstance(shape, Text)]


# --- the column of the table ------------------------------------------------------------------------------------------
def test_a_row_of_the_forest_plot_stands_where_its_scale_says():
    found = built(small()).arms[1].difference["mAP50-95"]
    on = differences_scale([found])
    svg = drawing(of_difference(found, on))
    places = {name: 100 * (v - on.low) / (on.high - on.low) for name, v in vars(found).items() if isinstance(v, float)}
    (bar,) = re.findall(r'class="t-better bar" x1="([\d.]+)%" x2="([\d.]+)%"', svg)
    assert [float(x) for x in bar] == pytest.approx([places["low"], places["high"]], abs=0.051)
    assert float(re.findall(r'class="t-better" cx="([\d.]+)%"', svg)[0]) == pytest.approx(places["estimate"], abs=0.051)
    assert len(re.findall("seed", svg)) == 3
    assert on.low < min(found.low, 0, *found.by_seed) <= max(found.high, 0, *found.by_seed) < on.high


def test_only_what_is_significant_is_filled():
    arms = built(small(arms=4)).arms[1:]
    found = [arm.difference["mAP50-95"] for arm in arms]
    svgs = [drawing(of_difference(d, differences_scale(found))) for d in found]
    assert [d.verdict for d in found] == ["better", "worse", "not significant"]
    assert ["t-better" in svgs[0], "t-worse" in svgs[1], "t-muted bar" in svgs[2]] == [True] * 3
    assert ["hollow" in svg for svg in svgs] == [False, False, True]


def test_every_metric_has_a_scale_of_its_own():
    summary = small()
    for arm in summary["arms"][1:]:
        for name in ("estimate", "low", "high"):
            arm["difference"]["APl"][name] *= 20
    html = to_html(built(summary))
    table = html[html.index("Difference to yolo11n, with") :].split("</thead>")[0]
    axes = re.findall(r'<svg class="forest axis".*?</svg>', table)
    labels = [re.findall(r">([^<>]+)</text>", axis) for axis in axes]
    assert len(labels) == 6
    assert labels[0] != labels[5]
    assert all(len(row) > 1 for row in labels)


@pytest.mark.parametrize("values", [(-0.012, 0.004), (0.9, 1.4), (0.0, 0.0), (-3e-5, 2e-5), (12, 3000)])
def test_the_ticks_of_a_scale_are_round_and_on_it(values):
    on = scale(values, zero=0.0)
    assert 2 <= len(on.ticks) <= 7
    assert all(on.low <= tick <= on.high for tick in on.ticks)
    shown = [float(text.replace("−", "-").replace("+", "")) for text in on.labels()]
    assert shown == pytest.approx(on.ticks, abs=1e-9)


# --- drawings ---------------------------------------------------------------------------------------------------------
def test_the_forest_plot_of_a_file_has_the_rows_of_the_table(drawn):
    names = [text.text for text in texts(drawn["differences"])]
    assert names[:2] == ["ela", "ca"]
    assert sum("[" in name for name in names) == 2
    dots = [d for d in drawn["differences"].shapes() if isinstance(d, Dot) and d.radius > 3]
    assert [d.tone for d in dots] == ["better", "worse"]
    assert dots[0].x > dots[1].x


def test_classes_show_both_ends_of_those_with_enough_targets():
    summary = small(arms=4)
    summary["arms"][3]["kind"] = "plain control"
    rows = summary["arms"][1]["per_class"]
    rows[0] |= {"targets": 9, "estimate": 0.9}
    made = draw_classes(built(summary))
    assert list(made) == ["yolo11n-ela", "yolo11n-ca"], "no control"
    enough = sorted((r for r in rows if r["targets"] >= 10), key=lambda r: -r["estimate"])
    ends = enough if len(enough) <= 10 else enough[:5] + enough[-5:]
    shown = [text.text for text in texts(made["yolo11n-ela"])][: len(ends)]
    assert [name.rpartition(" ")[2] for name in shown] == [f"({r['targets']})" for r in ends]
    tones = [d.tone for d in made["yolo11n-ela"].shapes() if isinstance(d, Dot)]
    assert tones == ["better" if r["low"] > 0 else "worse" if r["high"] < 0 else "muted" for r in ends]


def test_curves_are_means_within_the_range_of_the_seeds():
    summary = small()
    curve = np.array(summary["arms"][1]["curve"]["by_seed"])
    panel = draw_curves(built(summary))["yolo11n-ela"]
    line = next(s for s in panel.shapes() if isinstance(s, Stroke) and s.tone == "accent")
    band = [s for s in panel.shapes() if isinstance(s, Area)][-1]
    heights = -np.array([y for _, y in line.points])
    np.testing.assert_allclose(np.corrcoef(heights, curve.mean(axis=0))[0, 1], 1)
    lowest, highest = band.points[:29:-1], band.points[:30]
    assert len(lowest) == len(highest) == 30
    ends = zip(highest, line.points, lowest, strict=True)
    assert all(top <= y <= bottom for (_, top), (_, y), (_, bottom) in ends)


def test_a_run_that_stopped_early_ends_its_own_part_of_the_curve():
    summary = small(arms=2)
    summary["arms"][0]["curve"]["by_seed"] = [[0.1] * 30]
    summary["arms"][1]["curve"]["by_seed"] = [[0.1] * 30, [0.2] * 30, [0.6] * 10, [None, float("nan")]]
    panel = draw_curves(built(summary))["yolo11n-ela"]
    line = next(s for s in panel.shapes() if isinstance(s, Stroke) and s.tone == "accent")
    heights = [y for _, y in line.points]
    assert len(heights) == 30
    assert len(set(heights[:10])) == len(set(heights[10:])) == 1
    assert heights[0] < heights[10]


def test_the_front_is_what_no_other_beats():
    places = {"a": (1, 0.2), "b": (2, 0.3), "c": (2, 0.25), "d": (3, 0.3), "e": (4, 0.1), "f": (5, 0.4)}
    assert [p.name for p in front([Point(name, *place) for name, place in places.items()])] == ["a", "b", "f"]


def test_the_trade_off_shows_what_the_table_shows():
    results = built(small())
    base, ela, _ = points_of(results)
    timed, found = results.timing(results.arms[1]), results.arms[1].difference["mAP50-95"]
    assert (base.time, base.accuracy) == (0, 0)
    assert (ela.time, ela.accuracy) == (pytest.approx(100 * (timed.ratio - 1)), found.estimate)
    assert ela.times == pytest.approx((100 * (timed.ratio_low - 1), 100 * (timed.ratio_high - 1)))
    assert ela.accuracies == (found.low, found.high)
    assert ela.title == "yolo11n-ela: +0.010 [+0.004, +0.015], +1.1 % [−0.2, +2.5]"


@pytest.mark.parametrize(("arms", "width"), [(3, 720), (7, 720), (7, 350), (20, 720), (20, 350)])
def test_labels_of_the_trade_off_meet_nothing(arms, width):
    results = long_names(arms)
    made = draw_tradeoff(results, width)
    labels = [t for item in made.items if isinstance(item, Group) for t in item.shapes if isinstance(t, Text)]
    boxes = [(t.x, t.y - t.size, t.x + text_width(t.text, t.size), t.y + 3) for t in labels]
    met = [
        (labels[i].text, labels[k].text)
        for (i, a), (k, b) in combinations(enumerate(boxes), 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    assert met == []
    assert all(box[0] >= 0 and box[2] <= width and box[1] >= 0 for box in boxes)
    groups = [item for item in made.items if isinstance(item, Group)]
    shown = {group.arm for group in groups if any(isinstance(shape, Text) for shape in group.shapes)}
    assert results.baseline in shown
    if width == 720:
        assert {p.name for p in points_of(results) if p.important} <= shown
    titles = {item.title.split(":")[0].split(",")[0] for item in made.items if isinstance(item, Group)}
    assert {arm.name for arm in results.arms} == {title.split(" (")[0] for title in titles}, "all on hovering"


# --- names ------------------------------------------------------------------------------------------------------------
def test_short_names_of_20_models_are_distinct():
    names = short_names(long_names(20))
    assert len(set(names.values())) == 20
    assert max(map(len, names.values())) <= 30
    assert names["yolo11n"] == "yolo11n"


def test_names_that_differ_at_the_end_or_not_at_all():
    names = ["x" * 50 + str(k) for k in range(11)]
    assert len(set(distinct(names))) == 11
    assert distinct(["a b", "a  b"]) == ["a b", "a b"]
    assert distinct([]) == []


# --- colours and files ------------------------------------------------------------------------------------------------
def test_the_page_has_no_colour_of_its_own_but_in_its_variables():
    html = to_html(built(small()))
    style, body = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0], html[html.index("<body>") :]
    assert not re.search(r'(?:fill|stroke|color|background)\s*[=:]\s*"?\s*(?:#|white|black|rgb)', body)
    rules = re.sub(r":root \{.*?\}", "", style, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{3,8}\b(?!\w)\s*;|white(?!-)|rgb\(", rules)


def test_the_colours_of_files_are_those_of_the_page_in_the_light():
    light = STYLE.read_text().split("@media")[0]
    for name, colour in LIGHT.items():
        variable = {"accent": "link"}.get(name, name)
        assert f"--{variable}: {colour};" in light


def test_svg_is_the_same_every_time_and_well_formed(drawn):
    again = plots.draw(built(small()))
    for name, made in drawn.items():
        svg = to_svg_file(made, name)
        assert svg == to_svg_file(again[name], name), name
        root = ET.fromstring(svg)
        assert root.get("aria-label") == name
        assert f'fill="{LIGHT["page"]}"/>' in svg, "on white"
        ET.fromstring(to_svg(made, "a <label>"))


def test_text_stays_text_and_is_taken_literally():
    summary = small(classes=["a <b> & c", "$x_1$"])
    for arm in summary["arms"]:
        for row in arm["per_class"]:
            row["targets"] = 12
    summary["arms"][1]["name"] = "<script>"
    for name, made in plots.draw(built(summary)).items():
        shown = {e.text for e in ET.fromstring(to_svg_file(made, name)).iter("{http://www.w3.org/2000/svg}text")}
        assert {"<script>", "yolo11n-ca"} & shown, name
        assert name != "classes" or {"a <b> & c (12)", "$x_1$ (12)"} <= shown
        assert to_png(made).startswith(b"\x89PNG")


def test_a_note_stands_in_every_plot():
    for made in plots.draw(built({**small(), "note": "A smoke test."})).values():
        assert "A smoke test." in [text.text for text in texts(made)]


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
        (lambda: missing("arms", 1, "difference"), {"curves", "classes", "speed"}),
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
