"""Draw small data sets of every task from the pictures that Ultralytics brings, under the names of its tests' sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.uint8]
Labels = Callable[[np.random.Generator], str]

HEIGHT, WIDTH = 360, 480
IMAGES = 4
"""Per split."""
CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Ids in Cityscapes' masks that count."""
FORMATS = {"train": ("bmp", "jpg", "jpeg", "png", "tif", "webp"), "val": ("jp2", "tiff", "mpo", "png", "jpg", "bmp")}
SOLUTIONS = {
    "solutions_ci_demo.mp4": (640, 360),
    "decelera_landscape_min.mov": (640, 360),
    "solution_ci_pose_demo.mp4": (360, 640),
    "solution_ci_parking_demo.mp4": (640, 360),
    "solution_vertical_demo.mp4": (360, 640),
    "decelera_portrait_min.mov": (360, 640),
}
"""Videos of the tests of solutions, and their width and height."""
FRAMES = 8


def pictures() -> list[Array]:
    """Return the pictures that Ultralytics brings."""
    from ultralytics.utils import ASSETS

    return [cv2.imread(str(file)) for file in sorted(ASSETS.glob("*.jpg"))]


def draw_sets(folder: Path, seed: int = 0) -> None:
    """Write every set that the host's tests name.

    Args:
        folder: The folder of data sets in Ultralytics' settings.
        seed: Of the crops and labels.
    """
    draw = _Draw(np.random.default_rng(seed))
    for name, labels in (("coco8", box), ("coco8-seg", polygon), ("coco8-pose", pose), ("dota8", corners)):
        draw.labelled(folder / name, labels)
    for name, labels in (("coco128", box), ("coco128-seg", polygon), ("dota128", corners)):
        draw.labelled(folder / name, labels, splits=("train2017",) if name.startswith("coco") else ("train", "val"))
    draw.labelled(folder / "coco8-grayscale", box, change=lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    draw.labelled(folder / "coco8-multispectral", box, write=_write_bands)
    draw.formats(folder / "coco12-formats")
    draw.semantic(folder / "cityscapes8")
    draw.depth(folder / "depth8-png")
    for name in ("imagenet10", "imagenet100"):
        draw.classes(folder / name)
    write_annotations(folder)


# --- labels -----------------------------------------------------------------------------------------------------------
def _place(rng: np.random.Generator) -> tuple[float, float, float, float]:
    width, height = rng.uniform(0.2, 0.4, 2)
    return rng.uniform(width / 2, 1 - width / 2), rng.uniform(height / 2, 1 - height / 2), width, height


def box(rng: np.random.Generator) -> str:
    """Return a label of a detection set: class, centre, size."""
    return f"{rng.integers(3)} " + _numbers(_place(rng))


def polygon(rng: np.random.Generator) -> str:
    """Return a label of a segmentation set: class and the corners of a polygon."""
    x, y, width, height = _place(rng)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = np.stack([x + width / 2 * np.cos(angles), y + height / 2 * np.sin(angles)], axis=1)
    return f"{rng.integers(3)} " + _numbers(points.ravel())


def pose(rng: np.random.Generator) -> str:
    """Return a label of a pose set: class, box, and 17 visible points inside it."""
    x, y, width, height = _place(rng)
    points = np.stack(
        [rng.uniform(x - width / 2, x + width / 2, 17), rng.uniform(y - height / 2, y + height / 2, 17)], 1
    )
    return f"0 {_numbers((x, y, width, height))} " + " ".join(f"{_numbers(point)} 2" for point in points)


def corners(rng: np.random.Generator) -> str:
    """Return a label of a set of oriented boxes: class and four corners."""
    x, y, width, height = _place(rng)
    points = cv2.boxPoints(((x, y), (width * 0.8, height * 0.6), float(rng.uniform(0, 30))))
    return f"{rng.integers(3)} " + _numbers(np.clip(points, 0, 1).ravel())


def _numbers(values: object) -> str:
    return " ".join(f"{value:.6f}" for value in np.asarray(values))


class _Draw:
    def __init__(self, rng: np.random.Generator):
        self.rng, self.pictures = rng, pictures()

    def image(self, height: int = HEIGHT, width: int = WIDTH) -> Array:
        """Return a crop of a picture, at this size."""
        picture = self.pictures[self.rng.integers(len(self.pictures))]
        rows, columns = (int(side * self.rng.uniform(0.6, 1)) for side in picture.shape[:2])
        top, left = self.rng.integers(picture.shape[0] - rows + 1), self.rng.integers(picture.shape[1] - columns + 1)
        return cv2.resize(picture[top : top + rows, left : left + columns], (width, height))

    def places(self, folder: Path, splits: tuple[str, ...] = ("train", "val")) -> Iterator[tuple[str, int]]:
        for split in splits:
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            yield from ((split, index) for index in range(IMAGES))

    def labelled(
        self,
        folder: Path,
        labels: Labels,
        splits: tuple[str, ...] = ("train", "val"),
        change: Callable[[Array], Array] = lambda image: image,
        write: Callable[[Path, Array], None] = lambda file, image: _write(file.with_suffix(".jpg"), image),
    ) -> None:
        for split, index in self.places(folder, splits):
            name = f"{len(splits) * index + splits.index(split) + 1:012d}"
            write(folder / "images" / split / name, change(self.image()))
            _write_text(folder / "labels" / split / f"{name}.txt", [labels(self.rng) for _ in range(3)])

    def formats(self, folder: Path) -> None:
        for split, formats in FORMATS.items():
            for index, form in enumerate(formats):
                name = f"{index:012d}-{form}"
                file = folder / "images" / split / f"{name}.{form}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(self.image()[..., ::-1]).save(file)
                _write_text(folder / "labels" / split / f"{name}.txt", [box(self.rng)])

    def semantic(self, folder: Path) -> None:
        for split, index in self.places(folder):
            cells = self.rng.choice(CITYSCAPES, size=(4, 8)).astype(np.uint8)
            _write(folder / "images" / split / f"{index}.png", self.image(512, 1024))
            mask = cv2.resize(cells, (1024, 512), interpolation=cv2.INTER_NEAREST)
            _write(folder / "masks" / split / f"{index}.png", mask)

    def depth(self, folder: Path) -> None:
        metres = np.linspace(10, 1, HEIGHT)[:, None] * np.ones(WIDTH)
        for split, index in self.places(folder):
            _write(folder / "images" / split / f"{index}.jpg", self.image())
            _write(folder / "depth" / split / f"{index}.png", (1000 * metres).astype(np.uint16))

    def classes(self, folder: Path) -> None:
        for split, count in (("train", 2), ("val", 1)):
            for label in range(10):
                for index in range(count):
                    _write(folder / split / f"n{label:08d}" / f"{index}.JPEG", self.image(96, 128))


def _write(file: Path, image: Array) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    done, code = cv2.imencode({".JPEG": ".jpg"}.get(file.suffix, file.suffix), image)
    if not done:
        raise OSError(f"cannot write {file}")
    file.write_bytes(code.tobytes())


def _write_bands(file: Path, image: Array) -> None:
    """Write an image of ten channels, as Ultralytics stores them."""
    from ultralytics.data.converter import convert_to_multispectral

    _write(file.with_suffix(".jpg"), image)
    convert_to_multispectral(file.with_suffix(".jpg"), n_channels=10)
    file.with_suffix(".jpg").unlink()


def _write_text(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- annotations in COCO's format -------------------------------------------------------------------------------------
def write_annotations(folder: Path) -> None:
    """Write the annotations of ``coco8-seg`` and ``coco8-pose`` in COCO's format, under the names of COCO's files."""
    target = folder / "annotations"
    target.mkdir(parents=True, exist_ok=True)
    for name, source in (("instances_val2017", "coco8-seg"), ("person_keypoints_val2017", "coco8-pose")):
        text = json.dumps(_coco(folder / source, points="pose" in source))
        (target / f"{name}.json").write_text(text, encoding="utf-8")


def _coco(folder: Path, points: bool) -> dict[str, object]:
    images, annotations = [], []
    for file in sorted((folder / "labels" / "val").glob("*.txt")):
        images.append({"id": int(file.stem), "file_name": f"{file.stem}.jpg", "width": WIDTH, "height": HEIGHT})
        for line in file.read_text(encoding="utf-8").splitlines():
            values = np.array([float(word) for word in line.split()])
            one = {"id": len(annotations) + 1, "image_id": int(file.stem), "category_id": int(values[0]) + 1}
            annotations.append({**one, "iscrowd": 0, **(_of_points(values[1:]) if points else _of_polygon(values[1:]))})
    categories = [{"id": index + 1, "name": str(index)} for index in range(3)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _of_polygon(values: NDArray[np.float64]) -> dict[str, object]:
    points = values.reshape(-1, 2) * (WIDTH, HEIGHT)
    low, size = points.min(0), np.ptp(points, 0)
    return {"bbox": [*low, *size], "area": float(size.prod()), "segmentation": [points.ravel().tolist()]}


def _of_points(values: NDArray[np.float64]) -> dict[str, object]:
    size = values[2:4] * (WIDTH, HEIGHT)
    low = values[:2] * (WIDTH, HEIGHT) - size / 2
    points = values[4:].reshape(-1, 3) * (WIDTH, HEIGHT, 1)
    return {
        "bbox": [*low, *size],
        "area": float(size.prod()),
        "num_keypoints": len(points),
        "keypoints": points.ravel().tolist(),
    }


# --- what the tests of solutions read ---------------------------------------------------------------------------------
def draw_solution_assets(folder: Path) -> None:
    """Write videos that pan over the pictures, and the other files that the tests of solutions read.

    Args:
        folder: ``solution_assets`` in the folder of weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bus, *_ = pictures()
    for name, (width, height) in SOLUTIONS.items():
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
        for frame in _pan(bus, width, height):
            writer.write(frame)
        writer.release()
    _write(folder / "boats.jpg", bus)
    areas = [
        {"points": [[20, 100], [200, 100], [200, 300], [20, 300]]},
        {"points": [[300, 100], [500, 100], [500, 300]]},
    ]
    (folder / "solution_ci_parking_areas.json").write_text(json.dumps(areas), encoding="utf-8")


def _pan(picture: Array, width: int, height: int) -> Iterator[Array]:
    scale = 1.2 * max(width / picture.shape[1], height / picture.shape[0])
    large = cv2.resize(picture, None, fx=scale, fy=scale)
    for index in range(FRAMES):
        left = (large.shape[1] - width) * index // FRAMES
        top = (large.shape[0] - height) // 2
        yield large[top : top + height, left : left + width]
