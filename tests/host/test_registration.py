"""Blocks as rows of a model YAML: every name, task, scale and place, and errors of wrong rows."""

import subprocess
import sys

import pytest
import torch
import yaml
from support.tiers import sampled
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host.model import check_rows, host_model_names, load_model_dict
from yolo_attn.host.registry import SHIPPED_ALIASES, aliases_of
from yolo_attn.host.rows import prepare_rows

BACKBONE = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "C2f", [64, True]]]


class Halves(nn.Module):
    """A user's block: multiplies by a number, with a typed hyper-parameter."""

    def __init__(self, channels: int, factor: float = 0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), factor))

    def forward(self, x):
        return x * self.weight


class Narrows(nn.Module):
    """Not an attention block: it changes the number of channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels // 2, 1)

    def forward(self, x):
        return self.conv(x)


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()


@pytest.fixture
def halves():
    ya.register(Halves)
    yield Halves
    if "Halves" in ya.registered():
        ya.unregister("Halves")


def model_with(row, **extra):
    """A small detector, one of whose rows (3) is the given one."""
    rows = [*BACKBONE, row, [-1, 1, "Conv", [64, 3, 2]]]
    return {"nc": 3, "backbone": rows, "head": [[[3, 4], 1, "Detect", ["nc"]]], **extra}


def build(row, **extra):
    return tasks.DetectionModel(model_with(row, **extra), verbose=False)


@pytest.mark.parametrize("name", [*SHIPPED_ALIASES, *(a for aliases in SHIPPED_ALIASES.values() for a in aliases)])
def test_every_name_and_alias_is_a_row(name):
    layer = build([-1, 1, name, []]).model[3]
    canonical = name if name in SHIPPED_ALIASES else next(n for n, a in SHIPPED_ALIASES.items() if name in a)
    assert type(layer) is ya.ATTENTION_BLOCKS[canonical]
    assert layer.channels == 64


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([8], {"reduction": 8}),
        ([8, True], {"reduction": 8, "bias": True}),
        ([{"reduction": 4, "init": "identity"}], {"reduction": 4}),
        ([8, {"min_hidden": 32}], {"reduction": 8, "min_hidden": 32}),
    ],
)
def test_hyper_parameters_by_position_and_by_name(arguments, expected):
    built, wanted = build([-1, 1, "SE", arguments]).model[3], ya.create_attention("SE", 64, **expected)
    assert [p.shape for p in built.parameters()] == [p.shape for p in wanted.parameters()]


@pytest.mark.parametrize("word", ["add", "mul", "add+mul"])
def test_a_word_that_is_no_python_literal_is_kept(word):
    assert build([-1, 1, "GC", [{"fusion": word}]]).model[3].fusion == word


def test_a_letter_that_is_a_local_name_of_the_parser_stays_a_letter():
    row = [-1, 1, "ELA", ["S"]]
    assert build(row).model[3].variant == "S"
    with pytest.raises(ya.YoloAttnError, match="variant='n' is not one of 'T', 'B', 'S', 'L'"):
        build([-1, 1, "ELA", ["n"]])


@pytest.mark.parametrize(("source", "channels"), [(-1, 64), (2, 64), (1, 32), (0, 16), (-2, 32), (-3, 16)])
def test_channels_come_from_the_row_that_is_read(source, channels):
    assert build([source, 1, "SE", []]).model[3].channels == channels


def test_repeats_make_a_chain():
    chain = build([-1, 3, "ECA", []]).model[3]
    assert [type(m).__name__ for m in chain] == ["ECA"] * 3


@pytest.mark.parametrize("scale", "nsmlx")
def test_width_follows_the_scale(scale):
    scales = {
        "n": [0.33, 0.25, 1024],
        "s": [0.33, 0.5, 1024],
        "m": [0.67, 0.75, 768],
        "l": [1, 1, 512],
        "x": [1, 1.25, 512],
    }
    model = build([-1, 1, "CA", []], scales=scales, scale=scale)
    assert model.model[3].channels == model.model[2].cv2.conv.out_channels


@pytest.mark.parametrize("family", ["yolov8", "yolo11", "yolo26"])
@pytest.mark.parametrize("task", ["", "-seg", "-pose", "-obb", "-cls"])
def test_every_task_builds_and_runs(family, task, tmp_path):
    site = "after:4" if task == "-cls" else "neck:P3,P4,P5"
    path = ya.insert(f"{family}n{task}.yaml", "ELA", at=site).save(tmp_path / f"{family}n{task}.yaml")
    model = YOLO(path)
    assert model.task == {"": "detect", "-seg": "segment", "-pose": "pose", "-obb": "obb", "-cls": "classify"}[task]
    assert [m for m in model.model.model if isinstance(m, ya.ATTENTION_BLOCKS["ELA"])]
    model.model.eval()(torch.rand(1, 3, 64, 64))


def test_stock_yamls_still_build_as_before():
    for name in (
        "yolov5n.yaml",
        "yolov9t.yaml",
        "yolov10n.yaml",
        "yolo12n.yaml",
        "yolov8n-ghost.yaml",
        "rtdetr-l.yaml",
    ):
        model = load_model_dict(name)
        prepared, _ = prepare_rows(model, tasks)
        assert prepared["backbone"] + prepared["head"] == model["backbone"] + model["head"], name


# --- wrong rows -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([-1, 1, "ELAA", []], r"row 3 .*unknown block 'ELAA'. Did you mean 'ELA'\?"),
        ([-1, 1, "CoordAt", []], "Did you mean 'CoordAtt'"),
        ([-1, 1, "SE", [{"reducton": 8}]], "unknown hyper-parameter 'reducton'. Did you mean 'reduction'"),
        ([-1, 1, "SE", ["eight"]], "reduction='eight' is not an integer"),
        ([-1, 1, "SE", [8.5]], "reduction=8.5 is not an integer"),
        ([-1, 1, "SE", [True]], "reduction=True is not an integer"),
        ([-1, 1, "SE", [0]], "reduction"),
        ([-1, 1, "SE", [8, False, 4, 1]], "at most 3 values"),
        ([-1, 1, "SE", [8, {"reduction": 4}]], "reduction twice"),
        ([-1, 1, "SE", [{"init": "random"}]], "init='random' is not one of 'paper', 'identity'"),
        ([-1, 1, "ELA", ["Q"]], "variant='Q' is not one of 'T', 'B', 'S', 'L'"),
        ([-1, 1, "SGE", [7]], "row 3 .*SGE for 64 channels: .*7"),
        ([7, 1, "SE", []], "'from' 7 does not exist; rows before it are 0 to 2"),
        ([-4, 1, "SE", []], "'from' -4 does not exist"),
        ([[0, 1], 1, "SE", []], "SE reads one row"),
        ([-1, 1, "SE"], r"a row is \[from, repeats, module, \[arguments\]\]"),
    ],
)
def test_a_wrong_row_is_one_clear_error(row, says):
    with pytest.raises(ya.YoloAttnError, match=says):
        build(row)


@pytest.mark.parametrize(
    ("row", "type_of_the_host"),
    [
        ([-1, 1, "ELAA", []], KeyError),
        ([-1, 1, "C2f_ELAA", [64]], KeyError),
        ([-1, 1, "C2ff_ELA", [64]], KeyError),
        ([-1, 1, "yolo_attn.ELAA", []], KeyError),
        ([7, 1, "SE", []], IndexError),
    ],
)
def test_it_is_caught_as_what_the_host_raises(row, type_of_the_host):
    with pytest.raises(type_of_the_host) as raised:
        build(row)
    assert isinstance(raised.value, ya.YoloAttnError)


def test_a_misspelt_host_module_is_the_hosts_error_without_attention_and_ours_with_it():
    with pytest.raises(KeyError) as raised:
        build([-1, 1, "Convv", [64]])
    assert type(raised.value) is KeyError
    model = model_with([-1, 1, "Convv", [64]])
    with pytest.raises(ya.YoloAttnError, match="Did you mean 'Conv'"):
        check_rows(model)
    model["backbone"].append([-1, 1, "SE", []])
    with pytest.raises(ya.YoloAttnError, match="Did you mean 'Conv'"):
        tasks.DetectionModel(model, verbose=False)


@pytest.mark.parametrize("content", ["just a word", "[1, 2]", "nc: 80\n"])
def test_a_yaml_that_is_no_model(content, tmp_path):
    path = tmp_path / "yolo11n-mine.yaml"
    path.write_text(content)
    with pytest.raises(Exception) as by_host:  # noqa: PT011
        YOLO(path)
    assert not isinstance(by_host.value, ya.YoloAttnError)
    for use in (load_model_dict, ya.YOLO):
        with pytest.raises(ya.YoloAttnError, match="not a model YAML") as raised:
            use(path)
    assert isinstance(raised.value, type(by_host.value))


@pytest.mark.parametrize("name", ["yolo11-elaa.yaml", "yolo26n-cbamm.yaml"])
def test_a_missing_yaml_names_the_nearest_of_ours(name):
    with pytest.raises(ya.YoloAttnError, match=r"yaml' does not exist. Did you mean 'yolo.*yaml'") as raised:
        YOLO(name)
    assert isinstance(raised.value, FileNotFoundError)
    with pytest.raises(FileNotFoundError, match=rf"no model YAML '{name}' .*Did you mean 'yolo.*yaml'"):
        load_model_dict(name)


@pytest.mark.parametrize("name", ["nofile.yaml", "yolo11n-mine.yaml", "yolo11n-seeg.yaml", "yolov99.yaml", "a/b.yaml"])
def test_any_other_missing_yaml_is_the_hosts_error(name):
    with pytest.raises(FileNotFoundError) as raised:
        YOLO(name)
    assert type(raised.value) is FileNotFoundError
    for use in (load_model_dict, ya.YOLO):
        with pytest.raises(ya.YoloAttnError, match="does not exist") as raised:
            use(name)
        assert isinstance(raised.value, FileNotFoundError)


@pytest.mark.parametrize(("head", "says"), [("Detect_X", "Did you mean 'Detect'"), ("Foo", "unknown head 'Foo'")])
def test_an_unknown_head_is_one_line_with_attention_and_the_hosts_error_without(head, says, tmp_path):
    model = model_with([-1, 1, "SE", []])
    model["head"][0][2] = head
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(model))
    with pytest.raises(ya.YoloAttnError, match=f"mine.yaml': the last row: .*{says}") as raised:
        YOLO(file)
    assert isinstance(raised.value, NotImplementedError)
    del model["backbone"][3]
    file.write_text(yaml.safe_dump(model))
    with pytest.raises((KeyError, NotImplementedError)) as raised:
        YOLO(file)
    assert not isinstance(raised.value, ya.YoloAttnError)


# --- register and unregister ------------------------------------------------------------------------------------------
def test_a_users_block_is_a_row_like_any_other(halves):
    assert build([-1, 1, "Halves", [{"factor": 0.25}]]).model[3].weight.unique().item() == 0.25
    with pytest.raises(ya.YoloAttnError, match="factor='much' is not a number"):
        build([-1, 1, "Halves", ["much"]])
    assert ya.insert("yolo11n.yaml", "Halves", at="neck:P3").new_rows == (17,)


def test_register_as_a_decorator_with_another_name_and_aliases():
    assert ya.register(name="Half", aliases=["HalfBlock"])(Halves) is Halves
    try:
        assert type(build([-1, 1, "HalfBlock", []]).model[3]) is Halves
        assert aliases_of("Half") == ("HalfBlock",)
    finally:
        ya.unregister("HalfBlock")
    assert "Half" not in ya.registered()
    with pytest.raises(KeyError, match="Half"):
        build([-1, 1, "Half", []])


def test_registering_twice_is_harmless(halves):
    assert ya.register(Halves) is Halves


@pytest.mark.parametrize(
    ("name", "owner"),
    [("Conv", "ultralytics.nn.modules.conv.Conv"), ("ELA", "yolo_attn.blocks.ela.ELA"), ("CoordAtt", "blocks.ca.CA")],
)
def test_a_clash_says_whose_the_name_is(name, owner):
    with pytest.raises(ya.YoloAttnError, match=owner):
        ya.register(Halves, name=name)


def test_force_replaces_and_unregister_gives_back():
    before = tasks.GhostConv
    ya.register(Halves, name="GhostConv", force=True)
    try:
        assert type(build([-1, 1, "GhostConv", []]).model[3]) is Halves
    finally:
        ya.unregister("GhostConv")
    assert tasks.GhostConv is before


def test_what_cannot_be_a_block_is_refused():
    class Local(nn.Module):
        def __init__(self, channels: int):
            super().__init__()

    class NoChannels(nn.Module):
        def __init__(self):
            super().__init__()

    NoChannels.__qualname__ = "NoChannels"
    for cls, says in [
        (Local, "inside a function"),
        (NoChannels, "channels first"),
        (dict, "nn.Module"),
        (3, "nn.Module"),
    ]:
        with pytest.raises(ya.YoloAttnError, match=says):
            ya.register(cls)


def test_a_block_that_changes_its_width_is_refused():
    ya.register(Narrows)
    try:
        with pytest.raises(ya.YoloAttnError, match=r"Narrows turned \(1, 64, 16, 16\) into \(1, 32, 16, 16\)"):
            build([-1, 1, "Narrows", []])
    finally:
        ya.unregister("Narrows")


# --- names of files ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("folder", sampled(["plain", "with spaces", "2nd-try", "run 3x/11n"], ["run 3x/11n"]))
def test_paths_that_look_like_scales_are_safe(folder, tmp_path, monkeypatch):
    path = tmp_path / folder / "yolo11-mine.yaml"
    ya.insert("yolo11.yaml", "SE").save(path)
    for given, width in [("yolo11n-mine.yaml", 64), ("yolo11s-mine.yaml", 128)]:
        assert YOLO(path.with_name(given)).model.model[17].channels == width
    monkeypatch.chdir(path.parent)
    assert YOLO("yolo11s-mine.yaml").model.model[17].channels == 128


def test_shipped_names_do_not_hide_stock_ones():
    from yolo_attn.host.model_files import shipped_models

    assert shipped_models()
    assert not set(shipped_models()) & set(host_model_names())


@pytest.mark.slow
@pytest.mark.parametrize("first", ["yolo_attn", "ultralytics"])
def test_the_order_of_imports_does_not_matter(first):
    second = {"yolo_attn": "from ultralytics import YOLO", "ultralytics": "import yolo_attn"}[first]
    first = {"yolo_attn": "import yolo_attn", "ultralytics": "from ultralytics import YOLO"}[first]
    code = f"{first}\n{second}\nprint(type(YOLO('yolo11n-ela.yaml').model.model[17]).__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("yolo_attn.blocks.ela")


@pytest.mark.slow
def test_importing_is_cheap():
    heavy = ["torch", "ultralytics", "matplotlib", "polars", "torchvision", "ray", "cv2", "numpy"]
    code = f"import sys, yolo_attn, yolo_attn.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    heavy = ["matplotlib", "polars", "torchvision", "ray"]
    code = "import sys, yolo_attn; from ultralytics.nn import tasks; yolo_attn.ATTENTION_BLOCKS"
    code += f"; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_model_yaml_is_not_changed_by_building_it():
    row = [-1, 1, "ELA", [{"variant": "L"}]]
    model = tasks.DetectionModel(model_with(row), verbose=False)
    assert model.yaml["backbone"][3] == [-1, 1, "ELA", [{"variant": "L"}]]
    assert yaml.safe_load(yaml.safe_dump(model.yaml["backbone"])) == model.yaml["backbone"]


def test_the_parsers_table_shows_width_and_hyper_parameters(caplog, monkeypatch):
    lines = []
    monkeypatch.setattr(tasks.LOGGER, "info", lines.append)
    tasks.DetectionModel(model_with([-1, 1, "ELA", ["L"]]), verbose=True)
    assert any("yolo_attn.blocks.ela.ELA" in line and "[64, variant='L']" in line for line in lines)
