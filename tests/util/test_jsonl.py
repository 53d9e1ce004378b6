"""JSON-lines files: appended records are read back, and incomplete files are rejected."""

import pytest

from yolo_attn.util import jsonl

RECORDS = [{"kind": "header"}, {"kind": "round", "milliseconds": {"ours": 1.5}}]


def test_appended_records_are_read_in_order(tmp_path):
    for record in RECORDS:
        jsonl.append(tmp_path / "a.jsonl", record)
    assert jsonl.read(tmp_path / "a.jsonl") == RECORDS


def test_a_complete_file_is_read_without_its_closing_line(tmp_path):
    jsonl.write_complete(tmp_path / "a.jsonl", RECORDS)
    assert jsonl.read_complete(tmp_path / "a.jsonl") == RECORDS
    closing = jsonl.read(tmp_path / "a.jsonl")[-1]
    assert {**closing, "sha256": "of the lines"} == {"kind": "complete", "lines": 2, "sha256": "of the lines"}


def test_a_changed_file_is_not_complete(tmp_path):
    file = tmp_path / "a.jsonl"
    jsonl.write_complete(file, RECORDS)
    whole = file.read_text()
    file.write_text(whole.replace("1.5", "1.6"))
    assert jsonl.read_complete(file) is None
    file.write_bytes(whole.replace("\n", "\r\n").encode())
    assert jsonl.read_complete(file) == RECORDS
    first, second, _ = whole.splitlines()
    file.write_text("\n".join([first, second, '{"kind": "complete", "lines": 2}']))  # as older versions wrote it
    assert jsonl.read_complete(file) == RECORDS
    for damaged in (whole.replace(first, "3"), '3\n4\n{"kind": "complete", "lines": 2}', whole.replace("{", "[")):
        file.write_text(damaged)
        assert jsonl.read_complete(file) is None
    file.write_bytes(whole.encode()[:20] + b"\xff" + whole.encode()[20:])
    assert jsonl.read_complete(file) is None


def test_a_file_that_is_missing_cut_or_empty_is_not_complete(tmp_path):
    file = tmp_path / "a.jsonl"
    assert jsonl.read_complete(file) is None
    jsonl.write_complete(file, RECORDS)
    first, second, last = file.read_text().splitlines()
    for lines in ([first, second], [first, last], [first, second, last[:9]], [last], []):
        file.write_text("\n".join(lines))
        assert jsonl.read_complete(file) is None
    jsonl.write_complete(file, [])
    assert jsonl.read_complete(file) is None


def test_a_stopped_writer_leaves_what_came_and_no_closing_line(tmp_path):
    def stopped():
        yield RECORDS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jsonl.write_complete(tmp_path / "a.jsonl", stopped())
    assert jsonl.read(tmp_path / "a.jsonl") == RECORDS[:1]
    assert jsonl.read_complete(tmp_path / "a.jsonl") is None
