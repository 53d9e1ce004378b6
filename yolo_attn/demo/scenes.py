"""Draw a small, deterministic detection set in COCO's layout: discs, squares and triangles on noisy backgrounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.util.build_once import build_once

CLASSES = {"disc": 3, "square": 13, "triangle": 47}
"""Names and category ids; the ids have gaps, as COCO's have."""

CORNERS = {"disc": 64, "square": 4, "triangle": 3}  # of the regular polygon that is drawn
SIDES = (0.10, 0.45)  # diameter of an object, as a fraction of the image side
MOST_OBJECTS = 4
SPLITS = ("train", "val")
MARKER, VERSION = "scenes.json", 2  # VERSION: raised when the same seed draws other pixels


def make_scenes(
    root: Path,
    *,
    train: int,
    val: int,
    size: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a set of drawn scenes as ``images/{train,val}/*.jpg`` and ``annotations/instances_{train,val}.json``.

    The same seed gives the same JSON and, with the same OpenCV, the same pixels. Image k of a split does not depend on
    the number of images, and the splits come from separate random streams. The folder appears only when it is complete.

    Args:
        root: Folder to write; reused if it holds a complete set with the same parameters.
        train: Number of training images.
        val: Number of validation images.
        size: Side of the square images, pixels; at least 32.
        seed: Seed of the set.
        progress: Called as ``progress(done, total)`` after each image.

    Returns:
        `root`, as an absolute path.

    Raises:
        YoloAttnError: A number is out of range, `root` holds something else, or it cannot be written.
    """
    for name, value, least in (("train", train, 1), ("val", val, 1), ("size", size, 32), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise YoloAttnError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    counts = {"train": train, "val": val}
    parameters = {"version": VERSION, **counts, "size": size, "seed": seed}
    build = partial(_write_set, counts=counts, size=size, seed=seed, progress=progress)
    return build_once(Path(root).absolute(), MARKER, parameters, build)


def draw_scene(size: int, rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one scene of up to ``MOST_OBJECTS`` objects that do not touch; a few scenes have none.

    Args:
        size: Side of the square image, pixels.
        rng: Source of all randomness.

    Returns:
        The image, ``(size, size, 3)`` uint8 BGR, and the annotations without ids: category, box and area.
    """
    ground = rng.uniform(40, 215, 3)
    cloud = cv2.resize(rng.normal(0, 20, (8, 8, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    image = ground.astype(np.float32) + cloud
    taken = np.zeros((size, size), np.uint8)
    annotations = []
    for _ in range(rng.integers(0, MOST_OBJECTS + 1) or rng.integers(0, 2)):
        name = list(CLASSES)[rng.integers(len(CLASSES))]
        mask = _mask(name, size, rng)
        if taken[cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0].any():
            continue
        taken |= mask
        colour = (ground + rng.choice([-1, 1], 3) * rng.uniform(70, 130, 3)).clip(0, 255)
        image[mask > 0] = colour
        x, y, w, h = cv2.boundingRect(mask)
        annotations.append({"category_id": CLASSES[name], "bbox": [x, y, w, h], "area": int(mask.sum()), "iscrowd": 0})
    image = cv2.GaussianBlur(image, (0, 0), 0.5) + rng.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), annotations


def _mask(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a filled, turned polygon inside the image, ``(size, size)`` uint8, 1 inside and 0 outside."""
    radius = rng.uniform(*SIDES) * size / 2
    centre = rng.uniform(radius, size - 1 - radius, 2)
    angles = rng.uniform(0, 2 * np.pi) + np.arange(CORNERS[name]) * 2 * np.pi / CORNERS[name]
    points = centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)  # 4 fractional bits
    return mask


def _write_set(
    folder: Path, *, counts: dict[str, int], size: int, seed: int, progress: Callable[[int, int], None] | None
) -> None:
    """Draw both splits into an empty folder; ids are counted per split, as COCO's are."""
    categories = [{"id": k, "name": name, "supercategory": "drawn"} for name, k in CLASSES.items()]
    done, total = 0, sum(counts.values())
    (folder / "annotations").mkdir()
    for stream, split in enumerate(SPLITS):
        (folder / "images" / split).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for k in range(1, counts[split] + 1):
            image, objects = draw_scene(size, np.random.default_rng([seed, stream, k]))
            name = f"{k:06d}.jpg"
            (folder / "images" / split / name).write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
            images.append({"id": k, "file_name": name, "width": size, "height": size})
            for found in objects:
                annotations.append({"id": len(annotations) + 1, "image_id": k, **found})
            done += 1
            if progress:
                progress(done, total)
        info = {"description": f"drawn scenes, {split} split, seed {seed}", "version": str(VERSION)}
        content = {"info": info, "images": images, "annotations": annotations, "categories": categories}
        path = folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
