"""Demo in fast mode: every part runs, all promised files exist, a second call reuses the first's."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from yolo_attn import cli
from yolo_attn.demo import run


@pytest.mark.slow
def test_the_fast_demo_and_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = Path("a demo")  # a relative folder, as the default is
    assert cli.main(["demo", "--fast", "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "| **yolo11n** baseline |" in said.out
    assert "| **yolo11n-ela** |" in said.out
    assert "too short to learn" in said.out
    summary = json.loads((out / "fast" / "compare" / "results.json").read_text())
    assert {k: summary["runs"][k] for k in ("planned", "complete", "failed")} == {
        "planned": 2,
        "complete": 2,
        "failed": [],
    }
    folders = [out / "fast" / "compare" / run["folder"] for run in summary["runs"]["folders"]]
    assert len(folders) == 2
    assert all((folder / "results.csv").is_file() for folder in folders)
    html = (out / "fast" / "compare" / "report.html").read_text()
    assert all(f'href="{run["folder"]}/results.csv"' in html for run in summary["runs"]["folders"])
    assert "too short to learn" in (out / "fast" / "compare" / "plots" / "differences.svg").read_text()
    for picture in ("truth.jpg", "yolo11n.jpg", "yolo11n-ela.jpg"):
        image = cv2.imread(str(out / "fast" / "predictions" / picture))
        assert image.std() > 10, picture
    assert str(out / "fast" / "predictions") in said.out
    monkeypatch.setattr("yolo_attn.compare.executors.start", lambda *_: 1 / 0)
    assert cli.main(["demo", "--fast", "-o", str(out)]) == 0
    assert capsys.readouterr().out == said.out
    compare_as_finished(said.out, summary)


def compare_as_finished(said, trained):
    """Run the command that the demo ends with: its two checkpoints, evaluated again, have the values they had."""
    words = shlex.split(said.rpartition("finished trainings: ")[2])
    assert words[:3] == ["yolo-attn", "compare", "--finished"]
    command = [sys.executable, "-m", "yolo_attn.cli", *words[1:], "--speed-seconds", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["scope"].startswith("One training each: nothing is known of other seeds.")
    assert [arm["name"] for arm in found["arms"]] == ["yolo11n", "yolo11n-ela"]
    for again, before in zip(found["arms"], trained["arms"], strict=True):
        for what in ("metrics", "parameters", "gflops"):
            assert again[what] == before[what], (again["name"], what)
    assert found["arms"][1]["difference"]["mAP50-95"]["verdict"] == "not significant"


def test_the_whole_demo_is_not_the_fast_one():
    assert run.RECIPE["epochs"] > run.FAST["epochs"]
    assert run.SCENES["train"] > run.FAST_SCENES["train"]
    assert "ela" in run.ARMS[1]
