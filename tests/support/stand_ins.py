"""Small files with the names that the documentation uses: data sets, checkpoints, photographs, YAMLs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import yaml

from support.paths import ROOT

DATA = ("coco8.yaml", "coco.yaml", "coco3k.yaml", "data.yaml", "datasets/coco5k/data.yaml")
TRAINED = ("best.pt", "base.pt", "ela.pt", "ca.pt", "b0.pt", "b1.pt", "b2.pt", "e0.pt", "e1.pt", "e2.pt")
PRETRAINED = ("yolo11n.pt", "yolo11s.pt", "yolov8s-seg.pt")
MATRIX = "cfg/compare/neck.yaml"
FORK = ROOT / "tests" / "fixtures" / "public_style" / "yolo11-CBAM.yaml"


def provide(folder: Path, text: str, scenes: Path) -> None:
    """Write what a page names into a folder.

    Args:
        folder: Where the page's code runs.
        text: The page.
        scenes: Data YAML of a small set.
    """
    used = {name for name in (*DATA, *TRAINED, *PRETRAINED) if re.search(rf"(?<![\w/-]){re.escape(name)}\b", text)}
    for name in used & set(DATA):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scenes, folder / name)
    for number, name in enumerate(sorted(used & {*TRAINED, *PRETRAINED})):
        _checkpoint(folder / name, number, scenes)
    if "coco8-seg.yaml" in text:
        _polygons(scenes, folder)
    image = next(scenes.parent.glob("images/val/*.jpg"))
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "bus.jpg", "photos/one.jpg"):
        shutil.copy(image, folder / name)
    (folder / "docs" / "pictures").mkdir(parents=True)
    shutil.copy(FORK, folder / "FORK.yaml")
    _matrix(folder / MATRIX)
    if own := re.search(r"```yaml\n(arms:.*?)```", text, re.DOTALL):
        (folder / "matrix.yaml").write_text(own[1])
    own_block = (ROOT / "docs" / "blocks.md").read_text().partition("## A block of your own")[2]
    (folder / "mine.py").write_text(re.search(r"```python\n(.*?)```", own_block, re.DOTALL)[1])
    (folder / "predictions.json").write_text(json.dumps(_predictions(scenes)))


def _checkpoint(file: Path, seed: int, scenes: Path) -> None:
    """Write a model with random weights and the classes of the set."""
    import torch
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    import yolo_attn as ya

    stem = file.stem if file.name in PRETRAINED else "yolo11n-ela" if file.stem[0] == "e" else "yolo11n"
    data = yaml.safe_load(scenes.read_text())
    torch.manual_seed(seed)
    kind = SegmentationModel if "seg" in stem else DetectionModel
    model = kind(ya.YOLO(f"{stem}.yaml").model.yaml, nc=len(data["names"]), verbose=False)
    model.names = dict(enumerate(data["names"])) if isinstance(data["names"], list) else data["names"]
    task = "segment" if "seg" in stem else "detect"
    model.args = {"task": task, "imgsz": 32}
    torch.save({"model": model.half(), "train_args": {"task": task, "imgsz": 32, "data": str(scenes)}}, file)


def _polygons(scenes: Path, folder: Path) -> None:
    """Write the set with each box as a polygon of four corners."""
    root = folder / "polygons"
    shutil.copytree(scenes.parent / "images", root / "images")
    for labels in (scenes.parent / "labels").rglob("*.txt"):
        lines = []
        for line in labels.read_text().splitlines():
            kind, *box = line.split()
            x, y, w, h = map(float, box)
            corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
            lines.append(" ".join([kind, *(f"{value:.6f}" for corner in corners for value in corner)]))
        file = root / labels.relative_to(scenes.parent)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines))
    data = {**yaml.safe_load(scenes.read_text()), "path": str(root)}
    (folder / "coco8-seg.yaml").write_text(yaml.safe_dump(data))


def _matrix(file: Path) -> None:
    """Write the matrix of the repository with its first two models alone."""
    matrix = yaml.safe_load((ROOT / MATRIX).read_text())
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump({**matrix, "arms": matrix["arms"][:2]}))


def _predictions(scenes: Path) -> list[dict[str, object]]:
    """Return one detection of the last class and one of the first in each validation image."""
    last = len(yaml.safe_load(scenes.read_text())["names"])
    stems = sorted(image.stem for image in scenes.parent.glob("images/val/*.jpg"))
    return [
        {"image_id": int(stem), "category_id": category, "bbox": [8, 8, 20, 20], "score": 0.5}
        for stem in stems
        for category in (1, last)
    ]
