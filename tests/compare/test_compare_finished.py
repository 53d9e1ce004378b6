"""Finished trainings are compared as they are: evaluated once, paired by image, and nothing is said of other seeds."""

import json
import subprocess
import sys

import pytest
import torch
from support.fake_runs import results

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.blocks import fused
from yolo_attn.compare import run_folder
from yolo_attn.compare.finished import compare_finished
from yolo_attn.compare.finished_arms import read_arms
from yolo_attn.compare.finished_files import recipe_of
from yolo_attn.host.data import check_data


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, tiny_models, scenes):
    """Checkpoints of the two tiny models for the drawn scenes, three seeds each: ``tiny-0.pt`` to ``tiny-ela-2.pt``."""
    folder = tmp_path_factory.mktemp("finished runs")
    names = check_data(scenes)["names"]
    for file in tiny_models:
        for seed in range(3):
            torch.manual_seed(seed)
            write_checkpoint(folder / f"{file.rpartition('/')[2][:-5]}-{seed}.pt", file, names, scenes, seed=seed)
    return folder


def write_checkpoint(path, model, names, data, **train_args):
    built = ya.YOLO(model).model
    built = type(built)({**built.yaml, "nc": len(names)}, verbose=False)
    built.names, built.task = names, "detect"
    path.parent.mkdir(parents=True, exist_ok=True)
    args = {"imgsz": 64, "epochs": 3, "data": str(data), "task": "detect", **train_args}
    torch.save({"model": built.half(), "train_args": args, "epoch": -1}, path)
    return path


def run(*words):
    return subprocess.run([sys.executable, "-m", "yolo_attn.cli", *map(str, words)], capture_output=True, text=True)


# --- results ----------------------------------------------------------------------------------------------------------
def test_one_training_each_gives_verdicts_on_these_models_alone(checkpoints, faked, tmp_path):
    compare_finished([checkpoints / "tiny-0.pt", checkpoints / "tiny-ela-0.pt"], tmp_path)
    found = results(tmp_path)
    assert found["scope"].startswith("One training each: nothing is known of other seeds.")
    assert "not about their architectures" in found["scope"]
    difference = found["arms"][1]["difference"]["mAP50-95"]
    assert difference["p"] == difference["p_holm"]
    assert difference["seeds_counted"] is False
    expected = "not significant" if difference["p"] >= 0.05 else "better" if difference["estimate"] > 0 else "worse"
    assert difference["verdict"] == expected
    assert "power" not in found
    report = (tmp_path / "report.md").read_text()
    assert report.index("nothing is known of other seeds") < report.index("**tiny-ela-0**")
    assert "training arguments of every model" not in report
    assert "seed" not in " ".join(found["caveats"])


def test_several_checkpoints_of_an_arm_are_its_seeds(checkpoints, faked, tmp_path):
    arms = {name: [checkpoints / f"{name}-{seed}.pt" for seed in (2, 0, 1)] for name in ("tiny", "tiny-ela")}
    compare_finished(arms, tmp_path)
    found = results(tmp_path)
    assert found["arms"][1]["seeds"] == [0, 1, 2]  # as the checkpoints state
    assert found["arms"][1]["difference"]["mAP50-95"]["seeds_counted"] is True
    assert found["scope"].startswith("The seeds are checkpoints chosen by whoever gave them")
    assert "3 seeds" in found["power"]
    assert [spec.seed for spec in specs(tmp_path, "tiny")] == [0, 1, 2]
    assert [spec.finished[-4] for spec in specs(tmp_path, "tiny")] == ["0", "1", "2"]


def specs(out, arm):
    read = [run_folder.read_spec(folder) for folder in (out / "runs").iterdir()]
    return sorted((spec for spec in read if spec.arm == arm), key=lambda spec: spec.seed)


def test_what_is_stored_is_not_evaluated_again_unless_the_file_changed(checkpoints, faked, tmp_path):
    arms = {name: checkpoints / f"{name}-0.pt" for name in ("tiny", "tiny-ela")}
    compare_finished(arms, tmp_path)
    faked.done = []
    compare_finished(arms, tmp_path)
    assert faked.done == []
    compare_finished({**arms, "tiny-ela": checkpoints / "tiny-ela-1.pt"}, tmp_path)
    assert faked.done == ["tiny-ela-0"]
    compare_finished(arms, tmp_path, settings={"imgsz": 32})
    assert faked.done == ["tiny-ela-0", "tiny-0", "tiny-ela-0"]


def test_how_the_trainings_differ_is_said_in_one_caveat(checkpoints, scenes, faked, tiny_models, tmp_path):
    names = check_data(scenes)["names"]
    other = write_checkpoint(tmp_path / "best.pt", tiny_models[1], names, scenes, epochs=100, seed=1)
    faked.changes = {"file": "best.pt"}
    compare_finished({"a": checkpoints / "tiny-0.pt", "b": other}, tmp_path / "out")
    for folder in (tmp_path / "out" / "runs").iterdir():  # what an evaluation stores
        spec, result = (json.loads((folder / name).read_text()) for name in ("spec.json", "result.json"))
        args = {"data": "x/data.yaml", "epochs": 100 if spec["arm"] == "b" else 3, "seed": int(spec["arm"] == "b")}
        run_folder.write_json(folder / "result.json", {**result, "train_args": args, "weights_checksum": "the same"})
    assert cli.main(["report", str(tmp_path / "out"), "--replicates", "20"]) == 0
    said = results(tmp_path / "out")["caveats"]
    assert said[0].startswith("a and b are the same weights")
    assert said[1].startswith("The models were not trained alike: epochs 3 (a), 100 (b); seed 0 (a), 1 (b).")
    assert said[2].startswith("a, b were chosen among all epochs (best.pt)")


def test_paths_of_arguments_are_compared_without_the_machine():
    one, other = ({"data": f"{root}/coco/data.yaml", "project": root, "epochs": 3} for root in ("/home/a", "/mnt/b"))
    assert recipe_of(one) == recipe_of(other) == {"data": "coco/data.yaml", "epochs": 3}


# --- names and mistakes -----------------------------------------------------------------------------------------------
def test_names_tell_the_files_apart(tmp_path):
    def files(*paths):
        made = [tmp_path / path for path in paths]
        for path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return list(read_arms(made))

    assert files("a.pt", "b.pt") == ["a", "b"]
    assert files("train/weights/best.pt", "train2/weights/best.pt") == ["train", "train2"]
    assert files("train/weights/best.pt", "train/weights/last.pt") == ["train-best", "train-last"]
    assert files("x/ela.pt", "y/ela.pt") == ["x-ela", "y-ela"]
    assert files("p/run/best.pt", "q/run/best.pt") == [f"{tmp_path.name}-{k}-run-best" for k in "pq"]
    (tmp_path / "runs" / "yolo11n-seed0-1a2b").mkdir(parents=True)
    (tmp_path / "runs" / "yolo11n-seed0-1a2b" / "spec.json").write_text('{"arm": "yolo11n"}')
    assert files("runs/yolo11n-seed0-1a2b/last.pt", "a.pt") == ["yolo11n", "a"]
    named = read_arms([f"ela={tmp_path / 'a.pt'},{tmp_path / 'b.pt'}", f"{tmp_path / 'x/ela.pt'},{tmp_path}/y/ela.pt"])
    assert {name: [file.name for file in files] for name, files in named.items()} == {
        "ela": ["a.pt", "b.pt"], "x-ela": ["ela.pt", "ela.pt"],
    }  # fmt: skip


def test_mistakes_are_named_before_anything_is_evaluated(checkpoints, scenes, tiny_models, tmp_path, capsys):
    names = check_data(scenes)["names"]
    a, ela = checkpoints / "tiny-0.pt", checkpoints / "tiny-ela-0.pt"
    other = write_checkpoint(tmp_path / "other.pt", tiny_models[0], {0: "cat", 1: "dog"}, scenes)
    big = write_checkpoint(tmp_path / "big.pt", tiny_models[0], names, "elsewhere.yaml", imgsz=320)

    def told(*words, code=2):
        assert cli.main(["compare", *map(str, words), "-o", str(tmp_path / "out")]) == code
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert f"only '{a}' is given" in told("--finished", a)
    assert "no checkpoint at" in told("--finished", a, checkpoints / "tiny-9.pt")
    assert "Did you mean" in told("--finished", a, checkpoints / "tiny-9.pt")
    assert "'yolo11n.yaml' is a YAML" in told("--finished", a, "yolo11n.yaml")
    assert "--seeds is for trainings" in told("--finished", a, ela, "--seeds", "0")
    assert "unknown setting 'epochs'" in told("--finished", a, ela, "epochs=3")
    assert "unknown setting 'imgz'. Did you mean 'imgsz'?" in told("--finished", a, ela, "imgz=64")
    assert "--finished compares checkpoints without training" in told(a, ela, "--data", scenes)
    assert "a has 2, b has 1" in told("--finished", f"a={a},{checkpoints / 'tiny-1.pt'}", f"b={ela}")
    assert "are different models" in told("--finished", f"a={a},{ela}", f"b={ela},{a}")
    assert f"'{a}' and '{other}' differ: {len(names)} and 2 classes" in told("--finished", a, other)
    assert "have different classes: 2 and" in told("--finished", other, f"b={other}", "--data", scenes)
    assert "different sizes: 64 (" in told("--finished", a, big, "--data", scenes)
    assert f"'{scenes}' ('{a}'), 'elsewhere.yaml' ('{big}')" in told("--finished", a, big, "imgsz=64")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.json").write_text('{"arms": []}')
    assert "holds a comparison of trained models" in told("--finished", a, ela)


# --- evaluated in processes -------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_command_evaluates_times_and_reports(checkpoints, scenes, tmp_path):
    words = ["compare", "--finished", checkpoints / "tiny-0.pt", checkpoints / "tiny-ela-0.pt", "-o", tmp_path / "out"]
    done = run(*words, "--speed-seconds", "0.2", "conf=0.01", "max_det=50")
    assert done.returncode == 0, done.stderr
    assert "One training each" in done.stdout
    found = results(tmp_path / "out")
    assert (found["runs"]["planned"], found["runs"]["complete"], found["runs"]["failed"]) == (2, 2, [])
    assert found["protocol"]["trained"] is False
    assert found["protocol"]["overrides"]["conf"] == 0.01
    assert found["arms"][0]["parameters"] < found["arms"][1]["parameters"]
    stored = [json.loads(file.read_text()) for file in (tmp_path / "out").rglob("result.json")]
    assert [result["environment"]["fused"] for result in stored] == [fused.describe()] * 2
    assert {"tiny-0", "tiny-ela-0"} == set(found["speed"]["measurements"][0]["arms"])
