"""Where the time of runs went, by part."""

import json

import pytest
from support.fake_runs import plan_for

from yolo_attn.compare import driver
from yolo_attn.compare.run_folder import RESULT
from yolo_attn.compare.seconds import Spent, describe, seconds_in, seconds_of

SECONDS = {"start": 9.04, "first epoch": 20.2, "epochs": 16, "validation": 2, "saving": 0.5, "in all": 50}


def test_parts_in_words_and_what_remains():
    said = "50 s: start 9.0, first epoch 20, epochs 16, validation 2.0, saving 0.5, other 2.3"
    assert describe(SECONDS) == said


def test_of_a_run_and_of_all(tmp_path):
    assert seconds_of(tmp_path) is None
    spent = Spent()
    for number, content in enumerate([{"seconds": SECONDS}, {}, {"seconds": SECONDS}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / RESULT).write_text(json.dumps(content))
        spent.ended(folder)
    assert len(spent.runs) == 2
    assert "time: 2 runs in 0.0 s" in spent.line()
    assert "with 100 s: start 18, first epoch 40, epochs 32, validation 4.0, saving 1.0, other" in spent.line()


@pytest.mark.parametrize("seconds", [None, {}, {"start": 1.0}, {"in all": "50"}, {"in all": None}, [50]])
def test_what_is_no_seconds_is_not_taken_for_them(seconds):
    assert seconds_in({"seconds": seconds}) is None


def test_they_are_in_the_results_of_a_comparison_and_in_its_report(scenes, faked, tmp_path):
    driver.compare(plan_for(scenes), tmp_path / "old")
    faked.changes = {"seconds": SECONDS}
    driver.compare(plan_for(scenes), tmp_path / "new")
    new, old = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("new", "old"))
    assert [run["seconds"] for run in new["runs"]["folders"]] == [SECONDS] * 4
    assert not any("seconds" in run for run in old["runs"]["folders"])
    assert "| 4 runs |  | 200 | 36.2 |" in (tmp_path / "new" / "report.md").read_text()
    assert "Where the time went" not in (tmp_path / "old" / "report.md").read_text()


@pytest.mark.slow
def test_the_parts_of_a_training(scenes, tmp_path):
    from support.tiny_training import train_run

    history = train_run(scenes, tmp_path / "run").history
    spent = history["seconds"]
    assert spent["first epoch"] == pytest.approx(history["epoch_seconds"][0], abs=0.01)
    assert spent["epochs"] == pytest.approx(sum(history["epoch_seconds"][1:]), abs=0.01)
    assert min(spent[part] for part in ("start", "validation", "saving")) > 0
