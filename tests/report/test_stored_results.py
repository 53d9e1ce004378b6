"""Results stored in the repository: reading, rewriting and rendering keep all numbers."""

import csv
import io
import json
import re

import pytest
from support.markdown import table_rows
from support.paths import ROOT

from yolo_attn.compare.results import summarize
from yolo_attn.errors import YoloAttnError
from yolo_attn.report.csv_table import to_csv
from yolo_attn.report.html import to_html
from yolo_attn.report.markdown import to_markdown
from yolo_attn.report.results import Results, read_results
from yolo_attn.report.run_table import run_files

STORED = ROOT / "docs" / "results" / "coco3k-neck"


@pytest.fixture(scope="module")
def content():
    return json.loads((STORED / "results.json").read_text())


@pytest.fixture(scope="module")
def results():
    return read_results(STORED)


def numbers(text):
    return re.findall(r"[−+]?\d[\d,.]*", text)


def test_written_again_the_file_is_the_same(content, results):
    assert json.dumps(results.to_json()) == json.dumps(content)
    assert Results.from_json(results.to_json()) == results


def test_the_markdown_report_has_the_same_numbers(results):
    stored = (STORED / "report.md").read_text()
    shown = re.findall(r"plots/(\w+)\.png", stored)
    assert numbers(to_markdown(results, plots=shown, files=run_files(results, STORED))) == numbers(stored)


def test_the_html_report_has_the_same_numbers(results):
    def shown(html):
        return numbers(re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)))

    assert shown(to_html(results, run_files(results, STORED))) == shown((STORED / "report.html").read_text())


def test_no_number_of_the_results_is_lost(content, results):
    shown = {text.rstrip(",.") for text in numbers(to_markdown(results))}

    def missing(values):
        texts = [f"{v:.5f}".replace("-", "−") for v in values if v is not None]
        return [t for t in texts if float(t.replace("−", "-")) and not {t, f"+{t}"} & shown]

    for arm in content["arms"]:
        for values in arm["metrics"].values():
            assert not missing(values["by_seed"])
        for found in (arm.get("difference") or {}).values():
            assert not missing(found[k] for k in ("estimate", "low", "high", "se", "detectable"))


def test_classes_are_printed_as_exactly_as_their_intervals_warrant(content, results):
    rows = table_rows(to_markdown(results))
    head = next(row for row in rows if row[0] == "class")
    rows = [row for row in rows if len(row) == len(head)]
    by_class = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    for arm in content["arms"]:
        for row in arm.get("per_class", ()):
            shown = by_class[row["class"]][arm["name"]].replace("−", "-")
            texts = re.findall(r"[-+]?\d\.\d+", shown)
            values = [row[key] for key in ("estimate", "low", "high") if row[key] is not None]
            for text, value in zip(texts, values, strict=True):
                assert float(text) == pytest.approx(value, abs=0.5000001 * 10.0 ** -len(text.partition(".")[2]))
            if len(values) == 3 and values[2] - values[1] > 1e-8:
                assert len({float(text) for text in texts}) == 3, shown


def test_the_csv_table_is_the_same(content, results):
    assert to_csv(results) == (STORED / "results.csv").read_text()
    rows = {(row["model"], row["metric"]): row for row in csv.DictReader(io.StringIO(to_csv(results)))}
    for arm in content["arms"]:
        for metric, values in arm["metrics"].items():
            row = rows[arm["name"], metric]
            assert [float(row[f"seed_{seed}"]) for seed in arm["seeds"]] == values["by_seed"]
            assert float(row["mean"]) == values["mean"]


def test_results_that_are_missing_or_damaged_are_refused(tmp_path):
    with pytest.raises(YoloAttnError, match=r"has no results.json"):
        read_results(tmp_path)
    for text in ('{"title": ', "[]", "{}"):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(YoloAttnError, match=r"results.json' is damaged"):
            read_results(tmp_path)


def close(found, stored):
    """Tell whether two contents of JSON files are the same, numbers to 1e-9."""
    if isinstance(stored, dict):
        return found.keys() == stored.keys() and all(close(found[key], value) for key, value in stored.items())
    if isinstance(stored, list):
        return len(found) == len(stored) and all(map(close, found, stored))
    return found == (pytest.approx(stored, rel=1e-9, abs=1e-12) if isinstance(stored, float) else stored)


@pytest.mark.slow
def test_computed_again_from_the_stored_records_the_results_are_the_same(content):
    found = json.loads(json.dumps(summarize(STORED).to_json()))
    different = [key for key in content if not close(found[key], content[key])]
    assert found.keys() == content.keys()
    assert different == []
