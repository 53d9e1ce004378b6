"""Two identical commands at once in one folder: separate folders, one shared result, or one is refused."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from robustness.at_once import run_at_once

from yolo_attn.bench.raw import read_raw
from yolo_attn.compare.folder import read
from yolo_attn.host.trainer import claim_run_folder
from yolo_attn.subset.choice import Choice
from yolo_attn.subset.convert import convert_coco

TINY = ["epochs=1", "imgsz=32", "batch=8", "workers=0", "plots=False", "optimizer=SGD", "amp=False"]


def codes(done):
    return sorted(process.returncode for process in done)


def refusal(done):
    """The one line of the process that was refused."""
    (refused,) = [process for process in done if process.returncode == 2]
    assert "Traceback" not in refused.stderr
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("yolo-attn: ")]
    return line


@pytest.mark.slow
@pytest.mark.parametrize("_again", range(2))
def test_two_subsets(_again, scenes, tmp_path):
    source, out = scenes.parents[1] / "coco", tmp_path / "out"
    words = ["subset", "--coco", source, "-o", out, "--images", "8"]
    done = run_at_once([words, words], tmp_path / "both")
    assert codes(done) == [0, 0], [p.stderr for p in done]
    assert convert_coco(source, out, Choice(images=8)) == out / "data.yaml"  # complete, and as asked for
    assert not list(tmp_path.glob(".out.partial*"))


@pytest.mark.slow
def test_two_different_subsets(scenes, tmp_path):
    commands = [["subset", "--coco", scenes.parents[1] / "coco", "-o", tmp_path / "out", "--images", n] for n in "89"]
    done = run_at_once(commands, tmp_path / "both")
    assert codes(done) == [0, 2], [p.stderr for p in done]
    assert "was made with other parameters (images" in refusal(done)
    assert len(list((tmp_path / "out" / "labels" / "train").iterdir())) in (8, 9)


@pytest.mark.slow
def test_two_benches(tmp_path):
    words = ["bench", "--blocks", "SE", "--shape", "1x8x4x4", "--pass", "forward", "--against", "floor"]
    words += ["--device", "cpu", "--seconds", "1", "-o"]
    done = run_at_once([[*words, tmp_path / "out"]] * 2, tmp_path / "both")
    assert codes(done) == [0, 2], [p.stderr for p in done]
    assert "another bench is at work in" in refusal(done)
    assert read_raw(tmp_path / "out")[0]["kind"] == "header"
    assert json.loads((tmp_path / "out" / "bench.json").read_text())


@pytest.mark.slow
def test_two_comparisons(scenes, tiny_models, tmp_path):
    words = ["compare", *tiny_models, "--data", scenes, "--seeds", "0", "--speed-seconds", "0", "-o", tmp_path / "out"]
    done = run_at_once([[*words, *TINY]] * 2, tmp_path / "both")
    assert codes(done) == [0, 2], [p.stderr for p in done]
    assert "another comparison is at work in" in refusal(done)
    assert len(read(tmp_path / "out").results) == 2


@pytest.mark.slow
def test_two_trainings(scenes, tiny_models, tmp_path):
    """Each gets a run folder of its own, although both would take the same one."""
    words = ["train", f"model={tiny_models[1]}", f"data={scenes}", f"project={tmp_path / 'runs'}", "name=x", *TINY]
    done = run_at_once([words, words], tmp_path / "both")
    assert codes(done) == [0, 0], [p.stderr for p in done]
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        with (folder / "results.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 1, folder.name
        assert torch.load(folder / "weights" / "last.pt", weights_only=False)["train_args"]["name"] == folder.name


def test_a_run_folder_belongs_to_the_first_who_asks(tmp_path, monkeypatch):
    """Both are told that ``x`` is free; the second is told again."""
    told = iter([tmp_path / "runs" / "x", tmp_path / "runs" / "x", tmp_path / "runs" / "x-2"])
    monkeypatch.setattr("ultralytics.cfg.get_save_dir", lambda *_: next(told))
    arguments = SimpleNamespace(exist_ok=False, save_dir=None)
    assert [claim_run_folder(arguments).name for _ in range(2)] == ["x", "x-2"]
