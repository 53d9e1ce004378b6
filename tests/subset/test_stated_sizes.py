"""Annotations as other tools write them: sizes that are not those of the files, crowds as text, a byte order mark."""

import codecs
import json

import pytest
from PIL import Image

from yolo_attn.subset.convert import convert_coco
from yolo_attn.subset.id_lists import read_ids
from yolo_attn.subset.sizes import file_size


@pytest.fixture
def coco(tmp_path):
    """Write a set of four images of 64 x 48 pixels with these changes; return its JSON."""

    def write(orientation=1, size=(64, 48), crowd=0, bom=b""):
        exif = Image.Exif()
        exif[274] = orientation
        for k in range(4):
            Image.new("RGB", (64, 48), (k, k, k)).save(tmp_path / f"{k}.jpg", exif=exif)
        images = [{"id": k, "file_name": f"{k}.jpg", "width": size[0], "height": size[1]} for k in range(4)]
        boxes = [{"image_id": k, "category_id": 1, "bbox": [2, 2, 30, 30], "iscrowd": crowd} for k in range(4)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        (tmp_path / "set.json").write_bytes(bom + json.dumps(content).encode())
        return tmp_path / "set.json"

    return write


def notes_of(file):
    return json.loads((convert_coco(file, file.parent / "out").parent / "summary.json").read_text())["notes"]


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
    summary = json.loads((convert_coco(file, file.parent / "out").parent / "summary.json").read_text())
    assert summary["splits"]["train"]["boxes"] == kept


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
