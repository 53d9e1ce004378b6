"""Wrong commands: exit code 2, and one line on stderr that begins with `yolo-attn:` and names what was given."""

import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import yaml

import yolo_attn as ya
from yolo_attn import cli

TRAINING = "epochs=1 imgsz=32 workers=0 plots=False device=cpu project=HERE/out"
COMPARED = "--seeds 0 --speed-seconds 0 -o out epochs=1 imgsz=32 device=cpu"
MISTAKES = {
    # a model
    "val model=none.pt data=boxes.yaml": "no weights at 'none.pt'",
    "val model=bst.pt data=boxes.yaml": "no weights at 'bst.pt'. Did you mean 'best.pt'?",
    "predict model=yolo11.pt source=a.jpg": "no weights at 'yolo11.pt'. Did you mean 'yolo11",
    "track model=none.pt source=a.avi": "no weights at 'none.pt'",
    "export model=none.pt format=onnx": "no weights at 'none.pt'",
    "model=none.pt format=onnx mode=export --json": "no weights at 'none.pt'",
    "benchmark model=none.pt": "no weights at 'none.pt'",
    "train resume model=none.pt": "no weights at 'none.pt'",
    "predict model=none.onnx source=a.jpg": "none.onnx",
    "predict model=a.jpg source=a.jpg": "model='a.jpg' is not a supported model format",
    "predict model=none.yaml source=a.jpg": "no model YAML 'none.yaml'",
    "show none.pt a.jpg": "none.pt",
    "pack none.pt -o packed": "no weights at 'none.pt'",
    "insert bst.pt --block SE": "no weights at 'bst.pt'. Did you mean 'best.pt'?",
    # words
    "predct model=best.pt": "unknown command 'predct'. Did you mean 'predict'?",
    "model=best.pt imgsz=32 predct": "unknown command 'predct'. Did you mean 'predict'?",
    "predict model=best.pt shwo": "unknown command 'shwo'. Did you mean 'show'?",
    "model=best.pt sorce=a.jpg": "'sorce' is not a valid YOLO argument",
    "predict model=best.pt imgsz": "'imgsz' is a valid YOLO argument but is missing an '=' sign",
    "predict model= source=a.jpg": "'model=' is not a valid YOLO argument",
    "imgsz=[32 predict model=best.pt": "'imgsz=[32' has an unmatched '[' or ']' bracket",
    "mode=prdict model=best.pt": "Invalid 'mode=prdict'",
    "cfg=none.yaml train": "'none.yaml' does not exist",
    "export model=best.pt --nocheck": "unknown flag '--nocheck'. Did you mean '--no-check'?",
    # pictures and labels
    "predict model=best.pt source=none.jpg imgsz=32": "none.jpg does not exist",
    f"train model=tiny.yaml data=empty.yaml {TRAINING}": "No labels found in HERE/empty/labels/train",
    f"train model=tiny-seg.yaml data=boxes.yaml {TRAINING}": "Please supply a segment dataset, not a detect dataset",
    f"compare tiny.yaml tiny-ela.yaml --data empty.yaml {COMPARED}": "No labels found in HERE/empty/labels/train",
    f"compare tiny-seg.yaml tiny-seg2.yaml --data boxes.yaml {COMPARED}": "cannot be used for the task 'segment'",
    # a comparison
    "compare tiny.yaml": "'tiny.yaml' is not a comparison: it has no list 'arms'",
    "compare yolo11n.yaml": "no comparison at 'yolo11n.yaml'. To compare models, name the baseline and what to compare",
    "compare --finished best.pt bst.pt --data boxes.yaml": "no checkpoint at 'bst.pt'. Did you mean 'best.pt'?",
    "compare --finished best.pt --data boxes.yaml": "needs at least two finished trainings, the baseline first; only",
    "compare --finished a=best.pt b=a.jpg --data boxes.yaml": "b=a.jpg is no checkpoint (.pt), nor a file",
    "compare --finished a=best.pt b=best.pt --data boxes.yaml epochs=3": "nothing is trained with --finished: unknown",
    "compare --finished a=best.pt b=best.pt --data boxes.yaml split=tset": "unknown split 'tset'. Did you mean 'test'?",
    "compare --finished a=best.pt b=best.pt --data boxes.yaml --only 1/2": "--only is for trainings",
    "compare --finished a=best.pt b=best.pt": "--data is missing, and the files do not say which data they are of",
    f"compare tiny.yaml tiny-ela.yaml --data boxes.yaml --only 4/3 {COMPARED}": "--only 4/3: give a part and",
    f"compare tiny.yaml tiny-ela.yaml --data boxes.yaml --only 2 {COMPARED}": "--only 2: give a part and their number",
    "report a.jpg --speed-from a.jpg": "--speed-from is for several folders that are merged",
    "report none1 none2 --speed-from none1": "'none1' holds no comparison",
    "compare matrx.yaml": "no comparison at 'matrx.yaml'. Did you mean 'matrix.yaml'?",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_models):
    """A folder of models and pictures, one set with boxes and one without labels."""
    folder = tmp_path_factory.mktemp("mistakes")
    for file in tiny_models:
        shutil.copy(file, folder)
    content = yaml.safe_load((folder / "tiny.yaml").read_text())
    head = [[content["head"][0][0], 1, "Segment", ["nc", 8, 16]]]
    for name, width in (("tiny-seg", 8), ("tiny-seg2", 16)):
        rows = [[-1, 1, "Conv", [width, 3, 2]], *content["backbone"][1:]]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"nc": 80, "backbone": rows, "head": head}))
    torch.save({"model": ya.YOLO(tiny_models[0]).model, "train_args": {}}, folder / "best.pt")
    (folder / "matrix.yaml").write_text("arms: [tiny.yaml]\n")
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "a.jpg"), picture)
    for name in ("boxes", "empty"):
        for i, part in enumerate(["train", "train", "val"]):
            for kind in ("images", "labels"):
                (folder / name / kind / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / "images" / part / f"{i}.jpg"), picture)
            if name == "boxes":
                (folder / name / "labels" / part / f"{i}.txt").write_text("0 0.5 0.5 0.3 0.3\n")
        lines = f"path: {folder / name}\ntrain: images/train\nval: images/val\nnames: {{0: a}}\n"
        (folder / f"{name}.yaml").write_text(lines)
    return folder


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(words, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    assert cli.main(words.replace("HERE", str(files)).split()) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn:")]
    assert len(lines) == 1, lines
    assert MISTAKES[words].replace("HERE", str(files)) in lines[0]
    assert "Errno" not in lines[0]


def test_a_package_that_the_command_needs_and_is_not_installed(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    for name in ("lap", "ultralytics.trackers", "ultralytics.trackers.utils.matching"):
        monkeypatch.setitem(sys.modules, name, None) if name == "lap" else monkeypatch.delitem(sys.modules, name, False)
    monkeypatch.setattr("ultralytics.utils.checks.check_requirements", lambda *_, **__: False)
    assert cli.main(["track", "model=best.pt", "source=a.jpg", "imgsz=32"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn:")]
    assert line == "yolo-attn: lap is not installed, and Ultralytics could not install it: pip install lap"


def test_a_package_that_this_one_needs_is_a_defect(monkeypatch):
    def broken(*_):
        import no_such_package  # noqa: F401

    monkeypatch.setattr("yolo_attn.models.block_table.as_text", broken)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["blocks"])


@pytest.mark.slow
def test_in_processes_of_their_own(files):
    for words in ("val model=bst.pt data=boxes.yaml", "compare matrx.yaml"):
        command = [sys.executable, "-m", "yolo_attn.cli", *words.split()]
        done = subprocess.run(command, cwd=files, capture_output=True, text=True)
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("yolo-attn:")]
        assert MISTAKES[words] in line
        assert "Traceback" not in done.stderr
