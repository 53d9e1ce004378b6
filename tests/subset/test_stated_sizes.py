"""Annotations as other tools write them: sizes that are not those of the files, crowds as text, a byte order mark."""

import codecs
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from yolo_attn import cli
from yolo_attn.subset.convert import convert_coco
from yolo_attn.subset.id_lists import read_ids
from yolo_attn.subset.labelled_images import LabelledImages
from yolo_attn.subset.sizes import check_files, file_size


@pytest.fixture
def coco(tmp_path):
    """Write a set of four images of 64 x 48 pixels with these changes; return its JSON."""

    def write(orientation=1, size=(64, 48), crowd=0, bom=b""):
        exif = Image.Exif()
        exif[274] = orientation
        for k in range(4):
            noise = np.random.default_rng(k).integers(0, 256, (48, 64, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / f"{k}.jpg", exif=exif)
        images = [{"id": k, "file_name": f"{k}.jpg", "width": size[0], "height": size[1]} for k in range(4)]
        boxes = [{"image_id": k, "category_id": 1, "bbox": [2, 2, 30, 30], "iscrowd": crowd} for k in range(4)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        (tmp_path / "set.json").write_bytes(bom + json.dumps(content).encode())
        return tmp_path / "set.json"

    return write


def summary_of(file):
    return json.loads((convert_coco(file, file.parent / "out").parent / "summary.json").read_text())


def notes_of(file):
    return summary_of(file)["notes"]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"size": (48, 64)}, "is 64x48, not 48x64"),
        ({"size": (32, 24)}, "is 64x48, not 32x24"),
        ({"orientation": 6}, "is 48x64, not 64x48"),
        ({"orientation": 6, "size": (48, 64)}, None),
        ({"orientation": 3}, None),
    ],
)
def test_sizes_that_are_not_those_of_the_files_are_said(coco, changes, wrong):
    said = " ".join(notes_of(coco(**changes)))
    assert (wrong in said and "3 of 3 train images have another size" in said) if wrong else "size" not in said


def test_a_broken_image_is_said(coco):
    file = coco()
    for k in range(4):
        (file.parent / f"{k}.jpg").write_bytes(b"no image")
    assert "3 of 3 train images cannot be read" in " ".join(notes_of(file))


@pytest.mark.parametrize(("crowd", "kept"), [("0", 3), ("1", 0), (False, 3), (None, 3), ("false", 3), ("", 3), (1, 0)])
def test_crowds_are_read_as_meant(coco, crowd, kept):
    file = coco(crowd=crowd)
    assert summary_of(file)["splits"]["train"]["boxes"] == kept


def test_a_byte_order_mark_is_no_matter(coco, tmp_path):
    data = convert_coco(coco(bom=codecs.BOM_UTF8), tmp_path / "out")
    data.write_bytes(codecs.BOM_UTF8 + data.read_bytes())
    assert convert_coco(data, tmp_path / "again").is_file()
    listed = tmp_path / "out" / "train.ids.txt"
    ids = read_ids(listed).ids
    listed.write_bytes(codecs.BOM_UTF8 + listed.read_bytes())
    assert read_ids(listed).ids == ids


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_turned_picture_is_that_of_ultralytics(orientation, kind, tmp_path):
    from ultralytics.data.utils import exif_size

    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / f"turned.{kind}", exif=exif)
    with Image.open(tmp_path / f"turned.{kind}") as picture:
        assert file_size(str(tmp_path / f"turned.{kind}")) == tuple(exif_size(picture))


def damage(picture, how):
    content = picture.read_bytes()
    picture.write_bytes({"header": b"no image", "end": content[:-2], "half": content[: len(content) // 2]}[how])


@pytest.mark.parametrize("how", ["header", "end", "half"])
def test_files_at_fault_are_listed(coco, how):
    file = coco()
    for k in (1, 2):
        damage(file.parent / f"{k}.jpg", how)
    summary = summary_of(file)
    kind = "unreadable" if how == "header" else "cut_short"
    listed = [name for split in ("train", "val") for name in summary["splits"][split]["faulty_files"].pop(kind)]
    assert sorted(listed) == ["1.jpg", "2.jpg"]
    assert not any(names for split in summary["splits"].values() for names in split["faulty_files"].values())
    said = "cannot be read" if how == "header" else "do not end as JPEG files do and may be cut short"
    assert said in " ".join(summary["notes"])


def test_all_images_are_looked_at(tmp_path):
    Image.new("RGB", (2, 1)).save(tmp_path / "one.png")
    empty = np.zeros(0)
    part = LabelledImages(
        "set.json", (), range(6000), [], (), empty, empty, np.zeros((4, 0)), empty, empty, np.ones((2, 6000))
    )
    faults, (note,) = check_files(part, [str(tmp_path / "one.png")] * 6000, "train")
    assert len(faults.other_size) == 6000
    assert note.startswith("6000 of 6000 train images have another size than set.json states")
    assert "one.png is 2x1, not 1x1" in note


def test_verify_decodes_every_image_of_a_new_and_of_a_present_subset(coco, tmp_path, capsys):
    def verified(*words):
        code = cli.main(["subset", "--coco", str(file), "-o", str(tmp_path / "out"), "--verify", *words])
        said = capsys.readouterr()
        assert said.out.strip().splitlines()[-1:] == [str(tmp_path / "out" / "data.yaml")]
        return code, said.err

    file = coco()
    code, said = verified()
    assert code == 0
    assert "all images can be decoded, and have the sizes stated" in said
    damage(tmp_path / "2.jpg", "half")  # since then
    code, said = verified()
    assert code == 1
    (line,) = [line for line in said.splitlines() if "cannot be decoded" in line]
    assert "/2.jpg cannot be decoded (" in line
    assert "truncated" in line
    assert "all images can be decoded" not in said


def test_verify_repeats_what_was_noted_of_the_files(coco, tmp_path, capsys):
    words = ["subset", "--coco", str(coco(size=(48, 64))), "-o", str(tmp_path / "out"), "--verify"]
    for _ in range(2):
        assert cli.main(words) == 1
        assert capsys.readouterr().err.count("3 of 3 train images have another size") == 1
    assert cli.main(words[:-1]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["faulty_files"]["other_size"]


def test_a_yolo_set_is_verified_too(scenes, tmp_path, capsys):
    shutil.copytree(scenes.parent, tmp_path / "set")
    data = tmp_path / "set" / scenes.name
    data.write_text(data.read_text().replace(str(scenes.parent), str(tmp_path / "set")))
    picture = next((tmp_path / "set" / "images" / "val").iterdir())
    content = picture.read_bytes()
    picture.unlink()
    picture.write_bytes(content[: len(content) // 2])
    assert cli.main(["subset", "--yolo", str(data), "-o", str(tmp_path / "out"), "--verify"]) == 1
    said = capsys.readouterr().err
    assert f"val/{picture.name} cannot be decoded" in said
    assert "1 of 8 val images do not end as JPEG files do" in said
