"""Truncated, empty or invalid images and labels are named in a one-line error or left out, never a traceback."""

import inspect
import json
import shutil
import struct
import zlib

import pytest
import yaml
from robustness.judge import refusal_of
from support.tiers import sampled
from ultralytics.data.utils import check_det_dataset

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.errors import YoloAttnError
from yolo_attn.host.data import prepare_data
from yolo_attn.subset.convert import convert_coco


def _png_of(width, height):
    """A PNG's header that claims a size, and nothing else."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


IMAGES = {
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "cut in its header": lambda whole: whole[:20],
    "empty": lambda whole: b"",
    "text": lambda whole: b"not an image",
    "zeros": lambda whole: bytes(1000),
    "a header that claims 60,000 x 60,000 pixels": lambda whole: _png_of(60_000, 60_000),
    "a header of no pixels": lambda whole: _png_of(0, 0),
}
LABELS = {
    "bytes that are no text": b"\xff\xfe\x00\x01\x80",
    "two columns": b"0 0.5\n",
    "seven columns": b"0 0.1 0.1 0.2 0.2 0.3 0.3\n",
    "letters": b"car 0.5 0.5 0.1 0.1\n",
    "not a number": b"0 nan nan nan nan\n",
    "infinite": b"0 0.5 0.5 inf inf\n",
    "a class that is not there": b"99 0.5 0.5 0.1 0.1\n",
    "a negative class": b"-1 0.5 0.5 0.1 0.1\n",
    "half a class": b"0.5 0.5 0.5 0.1 0.1\n",
    "pixels": b"0 320 240 100 50\n",
    "negative sizes": b"0 0.5 0.5 -0.1 -0.1\n",
    "empty": b"",
    "cut within a line": b"0 0.5 0.5 0.1 0.1\n0 0.5 0.",
    "a hundred thousand columns": b"0" + b" 0.5" * 100_000,
}


@pytest.mark.parametrize("content", ["", "names: 3", "train: a\nval: b\nnames: [car]", "train: [", "[1, 2]", "nc: x"])
def test_data_that_cannot_be_used_are_an_error_as_with_the_host(content, tiny_models, tmp_path):
    """A ``RuntimeError``, for every cause; and nothing was begun."""
    data = tmp_path / "mine.yaml"
    data.write_text(content)
    with pytest.raises(RuntimeError, match=f"data '{data}' cannot be used") as raised:
        ya.YOLO(tiny_models[1]).train(data=str(data), project=str(tmp_path / "runs"))
    assert isinstance(raised.value, YoloAttnError)
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif("split" not in inspect.signature(check_det_dataset).parameters, reason="val has to be there")
def test_only_the_split_to_validate_on_has_to_be_there(scenes, tiny_models, tmp_path, monkeypatch):
    content = yaml.safe_load(scenes.read_text())
    data = tmp_path / "mine.yaml"
    data.write_text(yaml.safe_dump({**content, "path": str(scenes.parent), "test": content["val"], "val": "missing"}))
    monkeypatch.setattr("ultralytics.YOLO.train", lambda *_, **given: given["split"])
    model = ya.YOLO(tiny_models[1])
    assert model.train(data=str(data), split="test") == "test"
    with pytest.raises(YoloAttnError, match="missing"):
        model.train(data=str(data), split="val")


@pytest.fixture
def data(scenes, tmp_path):
    """A data YAML whose set may be spoiled, and its first training image."""
    root = tmp_path / "set"
    shutil.copytree(scenes.parent, root, ignore=shutil.ignore_patterns("*.cache"))
    content = {**yaml.safe_load(scenes.read_text()), "path": str(root)}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    for image in [p for split in ("train", "val") for p in (root / "images" / split).iterdir()]:
        whole = image.read_bytes()
        image.unlink()  # it was a link
        image.write_bytes(whole)
    return root / "data.yaml", sorted((root / "images" / "train").iterdir())[0]


def _label_of(image):
    return image.parents[2] / "labels" / "train" / f"{image.stem}.txt"


def _tries(data, image, tmp_path):
    """Make a subset of a set and prepare it for a comparison; return the refusals by command."""
    said = {}
    for name, work in (
        ("subset", lambda: convert_coco(data, tmp_path / "out")),
        ("compare", lambda: prepare_data(str(data), {})),
    ):
        if text := refusal_of(work):
            said[name] = text
    return said


@pytest.mark.parametrize("fault", sampled(IMAGES, ["cut in half"]))
def test_an_image_that_cannot_be_read_is_named(fault, data, tmp_path):
    file, image = data
    image.write_bytes(IMAGES[fault](image.read_bytes()))
    said = _tries(file, image, tmp_path)
    assert "compare" in said, "the comparison would train on it"
    assert all(image.name in text for text in said.values()), said
    assert (tmp_path / "out").exists() == ("subset" not in said)


@pytest.mark.parametrize("fault", sampled(LABELS, ["bytes that are no text"]))
def test_a_wrong_label_is_named_or_left_out(fault, data, tmp_path):
    file, image = data
    _label_of(image).write_bytes(LABELS[fault])
    said = _tries(file, image, tmp_path)
    assert all(image.stem in text for text in said.values()), said
    if "subset" not in said:
        written = (tmp_path / "out" / "labels" / "train" / f"{image.stem}.txt").read_text().split()
        assert all(0 <= float(word) <= 1 for word in written[1:5]), written


def test_one_image_to_validate_on_is_refused_before_a_comparison(data, comparing, tmp_path):
    """Its intervals come from drawing among several."""
    file, _ = data
    for image in sorted((file.parent / "images" / "val").iterdir())[1:]:
        image.unlink()
    assert "there is one image in its val split" in refusal_of(lambda: prepare_data(str(file), {}))


@pytest.mark.parametrize("cut", sampled([1, 5, 40, 400], [40]))
def test_a_cut_coco_json_is_refused(cut, scenes, tmp_path):
    source = scenes.parents[1] / "coco"
    shutil.copytree(source, tmp_path / "coco")
    file = next((tmp_path / "coco" / "annotations").glob("*train*"))
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(YoloAttnError, match="is not valid JSON, perhaps cut short"):
        convert_coco(tmp_path / "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_training_goes_on_without_the_images_it_cannot_read(data, tmp_path, monkeypatch, record_property):
    """Ultralytics leaves them out with a warning; nothing here stands in its way."""
    file, _ = data
    monkeypatch.chdir(tmp_path)
    images = sorted((file.parent / "images" / "train").iterdir())
    for image, spoil in zip(images, IMAGES.values(), strict=False):
        image.write_bytes(spoil(image.read_bytes()))
    for image, label in zip(images[len(IMAGES) :], LABELS.values(), strict=False):
        _label_of(image).write_bytes(label)
    assert cli.main(_training(file, tmp_path)) == 0
    assert (tmp_path / "runs" / "x" / "weights" / "last.pt").is_file()
    record_property("faults", len(images))


@pytest.mark.slow
def test_a_training_without_a_readable_image_is_one_line(data, tmp_path, monkeypatch, capsys):
    file, _ = data
    monkeypatch.chdir(tmp_path)
    for image in (file.parent / "images" / "train").iterdir():
        image.write_bytes(b"not an image")
    assert cli.main(_training(file, tmp_path)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert len(lines) == 1
    assert "train" in lines[0]


def _training(file, folder):
    words = "epochs=1 imgsz=64 batch=4 workers=0 plots=False val=False optimizer=SGD name=x"
    return ["train", "model=yolo11n-ela.yaml", f"data={file}", f"project={folder / 'runs'}", *words.split()]


# --- what a comparison has stored -------------------------------------------------------------------------------------
DAMAGES = {
    "gone": None,
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "bytes": lambda whole: bytes(range(256)),
    "another kind of value": lambda whole: b"[]",
    "null": lambda whole: b"null",
    "no keys": lambda whole: b"{}",
}


@pytest.mark.parametrize("damage", sampled(DAMAGES, ["cut"]))
@pytest.mark.parametrize(
    "name", ["plan.json", "spec.json", "result.json", "matches.npz", "coco_matches.npz", "results.json"]
)
def test_a_damaged_file_of_a_comparison(name, damage, comparing, tmp_path, capsys):
    """The report says so in one line or does without it; the comparison's own command makes it whole again."""
    out = tmp_path / "out"
    assert comparing(out) == []
    whole = json.loads((out / "results.json").read_text())
    (file, *_) = sorted(out.rglob(name))
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    code = cli.main(["report", str(out), "--replicates", "20"])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert (code, len(said)) in [(0, 0), (2, 1)], said
    assert comparing(out) == []
    assert json.loads((out / "results.json").read_text()) == whole
