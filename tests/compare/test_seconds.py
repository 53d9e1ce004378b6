"""Where the time of runs went, by part."""

import json

import pytest

from yolo_attn.compare.run_folder import RESULT
from yolo_attn.compare.seconds import Spent, describe, seconds_of

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


@pytest.mark.slow
def test_the_parts_of_a_training(scenes, tmp_path):
    from support.tiny_training import train_run

    history = train_run(scenes, tmp_path / "run").history
    spent = history["seconds"]
    assert spent["first epoch"] == pytest.approx(history["epoch_seconds"][0], abs=0.01)
    assert spent["epochs"] == pytest.approx(sum(history["epoch_seconds"][1:]), abs=0.01)
    assert min(spent[part] for part in ("start", "validation", "saving")) > 0
