"""Where the time of the runs went, in the report."""

import copy

from support.markdown import table_rows
from support.page import Page, bare, plain
from support.report_example import built, example

from yolo_attn.report.html import to_html
from yolo_attn.report.markdown import to_markdown

SECONDS = {"start": 9.04, "first epoch": 20.2, "epochs": 16, "validation": 2, "saving": 0.5, "in all": 50}
LONG = {"start": 9, "first epoch": 900, "epochs": 10000, "validation": 40, "earlier attempts": 7, "in all": 11000}


def timed(*seconds, timing=None):
    """Results of two models whose runs took so long."""
    summary = copy.deepcopy(example(arms=2, seeds=(0, 1)))
    names = [(arm["name"], seed) for arm in summary["arms"] for seed in (0, 1)]
    summary["runs"]["folders"] = [
        {"arm": arm, "seed": seed, "folder": f"runs/{arm}-{seed}", "seconds": spent}
        for (arm, seed), spent in zip(names, seconds, strict=False)
    ]
    summary["speed"]["seconds"] = timing
    return built(summary)


def tables_of_seconds(results):
    """The table in HTML and in Markdown."""
    html = [[[plain(c) for c in row] for row in t] for t in Page(to_html(results)).tables if "in all" in t[0]]
    rows = table_rows(to_markdown(results))
    start = next((k for k, row in enumerate(rows) if "in all" in row), len(rows))
    return html, rows[start:]


def test_by_part_for_each_run_and_in_all():
    (table,), rows = tables_of_seconds(timed(SECONDS, None, LONG, timing=123.4))
    assert table[0] == ["model", "seed", "in all", "start", "first epoch", "epochs", "validation", "saving", "other"]
    assert table[1] == ["yolo11n", "0", "50.0", "9.0", "20.2", "16.0", "2.0", "0.5", "2.3"]
    assert table[2] == ["yolo11n-ela", "0", "11,000", "9.0", "900", "10,000", "40.0", "0.0", "51.0"]
    assert table[3] == ["In all"]
    assert table[4] == ["2 runs", "", "11,050", "18.0", "920", "10,016", "42.0", "0.5", "53.3"]
    assert table[5][:3] == ["timing of the models", "", "123"]
    assert len(table) == 6
    seen = [[bare(c) for c in row if c] for row in rows[: len(table)]]
    assert seen == [[bare(c) for c in row if c] for row in table]


def test_what_was_not_stored_is_said():
    assert "It was not stored for 2 of 4 runs." in to_markdown(timed(SECONDS, None, LONG))
    assert "It was not stored" not in to_markdown(timed(*[SECONDS] * 4))


def test_without_stored_seconds_there_is_no_table():
    for results in (timed(None, None), built(example(arms=2))):
        html, rows = tables_of_seconds(results)
        assert not html
        assert not rows
        assert "Where the time went" not in to_markdown(results)
