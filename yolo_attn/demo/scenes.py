"""A small, deterministic detection set of drawn scenes, in COCO's layout: the demo needs no download.

Scenes hold two to five objects of six classes (`yolo_attn.demo.shapes`) at sizes from 6 % to 60 % of the image side,
in random colours, over textured backgrounds with clutter, partly hiding each other, unevenly lit, blurred and noisy.
Boxes are those of the visible pixels, as in COCO.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from yolo_attn.demo.shapes import SHAPES, Part, clutter
from yolo_attn.errors import YoloAttnError
from yolo_attn.util.build_once import build_once

SIDES = (0.06, 0.60)  # object size, as a fraction of the image side
MIN_VISIBLE = 0.35  # an object less visible than this is part of the picture but has no annotation
EMPTY_SHARE, CROWD_SHARE = 0.03, 0.03  # images without objects, images with one crowd region
SPLITS = ("train", "val")
MARKER, VERSION = "scenes.json", 1  # VERSION: raised whenever the same seed would draw other pixels


class Scene:
    """A canvas that knows which object owns each pixel.

    Args:
        size: Side of the square image, pixels.
        rng: Source of all randomness.
    """

    def __init__(self, size: int, rng: np.random.Generator):
        self.size, self.rng = size, rng
        self.image = self._background()  # (size, size, 3) float32, BGR, 0..255
        self.owner = np.zeros((size, size), np.int32)  # 0: background or clutter; k: the k-th painted object
        self.painted: list[int] = []  # full pixel count of each object, before others covered it

    def _background(self) -> np.ndarray:
        rng, size = self.rng, self.size
        corners = rng.uniform(30, 225, 3) + rng.uniform(-45, 45, (2, 2, 3))
        image = cv2.resize(corners.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        for cells in (6, 24):
            cloud = rng.normal(0, 60 / cells**0.5, (cells, cells)).astype(np.float32)
            image += cv2.resize(cloud, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
        if rng.random() < 0.4:
            y, x = np.mgrid[:size, :size].astype(np.float32) / size
            angle, waves = rng.uniform(0, np.pi), rng.uniform(20, 90)
            image += 9 * np.sin(waves * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
        return image.clip(0, 255).astype(np.float32)

    def _colour(self, away_from: np.ndarray) -> np.ndarray:
        """Draw a colour that can be told from another one."""
        for _ in range(20):
            colour = self.rng.uniform(10, 245, 3)
            if np.linalg.norm(colour - away_from) > 110:
                break
        return colour

    def place(self, side: float) -> np.ndarray:
        """Return the centre, of a few random ones, where an object of this side (pixels) hides the least."""
        low = min(0.42 * side, self.size / 2)
        best, least = None, np.inf
        for _ in range(4):
            centre = self.rng.uniform(low, self.size - low, 2)
            x1, y1 = np.maximum(centre - side / 2, 0).astype(int)
            x2, y2 = (centre + side / 2).astype(int) + 1
            hidden = np.count_nonzero(self.owner[y1:y2, x1:x2])
            if hidden < least:
                best, least = centre, hidden
        return best

    def paint(self, parts: list[Part], centre: np.ndarray, side: float, tilt: float, *, counts: bool = True) -> int:
        """Paint a shape over what is there.

        Args:
            parts: Polygons in unit coordinates.
            centre: Where the unit square's centre goes, (x, y) in pixels.
            side: Side of the unit square, pixels.
            tilt: Rotation, degrees.
            counts: False for clutter, which owns no pixels.

        Returns:
            The object's number in `owner`, 0 for clutter.
        """
        rng = self.rng
        turn = np.deg2rad(tilt)
        matrix = side * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        if rng.random() < 0.5:
            matrix[:, 0] *= -1  # mirrored
        outlines = [part.points @ matrix.T + centre for part in parts]
        allpoints = np.concatenate(outlines)
        x1, y1 = np.maximum(np.floor(allpoints.min(0)).astype(int) - 1, 0)
        x2, y2 = np.minimum(np.ceil(allpoints.max(0)).astype(int) + 2, self.size)
        patch, owner = self.image[y1:y2, x1:x2], self.owner[y1:y2, x1:x2]

        colour = self._colour(patch.mean((0, 1)))
        accent = self._colour(colour)
        shade = self._shade(x2 - x1, y2 - y1)
        covered = np.zeros(owner.shape, bool)
        for part, outline in zip(parts, outlines, strict=True):
            alpha = np.zeros(owner.shape, np.uint8)
            fixed = np.round((outline - (x1, y1)) * 16).astype(np.int32)  # 4 fractional bits
            cv2.fillPoly(alpha, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
            ink = (accent if part.accent else colour).astype(np.float32) * part.tone * shade
            patch += (ink.clip(0, 255) - patch) * (alpha[..., None] / np.float32(255))
            covered |= alpha >= 128
        number = 0
        if counts:
            self.painted.append(int(covered.sum()))
            number = len(self.painted)
        owner[covered] = number
        return number

    def _shade(self, width: int, height: int) -> np.ndarray:
        """Return brightness factors over a patch, (height, width, 1): light from one side and a rough surface."""
        slope = self.rng.uniform(-0.3, 0.3, (2, 2)).astype(np.float32)
        shade = 1 + cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
        rough = self.rng.normal(0, 0.1, (9, 9)).astype(np.float32)
        return (shade + cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR))[..., None]

    def lines(self, count: int) -> None:
        """Draw thin lines across the image; they belong to the background wherever they run."""
        for _ in range(count):
            ends = self.rng.integers(0, self.size, (2, 2)).tolist()
            colour, width = self.rng.uniform(0, 255, 3).tolist(), max(1, round(self.size / 110))
            cv2.line(self.image, *map(tuple, ends), colour, width, cv2.LINE_AA)
            cv2.line(self.owner, *map(tuple, ends), 0, width)

    def box(self, numbers: list[int]) -> tuple[list[int], int]:
        """Return the visible box ``[x, y, w, h]`` of some objects together and their visible area, pixels."""
        mine = np.isin(self.owner, numbers)
        if not mine.any():
            return [0, 0, 0, 0], 0
        xs, ys = np.flatnonzero(mine.any(0)), np.flatnonzero(mine.any(1))
        box = [xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1]
        return [int(v) for v in box], int(mine.sum())

    def photograph(self) -> np.ndarray:
        """Return the image as a camera would: uneven light, blur, noise; (size, size, 3) uint8, BGR."""
        rng, size = self.rng, self.size
        light = rng.uniform(0.75, 1.15, (2, 2)).astype(np.float32)
        image = self.image * cv2.resize(light, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9) * size / 192)
        image += rng.normal(0, rng.uniform(1, 7), image.shape)
        return image.clip(0, 255).astype(np.uint8)


def draw_scene(size: int, rng: np.random.Generator) -> tuple[np.ndarray, list[dict]]:
    """Draw one scene.

    Args:
        size: Side of the square image, pixels.
        rng: Source of all randomness.

    Returns:
        The image, (size, size, 3) uint8 BGR, and its annotations: category_id, bbox (x, y, w, h in pixels), area
        (visible pixels) and iscrowd.
    """
    scene = Scene(size, rng)
    names = list(SHAPES)
    for _ in range(rng.integers(0, 3)):
        scene.paint(
            clutter(rng), rng.uniform(0, size, 2), size * rng.uniform(0.1, 0.5), rng.uniform(0, 360), counts=False
        )
    scene.lines(rng.integers(0, 3))

    groups: list[tuple[int, list[int], int]] = []  # category id, object numbers, iscrowd
    kind = rng.random()
    if EMPTY_SHARE <= kind < EMPTY_SHARE + CROWD_SHARE:
        shape = SHAPES[names[rng.integers(len(names))]]
        middle, side = rng.uniform(0.25, 0.75, 2) * size, 0.11 * size
        crowd = [middle + rng.uniform(-0.2, 0.2, 2) * size for _ in range(rng.integers(7, 12))]
        numbers = [scene.paint(shape.draw(rng), at, side, rng.uniform(-shape.tilt, shape.tilt)) for at in crowd]
        groups.append((shape.category_id, numbers, 1))
    if kind >= EMPTY_SHARE:
        fractions = SIDES[0] + (SIDES[1] - SIDES[0]) * rng.beta(1.9, 1.8, rng.integers(2, 6))
        for fraction in np.sort(fractions)[::-1]:  # large ones behind
            shape, side = SHAPES[names[rng.integers(len(names))]], fraction * size
            number = scene.paint(shape.draw(rng), scene.place(side), side, rng.uniform(-shape.tilt, shape.tilt))
            groups.append((shape.category_id, [number], 0))
    scene.lines(rng.integers(0, 2))

    annotations = []
    for category_id, numbers, iscrowd in groups:
        bbox, area = scene.box(numbers)
        if area > MIN_VISIBLE * sum(scene.painted[n - 1] for n in numbers):
            annotations.append({"category_id": category_id, "bbox": bbox, "area": area, "iscrowd": iscrowd})
    return scene.photograph(), annotations


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

    The same seed gives the same JSON and, with the same OpenCV, the same pixels. Image k of a split is the same however
    many are drawn, and the splits come from separate random streams. The folder appears only when it is complete.

    Args:
        root: Folder to write; reused as it is if it already holds a complete set made with the same parameters.
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


def _write_set(
    folder: Path, *, counts: dict[str, int], size: int, seed: int, progress: Callable[[int, int], None] | None
) -> None:
    """Draw both splits into an empty folder; COCO's ids are counted per split."""
    categories = [{"id": s.category_id, "name": name, "supercategory": "drawn"} for name, s in SHAPES.items()]
    done, total = 0, sum(counts.values())
    (folder / "annotations").mkdir()
    for stream, split in enumerate(SPLITS):
        (folder / "images" / split).mkdir(parents=True)
        images, annotations = [], []
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
