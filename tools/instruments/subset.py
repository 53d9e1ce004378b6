"""Measure `yolo-attn subset` on a generated set as large as COCO 2017: seconds, memory and divergence."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from yolo_attn.util.markdown import table

CLASSES = 80
BOXES_PER_IMAGE = 7.27
LINKS = 50_000  # to one file; file systems have a limit
CASES = ("", "--preset minitrain-25k", "--preset coco-1k")


def write_large_coco(root: Path, images: int = 118_287, val_images: int = 5_000, seed: int = 0) -> Path:
    """Write a set in COCO 2017's layout: skewed classes that keep company, polygons, and one picture linked often.

    Args:
        root: New folder.
        images: Number of training images; COCO's by default, which makes a JSON of about 450 MB.
        val_images: Number of validation images.
        seed: Seed of everything.

    Returns:
        `root`.
    """
    rng = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True)
    for split, number, first in (("train2017", images, 1), ("val2017", val_images, images + 1)):
        folder = root / split
        folder.mkdir()
        _write_pictures(folder, range(first, first + number))
        _write_json(root / "annotations" / f"instances_{split}.json", first, number, rng)
    return root


def _write_pictures(folder: Path, numbers: range) -> None:
    picture = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for k in numbers:
        path = folder / f"{k:012d}.jpg"
        if (k - numbers[0]) % LINKS == 0:
            original = path
            path.write_bytes(picture)
        else:
            os.link(original, path)


def _write_json(path: Path, first: int, images: int, rng: np.random.Generator) -> None:
    shares = 1 / np.arange(1, CLASSES + 1) ** 1.1
    order = rng.permutation(CLASSES)
    polygons = [_polygon(rng) for _ in range(4000)]
    number = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "generated"}, "licenses": [], "images": [')
        for k in range(images):
            entry = {"license": 1, "file_name": f"{first + k:012d}.jpg", "height": 480, "width": 640, "id": first + k}
            file.write((", " if k else "") + json.dumps(entry))
        file.write('], "annotations": [')
        for k in range(images):
            for line in _annotations(first + k, shares / shares.sum(), order, polygons, rng):
                number += 1
                file.write((", " if number > 1 else "") + line % number)
        named = [{"supercategory": "thing", "id": k + 1, "name": f"class {k:02d}"} for k in range(CLASSES)]
        file.write('], "categories": ' + json.dumps(named) + "}")


def _annotations(
    image: int, shares: np.ndarray, order: np.ndarray, polygons: list[str], rng: np.random.Generator
) -> list[str]:
    """Return the annotations of one image, a few kinds of object each, with a place left for the number."""
    boxes = min(int(rng.geometric(1 / (BOXES_PER_IMAGE + 1))) - 1, 90)
    if not boxes:
        return []
    kinds = order[rng.choice(CLASSES, size=rng.integers(1, 5), p=shares)]
    category = kinds[rng.integers(0, len(kinds), boxes)] + 1
    side = np.exp(rng.normal(4 + 0.3 * np.sin(category), 0.9)).clip(2, 470)
    width, height = side.clip(2, 630), (side * rng.uniform(0.6, 1.6, boxes)).clip(2, 470)
    x, y = rng.uniform(0, 640 - width), rng.uniform(0, 480 - height)
    picked = rng.integers(0, len(polygons), boxes)
    rows = zip(picked, width * height * 0.6, category, x, y, width, height, rng.random(boxes) < 0.01, strict=True)
    return [
        f'{{"segmentation": {polygons[p]}, "area": {area:.4f}, "iscrowd": {crowd:d}, "image_id": {image}, '
        f'"bbox": [{left:.2f}, {top:.2f}, {w:.2f}, {h:.2f}], "category_id": {c}, "id": %d}}'
        for p, area, c, left, top, w, h, crowd in rows
    ]


def _polygon(rng: np.random.Generator) -> str:
    points = rng.uniform(0, 480, 2 * int(rng.integers(8, 46))).round(2)
    return json.dumps([points.tolist()])


def measure(source: Path, out: Path, flags: Sequence[str]) -> dict[str, float]:
    """Run `yolo-attn subset` in a process of its own.

    Args:
        source: COCO folder.
        out: New folder for the subset.
        flags: Further flags, e.g. ``("--preset", "coco-1k")``.

    Returns:
        Wall-clock and CPU seconds, peak memory in GB, and the divergences of the training images, of the subset and of
        random ones.

    Raises:
        CalledProcessError: The command failed.
    """
    command = [sys.executable, "-m", "yolo_attn.cli", "subset", "--coco", str(source), "-o", str(out), *flags]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    measured = {
        "seconds": time.perf_counter() - started,
        "CPU seconds": used.ru_utime + used.ru_stime,
        "GB": used.ru_maxrss / 1e6,
    }
    found = json.loads((out / "summary.json").read_text(encoding="utf-8"))["splits"]["train"].get("divergence", {})
    return measured | {f"{kind}, {of}": value for of, values in found.items() for kind, value in values.items()}


def to_markdown(cases: dict[str, dict[str, float]]) -> str:
    """Return measurements as a table, a line per case."""
    columns = list(dict.fromkeys(name for case in cases.values() for name in case))
    rows = [[f"`{flags}`", *(f"{case[c]:.3g}" if c in case else "" for c in columns)] for flags, case in cases.items()]
    return "\n".join(table(["flags", *columns], rows))


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/measure_subset.py``: generate the set, measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="needs about 2 GB and 500,000 files; may be deleted afterwards")
    given = parser.parse_args(words)
    if not (given.folder / "coco").exists():
        write_large_coco(given.folder / "coco")
    out = {flags: given.folder / f"out{k}" for k, flags in enumerate(CASES)}
    print(to_markdown({flags: measure(given.folder / "coco", out[flags], flags.split()) for flags in CASES}))
