"""Reports of results of which a part is missing, or of a wrong type."""

import re

import pytest
from support.page import Page, plain
from support.report_example import built, example

from yolo_attn.errors import YoloAttnError
from yolo_attn.report.html import to_html
from yolo_attn.report.markdown import to_markdown


def without(*path, value=None):
    summary = part = example(arms=3)
    for key in path[:-1]:
        part = part[key]
    if value is None:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return summary


MISSING = [
    (("speed",), "Speed was not measured."),
    (("protocol",), "not stored"),
    (("commit",), "not stored"),
    (("bootstrap",), "interval"),
    (("data",), "All classes"),
    (("power",), "Not significant does not mean equal"),
    (("metrics",), "mAP50-95"),
    (("arms", 1, "curve"), "No curve is stored for yolo11n-ela."),
    (("arms", 1, "per_class"), "All classes"),
    (("arms", 1, "difference"), "not compared with a baseline"),
    (("arms", 1, "parameters"), "–"),
    (("arms", 1, "epoch_seconds"), "seconds per epoch"),
    (("arms", 0, "epoch_seconds"), "seconds per epoch"),
    (("speed", "measurements", 0, "arms", "yolo11n-ela"), "speed not measured"),
    (("speed", "measurements", 0, "arms", "yolo11n"), "5.27"),
    (("arms", 2, "metrics", "APs"), "Mean"),
]
REQUIRED = ["title", "baseline", "runs", "environment", "arms", "caveats"]


@pytest.mark.parametrize(("path", "text"), MISSING, ids=[".".join(map(str, path)) for path, _ in MISSING])
def test_any_part_may_be_missing(path, text):
    summary = without(*path)
    assert text in plain(Page(to_html(built(summary), {})).text)
    markdown = to_markdown(built(summary))
    assert text in markdown
    assert "None" not in markdown


@pytest.mark.parametrize("part", REQUIRED)
def test_results_without_a_required_part_are_refused(part):
    with pytest.raises(YoloAttnError, match=f"'{part}' is missing"):
        built(without(part))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("arms", 1, "gflops"), "6.6", r"'arms\[1\].gflops' is '6.6', not float"),
        (("arms", 1, "seeds"), 3, r"'arms\[1\].seeds' is 3, not a list"),
        (
            ("speed", "measurements", 0, "arms", "yolo11n", "ratio"),
            True,
            r"measurements\[0\].arms.yolo11n.ratio' is True",
        ),
        (("data",), 600, "'data' is 600, not an object"),
        (("baseline",), "yolo11m", "unknown baseline 'yolo11m'. Did you mean 'yolo11n'"),
    ],
)
def test_results_of_a_wrong_type_are_refused(path, value, says):
    with pytest.raises(YoloAttnError, match=says):
        built(without(*path, value=value))


def test_results_without_an_environment_say_so():
    assert "not stored" in to_markdown(built(without("environment", value={})))


def test_no_caveat_no_warning():
    assert "[!WARNING]" in to_markdown(built(example(arms=3)))
    summary = example(arms=3)
    summary["caveats"], summary["speed"] = [], None
    assert "[!WARNING]" not in to_markdown(built(summary))


def test_an_arm_without_a_complete_run():
    summary = example(arms=3)
    summary["arms"][1] = {"name": "yolo11n-ela", "kind": "attention", "seeds": [], "metrics": {}, "difference": None}
    text = plain(Page(to_html(built(summary), {})).text)
    assert "no complete run" in text
    assert "no complete run" in to_markdown(built(summary))


def test_one_arm_is_no_comparison():
    text = plain(Page(to_html(built(example(arms=1)), {})).text)
    assert "Nothing to compare: yolo11n is the only model." in text
    assert "2.624" in text


def test_no_run_at_all():
    summary = {
        "title": "T",
        "baseline": "a",
        "runs": {"planned": 2, "complete": 0},
        "environment": {},
        "arms": [{"name": "a", "kind": "baseline", "seeds": []}, {"name": "b", "kind": "attention", "seeds": []}],
        "caveats": [],
    }
    assert "No results yet" in Page(to_html(built(summary), {})).text
    assert "No results yet" in to_markdown(built(summary))


def test_one_seed_is_not_tested():
    text = plain(Page(to_html(built(example(arms=2, seeds=(4,))), {})).text)
    assert "No difference in mAP50-95 to yolo11n could be tested." in text
    assert "not tested, with one seed" in text
    assert "compatible with these runs" not in text


def test_pictures_are_shown_where_they_are():
    assert "](plots/" not in to_markdown(built(example(arms=2)))
    shown = to_markdown(built(example(arms=2)), plots=["differences", "speed"])
    assert re.findall(r"\]\((.*?)\)", shown) == ["plots/differences.png", "plots/speed.png"]
