"""The report's files: all of them, the unrounded numbers among them, or none."""

import csv
import io

import pytest
from support.report_example import METRICS, built, example

from yolo_attn.report import plots, write
from yolo_attn.report.csv_table import to_csv
from yolo_attn.report.write import render


def rows(summary):
    return list(csv.DictReader(io.StringIO(to_csv(built(summary)))))


def test_csv_has_a_row_for_every_model_and_metric_with_every_seed():
    summary = example(arms=3, seeds=(0, 1, 5))
    table = rows(summary)
    assert [(r["model"], r["metric"]) for r in table] == [(a["name"], m) for a in summary["arms"] for m in METRICS]
    found = summary["arms"][1]
    row = table[len(METRICS)]
    values, difference = found["metrics"]["mAP50-95"], found["difference"]["mAP50-95"]
    assert [float(row[f"seed_{s}"]) for s in (0, 1, 5)] == values["by_seed"]
    assert [float(row[f"difference_seed_{s}"]) for s in (0, 1, 5)] == difference["by_seed"]
    assert float(row["mean"]) == values["mean"]
    assert float(row["sd"]) == values["sd"]
    assert float(row["difference_low"]) == difference["low"]
    assert float(row["p_holm"]) == difference["p_holm"]
    assert row["verdict"] == difference["verdict"]
    assert (row["kind"], row["seeds"], row["parameters"]) == ("attention", "3", str(found["parameters"]))
    assert table[0]["difference_estimate"] == table[0]["verdict"] == ""


def test_csv_pairs_the_seeds_that_both_have():
    summary = example(arms=2, seeds=(0, 1, 2))
    base, ela = summary["arms"]
    base["seeds"] = [0, 2]
    for metric in METRICS:
        del base["metrics"][metric]["by_seed"][1], ela["difference"][metric]["by_seed"][1]
    row = rows(summary)[len(METRICS)]
    paired = ela["difference"]["mAP50-95"]["by_seed"]
    assert [row[f"difference_seed_{s}"] for s in (0, 1, 2)] == [str(paired[0]), "", str(paired[1])]
    assert row["seed_1"] == str(ela["metrics"]["mAP50-95"]["by_seed"][1])


def test_csv_of_what_never_ran():
    summary = example(arms=2)
    summary["arms"] = [{"name": a["name"], "kind": a["kind"], "seeds": []} for a in summary["arms"]]
    row = rows({**summary, "metrics": ["mAP50-95"]})[0]
    assert {name: value for name, value in row.items() if value} == {
        "model": "yolo11n", "kind": "baseline", "metric": "mAP50-95", "seeds": "0",
    }  # fmt: skip
    assert rows({**summary, "metrics": []}) == []


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("a report") / "made"
    render(built(example(arms=2, classes=["a", "b"])), out)
    return out


def listing(out):
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())


def test_all_files_are_there_and_nothing_else(rendered):
    pictures = [f"plots/{name}.{ending}" for name in plots.NAMES for ending in ("png", "svg")]
    assert listing(rendered) == sorted([*pictures, "report.html", "report.md", "results.csv"])


def test_the_markdown_shows_every_plot(rendered):
    text = (rendered / "report.md").read_text()
    assert all(f"](plots/{name}.png)" in text for name in plots.NAMES)


def test_a_second_report_replaces_the_first_and_leaves_other_files(rendered):
    mine = rendered / "plots" / "mine.png"
    mine.write_bytes(b"mine")
    summary = example(arms=2, classes=["a", "b"])
    summary["speed"] = None
    render(built(summary), rendered)
    assert not {"plots/speed.png", "plots/speed.svg", "plots/tradeoff.svg"} & set(listing(rendered))
    assert mine.read_bytes() == b"mine"
    assert "Speed was not measured" in (rendered / "report.html").read_text()


def test_what_cannot_be_rendered_leaves_the_old_report(tmp_path, monkeypatch):
    (tmp_path / "report.md").write_text("old")
    monkeypatch.setattr(write, "to_html", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        render(built(example(arms=1)), tmp_path)
    assert listing(tmp_path) == ["report.md"]
    assert (tmp_path / "report.md").read_text() == "old"


def test_a_full_disk_leaves_the_old_report(tmp_path, monkeypatch):
    render(built(example(arms=1)), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)}

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="no space"):
        render(built({**example(arms=1), "title": "new"}), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in listing(tmp_path)} == before
