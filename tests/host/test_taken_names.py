"""A name that another class has in ``ultralytics.nn.tasks`` means that class in a user's YAML, ours in shipped ones."""

import subprocess
import sys
from copy import deepcopy

import pytest
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import modules, tasks

import yolo_attn as ya
from yolo_attn.compare.plan import _plain_model
from yolo_attn.host.model import check_rows, load_model_dict
from yolo_attn.host.said import say_once

CBAM = ya.ATTENTION_BLOCKS["CBAM"]
BACKBONE = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]]


class Theirs(nn.Module):
    """Somebody else's block, registered by nobody."""

    def __init__(self, width: int = 1):
        super().__init__()
        self.width = width

    def forward(self, x):
        return x


class OtherBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()

    def forward(self, x):
        return x


def model_with(name, *args):
    return {"nc": 3, "backbone": [*BACKBONE, [-1, 1, name, list(args)]], "head": [[[1, 2], 1, "Detect", ["nc"]]]}


def layer(model):
    return tasks.DetectionModel(deepcopy(model), verbose=False).model[2]


@pytest.fixture
def lines(monkeypatch):
    found = []
    say_once.cache_clear()
    monkeypatch.setattr(tasks.LOGGER, "warning", found.append)
    return found


@pytest.fixture
def taken(monkeypatch, lines):
    """CBAM and SE put into Ultralytics' module of rows, as tutorials have it."""
    monkeypatch.setattr(tasks, "CBAM", modules.CBAM, raising=False)
    monkeypatch.setattr(tasks, "SE", Theirs, raising=False)


# --- rows of a user's own ---------------------------------------------------------------------------------------------
def test_a_taken_name_is_theirs_in_a_yaml_of_ones_own(taken):
    assert type(layer(model_with("CBAM", 32))) is modules.CBAM
    assert layer(model_with("SE", 5)).width == 5
    assert type(layer(model_with("ELA"))) is ya.ATTENTION_BLOCKS["ELA"]


@pytest.mark.parametrize("name", ["yolo_attn.CBAM", "yolo_attn.CBAMBlock", "CBAMBlock"])
def test_the_long_name_and_a_free_alias_are_ours(name, taken):
    assert type(layer(model_with(name, {"reduction": 8}))) is CBAM


def test_the_long_name_is_ours_without_a_clash_too():
    model = model_with("yolo_attn.CBAM", 8)
    check_rows(model)
    assert type(layer(model)) is CBAM
    with pytest.raises(ya.YoloAttnError, match="reduction='x'"):
        layer(model_with("yolo_attn.CBAM", "x"))


def test_a_block_inside_a_host_block_is_ours(taken):
    gated = layer(model_with("C2f_CBAM@outer", 32))
    assert type(gated.attention) is CBAM


def test_a_function_or_a_partial_is_theirs_with_and_without_attention(monkeypatch):
    import functools

    monkeypatch.setattr(tasks, "Made", lambda *args: Theirs(7), raising=False)
    monkeypatch.setattr(tasks, "Part", functools.partial(Theirs, width=9), raising=False)
    for name, width in (("Made", 7), ("Part", 9)):
        model = model_with(name)
        assert layer(model).width == width
        model["backbone"].append([-1, 1, "ELA", []])
        assert layer(model).width == width


def test_a_function_of_ultralytics_is_no_row_of_a_model_with_attention():
    model = model_with("check_requirements", "nothing")
    model["backbone"].append([-1, 1, "ELA", []])
    with pytest.raises(ya.YoloAttnError, match="unknown block 'check_requirements'"):
        layer(model)


# --- one line ---------------------------------------------------------------------------------------------------------
def test_one_line_says_whose_the_name_is(taken, lines):
    for _ in range(2):
        layer(model_with("CBAM", 32))
    (line,) = lines
    assert "'CBAM' is ultralytics.nn.modules.conv.CBAM" in line
    assert "yolo_attn.CBAM is the block of yolo_attn" in line
    layer(model_with("yolo_attn.SE"))
    layer(model_with("ELA"))
    YOLO("yolo11n-se.yaml")
    assert len(lines) == 1


# --- shipped YAMLs ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("block", ["CBAM", "SE"])
def test_a_shipped_yaml_has_our_block(block, taken):
    model = YOLO(f"yolo11n-{block.lower()}.yaml").model
    made = [type(row) for row in model.model if type(row) is ya.ATTENTION_BLOCKS[block]]
    assert len(made) == 3
    assert f"yolo_attn.{block}" in {row[2] for row in model.yaml["head"]}
    again = tasks.DetectionModel(deepcopy(model.yaml), nc=7, verbose=False)  # as a training builds its model
    assert [type(row) for row in again.model] == [type(row) for row in model.model]


def test_a_model_built_before_the_name_was_taken_is_built_again_with_ours(monkeypatch):
    before = YOLO("yolo11n-cbam.yaml").model
    monkeypatch.setattr(tasks, "CBAM", modules.CBAM, raising=False)
    again = tasks.DetectionModel(deepcopy(before.yaml), nc=7, verbose=False)
    assert [type(row) for row in again.model] == [type(row) for row in before.model]


def test_a_model_of_ones_own_built_before_is_built_again_with_ours(monkeypatch):
    """A checkpoint holds its model's YAML, from which a training builds the model."""
    before = tasks.DetectionModel(model_with("CBAM", 8), verbose=False)
    monkeypatch.setattr(tasks, "CBAM", modules.CBAM, raising=False)
    again = tasks.DetectionModel(deepcopy(before.yaml), nc=7, verbose=False)
    assert [type(row) for row in again.model] == [type(row) for row in before.model]
    assert "yolo_attn" not in tasks.DetectionModel(model_with("Conv", 32), verbose=False).yaml


def test_a_file_of_ones_own_with_a_shipped_name_has_theirs(taken, tmp_path, monkeypatch):
    (tmp_path / "yolo11-cbam.yaml").write_text(yaml.safe_dump(model_with("CBAM", 32)))
    monkeypatch.chdir(tmp_path)
    assert type(YOLO("yolo11n-cbam.yaml").model.model[2]) is modules.CBAM


# --- what writes rows -------------------------------------------------------------------------------------------------
def test_insert_writes_the_long_name_where_the_short_one_is_taken(taken, tmp_path):
    made = ya.insert("yolo11n.yaml", "CBAM", at="neck:P3")
    assert made.yaml["head"][6][2] == "yolo_attn.CBAM"
    assert type(YOLO(made.save(tmp_path / "mine.yaml")).model.model[17]) is CBAM
    twice = ya.insert("yolo11n-cbam.yaml", "SE", at="backbone:P4")
    kinds = [type(row) for row in YOLO(twice.save(tmp_path / "two.yaml")).model.model]
    assert (kinds.count(CBAM), kinds.count(ya.ATTENTION_BLOCKS["SE"])) == (3, 1)


def test_a_comparison_takes_theirs_for_a_model_without_attention(taken, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(model_with("CBAM", 32)))
    assert _plain_model(str(file)).kind != _plain_model("yolo11n-cbam.yaml").kind
    assert "yolo_attn.CBAM" in {row[2] for row in load_model_dict("yolo11n-cbam.yaml")["head"]}


# --- register ---------------------------------------------------------------------------------------------------------
def test_register_refuses_a_taken_name_and_force_makes_it_ours(monkeypatch):
    monkeypatch.setattr(tasks, "OtherBlock", Theirs, raising=False)
    with pytest.raises(ya.YoloAttnError, match=r"that name belongs to .*Theirs"):
        ya.register(OtherBlock)
    ya.register(OtherBlock, force=True)
    try:
        assert type(layer(model_with("OtherBlock"))) is OtherBlock
    finally:
        ya.unregister("OtherBlock")
    assert type(layer(model_with("OtherBlock"))) is Theirs


def test_a_name_taken_after_it_was_registered_is_theirs(monkeypatch):
    ya.register(OtherBlock)
    monkeypatch.setattr(tasks, "OtherBlock", Theirs, raising=False)
    try:
        assert type(layer(model_with("OtherBlock"))) is Theirs
        assert type(layer(model_with("yolo_attn.OtherBlock"))) is OtherBlock
    finally:
        ya.unregister("OtherBlock")
    assert type(layer(model_with("OtherBlock"))) is Theirs
    with pytest.raises(ya.YoloAttnError, match="unknown block 'OtherBlock'"):
        layer(model_with("yolo_attn.OtherBlock"))


# --- processes of their own -------------------------------------------------------------------------------------------
TAKES = "from ultralytics.nn import tasks, modules; tasks.CBAM = modules.CBAM"
CHECKS = """
import torch, yaml
from ultralytics import YOLO
from pathlib import Path
rows = {model!r}
Path("mine.yaml").write_text(yaml.safe_dump(rows))
assert type(YOLO("mine.yaml").model.model[2]) is modules.CBAM
model = YOLO("yolo11n-cbam.yaml")
assert [type(m).__module__ for m in model.model.model].count("yolo_attn.blocks.cbam") == 3
model.save("cbam.pt")
again = YOLO("cbam.pt").model
assert [type(m) for m in again.model] == [type(m) for m in model.model.model]
print("right")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "order",
    [
        f"{TAKES}\nimport yolo_attn",
        f"import yolo_attn\n{TAKES}",
        f"import ultralytics, yolo_attn\n{TAKES}",
        f"import yolo_attn; yolo_attn.ATTENTION_BLOCKS\n{TAKES}",
    ],
    ids=["taken before", "taken after", "ultralytics first", "blocks first"],
)
def test_the_order_does_not_matter(order, tmp_path):
    code = order + CHECKS.format(model=model_with("CBAM", 32))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("right"), done.stderr
    assert done.stderr.count("'CBAM' is ultralytics") + done.stdout.count("'CBAM' is ultralytics") == 1


@pytest.mark.slow
def test_a_checkpoint_trained_where_the_name_is_free_trains_on_where_it_is_taken(scenes, tmp_path):
    trains = (
        "model.train(data={data!r}, epochs=1, imgsz=32, batch=8, workers=0, plots=False, device='cpu', project='.')"
    )
    ours = "assert [type(m).__module__ for m in model.model.model].count('yolo_attn.blocks.cbam') == 1"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(model_with("CBAM", 8)))
    first = f"import yolo_attn\nfrom ultralytics import YOLO\nmodel = YOLO('mine.yaml')\n{trains}\nmodel.save('a.pt')"
    second = f"{TAKES}\nimport yolo_attn\nfrom ultralytics import YOLO\nmodel = YOLO('a.pt')\n{ours}\n{trains}\n{ours}"
    for code in (first, second):
        done = subprocess.run(
            [sys.executable, "-c", code.format(data=str(scenes))], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
