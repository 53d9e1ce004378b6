"""The report as a browser shows it: sorting, hiding, and what is visible on a narrow screen."""

import shutil
from itertools import pairwise

import pytest
from instruments.browser import Browser
from support.paths import ROOT
from support.report_example import built, example

from yolo_attn.report.html import to_html

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium")]
TABLE = "[...document.querySelectorAll('table')[0]"
NAMES = f"{TABLE}.querySelectorAll('tr[data-arm]')].map(r => r.dataset.arm)"


@pytest.fixture(scope="module")
def browser():
    with Browser(PROGRAM) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    summary = example(arms=7)
    summary["arms"][3]["name"] = "a-name-that-is-so-long-that-it-has-to-be-wrapped-even-on-a-wide-screen"
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(to_html(built(summary)))
    return path


@pytest.fixture(scope="module", params=["stored", "made up"])
def page_of_example(request, report):
    return report if request.param == "made up" else ROOT / "docs" / "results" / "coco3k-neck" / "report.html"


def click(browser, column):
    browser.evaluate(f"document.querySelectorAll('table')[0].querySelectorAll('thead button')[{column}].click()")
    return browser.evaluate(NAMES), browser.evaluate(
        f"document.querySelectorAll('table')[0].querySelectorAll('thead th')[{column}].getAttribute('aria-sort')"
    )


def test_a_column_sorts_up_and_down_with_baseline_and_controls_in_place(browser, report):
    browser.show(report, 1400)
    first = browser.evaluate(NAMES)
    assert (first[0], first[-1]) == ("yolo11n", "yolo11n-identity")
    rising, order = click(browser, 1)
    assert order == "ascending"
    assert rising == [first[0], *first[-2:0:-1], first[-1]]
    assert click(browser, 1) == (first, "descending")
    by_name, order = click(browser, 0)
    assert order == "ascending"
    assert by_name[1:-1] == sorted(first[1:-1])
    slowest = ["yolo11n-gc", "yolo11n-eca", "a-name-that-is-so-long-that-it-has-to-be-wrapped-even-on-a-wide-screen"]
    assert click(browser, 4)[0][1:3] == slowest[:2]


def test_a_hidden_model_is_hidden_everywhere_and_comes_back(browser, report):
    browser.show(report, 1400)
    shown = (
        "[...document.querySelectorAll('[data-arm=yolo11n-ela]')].filter(e => getComputedStyle(e).display !== 'none')"
    )
    before = browser.evaluate(f"{shown}.length")
    assert before > 10, "rows, points and panels"
    browser.evaluate("document.querySelectorAll('.models input')[1].click()")
    assert browser.evaluate(f"{shown}.length") == 0
    assert (
        browser.evaluate("document.querySelectorAll('.models input')[1].parentNode.textContent.trim()") == "yolo11n-ela"
    )
    browser.evaluate("document.querySelectorAll('.models input')[1].click()")
    assert browser.evaluate(f"{shown}.length") == before


def test_a_hidden_model_has_no_column_among_the_classes(browser, report):
    browser.show(report, 1400)
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    table = "document.querySelector('[aria-label*=\"by class\"] table')"
    seen = f"[...{table}.rows].map(r => [...r.cells].filter(c => c.getClientRects().length).length)"
    before, width = browser.evaluate(seen), browser.evaluate(f"{table}.rows[0].cells[2].offsetWidth")
    browser.evaluate("document.querySelectorAll('.models input')[1].click()")
    rule = browser.evaluate(f"[...{table}.rows].findIndex(r => r.classList.contains('rule'))")
    assert browser.evaluate(seen) == [n - (k != rule) for k, n in enumerate(before)]
    assert width > 0
    browser.evaluate("document.querySelectorAll('.models input')[1].click()")
    assert browser.evaluate(seen) == before


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_itself_is_never_wider_than_the_window(browser, report, width):
    browser.show(report, width)
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_shows_name_difference_and_verdict(browser, report):
    browser.show(report, 390)
    ends = "[...document.querySelectorAll('table')[0].rows[2].cells].map(c => c.getBoundingClientRect().right)"
    name, difference, verdict, *others = browser.evaluate(ends)
    assert name < difference < verdict <= 390
    assert others[-1] > 390, "the rest is scrolled to"
    small = (
        "[...document.querySelectorAll('.axis text, .narrow .drawing text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(browser.evaluate(small)) >= 9


def test_the_forest_plot_stands_on_its_scale(browser, report):
    for width in (1400, 390):
        browser.show(report, width)
        zero = f"{TABLE}.querySelectorAll('.forest > line.t-muted:not(.bar)')]"
        places = browser.evaluate(f"{zero}.map(l => l.getBoundingClientRect().left)")
        label = f"{TABLE}.querySelectorAll('.axis text')].filter(t => t.textContent === '0')"
        middle = browser.evaluate(
            f"{label}.map(t => t.getBoundingClientRect().left + t.getBoundingClientRect().width / 2)"
        )
        assert len(places) == 6
        assert max(places) - min(places) < 1
        assert abs(middle[0] - places[0]) < 1.5


@pytest.mark.parametrize("width", [1400, 390])
def test_no_two_labels_of_a_scale_overlap(browser, page_of_example, width):
    browser.show(page_of_example, width)
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    box = "(r => [r.left, r.right])(t.getBoundingClientRect())"
    heads = f"[...document.querySelectorAll('thead')].map(h => [...h.querySelectorAll('.axis text')].map(t => {box}))"
    scales = [sorted(labels) for labels in browser.evaluate(heads) if labels]
    assert len(scales) > 3
    assert not [(a, b) for labels in scales for a, b in pairwise(labels) if b[0] < a[1]]


def test_without_the_script_everything_is_shown(browser, report, tmp_path):
    html = report.read_text()
    bare = tmp_path / "bare.html"
    bare.write_text(html[: html.index("<script>")] + html[html.index("</script>") + 9 :])
    browser.show(bare, 1400)
    assert browser.evaluate("document.querySelectorAll('button, input').length") == 0
    assert len(browser.evaluate(NAMES)) == 7
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.show(bare, 1400, "dark")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    colours = "[...new Set([...document.querySelectorAll('.drawing text')].map(t => getComputedStyle(t).fill))]"
    lightness = [max(map(int, c[4:-1].split(","))) for c in browser.evaluate(colours)]
    assert min(lightness) > 150, "light text on the dark page"
