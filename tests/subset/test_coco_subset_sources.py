"""Sources of a subset (COCO folder, one JSON, YOLO set, id lists), and the files written with the labels."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolo_attn import cli
from yolo_attn.errors import YoloAttnError
from yolo_attn.subset import convert
from yolo_attn.subset.choice import Choice
from yolo_attn.subset.convert import convert_coco
from yolo_attn.subset.id_lists import find_id_lists, read_ids
from yolo_attn.subset.plot import plot_summary

CATEGORIES = [{"id": k, "name": name} for k, name in ((1, "cat"), (4, "dog"), (9, "owl"))]


def coco(first: int, number: int) -> dict:
    """Images of 100 x 80 px; image k has k % 4 boxes, of sides that grow with k."""
    images = [{"id": k, "file_name": f"{k:04d}.png", "width": 100, "height": 80} for k in range(first, first + number)]
    annotations = [
        {"id": 10 * k + j, "image_id": k, "category_id": (1, 4, 9)[(k + j) % 3], "bbox": [j, 2 * j, 5 + k, 5 + k]}
        for k in range(first, first + number)
        for j in range(k % 4)
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write_images(folder: Path, content: dict, shade: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        picture = np.full((80, 100, 3), (image["id"] + shade) % 256, np.uint8)
        (folder / image["file_name"]).write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def write_json(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_folder(root: Path, train: dict, val: dict, shade: int = 0) -> Path:
    for split, content in (("train", train), ("val", val)):
        write_json(root / "annotations" / f"instances_{split}2017.json", content)
        write_images(root / f"{split}2017", content, shade if split == "val" else 0)
    return root


@pytest.fixture
def one_json(tmp_path) -> Path:
    content = coco(0, 40)
    write_images(tmp_path / "set" / "images", content)
    return write_json(tmp_path / "set" / "all.json", content)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_folder(tmp_path / "coco", coco(0, 40), coco(40, 12))


@pytest.fixture(autouse=True)
def unplotted(monkeypatch):
    """Disable plotting, which is slow; one test enables it."""
    monkeypatch.setattr(convert, "plot_summary", lambda summary, path: path)


def files(out: Path, split: str, kind: str = "images") -> set[str]:
    return {p.stem for p in (out / kind / split).iterdir()}


def labels(out: Path, split: str) -> dict[str, str]:
    return {p.stem: p.read_text() for p in (out / "labels" / split).iterdir()}


def refused(*args, **kwargs) -> str:
    with pytest.raises(YoloAttnError) as caught:
        convert_coco(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- one JSON -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [(None, None, (36, 4)), (None, 10, (30, 10)), (5, 10, (5, 10)), (0.5, 0.25, (20, 10)), (0.9, 0.1, (36, 4))],
)
def test_train_and_val_split_off_one_json_never_overlap(one_json, tmp_path, train, val, expected):
    for seed, sampling in ((0, "stratified"), (1, "random")):
        choice = Choice(images=train, val_images=val, seed=seed, sampling=sampling)
        out = convert_coco(one_json, tmp_path / f"out{seed}", choice).parent
        assert (len(files(out, "train")), len(files(out, "val"))) == expected
        assert not files(out, "train") & files(out, "val")
        assert files(out, "train") == files(out, "train", "labels")


def test_too_many_to_split_off(one_json, tmp_path):
    assert "all 40 images of all.json went to val" in refused(one_json, tmp_path / "o", Choice(val_images=40))
    said = refused(one_json, tmp_path / "o", Choice(images=35, val_images=10))
    assert "all.json without 10 images for val has 30 images: ask for 1 to 30 of them, not 35" in said


def test_images_of_a_json_elsewhere(one_json, tmp_path):
    (one_json.parent / "images").rename(tmp_path / "elsewhere")
    said = refused(one_json, tmp_path / "out")
    assert "36 of 36 train images are missing" in said
    out = convert_coco(one_json, tmp_path / "out", images_dir=tmp_path / "elsewhere").parent
    assert len(files(out, "train")) == 36
    assert "images folder nowhere does not exist" in refused(one_json, tmp_path / "x", images_dir=Path("nowhere"))


def test_empty_image_files_are_found_without_decoding(one_json, tmp_path):
    for name in ("0007.png", "0009.png"):
        (one_json.parent / "images" / name).write_bytes(b"")
    said = refused(one_json, tmp_path / "out", Choice(val_images=1))
    assert "2 of 39 train images are empty files" in said or "1 of 1 val images" in said
    assert not (tmp_path / "out").exists()


# --- overlap ------------------------------------------------------------------------------------------------------
def test_images_in_train_and_val_stay_in_val_only(tmp_path):
    source = write_folder(tmp_path / "coco", coco(0, 40), coco(30, 20))
    said: list[str] = []
    out = convert_coco(source, tmp_path / "out", log=said.append).parent
    assert files(out, "train") == {f"{k:04d}" for k in range(30)}
    assert files(out, "val") == {f"{k:04d}" for k in range(30, 50)}
    assert "note: 10 images were in train and in val; they are in val only" in said
    assert "10 images were in train and in val" in (out / "summary.md").read_text()


def test_the_same_name_with_other_content_is_another_image(tmp_path):
    source = write_folder(tmp_path / "coco", coco(0, 40), coco(30, 20), shade=90)
    assert len(files(convert_coco(source, tmp_path / "out").parent, "train")) == 40


def test_where_files_are_missing_the_same_name_and_id_decide(tmp_path):
    source = write_folder(tmp_path / "coco", coco(0, 40), coco(30, 20))
    shutil.rmtree(source / "train2017")
    assert "30 of 30 train images are missing" in refused(source, tmp_path / "out")


def test_train_that_is_all_in_val_is_refused(tmp_path):
    source = write_folder(tmp_path / "coco", coco(0, 10), coco(0, 20))
    assert "every training image of instances_train2017.json is a validation image" in refused(source, tmp_path / "o")


# --- YOLO sets ----------------------------------------------------------------------------------------------------
def test_a_yolo_set_gives_the_labels_it_has(folder, tmp_path):
    first = convert_coco(folder, tmp_path / "first").parent
    again = convert_coco(first / "data.yaml", tmp_path / "again").parent
    for split in ("train", "val"):
        assert labels(again, split) == labels(first, split)
        assert (again / "images" / split / ("0005.png" if split == "train" else "0045.png")).is_file()
    by_folder = convert_coco(first, tmp_path / "by folder").parent
    assert labels(by_folder, "train") == labels(first, "train")
    assert yaml.safe_load((again / "data.yaml").read_text())["names"] == {0: "cat", 1: "dog", 2: "owl"}


def yolo_set(root: Path, label: str = "0 .5 .5 .5 .5\n", **data) -> Path:
    write_images(root / "images" / "train", coco(0, 20))
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "0003.txt").write_text(label)
    content = {"path": ".", "train": "images/train", "names": ["cat", "dog"], **data}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root / "data.yaml"


@pytest.mark.parametrize("data", [{}, {"val": "images/train"}, {"train": "list.txt"}])
def test_a_yolo_set_without_a_val_of_its_own_is_split(tmp_path, data):
    path = yolo_set(tmp_path / "yolo", **data)
    (path.parent / "list.txt").write_text("".join(f"./images/train/{k:04d}.png\n" for k in range(20)))
    out = convert_coco(path, tmp_path / "out", Choice(val_images=5)).parent
    assert (len(files(out, "train")), len(files(out, "val"))) == (15, 5)
    assert {**labels(out, "train"), **labels(out, "val")}["0003"] == "0 0.500000 0.500000 0.500000 0.500000\n"


def test_polygons_count_as_their_boxes_and_sizes_are_pixels(tmp_path):
    path = yolo_set(tmp_path / "yolo", "1 .1 .1 .5 .1 .5 .4\n0 .5 .5 .1 .1\n")  # 40 x 24 px (small), 10 x 8 px
    out = convert_coco(path, tmp_path / "out", Choice(val_images=1)).parent
    assert {**labels(out, "train"), **labels(out, "val")}["0003"].startswith("1 0.300000 0.250000 0.400000 0.300000\n")
    path = yolo_set(tmp_path / "medium", "1 0 0 .4 0 .4 .5\n")  # 40 x 40 px
    found = json.loads((convert_coco(path, tmp_path / "o2", Choice(val_images=1)).parent / "summary.json").read_text())
    assert found["splits"]["train"]["of_boxes_by_size"] == {"small": 0, "medium": 1, "large": 0}


@pytest.mark.parametrize(
    ("label", "data", "said"),
    [
        ("2 .5 .5 .1 .1\n", {}, "0003.txt, line 1: class 2 is not one of 0 to 1"),
        ("0 .5 .5 .1 .1\n0 .5 .5\n", {}, "0003.txt, line 2: expected a class and 4 numbers"),
        ("cat .5 .5 .1 .1\n", {}, "line 1: could not convert string to float: 'cat'"),
        ("", {"names": None}, "needs 'names:'"),
        ("", {"train": None}, "names no training images"),
        ("", {"train": "images/trian"}, "images/trian, which is neither a folder nor a .txt list"),
        ("", {"path": "nowhere"}, "has 'path: nowhere', but there is no such folder"),
    ],
)
def test_a_wrong_yolo_set_is_one_clear_sentence(tmp_path, label, data, said):
    assert said in refused(yolo_set(tmp_path / "yolo", label, **data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_corrupt_image_of_a_yolo_set_is_named(tmp_path):
    path = yolo_set(tmp_path / "yolo")
    (path.parent / "images" / "train" / "0004.png").write_bytes(b"not a picture")
    said = refused(path, tmp_path / "out")
    assert "1 of 20 images cannot be read" in said
    assert "0004.png" in said


# --- id lists -----------------------------------------------------------------------------------------------------
CHOICE = Choice(images=12, val_images=6, classes=("cat", "owl"), sizes=("small", "medium"), seed=7)


def test_id_lists_rebuild_the_same_subset(folder, tmp_path):
    first = convert_coco(folder, tmp_path / "first", CHOICE).parent
    lists = find_id_lists([first / "val.ids.txt", first / "train.ids.txt"])
    again = convert_coco(folder, tmp_path / "again", id_lists=lists).parent
    for split in ("train", "val"):
        assert labels(again, split) == labels(first, split)
        assert (again / f"{split}.ids.txt").read_text() == (first / f"{split}.ids.txt").read_text()
        ids = (first / f"{split}.ids.txt").read_text().splitlines()[1:]
        assert {f"{int(i):04d}" for i in ids} == files(first, split)


def test_ids_without_a_header_are_taken_as_they_are(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("3\n1\n\n# a comment\n2\n")
    out = convert_coco(folder, tmp_path / "out", id_lists={"train": read_ids(tmp_path / "mine.txt")}).parent
    assert files(out, "train") == {"0001", "0002", "0003"}
    assert len(files(out, "val")) == 12
    with pytest.raises(YoloAttnError, match="does not say whether it is for train or val: use --train-ids"):
        find_id_lists([tmp_path / "mine.txt"])


def test_listed_images_never_come_into_the_other_split(one_json, tmp_path):
    (tmp_path / "mine.txt").write_text("".join(f"{k}\n" for k in range(30)))
    lists = {"train": read_ids(tmp_path / "mine.txt")}
    out = convert_coco(one_json, tmp_path / "out", Choice(val_images=10), id_lists=lists).parent
    assert files(out, "val") == {f"{k:04d}" for k in range(30, 40)}
    (tmp_path / "other.txt").write_text("29\n30\n")
    lists["val"] = read_ids(tmp_path / "other.txt")
    assert "1 images are in both id lists, the first being 29" in refused(one_json, tmp_path / "x", id_lists=lists)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], "is not what was written: it holds 11 ids where 12 were listed"),
        (lambda lines: [*lines[:-1], "39" if lines[-1] != "39" else "38"], "wrong SHA-256"),
        (lambda lines: [*lines, lines[-1]], "twice"),
        (lambda lines: lines[:1], "holds no ids"),
        (lambda lines: [lines[0][:-5], *lines[1:]], "the first line of the id list"),
        (lambda lines: [*lines[1:], "999"], "1 of 13 ids of"),
        (lambda lines: [lines[0].replace('"labels_sha256": "', '"labels_sha256": "0'), *lines[1:]], "another version"),
    ],
)
def test_a_changed_id_list_is_refused(folder, tmp_path, change, said):
    path = convert_coco(folder, tmp_path / "first", CHOICE).parent / "train.ids.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(YoloAttnError) as caught:
        convert_coco(folder, tmp_path / "again", id_lists={"train": read_ids(path)})
    assert said in str(caught.value)
    assert not (tmp_path / "again").exists()


# --- what is written ----------------------------------------------------------------------------------------------
def test_the_summary_is_what_a_loop_counts(folder, tmp_path):
    content = coco(0, 40)
    crowd = {"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, 50, 50], "iscrowd": 1}
    outside = {"id": 2, "image_id": 3, "category_id": 1, "bbox": [200, 0, 50, 50]}
    content["annotations"] += [crowd, outside, content["annotations"][0]]
    write_json(folder / "annotations" / "instances_train2017.json", content)
    out = convert_coco(folder, tmp_path / "out", Choice(images=20)).parent
    found = json.loads((out / "summary.json").read_text())["splits"]["train"]
    chosen = {int(stem) for stem in files(out, "train")}
    clean = [a for a in coco(0, 40)["annotations"] if a["image_id"] in chosen]
    by_class = Counter({1: "cat", 4: "dog", 9: "owl"}[a["category_id"]] for a in clean)
    assert {name: row["boxes"] for name, row in found["classes"].items()} == by_class
    assert found["boxes"] == len(clean) == sum(text.count("\n") for text in labels(out, "train").values())
    small = sum(a["bbox"][2] * a["bbox"][3] < 1024 for a in clean)
    assert found["boxes_by_size"] == {"small": small, "medium": len(clean) - small, "large": 0}
    first = content["annotations"][0]["image_id"]
    there = {"crowd": 3 in chosen, "outside": 3 in chosen, "duplicate": first in chosen}
    assert found["left_out"] == {**dict.fromkeys(found["left_out"], 0), **there}
    assert found["background_images"] == sum(k % 4 == 0 for k in chosen)
    assert set(found["divergence"]) == {"subset", "random"}
    picture = cv2.imread(str(plot_summary(json.loads((out / "summary.json").read_text()), tmp_path / "plot.png")))
    assert picture.std() > 10


def test_images_are_copied_if_asked_to(folder, tmp_path):
    out = convert_coco(folder, tmp_path / "out", Choice(images=3), copy=True).parent
    for path in (out / "images" / "train").iterdir():
        assert not path.is_symlink()
        assert path.read_bytes() == (folder / "train2017" / path.name).read_bytes()


def test_a_named_class_without_boxes_is_refused_for_train_and_said_of_val(folder, tmp_path):
    val = coco(40, 12)
    val["annotations"] = [a for a in val["annotations"] if a["category_id"] != 9]
    write_json(folder / "annotations" / "instances_val2017.json", val)
    said: list[str] = []
    convert_coco(folder, tmp_path / "out", Choice(classes=("owl",)), log=said.append)
    assert "note: val shows no owl" in said
    train = coco(0, 40)
    train["annotations"] = [a for a in train["annotations"] if a["category_id"] != 9]
    write_json(folder / "annotations" / "instances_train2017.json", train)
    assert "class 'owl' has no box among the 40 training images" in refused(
        folder, tmp_path / "o2", Choice(classes=("owl", "cat"))
    )


# --- the command --------------------------------------------------------------------------------------------------
def test_the_command_end_to_end(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = "--images 25% --val-images 5 --classes cat,dog --keep-class-ids --min-boxes 1 --sizes small,medium --seed 2"
    assert cli.main(["subset", "--coco", str(folder), "-o", "made", *flags.split()]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "made" / "data.yaml"
    assert yaml.safe_load((tmp_path / "made" / "data.yaml").read_text())["names"] == {0: "cat", 1: "dog", 2: "owl"}
    text = "".join(labels(tmp_path / "made", "train").values())
    assert {line.split()[0] for line in text.splitlines()} == {"0", "1"}
    assert cli.main(["subset", "--coco", str(folder), "-o", "again", "--ids", "made", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["val"]["images"] == 5
    assert labels(tmp_path / "again", "train") == labels(tmp_path / "made", "train")
    assert cli.main(["subset", "--yolo", "made/data.yaml", "-o", "third", "--copy", "--sampling", "random"]) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--preset coco1k", "unknown preset 'coco1k'. Did you mean 'coco-1k'"),
        ("--preset coco-1k --seed 3", "--preset coco-1k settles the choice: leave out --seed"),
        ("--preset coco-1k", "has 40 images: ask for 1 to 40 of them, not 1000"),
        ("--images many", "'many' is no number of images"),
        ("--images -3", "ask for 1 to 40 of them, not -3"),
        ("--classes cta", "unknown class 'cta'. Did you mean 'cat'?"),
        ("--classes ,", "classes is empty"),
        ("--sizes tiny", "unknown size 'tiny'"),
        ("--ids nothing.txt", "cannot read the id list nothing.txt"),
        ("--images 5 --train-ids IDS", "an id list settles the train images: leave out their number"),
        ("images=5", "'images=5' is not understood here"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(folder, tmp_path, capsys, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("1\n")
    before = sorted(tmp_path.rglob("*"))
    words = [word.replace("IDS", "ids.txt") for word in flags.split()]
    assert cli.main(["subset", "--coco", str(folder), "-o", "out", *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert sorted(tmp_path.rglob("*")) == before
