"""A number of channels at the start of a block's arguments, as other people write rows."""

import logging

import pytest
import torch
import yaml
from support.users_blocks import known
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host.said import say_once
from yolo_attn.models.controls import control_of

SCALES = {"n": [0.5, 0.25, 1024], "l": [1.0, 1.0, 512]}


class Sized(torch.nn.Module):
    """Return the input; of a size that may be the number of channels."""

    def __init__(self, channels: int, size: int):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x


def model(*rows, scale="n", **settings):
    """A model dict whose rows read maps of 256, 256, 512 and 1024 channels before scaling."""
    backbone = [[-1, 1, "Conv", [256, 3, 2]], [-1, 2, "C2f", [256, True]], [-1, 1, "Conv", [512, 3, 2]]]
    backbone += [[-1, 1, "SPPF", [1024, 5]]]
    made = {"nc": 3, "scales": SCALES, "scale": scale, "backbone": backbone, "head": [list(r) for r in rows]}
    return {k: v for k, v in {**made, **settings}.items() if v is not None}


def last(*rows, **settings):
    with torch.device("meta"):
        return tasks.parse_model(model(*rows, **settings), ch=3, verbose=False)[0][-1]


@pytest.fixture
def notes(caplog):
    say_once.cache_clear()
    tasks.LOGGER.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        yield lambda: [r.getMessage() for r in caplog.records if "number of channels" in r.getMessage()]
    tasks.LOGGER.removeHandler(caplog.handler)


# --- what is a number of channels -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "hyper"),
    [
        ([-1, 1, "SE", [1024]], {}),  # as written
        ([-1, 1, "SE", [256]], {}),  # as it is at this scale
        ([-1, 1, "SE", [1024, 8]], {"reduction": 8}),
        ([-1, 1, "CoordAtt", [1024, 1024]], {}),  # of the input and of the output
        ([-1, 1, "CoordAtt", [1024, 1024, 16]], {"reduction": 16}),
        ([-1, 1, "ECA", [1024, 5]], {"kernel_size": 5}),
        ([-1, 1, "CBAM", [1024, 16, 3]], {"reduction": 16, "kernel_size": 3}),
        ([-1, 1, "EMA", [1024]], {}),
        ([-1, 1, "SimAM", [1024]], {}),
        ([-1, 1, "SpatialGroupEnhance", [1024]], {}),
        ([-1, 1, "SE", [1024, {"reduction": 4}]], {"reduction": 4}),
        ([1, 1, "SE", [256]], {}),
        ([2, 1, "SE", [512]], {}),
        ([0, 1, "SE", [64, 64]], {}),
        # what is none stays a hyper-parameter
        ([-1, 1, "SE", [8]], {"reduction": 8}),
        ([-1, 1, "SE", [64, True]], {"reduction": 64, "bias": True}),
        ([0, 1, "SE", [64, 16]], {"reduction": 16}),
        ([1, 1, "SGE", [32]], {"groups": 32}),
    ],
    ids=str,
)
def test_a_leading_integer_equal_to_the_channels_is_their_number(row, hyper):
    block = last(row)
    with torch.device("meta"):
        expected = ya.create_attention(row[2], block.channels, **hyper)
    assert repr(block) == repr(expected)


@pytest.mark.parametrize("scale", SCALES)
def test_the_number_as_written_holds_at_every_scale(scale):
    """At scale l the maps of 1024 channels have 512; the Concat has the sum of what it reads."""
    rows = [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 1], 1, "Concat", [1]]]
    block = last([-1, 1, "SE", [1024]], [-1, 1, "ECA", [1024, 5]], *rows, [-1, 1, "SE", [1280]], scale=scale)
    assert block.channels == {"n": 320, "l": 768}[scale]
    assert repr(block) == repr(ya.create_attention("SE", block.channels))


def test_without_scales_and_with_a_multiple():
    assert last([-1, 1, "ECA", [1024, 5]], scales=None, scale=None).channels == 1024
    assert last([-1, 1, "ECA", [1024, 5]], scales=None, scale=None, width_multiple=0.5).channels == 512


def test_the_first_row_reads_the_image():
    made = {**model(), "backbone": [[-1, 1, "SimAM", [3]], *model()["backbone"]]}
    assert type(tasks.parse_model(made, ch=3, verbose=False)[0][0]) is ya.ATTENTION_BLOCKS["SimAM"]


def test_a_user_s_block_keeps_its_arguments():
    with known(Sized):
        assert last([-1, 1, "Sized", [256]]).size == 256


# --- what is said -----------------------------------------------------------------------------------------------------
def test_a_line_says_what_was_understood_once(notes):
    for _ in range(2):
        last([-1, 1, "SE", [1024, 8]], [-1, 1, "CoordAtt", [1024]], [-1, 1, "SE", [8]])
    assert notes() == [
        "row 4 [-1, 1, 'SE', [1024, 8]]: 1024 is the number of channels; read as SE(reduction=8)",
        "row 5 [-1, 1, 'CoordAtt', [1024]]: 1024 is the number of channels; read as CA()",
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            [-1, 1, "SE", [512]],
            r"512 is not the number of channels of the row that it reads \(1024, at this scale 256\), and as "
            r"reduction it is too many for them; leave it out, or write \{reduction: 512\}",
        ),
        ([2, 1, "CBAM", [1024, 7]], r"1024 is not the number of channels .*\(512, at this scale 128\)"),
        ([-1, 1, "CoordAtt", [1024, 512]], "512 is not the number of channels"),
        ([-1, 1, "SE", [64, 16]], "bias=16 is not true or false"),
        ([-1, 1, "ECA", [1024, "five"]], "ECA: kernel_size='five' is not an integer"),
        ([-1, 1, "CA", [1024, 1024, 16, 8, 9]], r"CA takes at most 2 values \(reduction, min_hidden"),
        ([-1, 1, "SE", [1024, {"reductoin": 8}]], "Did you mean 'reduction'"),
    ],
    ids=str,
)
def test_mistakes_name_the_row(row, says):
    with pytest.raises(ya.YoloAttnError, match=rf"row 4 .*{says}"):
        last(row)


def test_a_large_reduction_may_be_meant():
    assert last([-1, 1, "SE", [{"reduction": 512}]]).squeeze.out_features == 4


@pytest.mark.parametrize(
    ("head", "args", "plain"),
    [("Detect", ["nc", "anchors"], ["nc"]), ("Segment", ["nc", "anchors", 32, 256], ["nc", 32, 256])],
)
def test_the_anchors_of_a_head_are_left_out(head, args, plain, caplog):
    """As in the YAMLs of the YOLOv5 repository, whose heads have anchors."""
    say_once.cache_clear()
    tasks.LOGGER.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        theirs = last([-1, 1, "SE", []], [[2, 4], 1, head, args], anchors=3)
    tasks.LOGGER.removeHandler(caplog.handler)
    assert f"row 5 [[2, 4], 1, '{head}', {args}]: the head has no anchors; they are left out" in caplog.messages
    assert repr(theirs) == repr(last([-1, 1, "SE", []], [[2, 4], 1, head, plain]))


# --- where such models go ---------------------------------------------------------------------------------------------
def test_controls_take_the_same_hyper_parameters():
    detect = [[4], 1, "Detect", ["nc"]]
    plain = control_of(model([-1, 1, "SE", [1024, 8]], detect), "plain")
    assert plain["head"][0] == [-1, 1, "PlainControl", [{"like": "SE", "hyper": {"reduction": 8}}]]
    assert control_of(model([-1, 1, "SE", [1024]], detect), "identity")["head"][0][2:] == ["IdentityControl", []]


def test_blocks_are_inserted_beside_such_rows(tmp_path):
    file = tmp_path / "yolov8n-theirs.yaml"
    content = model([-1, 1, "CoordAtt", [1024, 1024]], [[4], 1, "Detect", ["nc"]], scale=None)
    file.write_text(yaml.safe_dump(content))
    made = ya.insert(file, "SE", inside="SPPF")
    assert made.yaml["head"][0] == [-1, 1, "CoordAtt", [1024, 1024]]
    assert made.inside == (3,)
