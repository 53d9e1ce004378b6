"""Report as Markdown and HTML: its statements about a comparison, and escaping of markup."""

import copy
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from support.report_example import built, example

from yolo_attn.errors import YoloAttnError
from yolo_attn.report import answer
from yolo_attn.report.html import to_html
from yolo_attn.report.markdown import to_markdown

NASTY = [
    "<script>alert(1)</script>",
    "a|b",
    "x*y*z",
    "`rm`",
    "[a](http://e.vil)",
    "a\nb",
    "&amp;",
    '"><b>',
    "_u_",
    "$x$",
]
VOID = {"meta", "path", "use", "rect", "br", "image"}


class Page(HTMLParser):
    """Parse a page into elements, text, ids and links; fail if tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.text, self.tables = [], [], [], "", []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def values(self, attribute):
        return [value for _, name, value in self.attributes if name == attribute]


def plain(text):
    return text.replace("\u00a0", " ")


def bare(cell):
    return re.sub(r"[▲▼○*`\\\s]", "", cell)


def known():
    """Two models against a baseline, with numbers to check by eye."""
    summary = example(arms=3)
    for arm, estimate, p, verdict in [(1, 0.0012, 0.61, "not significant"), (2, -0.02, 0.0004, "worse")]:
        low, high = estimate - 0.005, estimate + 0.005
        summary["arms"][arm]["difference"]["mAP50-95"] |= {
            "estimate": estimate, "low": low, "high": high, "p_holm": p, "verdict": verdict,
        }  # fmt: skip
    timed = summary["speed"]["measurements"][0]["arms"]
    timed["yolo11n-ela"] |= {"ratio": 1.04, "ratio_low": 1.03, "ratio_high": 1.05}
    timed["yolo11n-ca"] |= {"ratio": 1.001, "ratio_low": 0.99, "ratio_high": 1.012}
    return summary


def said(line):
    return "".join(part if isinstance(part, str) else getattr(part, "text", getattr(part, "word", "")) for part in line)


# --- the answer -------------------------------------------------------------------------------------------------------
def test_the_answer_of_every_model_in_one_sentence():
    assert [said(line) for line in answer.answers(built(known()))] == [
        "yolo11n-ela: +0.0012 [−0.0038, +0.0062] mAP50-95 against yolo11n: not significant (p = 0.610); "
        "4.0 % slower at batch 1 [3.0, 5.0] %.",
        "yolo11n-ca: −0.0200 [−0.0250, −0.0150] mAP50-95 against yolo11n: worse (p < 0.001); "
        "no significant difference in speed at batch 1 [−1.0, +1.2] %.",
    ]


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        (["not significant"], "yolo11n-ela is not significantly better or worse than yolo11n in mAP50-95."),
        (["not significant"] * 3, "None of the 3 models is significantly better or worse than yolo11n in mAP50-95."),
        (["better"], "yolo11n-ela is significantly better than yolo11n in mAP50-95."),
        (["better", "better", "not significant"], "yolo11n-ela and yolo11n-ca are significantly better than yolo11n "
         "in mAP50-95. No significant difference was found for yolo11n-se."),
        (["worse", "better", "not significant", "not significant"], "yolo11n-ca is significantly better and "
         "yolo11n-ela is significantly worse than yolo11n in mAP50-95. "
         "No significant difference was found for the other 2."),
    ],
)  # fmt: skip
def test_the_headline_names_what_is_known_and_what_is_not(verdicts, sentence):
    summary = example(arms=1 + len(verdicts))
    for arm, verdict in zip(summary["arms"][1:], verdicts, strict=True):
        arm["difference"]["mAP50-95"]["verdict"] = verdict
    assert answer.headline(built(summary)) == sentence


@pytest.mark.parametrize(("low", "explained"), [(0.0001, True), (-0.0001, False)])
def test_an_interval_without_0_that_is_not_significant_is_explained(low, explained):
    summary = known()
    summary["arms"][1]["difference"]["mAP50-95"] |= {"low": low, "high": 0.01, "verdict": "not significant"}
    assert ("that is due to the adjustment" in to_markdown(built(summary))) == explained


def test_accuracy_and_speed_are_judged_together():
    lines = [said(line) for line in answer.tradeoff(built(known()))]
    assert lines == [
        "Slower, no significant difference in mAP50-95: yolo11n-ela",
        "Worse in mAP50-95, no significant difference in speed: yolo11n-ca",
    ]


# --- both forms -------------------------------------------------------------------------------------------------------
def test_the_main_table_holds_the_numbers():
    table = Page(to_html(built(known()), {})).tables[0]
    assert [plain(h) for h in table[0]] == [
        "model", "params, M", "GFLOPs", "mAP50-95 mean ± sd", "seeds", "difference [95 % interval]", "p (Holm)",
        "verdict", "median latency, ms [p5, p95]", "time ratio [95 % interval]",
    ]  # fmt: skip
    worse = [plain(cell) for cell in table[3]]
    assert worse[:3] == ["yolo11n-ca", "2.632", "6.63"]
    assert worse[4:8] == ["3", "−0.0200 [−0.0250, −0.0150]", "< 0.001", "▼ worse"]
    assert worse[9] == "1.001 [0.990, 1.012]"
    assert table[1][7] == "baseline"
    assert f"{known()['arms'][2]['metrics']['mAP50-95']['mean']:.4f} ± " in worse[3]


def test_markdown_and_html_hold_the_same_tables():
    summary = example(arms=4)
    html = [[[plain(c) for c in row] for row in table] for table in Page(to_html(built(summary), {})).tables]
    lines = to_markdown(built(summary)).splitlines()
    starts = [k for k, line in enumerate(lines) if line.startswith("|") and not lines[k - 1].startswith("|")]
    assert len(starts) == len(html)
    for start, table in zip(starts, html, strict=True):
        rows = [lines[start], *lines[start + 2 : start + 1 + len(table)]]
        cells = [row.strip("| ").split(" | ") for row in rows]
        assert [[bare(c) for c in row] for row in cells] == [[bare(c) for c in row] for row in table]


def test_every_caveat_and_failed_run_stands_before_the_results():
    summary = example(arms=3)
    summary["runs"] = {"planned": 9, "complete": 8, "failed": [{"arm": "yolo11n-ca", "seed": 2, "reason": "no memory"}]}
    for text in (to_markdown(built(summary)), Page(to_html(built(summary), {})).text):
        before = plain(text[: text.index("params, M")])
        for caveat in [
            *summary["caveats"],
            "seed 2: no memory",
            "Not complete: 1 of 9 planned runs.",
            summary["power"],
        ]:
            assert caveat in before


def test_classes_carry_their_warning_with_a_count():
    summary = example(arms=2, classes=["a", "b", "c", "d"])
    for row, (low, high) in zip(
        summary["arms"][1]["per_class"], [(-1, 1), (0.1, 1), (-1, -0.1), (-1, 0.5)], strict=True
    ):
        row.update(low=low, high=high)
    text = plain(Page(to_html(built(summary), {})).text)
    assert "not adjusted for the number of classes" in text
    assert "2 of 4 exclude 0" in text
    assert "All 4 classes" in text
    assert "Not evaluated, without a target in the data: toaster" in text


def test_the_protocol_is_complete():
    summary = example()
    page = plain(Page(to_html(built(summary), {})).text)
    for word in ["3f" * 32, "a1" * 32, "yolo11n.pt", "optimizer=SGD", "0, 1, 2", "last epoch", "Some GPU",
                 "CUDA 12.8", "driver 570.1", "torch 2.9.0", "8cb7ff5", "1,000 rep", "4,321 targets"]:  # fmt: skip
        assert word in page, word


# --- nothing becomes markup -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def nasty():
    """Results in which every text contains markup."""
    summary = example(arms=1 + len(NASTY), classes=[*NASTY, "person"])
    names = dict(zip((a["name"] for a in summary["arms"]), ["<i>base</i>", *NASTY], strict=True))
    for arm in summary["arms"]:
        arm["name"] = names[arm["name"]]
    summary["baseline"] = "<i>base</i>"
    for measurement in summary["speed"]["measurements"]:
        measurement["arms"] = {names[k]: v for k, v in measurement["arms"].items()}
    summary |= {"title": "<u>T</u>", "caveats": NASTY, "power": "<b>", "commit": "<b>`"}
    summary["protocol"] |= {"data": "<b>.yaml", "overrides": {"<b>": "|`"}}
    summary["data"]["classes_without_targets"] = ["<b>"]
    summary["runs"]["failed"] = [{"arm": "<b>", "seed": 0, "reason": "line 1\nline 2 <script>"}]
    return summary


def test_html_escapes_everything(nasty):
    page = Page(to_html(built(nasty), {}))
    assert not {"script", "b", "i", "u"} & set(page.tags)
    shown = " ".join(page.text.split())
    for text in NASTY:
        assert " ".join(text.split()) in shown, text


def test_markdown_escapes_everything(nasty):
    text = to_markdown(built(nasty))
    assert not re.search(r"<(?!/?details>|/?summary>)", text), "a tag of the user's"
    assert "](http" not in text
    assert "\nb" not in text.replace("\n\n", "\n"), "a line break of the user's"
    for row in re.findall(r"^\|.*\|$", text, re.M):
        assert "x*y" not in row
    tables = re.split(r"\n\n", text)
    for table in (t for t in tables if t.startswith("|")):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, f"rows of different length: {table[:200]}"


# --- one page that needs nothing else ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def html():
    return to_html(built(example(arms=3)))


def test_html_refers_to_nothing_outside(html):
    assert not re.search(r"https?:|//|@import|<link|<script|<img|<iframe", html)
    page = Page(html)
    assert all(value.startswith("#") for value in page.values("href"))
    assert not page.values("src")


def test_ids_are_unique_and_every_reference_is_met(html):
    ids = Page(html).values("id")
    assert len(ids) == len(set(ids))
    assert not set(re.findall(r'(?:url\(|href=")#([^")]+)', html)) - set(ids)


def test_html_is_accessible(html):
    page = Page(html)
    assert page.tags.count("h1") == page.tags.count("main") == page.tags.count("nav") == 1
    assert ("html", "lang", "en") in page.attributes
    assert "width=device-width" in html
    assert "prefers-color-scheme: dark" in html
    assert page.tags.count("svg") == page.tags.count("figure") == html.count('<svg role="img" aria-label="') == 6
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.values("scope").count("row") == sum(len(table) - 1 for table in page.tables)


def test_the_same_summary_gives_the_same_bytes(html):
    assert to_html(built(copy.deepcopy(example(arms=3)))) == html


# --- what is not there ------------------------------------------------------------------------------------------------
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
    (("data",), "All 80 classes"),
    (("power",), "Not significant does not mean equal"),
    (("metrics",), "mAP50-95"),
    (("arms", 1, "curve"), "No curve is stored for yolo11n-ela."),
    (("arms", 1, "per_class"), "All 80 classes"),
    (("arms", 1, "difference"), "not compared with a baseline"),
    (("arms", 1, "parameters"), "–"),
    (("arms", 1, "epoch_seconds"), "seconds per epoch"),
    (("arms", 0, "epoch_seconds"), "seconds per epoch"),
    (("speed", "measurements", 0, "arms", "yolo11n-ela"), "speed not measured"),
    (("speed", "measurements", 0, "arms", "yolo11n"), "5.27"),
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
    assert "yolo11n-ela: no complete run." in text
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
