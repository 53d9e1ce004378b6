"""Rows nobody reads and rows wired otherwise than in the stock model: found in YAMLs made by hand, in no stock one."""

import subprocess
import sys

import pytest
import yaml
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.compare.plan import Plan, arms_of
from yolo_attn.host.model import load_model_dict
from yolo_attn.host.model_files import host_model_files, shipped_models
from yolo_attn.host.said import say_once
from yolo_attn.host.wiring import rewired_rows, unread_rows


def by_hand(block, after, base="yolo11n.yaml", **changed):
    """Return a model with a row inserted by hand and no ``from`` corrected but the given, by their new row numbers."""
    model = load_model_dict(base)
    split = len(model["backbone"])
    rows = [*model["backbone"], *model["head"]]
    rows.insert(after + 1, [-1, 1, block, []])
    for row, given in changed.items():
        rows[int(row.removeprefix("row"))][0] = given
    split += after < split
    return {**model, "backbone": rows[:split], "head": rows[split:]}


@pytest.mark.parametrize("file", [*host_model_files(), *shipped_models().values()], ids=lambda file: file.name)
def test_no_false_alarm(file):
    model = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert (unread_rows(model), rewired_rows(model)) == ([], [])


def test_a_block_that_nobody_reads_and_who_was_to_read_it():
    """SE behind the last C3k2, while Detect still reads that one."""
    (found,) = unread_rows(by_hand("SE", after=22))
    assert (found.row, found.name, found.attention, found.reader) == (23, "SE", True, 24)
    assert str(found) == (
        "row 23, SE, is read by no later row: the model computes what it would without it. "
        "Did row 24 mean to read [16, 19, 23]?"
    )
    assert rewired_rows(by_hand("SE", after=22)) == []  # what is read is the row that the stock model reads
    assert unread_rows(by_hand("SE", after=22, row24=[16, 19, 23])) == []


def test_rows_that_were_not_corrected_behind_an_inserted_one():
    """SE behind P3 moves all later rows by one; Detect now reads two Concat rows."""
    model = by_hand("SE", after=16)
    (unread,) = unread_rows(model)
    assert (unread.row, unread.attention, unread.reader) == (23, False, None)
    (found,) = rewired_rows(model)
    assert (found.row, found.name, found.reads, found.there) == (24, "Detect", (16, 19, 22), (17, 20, 23))
    assert str(found) == (
        "row 24, Detect, reads rows 16, 19 and 22; in yolo11.yaml it reads what is rows 17, 20 and 23 here. "
        "Did it mean [17, 20, 23]?"
    )
    assert unread_rows(by_hand("SE", after=16, row24=[17, 20, 23])) == []
    assert rewired_rows(by_hand("SE", after=16, row24=[17, 20, 23])) == []


def test_a_backbone_block_moves_what_the_neck_joins():
    found = {f.row: f.there for f in rewired_rows(by_hand("SE", after=4))}
    assert found == {13: (12, 7), 19: (18, 14), 22: (21, 11), 24: (17, 20, 23)}


@pytest.mark.parametrize("host", ["C3k2_SE", "C2f", "Conv"])
def test_rows_are_compared_by_how_they_are_joined_whatever_they_compute(host):
    model = by_hand("SE", after=16)
    for row in (*model["backbone"], *model["head"]):
        row[2] = host if row[2] == "C3k2" else row[2]
    assert [f.stock for f in rewired_rows(model)] == ["yolo11.yaml"]


def test_of_several_stock_models_the_one_with_the_same_modules_is_named():
    """YOLOv8 with ghost modules and with p2 or p6 heads stand beside it."""
    model = by_hand("SE", after=15, base="yolov8n.yaml")
    assert {f.stock for f in rewired_rows(model)} == {"yolov8.yaml"}


def test_no_stock_model_is_taken_for_one_of_another_kind():
    model = by_hand("SE", after=16)
    model["head"].insert(1, [-1, 1, "Conv", [128, 1]])
    assert rewired_rows(model) == []
    assert unread_rows(model)


def test_it_is_said_when_a_model_is_built_and_only_once(monkeypatch):
    said = []
    monkeypatch.setattr(tasks.LOGGER, "warning", said.append)
    say_once.cache_clear()
    for _ in range(2):
        tasks.DetectionModel(by_hand("SE", after=16), verbose=False)
    faults = by_hand("SE", after=16)
    assert said == [str(fault) for fault in (*unread_rows(faults), *rewired_rows(faults))]


def test_a_comparison_refuses_attention_that_is_not_read(tmp_path):
    (tmp_path / "lost.yaml").write_text(yaml.safe_dump(by_hand("SE", after=22)))
    with pytest.raises(ya.YoloAttnError, match=r"lost would be compared without its attention: row 23, SE"):
        arms_of(Plan(arms=("yolo11n.yaml", str(tmp_path / "lost.yaml")), data="coco8.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["insert", "yolo11n-by-hand.yaml", "--block", "ECA", "--at", "sppf", "-o", "more.yaml"],
        ["train", "model=yolo11n-by-hand.yaml", "data=nothing.yaml"],
        ["compare", "yolo11n-by-hand.yaml", "yolo11n-se.yaml", "--data", "SCENES", "--weights", "nothing.pt"],
    ],
    ids=lambda words: words[0],
)
def test_commands_say_it_once(words, scenes, tmp_path):
    (tmp_path / "yolo11-by-hand.yaml").write_text(yaml.safe_dump(by_hand("SE", after=16)))
    words = [str(scenes) if word == "SCENES" else word for word in words]
    done = subprocess.run([sys.executable, "-m", "yolo_attn", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == (0 if words[0] == "insert" else 2), done.stderr
    assert (done.stdout + done.stderr).count("row 24, Detect, reads rows 16, 19 and 22") == 1
