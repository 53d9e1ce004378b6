"""Parts of a comparison, carried out in folders of their own, give the whole when they are merged."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from support.fake_runs import TINY, plan_for, results

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.compare import driver
from yolo_attn.compare.pieces import Piece
from yolo_attn.evaluate.matches import Matches

ABOUT_TIMES = {"epoch_seconds", "peak_memory_mb", "environment", "commit"}


def by_value(out):
    """Return all results but times and hardware."""
    found = results(out)
    arms = [{key: value for key, value in arm.items() if key not in ABOUT_TIMES} for arm in found["arms"]]
    caveats = [said for said in found["caveats"] if not said.startswith("Training times do not reflect the models")]
    rest = {key: value for key, value in found.items() if key not in ABOUT_TIMES}
    folders = [{**run, "seconds": None} for run in found["runs"]["folders"]]
    return {**rest, "arms": arms, "caveats": caveats, "runs": {**found["runs"], "folders": folders}}


@pytest.mark.parametrize("arms", range(1, 8))
@pytest.mark.parametrize("seeds", range(1, 6))
def test_parts_are_whole_disjoint_and_balanced(arms, seeds):
    runs = [SimpleNamespace(arm=f"arm {a}", seed=s) for s in range(seeds) for a in range(arms)]
    for count in range(1, len(runs) + 1):
        parts = [Piece(k, count).specs(runs) for k in range(1, count + 1)]
        assert sorted(id(run) for part in parts for run in part) == sorted(map(id, runs))
        for by in (lambda run: 0, lambda run: run.arm, lambda run: run.seed):
            shares = [Counter(map(by, part)) for part in parts]
            for key in set(map(by, runs)):
                counts = [share[key] for share in shares]
                assert max(counts) - min(counts) <= 1, (count, key, counts)


@pytest.fixture
def parts(scenes, faked, tmp_path):
    """Three folders with a part each, and one with the whole: two models, three seeds."""
    plan = plan_for(scenes, seeds=(0, 1, 2))
    for k in (1, 2, 3):
        faked.done = []
        driver.compare(plan, tmp_path / f"part {k}", only=f"{k}/3")
        assert len(faked.done) == 2
    driver.compare(plan, tmp_path / "whole")
    return [tmp_path / f"part {k}" for k in (1, 2, 3)]


def report(*words):
    return cli.main(["report", *map(str, words)])


def test_merged_parts_equal_the_whole(parts, tmp_path, capsys):
    assert report(*parts, "-o", tmp_path / "merged") == 0
    assert by_value(tmp_path / "merged") == by_value(tmp_path / "whole")
    assert (tmp_path / "merged" / "report.html").is_file()
    assert report(*parts, "-o", tmp_path / "merged") == 0  # again
    assert report(*parts[::-1], "-o", tmp_path / "other order") == 0
    assert by_value(tmp_path / "other order") == by_value(tmp_path / "whole")
    assert report(*parts, "-o", parts[0]) == 0  # into one of them
    assert by_value(parts[0]) == by_value(tmp_path / "whole")


@pytest.mark.slow
def test_missing_runs_are_named(parts, tmp_path, capsys):
    assert report(*parts[:2], "-o", tmp_path / "merged") == 0
    said = capsys.readouterr()
    absent = [path.name.rpartition("-")[0] for path in (parts[2] / "runs").iterdir()]
    named = next(c for c in results(tmp_path / "merged")["caveats"] if c.startswith("Runs that are not there"))
    for run in absent:
        assert run.replace("-seed", ", seed ") in named
        assert run.replace("-seed", ", seed ") in said.err
    assert results(tmp_path / "merged")["runs"]["planned"] == 6
    shutil.copytree(parts[2] / "runs", tmp_path / "merged" / "runs", dirs_exist_ok=True)  # as by rsync
    assert report(tmp_path / "merged") == 0
    assert by_value(tmp_path / "merged") == by_value(tmp_path / "whole")


@pytest.mark.slow
def test_comparisons_of_several_times_are_merged(scenes, faked, tmp_path):
    driver.compare(plan_for(scenes, seeds=(0, 1)), tmp_path / "a")
    driver.compare(plan_for(scenes, seeds=(2,), arms=("yolo11n.yaml", "yolo11n-ca.yaml")), tmp_path / "b")
    assert report(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "both") == 0
    found = results(tmp_path / "both")
    assert {arm["name"]: arm["seeds"] for arm in found["arms"]} == {
        "yolo11n": [0, 1, 2], "yolo11n-ela": [0, 1], "yolo11n-ca": [2],
    }  # fmt: skip


def test_what_does_not_belong_together_is_refused(scenes, faked, parts, tmp_path, capsys):
    def told(*words):
        assert report(*words, "-o", tmp_path / "merged") == 2
        assert not (tmp_path / "merged").exists()
        return capsys.readouterr().err.strip().splitlines()[-1]

    driver.compare(plan_for(scenes, overrides={**TINY, "lr0": 0.5}), tmp_path / "lr")
    said = told(parts[0], tmp_path / "lr")
    assert "different overrides cannot be compared" in said
    assert "lr0=0.01" in said
    assert "lr0=0.5" in said
    assert str(parts[0]) in said
    driver.compare(plan_for(scenes, arms=("yolo11n-ca.yaml", "yolo11n.yaml")), tmp_path / "ca")
    assert "'" + str(parts[0]) + "' has yolo11n, '" + str(tmp_path / "ca") + "' has yolo11n-ca" in told(
        parts[0], tmp_path / "ca"
    )
    assert f"'{tmp_path / 'none'}' holds no comparison" in told(parts[0], tmp_path / "none")
    assert "no complete timing" in told(*parts, "--speed-from", parts[1])
    assert "unknown folder" in told(*parts, "--speed-from", "elsewhere")


@pytest.mark.slow
def test_a_run_that_is_there_twice_has_to_be_the_same(scenes, faked, parts, tmp_path, capsys):
    run = next((parts[0] / "runs").iterdir())
    twice = parts[1] / "runs" / run.name
    shutil.copytree(run, twice)
    assert report(*parts, "-o", tmp_path / "merged") == 0
    assert by_value(tmp_path / "merged") == by_value(tmp_path / "whole")
    other = next(path for path in (parts[1] / "runs").iterdir() if path != twice)
    shutil.copy(other / "matches.npz", twice)
    result, of_other = (json.loads((folder / "result.json").read_text()) for folder in (twice, other))
    result["files"]["matches.npz"] = of_other["files"]["matches.npz"]
    (twice / "result.json").write_text(json.dumps(result))
    assert Matches.load(twice / "matches.npz").images
    capsys.readouterr()
    assert report(*parts, "-o", tmp_path / "again") == 2
    said = capsys.readouterr().err
    assert "a run is there twice, with different records" in said
    assert str(run) in said
    assert str(twice) in said
    (twice / "matches.npz").write_bytes(b"cut short")  # damaged: the whole one counts
    assert report(*parts, "-o", tmp_path / "again") == 0
    assert by_value(tmp_path / "again") == by_value(tmp_path / "whole")


def test_parts_that_are_none_are_refused(scenes, faked, tmp_path):
    for only in ("0/3", "4/3", "1", "a/b", "-1/3"):
        with pytest.raises(ya.YoloAttnError, match=f"--only {only}: give a part"):
            driver.compare(plan_for(scenes), tmp_path, only=only)
    with pytest.raises(ya.YoloAttnError, match="4 runs cannot be dealt to 5 parts"):
        driver.compare(plan_for(scenes), tmp_path, only="1/5")


@pytest.mark.slow
def test_three_parts_in_processes_equal_the_whole(scenes, tiny_models, tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "yolo_attn.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    words = ["compare", *tiny_models, "--controls", "identity", "--data", scenes, "--seeds", "0", "--threads", "1"]
    words += ["--speed-seconds", "0", "device=cpu", "epochs=1"]
    words += [f"{key}={value}" for key, value in TINY.items() if key != "epochs"]
    for k in (1, 2, 3):
        assert f"part {k}/3" in run(*words, "-o", tmp_path / str(k), "--only", f"{k}/3").stderr
    run(*words, "-o", tmp_path / "whole")
    run("report", *(tmp_path / str(k) for k in (1, 2, 3)), "-o", tmp_path / "merged")
    assert by_value(tmp_path / "merged") == by_value(tmp_path / "whole")
