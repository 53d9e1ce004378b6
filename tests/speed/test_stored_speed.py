"""Raw times stored in the repository: read, rewritten, and summarized to the stored speed."""

import pytest
from support.paths import ROOT

from yolo_attn.report.results import read_results
from yolo_attn.speed import raw
from yolo_attn.speed.summary import summarize
from yolo_attn.util import jsonl

STORED = ROOT / "docs" / "results" / "coco3k-neck"


@pytest.fixture(scope="module")
def records():
    return jsonl.read_complete(STORED / "speed" / raw.RAW)


def test_raw_times_give_the_stored_speed(records):
    measured = raw.read_raw(STORED / "speed", records[0]["spec"]["key"])
    assert summarize(measured) == read_results(STORED).speed


def test_written_again_the_lines_are_the_same(records, tmp_path):
    raw.write_raw(tmp_path, map(raw._from_json, records))
    assert jsonl.read_complete(tmp_path / raw.RAW) == records
