"""Whole model YAMLs in the dialects of other repositories, built through ``YOLO``."""

import pytest
import yaml
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host.said import say_once

CONVS = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [128, 3, 2]]]


@pytest.fixture
def build(tmp_path):
    def build(*rows, head="Detect", args=("nc",), **settings):
        """Build a model of two convolutions, the rows, and a head that reads the second row and the last."""
        backbone = [*CONVS, *rows]
        last = [[1, len(backbone) - 1], 1, head, list(args)]
        file = tmp_path / "theirs.yaml"
        file.write_text(yaml.safe_dump({"nc": 3, **settings, "backbone": backbone, "head": [last]}))
        return ya.YOLO(file).model

    return build


@pytest.mark.parametrize(
    ("settings", "width"),
    [({"ch": 3}, 128), ({"depth_multiple": 0.33, "width_multiple": 0.5}, 64), ({"anchors": [[10, 13, 16, 30]]}, 128)],
    ids=str,
)
def test_settings_of_the_yolov5_repository(build, settings, width):
    assert build([-1, 1, "SE", [128]], **settings).model[2].channels == width


@pytest.mark.parametrize(("head", "args"), [("Detect", ["nc", "anchors"]), ("Segment", ["nc", "anchors", 32, 256])])
def test_heads_with_anchors(build, head, args):
    built = build([-1, 1, "SE", []], head=head, args=args, anchors=3)
    assert type(built.model[-1]).__name__ == head
    assert built.model[-1].nc == 3


def test_channels_of_the_image_under_another_name(build, monkeypatch):
    said = []
    monkeypatch.setattr(tasks.LOGGER, "warning", said.append)
    say_once.cache_clear()
    build([-1, 1, "SE", []], ch=4)
    assert said == ["ch: 4 is not read by Ultralytics; write channels: 4 for the image's"]


@pytest.mark.parametrize("size", [None, "None"])
def test_upsample(build, size):
    built = build([-1, 1, "Conv", [32, 3, 2]], [-1, 1, "nn.Upsample", [size, 2, "nearest"]], [-1, 1, "SE", []])
    assert (built.model[3].size, built.model[3].scale_factor) == (None, 2)


@pytest.mark.parametrize(
    ("name", "args", "host", "block"),
    [
        ("C3CA", [128], "C3", "CA"),
        ("C3CBAM", [128], "C3", "CBAM"),
        ("C3ECA", [128], "C3", "ECA"),
        ("C3SE", [128], "C3", "SE"),
        ("C3GC", [128], "C3", "GC"),
        ("C2fSE", [128, True], "C2f", "SE"),
        ("C2f_EMA", [128, True], "C2f", "EMA"),
        ("C3k2_ELA", [128, False], "C3k2", "ELA"),
        ("C2PSA_EMA", [128], "C2PSA", "EMA"),
        ("Conv_CBAM", [128, 3, 1], "Conv", "CBAM"),
        ("SPPF_LSKA", [128, 5], "SPPF", "LSKA"),
    ],
)
def test_blocks_inside_hosts(build, name, args, host, block):
    layer = build([-1, 1, name, args]).model[2]
    assert isinstance(layer, getattr(tasks, host))
    assert [m for m in layer.modules() if type(m) is ya.ATTENTION_BLOCKS[block]]


@pytest.mark.parametrize("name", ["Contract", "Expand", "C3SPP"])
def test_modules_that_only_the_yolov5_repository_has_are_named(build, name):
    with pytest.raises(ya.YoloAttnError, match=rf"row 2 .*'{name}'"):
        build([-1, 1, name, [2]], [-1, 1, "SE", []])


def test_one_argument_without_a_list(build):
    one, listed = (build([-1, 1, "C3k2_ELA", arguments]) for arguments in (128, [128]))
    assert [p.shape for p in one.parameters()] == [p.shape for p in listed.parameters()]
