"""`yolo-attn show`: drawn maps equal computed ones, the page is self-contained, an error leaves no files."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from support.attention_example import save, with_blocks
from ultralytics.utils import ASSETS

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.gates.gate import gates_of
from yolo_attn.report import parts
from yolo_attn.show import cam, panels
from yolo_attn.show.gallery import NUMBERS, PAGE
from yolo_attn.show.letterbox import Placement
from yolo_attn.show.look import GateWatcher, read_image

SIZE = "96"
BUS, ZIDANE = ASSETS / "bus.jpg", ASSETS / "zidane.jpg"  # a tall one and a wide one


SEVERAL = ("CA", "CBAM", "NL", "SGE", "SA", "MLCA", "LSKA", "SK")
"""Blocks with maps of almost every kind."""


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    return with_blocks(tmp_path_factory.mktemp("several blocks"), SEVERAL)


@pytest.fixture(scope="module")
def shown(several, tmp_path_factory):
    """The folder that the command made for a model with several blocks."""
    out = tmp_path_factory.mktemp("shown") / "page"
    assert cli.main(["show", str(several), str(ZIDANE), "-o", str(out), "--imgsz", SIZE]) == 0
    return out


def show(*words):
    return cli.main(["show", *map(str, words), "--imgsz", SIZE])


# --- what is written --------------------------------------------------------------------------------------------------
@pytest.mark.contract("shows")
def test_all_is_written(shown):
    found = json.loads((shown / NUMBERS).read_text())
    assert (shown / "zidane" / "prediction.png").is_file()
    assert (shown / "zidane" / "cam.png").is_file()
    assert sorted(found["files"]) == sorted(p.relative_to(shown).as_posix() for p in shown.rglob("*.png"))
    assert {p.name for p in shown.iterdir()} == {"zidane", PAGE, NUMBERS}


@pytest.mark.slow
def test_every_block_is_drawn(everything, tmp_path):
    assert show(everything, ZIDANE, "-o", tmp_path) == 0
    for name in ya.ATTENTION_BLOCKS:
        assert list((tmp_path / "zidane").glob(f"*-{name}-*.png")), f"{name} is not drawn"
    for name, kinds in {
        "GAM": {"full", "full-each", "full-2", "full-2-each"},
        "Triplet": {"columns", "rows", "spatial"},
        "SA": {"channel-half", "full-half", "full-half-each"},
        "MLCA": {"cells", "cells-each"},
        "CA": {"product", "product-each"},  # which has rows and columns at its sides
    }.items():
        drawn = {p.stem.partition(f"-{name}-")[2] for p in (tmp_path / "zidane").glob(f"*-{name}-*.png")}
        assert {kind for kind in drawn if not kind.endswith("-init")} == kinds, name


@pytest.mark.contract("shows")
def test_every_picture_is_one_and_not_blank(shown):
    for path in shown.rglob("*.png"):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.std() > 10, path.name
        assert 300 < pixels.shape[1] < 1000, path.name


class Links(HTMLParser):
    """Collect all links of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.refers, self.ids = set(), [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.refers += [value for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]
        self.ids |= {value for key, value in attrs if key == "id"}


def test_the_page_refers_to_nothing_outside_itself(shown):
    text = (shown / PAGE).read_text()
    links = Links()
    links.feed(text)
    assert not links.tags & {"script", "link", "iframe", "object", "embed"}
    assert not [r[:60] for r in links.refers if not r.startswith(("data:image/png;base64,", "#"))]
    assert {r[1:] for r in links.refers if r.startswith("#")} <= links.ids
    assert not re.findall(r"url\(|@import|https?://", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    pictures = [r for r in links.refers if r.startswith("data:")]
    assert len(pictures) == len(list(shown.rglob("*.png")))


def test_images_of_a_report_have_a_form_in_markdown_too():
    from yolo_attn.report.markdown import _block

    image = parts.Image("bus/20-SE-channel.png", b"", "One factor for each channel.")
    assert (
        _block(parts.Gallery([[image], [image]]), ())
        == ["![One factor for each channel.](bus/20-SE-channel.png)\n\nOne factor for each channel."] * 2
    )
    assert _block(parts.Heading("row 20: SE"), ()) == ["### row 20: SE"]
    assert _block(parts.Heading(""), ()) == []


def test_the_numbers_are_those_of_the_gates(shown, several):
    found = json.loads((shown / NUMBERS).read_text())
    assert set(found) == {"models", "thresholds", "page", "files"}
    assert found["thresholds"] == {"dead": 0.05, "saturated": 0.95}
    (model,) = found["models"]
    assert set(model) == {"model", "source", "task", "seed", "attention", "images"}
    assert (model["model"], model["task"], model["attention"]) == ("all.pt", "detect", len(SEVERAL))
    for image in model["images"]:
        assert set(image) == {"image", "width", "height", "input", "detections", "blocks"}
        assert (image["width"], image["height"], image["input"]) == (1280, 720, [64, 96])
        looked = GateWatcher(several).predict(read_image(ZIDANE), imgsz=int(SIZE))
        for block, truth in zip(image["blocks"], looked.blocks, strict=True):
            assert (block["label"], block["where"], block["note"]) == (truth.location.label, truth.where, "")
            for gate, one in zip(block["gates"], truth.gates, strict=True):
                assert gate["mean"] == pytest.approx(float(one.values.mean()), rel=1e-4, abs=1e-5)
                assert gate["shape"] == list(one.values.shape)
                assert gate["range"] == ([0, one.top] if one.top else None)
                assert one.statistics.to_json().items() <= gate.items()


@pytest.mark.slow
def test_json_and_table_go_to_stdout_and_progress_to_stderr(everything, tmp_path, capsys):
    words = (everything, BUS, ZIDANE, "-o", tmp_path / "out", "--no-cam", "--rows", "20,21")
    assert show(*words, "--json") == 0
    said = capsys.readouterr()
    images = json.loads(said.out)["models"][0]["images"]
    assert [Path(i["image"]).name for i in images] == ["bus.jpg", "zidane.jpg"]
    assert [b["row"] for i in images for b in i["blocks"]] == [20, 21, 20, 21]
    assert said.err.count("show: ") == 2
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"bus", "zidane", PAGE, NUMBERS}
    assert show(*words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"all.pt: {len(ya.ATTENTION_BLOCKS)} attention blocks."
    assert out.splitlines()[-1] == f"The pictures: {tmp_path / 'out' / PAGE}"
    assert "| row 20: " in out
    assert not list(tmp_path.rglob("cam.png"))


@pytest.mark.slow
def test_what_an_earlier_page_had_goes_and_other_files_stay(everything, tmp_path):
    out = tmp_path / "out"
    assert show(everything, BUS, "-o", out, "--no-cam", "--rows", "20") == 0
    first = set(out.rglob("*20-*.png"))
    (out / "bus" / "mine.png").write_text("")
    assert show(everything, BUS, "-o", out, "--no-cam", "--rows", "25") == 0
    assert first
    assert not [p for p in first if p.exists()]
    assert (out / "bus" / "mine.png").exists()


@pytest.mark.slow
def test_two_models_stand_side_by_side(everything, tmp_path, capsys):
    base = save(ya.YOLO("yolo11n.yaml").model.eval(), tmp_path / "base.pt")
    out = tmp_path / "out"
    assert show(base, BUS, "--beside", everything, "-o", out, "--rows", "20") == 0
    text = (out / PAGE).read_text()
    said = "base.pt has no attention block: there are no gates, only its class activation map is drawn."
    assert said in text
    assert said in capsys.readouterr().out
    names = {p.name for p in out.rglob("*.png")}
    assert {"a-prediction.png", "a-cam.png", "b-prediction.png", "b-cam.png"} < names
    assert [n for n in names if n.startswith("b-20-")]
    assert not [n for n in names if re.match(r"a-\d", n)]


@pytest.mark.slow
def test_blocks_at_the_same_place_of_two_models_share_a_card_and_a_scale(tmp_path):
    out = tmp_path / "out"
    assert show("yolo11n-se.yaml", ZIDANE, "--beside", "yolo11n-cbam.yaml", "-o", out, "--no-cam", "--rows", "17") == 0
    text = (out / PAGE).read_text()
    assert re.findall(r"<h3>(row 17.*?)</h3>", text) == [
        "row 17: SE (neck P3, stride 8) | row 17: CBAM (neck P3, stride 8)"
    ]
    card = text[text.index("<h3>row 17") :].split("</section>")[0]
    left, right = card.split('<div class="beside">')[1].split('<div class="panels">')[1:]
    assert re.findall(r'alt="zidane/(\S+)\.png', left) == ["a-17-SE-channel"]
    assert re.findall(r'alt="zidane/(\S+)\.png', right) == ["b-17-CBAM-channel", "b-17-CBAM-spatial"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["seg", "pose", "obb", "cls"])
def test_other_tasks_are_drawn_too(task, tmp_path, capsys):
    at = "backbone:P4" if task == "cls" else "neck:P4"
    path = ya.insert(f"yolo11n-{task}.yaml", "CBAM", at=at).save(tmp_path / f"yolo11n-{task}-cbam.yaml")
    assert show(path, ZIDANE, "-o", tmp_path / "out", "--json", "--conf", "0.0001") == 0
    found = json.loads(capsys.readouterr().out)["models"][0]
    assert [g["kind"] for g in found["images"][0]["blocks"][0]["gates"]] == ["channel", "spatial"]
    assert found["images"][0]["detections"]
    assert (tmp_path / "out" / "zidane" / "cam.png").is_file()


# --- what is drawn ----------------------------------------------------------------------------------------------------
def test_colours_lie_on_the_pixels_of_the_hot_cell_and_nowhere_else():
    """A wide image padded above and below; row 3 and column 5 of an 8 x 8 map, as worked out in test_placement."""
    picture = np.full((100, 200, 3), 120, np.uint8)
    scene = panels.Scene(picture, Placement(0, 16, 64, 32, (64, 64)))
    grid = np.zeros((1, 8, 8), np.float32)
    grid[0, 3, 5] = 1
    (gate,) = gates_of([grid], 4, (8, 8), [1.0])
    scale = panels.scale_of(gate, [grid])
    from yolo_attn.show.letterbox import onto_image

    drawn = panels.overlay(onto_image(grid[0], scene.placement, scene.size), scene, scale)
    cold, hot = drawn[0, 0].copy(), drawn[30, 130].copy()
    assert (drawn[25:50, 125:150] == hot).all()
    drawn[25:50, 125:150] = cold
    assert (drawn == cold).all()
    assert np.abs(hot.astype(int) - cold).sum() > 200


def test_a_panel_keeps_the_images_aspect_and_marks_the_cell():
    """Of the finished PNG: where the picture is, its aspect, and the hot cell in it."""
    for size, placement, (row, column) in (
        ((100, 200), Placement(0, 16, 64, 32, (64, 64)), (3, 5)),
        ((200, 100), Placement(16, 0, 32, 64, (64, 64)), (5, 3)),
    ):
        scene = panels.Scene(np.zeros((*size, 3), np.uint8), placement)
        grid = np.zeros((8, 8), np.float32)
        grid[row, column] = 1
        (gate,) = gates_of([grid[None]], 4, (8, 8), [1.0])
        png = panels.map_panel(grid, scene, panels.scale_of(gate, [grid]), "a map")
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        cold, hot = (
            (np.asarray(c) * panels._VEIL * 255).round() for c in ((0.267, 0.005, 0.329), (0.993, 0.906, 0.144))
        )
        is_cold, is_hot = (np.abs(pixels - c).max(2) <= 12 for c in (cold, hot))
        rows, columns = np.nonzero(is_cold)
        top, left = rows.min(), columns.min()
        height, width = rows.max() + 1 - top, columns.max() + 1 - left
        assert width / height == pytest.approx(size[1] / size[0], rel=0.03)
        inside = is_hot[top : top + height, left : left + width]
        rows, columns = np.nonzero(inside)
        wide = size[1] > size[0]
        expected = (0.25, 0.5, 0.625, 0.75) if wide else (0.625, 0.75, 0.25, 0.5)
        found = rows.min() / height, (rows.max() + 1) / height, columns.min() / width, (columns.max() + 1) / width
        assert found == pytest.approx(expected, abs=0.02)


def test_one_is_in_the_middle_of_the_colours_where_a_gate_can_strengthen():
    values = np.linspace(0.9, 1.3, 8, dtype=np.float32)
    (gate,) = gates_of([values], 8, (2, 2), [2.0])
    scale = panels.scale_of(gate, [values])
    assert (scale.norm.vmin, scale.norm.vmax) == (pytest.approx(0.7), pytest.approx(1.3))
    assert scale.norm(1.0) == pytest.approx(0.5)
    full = panels.scale_of(gate, [values], full=True)
    assert (full.norm.vmin, full.norm.vmax, float(full.norm(1.0))) == (0, 2, 0.5)


# --- the class activation map -----------------------------------------------------------------------------------------
def largest_class_logits(model, image):
    """Return the largest absolute class logit of each level, without bias."""
    found = []

    def read(layer, _, logits):
        found.append(float((logits - layer.bias[:, None, None]).detach().abs().max()))

    handles = [branch[-1].register_forward_hook(read) for branch in model.model[-1].cv3]
    with torch.inference_mode():
        model(image)
    for handle in handles:
        handle.remove()
    return found


def test_the_class_activation_map_is_ultralytics_own(several, tmp_path, monkeypatch):
    """Where the installed Ultralytics has one: for the one most likely prediction of the same model."""
    from ultralytics.utils import plotting

    if not hasattr(plotting, "class_activation_map"):
        pytest.skip("the installed Ultralytics draws none")
    model = GateWatcher(several)
    picture = read_image(ZIDANE)
    probe = GateWatcher(several)
    largest = largest_class_logits(probe.unwatched, probe.predict(picture, imgsz=64).tensor)
    for head in (model.model.model[-1], model.unwatched.model[-1]):
        for branch, logit in zip(head.cv3, largest, strict=True):
            branch[-1].weight.data *= 3 / logit  # random weights saturate the sigmoid, and then no gradient is left
    looked = model.predict(picture, imgsz=64)
    drawn = []
    monkeypatch.setattr(
        plotting.cv2, "applyColorMap", lambda grey, colours: drawn.append(grey) or cv2.merge([grey] * 3)
    )
    model.yolo.predict(looked.image, imgsz=64, visualize=True, conf=1.0, verbose=False, project=str(tmp_path))
    ours = cam.layer_cam(model.unwatched, looked.tensor)
    assert ours.max() == pytest.approx(1)
    difference = np.abs(ours * 255 - drawn[0])
    assert np.ptp(drawn[0]) > 50
    assert difference.mean() < 1  # theirs is in whole steps of the fused model
    assert (difference < 3).mean() > 0.99


def test_a_detection_is_found_by_class_and_confidence():
    scores, classes = torch.tensor([0.9, 0.5, 0.52, 0.5]), torch.tensor([0, 0, 1, 2])
    assert cam._nearest(scores, classes, (1, 0.5)) == 2
    assert cam._nearest(scores, classes, (0, 0.51)) == 1


# --- mistakes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("yolo11n-se.yaml none.jpg", "no image at 'none.jpg'"),
        ("yolo11n-se.yaml text.jpg", "'text.jpg' cannot be read as an image"),
        ("yolo11n-se.yaml .", "cannot be read as an image"),
        ("yolo11n-se.yaml empty", "folder 'empty' holds no image"),
        ("runs/none.pt BUS", "no model at 'runs/none.pt'"),
        ("model.onnx BUS", "'model.onnx' is neither a .pt checkpoint nor a model .yaml"),
        ("yolo11n-seee.yaml BUS", "Did you mean"),
        ("broken.pt BUS", "weights 'broken.pt' cannot be read"),
        ("yolo26n-sem.yaml BUS", "is a model for 'semantic'; drawn are those for detect, segment"),
        (
            "yolo11n-se.yaml BUS --rows 3",
            "row 3 of yolo11n-se.yaml holds no attention; attention is in rows 17, 21, 25",
        ),
        ("yolo11n.yaml BUS --rows 3", "the model has no attention"),
        ("yolo11n-se.yaml BUS --rows P3", "--rows P3: give whole numbers"),
        ("yolo11n-se.yaml BUS --channels 999", "no block has a channel 999"),
        ("yolo11n-se.yaml BUS --conf 2", "--conf 2.0: give a number from 0 to 1"),
        ("yolo11n-se.yaml BUS --imgsz 1", "--imgsz 1: give at least 32"),
        ("yolo11n-se.yaml BUS --beside none/x.pt", "no model at 'none/x.pt'"),
        ("yolo11n-se.yaml BUS imgsz=64", "no image at 'imgsz=64'"),
        ("yolo11n-se.yaml BUS --imgz 64", "'--imgz' is not understood here"),
        ("yolo11n-se.yaml", "image"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2_and_leaves_nothing(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "broken.pt").write_bytes(b"not a checkpoint")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["show", *words.replace("BUS", str(BUS)).split()]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert len(message) == 1
    assert says in message[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_picture_that_fails_leaves_no_half_page(everything, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert show(everything, BUS, "-o", tmp_path / "out", "--no-cam", "--rows", "20") == 2
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
