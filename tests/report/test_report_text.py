"""Report as Markdown and HTML: its statements about a comparison, and escaping of markup."""

import copy
import re
from itertools import pairwise

import pytest
from support.markdown import table_rows
from support.page import Page, bare, plain
from support.report_example import built, example

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


def known():
    """Two models against a baseline, with numbers to check by eye."""
    summary = example(arms=3)
    for arm, estimate, p, verdict in [(1, 0.0012, 0.61, "not significant"), (2, -0.02, 0.0004, "worse")]:
        low, high = estimate - 0.0052, estimate + 0.0052
        summary["arms"][arm]["difference"]["mAP50-95"] |= {
            "estimate": estimate, "low": low, "high": high, "p_holm": p, "verdict": verdict,
        }  # fmt: skip
    timed = summary["speed"]["measurements"][0]["arms"]
    timed["yolo11n-ela"] |= {"ratio": 1.117, "ratio_low": 1.113, "ratio_high": 1.122}
    timed["yolo11n-ca"] |= {"ratio": 1.001, "ratio_low": 0.99, "ratio_high": 1.012}
    return summary


def said(line):
    return "".join(part if isinstance(part, str) else getattr(part, "text", getattr(part, "word", "")) for part in line)


# --- the answer -------------------------------------------------------------------------------------------------------
def test_only_what_is_significant_or_costs_much_has_a_line():
    assert [said(line) for line in answer.findings(built(known()))] == [
        "yolo11n-ca: worse by −0.020 [−0.025, −0.015] (p < 0.001), no significant difference in time: "
        "+0.1 % [−1.0, +1.2], batch 1.",
        "Costly without a significant gain: yolo11n-ela (11.7 % slower [11.3, 12.2], batch 1).",
    ]


def test_many_significant_models_are_named_by_the_table_alone():
    summary = example(arms=20)
    clear = [arm for arm in summary["arms"][1:] if arm["difference"]["mAP50-95"]["verdict"] != "not significant"]
    lines = [said(line) for line in answer.findings(built(summary))]
    assert len(clear) > 4
    assert lines[3] == f"{len(clear) - 3} further significant differences in the table."
    assert "models are significantly better" in answer.headline(built(summary))


def test_a_control_is_no_model_of_the_headline_but_has_a_line_if_significant():
    summary = example(arms=3)
    summary["arms"][2]["kind"] = "plain control"
    headline = answer.headline(built(summary))
    assert headline == "yolo11n-ela is significantly better than yolo11n in mAP50-95."
    assert said(answer.findings(built(summary))[1]).startswith("yolo11n-ca (plain control): worse by")


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


# --- both forms -------------------------------------------------------------------------------------------------------
def test_the_main_table_holds_the_numbers():
    table = Page(to_html(built(known()))).tables[0]
    assert [plain(h) for h in table[0]] == [
        "model", "difference in mAP50-95 [95 % interval]−0.020+0.01", "verdict (p, Holm)", "mAP50-95 mean ± sd",
        "time (batch 1) [95 % interval]", "latency, ms median (p5–p95)", "params, M", "GFLOPs",
    ]  # fmt: skip
    worse = [plain(cell) for cell in table[3]]
    assert worse[:3] == ["yolo11n-ca", "−0.020 [−0.025, −0.015]", "▼ worse p < 0.001"]
    assert worse[4:] == ["+0.1 % [−1.0, +1.2]", "5.32 (5.24–5.64)", "2.632", "6.63"]
    assert next(row[1] for row in table[1:]) == "–", "the baseline"
    assert f"{known()['arms'][2]['metrics']['mAP50-95']['mean']:.3f} ± " in worse[3]


def test_the_table_is_sorted_by_the_estimate_with_the_controls_last():
    summary = example(arms=12)
    summary["arms"][3]["kind"] = "plain control"
    summary["arms"][5] = {"name": summary["arms"][5]["name"], "kind": "attention", "seeds": []}
    summary["arms"].reverse()
    results = built(summary)
    names = [row[0].split()[0] for row in Page(to_html(results)).tables[0][1:]]
    found = {arm.name: arm.difference["mAP50-95"].estimate for arm in results.compared if arm.difference}
    controls = {arm.name for arm in results.arms if "control" in arm.kind}
    blocks = sorted(set(found) - controls, key=lambda name: -found[name])
    failed = "yolo11n-gc"
    order = ["yolo11n", *blocks, failed, "Controls", *sorted(controls, key=lambda name: -found[name])]
    assert names == order
    lines = [line for line in to_markdown(results).splitlines() if line.startswith("| **") or "*Controls*" in line]
    assert [line.strip("| ").split()[0].strip("*") for line in lines[: len(order)]] == order


def test_the_caption_says_what_was_counted_and_on_what_the_times_were_measured():
    summary = example(arms=3)
    summary["speed"]["environment"] = {"cpu": "Some CPU", "cores": 2, "threads": 1}
    summary["speed"]["device"] = "cpu"
    text = to_markdown(built(summary))
    assert "n = 3 seeds × 600 images." in text
    assert "batch 1, fp32, 200 rounds of each model, images of 640 px, device cpu, Some CPU, 2 cores, 1 thread" in text


def test_an_identity_control_that_is_not_tested_is_said_to_be_equal():
    summary = example(arms=7)
    control = summary["arms"][6]
    assert control["kind"] == "identity control"
    control["difference"]["mAP50-95"] |= dict.fromkeys(("estimate", "low", "high"), 0.0)
    control["difference"]["mAP50-95"] |= {"by_seed": [0.0, 0.0, 0.0], "verdict": None}
    assert "equal in every run" in to_markdown(built(summary))


def test_a_model_with_fewer_seeds_says_so():
    summary = example(arms=3)
    summary["arms"][1] |= {"seeds": [0, 2]}
    for values in summary["arms"][1]["metrics"].values():
        values["by_seed"] = values["by_seed"][:2]
    assert "2 of 3 seeds" in to_markdown(built(summary))


def test_markdown_and_html_hold_the_same_tables():
    summary = example(arms=4)
    html = re.sub("<svg.*?</svg>", "", to_html(built(summary)), flags=re.DOTALL)
    html = [[[plain(c) for c in row] for row in table] for table in Page(html).tables]
    lines = to_markdown(built(summary)).splitlines()
    starts = [k for k, line in enumerate(lines) if line.startswith("|") and not lines[k - 1].startswith("|")]
    assert len(starts) == len(html)
    for start, table in zip(starts, html, strict=True):
        rows = [lines[start], *lines[start + 2 : start + 1 + len(table)]]
        cells = [[c for c in row.strip("|").split("|") if c.strip() or "*" not in row[:4]] for row in rows]
        assert [[bare(c) for c in row] for row in cells] == [[bare(c) for c in row] for row in table]


def test_every_caveat_and_failed_run_stands_before_the_results():
    summary = example(arms=3)
    summary["runs"] = {"planned": 9, "complete": 8, "failed": [{"arm": "yolo11n-ca", "seed": 2, "reason": "no memory"}]}
    for text in (to_markdown(built(summary)), Page(to_html(built(summary), {})).text):
        before = plain(text[: text.index("params, M")])
        for caveat in [*summary["caveats"], "seed 2: no memory", "Not complete: 1 of 9 planned runs."]:
            assert caveat in before


def test_more_than_two_caveats_are_folded_but_for_the_most_serious():
    summary = example(arms=3)
    summary["caveats"] = [f"Caveat {k}." for k in range(5)]
    html = to_html(built(summary))
    assert "<summary>3 further caveats</summary>" in html
    assert html.index("Caveat 1.") < html.index("3 further caveats") < html.index("Caveat 2.") < html.index("<table")


def test_failed_runs_of_one_reason_are_one_line():
    summary = example(arms=3)
    summary["runs"]["failed"] = [{"arm": "yolo11n-ca", "seed": s, "reason": "no memory"} for s in (0, 2)]
    assert "**Failed runs:** yolo11n-ca, seeds 0, 2: no memory" in to_markdown(built(summary))


def test_a_note_stands_before_the_headline():
    text = to_markdown(built({**example(arms=3), "note": "A smoke test: too short to learn."}))
    assert text.index("A smoke test") < text.index("significantly better")


def test_the_commits_of_training_and_timing_are_both_named_where_they_differ():
    summary = example(arms=3)
    assert "| commit | `8cb7ff5` |" in to_markdown(built(summary))
    summary["speed"]["environment"]["commit"] = "1234567"
    text = to_markdown(built(summary))
    assert "| commit, training | `8cb7ff5` |" in text
    assert "| commit, timing | `1234567` |" in text


def test_the_end_of_the_curves_is_said_to_differ_from_the_table():
    summary = example(arms=2)
    for arm in summary["arms"]:
        mean = arm["metrics"]["mAP50-95"]["mean"]
        arm["curve"]["by_seed"] = [[0.1] * 29 + [mean + 0.0021]] * 3
    assert "their means end up to 0.0021 from the table" in to_markdown(built(summary), plots=["curves"])


def test_runs_are_linked_to_the_files_that_exist():
    summary = example(arms=2, seeds=(0,))
    folders = [{"arm": a, "seed": 0, "folder": f"runs/{a} 1"} for a in ("yolo11n", "yolo11n-ela")]
    summary["runs"]["folders"] = folders
    folders.append({"arm": "yolo11n-ela", "seed": 1, "folder": "runs/2"})
    summary["runs"]["failed"] = [{"arm": "yolo11n-ela", "seed": 1, "reason": "no memory"}]
    held = ["runs/yolo11n 1/log.txt", "runs/yolo11n 1/results.csv"]
    page = Page(to_html(built(summary), held))
    assert page.values("href") == ["runs/yolo11n%201/log.txt", "runs/yolo11n%201/results.csv"]
    rows = next(table for table in page.tables if table[0][1] == "seed" and len(table[0]) == 4)
    assert [row[2] for row in rows[1:]] == ["complete", "complete", "failed: no memory"]
    assert "[log](runs/yolo11n%201/log.txt)" in to_markdown(built(summary), files=held)


def test_classes_carry_their_warning_with_a_count():
    summary = example(arms=2, classes=["a", "b", "c", "d"])
    for row, (low, high) in zip(
        summary["arms"][1]["per_class"], [(-1, 1), (0.1, 1), (-1, -0.1), (-1, 0.5)], strict=True
    ):
        row.update(low=low, high=high)
    text = plain(Page(to_html(built(summary), {})).text)
    assert "not adjusted for the number of classes" in text
    assert "2 of 4 exclude 0" in text
    assert "All classes" in text
    assert "Not evaluated, without a target in the data: toaster" in text


def test_bounds_of_classes_are_printed_unlike_their_estimates():
    summary = example(arms=3, classes=["wide", "narrow", "equal"])
    ends = {"wide": (0.031, -0.12, 0.19), "narrow": (0.0102, 0.0099, 0.0106), "equal": (0.0, 0.0, 0.0)}
    for arm in summary["arms"][1:]:
        for row in arm["per_class"]:
            row.update(zip(("estimate", "low", "high"), ends[row["class"]], strict=True), targets=20, baseline=0.25)
    rows = {row[0]: row[2:] for row in table_rows(to_markdown(built(summary))) if row[0] in ends}
    assert rows["wide"] == ["0.25", *["+0.03 [−0.12, +0.19]"] * 2]
    assert rows["narrow"] == ["0.2500", *["**+0.0102** [+0.0099, +0.0106]"] * 2]
    assert rows["equal"] == ["0.250", *["0.000 [0.000, 0.000]"] * 2]


def test_columns_of_classes_are_hidden_with_their_model():
    html = to_html(built(example(arms=3, classes=["a", "b"])))
    table = html[html.index("Difference in mAP50-95 by class") :].partition("</table>")[0]
    for name in ("yolo11n", "yolo11n-ela", "yolo11n-ca"):
        assert re.findall(rf'<(\w+)[^>]* data-arm="{name}"', table) == ["th", "td", "td"]


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
    assert not {"b", "i", "u"} & set(page.tags)
    assert page.tags.count("script") == 1, "the page's own"
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
    assert not re.search(r"https?:|//|@import|<link|<img|<iframe|url\(", html)
    page = Page(html)
    assert not page.values("href")
    assert not page.values("src")


def test_ids_are_unique_and_every_reference_is_met(html):
    ids = Page(html).values("id")
    assert len(ids) == len(set(ids))
    assert not set(re.findall(r'(?:url\(|href=")#([^")]+)', html)) - set(ids)


def test_html_is_accessible(html):
    page = Page(html)
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert ("html", "lang", "en") in page.attributes
    assert "width=device-width" in html
    assert "prefers-color-scheme: dark" in html
    drawings = html.count('<svg class="drawing" role="img" aria-label="')
    forests = html.count('<svg class="forest" aria-hidden="true">') + html.count('<svg class="forest axis"')
    assert (drawings, drawings + forests) == (6, page.tags.count("svg"))
    assert {"aria-sort", 'createElement("button")'} <= {
        w for w in ("aria-sort", 'createElement("button")') if w in html
    }
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    rows = sum(len(table) - 1 for table in page.tables)
    assert page.values("scope").count("row") + page.values("scope").count("rowgroup") == rows


def test_the_same_summary_gives_the_same_bytes(html):
    assert to_html(built(copy.deepcopy(example(arms=3)))) == html
