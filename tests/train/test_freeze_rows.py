"""``freeze=base:10`` counts the rows of the base, so that models with and without attention freeze the same."""

import functools
import hashlib
import subprocess
import sys

import pytest
import torch
from support.tiny_training import RECIPE_OF_A_RUN
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.compare import host, run_folder
from yolo_attn.host.registry import is_attention
from yolo_attn.train.freeze import (
    as_base_rows,
    attention_parameters,
    base_rows,
    check_freeze,
    describe_attention,
    layers_of_base_rows,
)


@functools.cache
def model(**where):
    content = ya.insert("yolo11n.yaml", "SE", **where).yaml if where else "yolo11n.yaml"
    return tasks.DetectionModel(content, verbose=False)


def frozen(built, rows):
    """Return the shapes of what is frozen, in order."""
    layers = layers_of_base_rows(built, rows)
    names = [k for k, _ in built.named_parameters() if any(f"{k}.".startswith(f"model.{x}.") for x in layers)]
    assert not attention_parameters(built) & set(names)
    return [built.get_parameter(name).shape for name in names]


@pytest.mark.parametrize(
    "where",
    [{"at": "backbone:all"}, {"at": "after:0"}, {"inside": "C3k2"}, {"inside": "SPPF@concat"}, {"at": "neck:P3"}],
)
@pytest.mark.parametrize("rows", [range(10), [3], [0, 4, 9], [23]], ids=str)
def test_the_same_rows_with_and_without_attention(where, rows):
    expected = frozen(model(), rows)
    assert frozen(model(**where), rows) == expected
    assert len(expected) > 0


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [("base", None), ("base:3", [0, 1, 2]), ("base:[0, 4]", [0, 4]), ("base:[7]", [7]), ("base:0", [])],
)
def test_what_the_words_mean(wanted, rows):
    assert base_rows(wanted) == rows


@pytest.mark.parametrize("wanted", ["bas", "base:", "base:x", "base:-1", "base:[x]", "base:[-1]", "base:1.5", "head:3"])
def test_other_words_are_refused(wanted):
    with pytest.raises(ya.YoloAttnError, match="unknown freeze"):
        base_rows(wanted)


def test_a_row_that_the_base_does_not_have():
    with pytest.raises(ya.YoloAttnError, match=r"freeze=base:25: the base has no row 24; its rows are 0 to 23"):
        check_freeze("base:25", model(at="neck:all"), weights=False)


@pytest.mark.parametrize(
    ("given", "expected"), [(10, "base:10"), ([0, 3], "base:[0, 3]"), ("base", "base"), (None, None), (True, True)]
)
def test_what_a_comparison_makes_of_freeze(given, expected):
    assert as_base_rows(given) == expected


def test_frozen_attention_is_said():
    """Row 5 is the block behind row 4."""
    said = describe_attention(10, model(at="after:4"))
    assert said == (
        "freeze=10 counts the rows of this model, attention too: row 5 is frozen, or what it holds. freeze=base:10 "
        "counts the rows of the base, and leaves attention free"
    )
    assert "row 2, 4 is frozen" in describe_attention([2, 4, 5], model(inside="C3k2"))
    assert describe_attention(5, model(at="after:4")) == ""
    assert describe_attention(None, model(at="after:4")) == ""
    assert describe_attention(10, model()) == ""


@pytest.mark.slow
def test_a_comparison_freezes_the_same_rows_of_every_model(tiny_models, scenes, tmp_path):
    """Rows 0 to 2 of the base keep their values, with SE behind row 1 too, which learns."""
    base = ya.YOLO(tiny_models[0])
    base.save(tmp_path / "weights.pt")
    first = values(base.model.half().float())  # as it is stored
    arms = {"base": tiny_models[0], "se": ya.insert(tiny_models[0], "SE", at="after:1").save(tmp_path / "tiny-se.yaml")}
    recipe = {**RECIPE_OF_A_RUN, "epochs": 1, "nbs": 8, "warmup_epochs": 0, "freeze": 3}
    for name, file in arms.items():
        done = host.train(file, str(scenes), str(tmp_path / "weights.pt"), 0, tmp_path / name / "train", recipe)
        trained = ya.YOLO(done.last).model
        changed = {row for row, tensors in values(trained).items() if not same(tensors, first[row])}
        assert changed == {3, 4, 5}, name
        assert all(block.excite.weight.abs().max() > 0 for block in trained.modules() if type(block).__name__ == "SE")


def values(built):
    """Return the tensors of every row of the base."""
    rows = [row for row in built.model if type(row).__name__ != "SE"]
    return {i: [t.clone() for k, t in row.state_dict().items() if "num_batches" not in k] for i, row in enumerate(rows)}


def same(some, others):
    """Tell whether tensors are equal; a head for another number of classes is not."""
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.slow
def test_the_command_freezes_the_same_base_rows_by_checksum(scenes, base_weights, tmp_path):
    ya.insert("yolo11n.yaml", "SE", at="backbone:P3,P4", init="identity").save(tmp_path / "yolo11n-mine.yaml")
    words = ["compare", "yolo11n.yaml", "yolo11n-mine.yaml", "--data", scenes, "--weights", base_weights]
    words += ["--seeds", "0", "--speed-seconds", "0", "-o", "out"]
    words += ["epochs=1", "imgsz=64", "batch=8", "device=cpu", "freeze=10"]
    done = subprocess.run([sys.executable, "-m", "yolo_attn", *map(str, words)], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    pretrained = checksums(ya.YOLO(base_weights))
    trained = [checksums(ya.YOLO(file)) for file in sorted(tmp_path.glob(f"out/runs/*/{run_folder.CHECKPOINT}"))]
    assert len(trained) == 2
    for rows in trained:
        assert [row for row in range(23) if rows[row] == pretrained[row] and rows[row]] == [*range(10)]
    assert trained[0][:10] == trained[1][:10]


def checksums(yolo):
    """Return a checksum of each base row with tensors, in the precision of checkpoints."""
    base = [row for row in yolo.model.model if not is_attention(row)]
    states = [[t.half().numpy().tobytes() for t in row.state_dict().values()] for row in base]
    return [hashlib.sha256(b"".join(state)).hexdigest() if state else "" for state in states]
