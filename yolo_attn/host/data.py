"""Read data YAMLs and datasets as Ultralytics does: check them, list their images, prepare their caches."""

from __future__ import annotations

import glob
import inspect
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from torch.utils.data import ConcatDataset, Subset
from ultralytics.cfg import get_cfg
from ultralytics.data.base import BaseDataset
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset, img2label_paths
from ultralytics.utils import remove_colorstr
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.ops import xywh2xyxy

from yolo_attn.errors import YoloAttnError, like, one_of

SPLITS = ("train", "val")
NAMED_SPLITS = (*SPLITS, "test")


def check_data(data: str | Path, present: bool = False, split: str = "") -> dict[str, Any]:
    """Resolve a data YAML as Ultralytics does, downloading nothing.

    Args:
        data: The YAML.
        present: Whether its images have to be there even if Ultralytics could download them.
        split: Which images to validate on have to be there; by default those of ``val``.

    Returns:
        Its content with absolute paths, as Ultralytics uses it; empty for a set that Ultralytics is yet to download.

    Raises:
        YoloAttnError: If the file, or a folder of images it names, is missing.
    """
    if "://" in str(data) or Path(data).suffix not in (".yaml", ".yml"):
        return {}
    try:
        file = check_yaml(str(data))
        if yaml.safe_load(Path(file).read_text(encoding="utf-8")).get("download") and not present:
            return {}
        given = {"split": split} if "split" in inspect.signature(check_det_dataset).parameters else {}  # since 8.4
        return check_det_dataset(file, autodownload=False, **given)
    except Exception as error:  # Ultralytics turns every one into an error of the data
        reason = " ".join(str(error).split())
        raise like(error, f"data '{data}' cannot be used: {reason}") from error


class DataFiles(NamedTuple):
    """A data YAML, the names of its classes, and the images of each split with the label file of each."""

    file: Path
    names: Mapping[int, str]
    files: Mapping[str, Sequence[tuple[Path, Path]]]


def data_files(data: str, splits: Sequence[str] = SPLITS) -> DataFiles:
    """Return the files of a set, images in the order of their paths.

    Args:
        data: The data YAML.
        splits: Splits to list.

    Raises:
        YoloAttnError: If it is missing, or has no such split.
    """
    found = check_data(data, present=True, split="" if set(splits) <= set(SPLITS) else splits[0])
    if not found:
        raise YoloAttnError(f"data '{data}' is not a data YAML with its images in place")
    files: dict[str, list[tuple[Path, Path]]] = {}
    for split in splits:
        if not found.get(split):
            raise YoloAttnError(f"data '{data}': {one_of('split', split, [s for s in NAMED_SPLITS if found.get(s)])}")
        images = _images(found[split])
        labels = map(Path, img2label_paths([str(image) for image in images]))
        files[split] = list(zip(images, labels, strict=True))
    return DataFiles(Path(found["yaml_file"]).resolve(), found["names"], files)


def prepare_data(
    data: str, overrides: Mapping[str, Any], task: str = "detect", splits: Sequence[str] = SPLITS
) -> dict[str, Any]:
    """Prepare a set once for all runs: read all labels and, if requested, cache the images on disk.

    Args:
        data: The data YAML.
        overrides: Training arguments.
        task: Task of the models.
        splits: Splits to prepare.

    Returns:
        Ultralytics' dataset of each split, with its labels.

    Raises:
        YoloAttnError: If images cannot be read, there is nothing to find in a split, one image to validate on, or the
            labels are of another task.
    """
    found = check_data(data, present=True)
    cfg: Any = get_cfg(overrides={**overrides, "data": data, "task": task, "fraction": 1.0})
    cfg.cache = cfg.cache if cfg.cache == "disk" else False
    made: dict[str, Any] = {}
    for split in splits:
        try:
            dataset: Any = build_yolo_dataset(cfg, found[split], 16, found, mode=split, stride=32)
        except ValueError as error:  # no labels, or those of another task
            reason = " ".join(remove_colorstr(str(error)).split())
            raise like(error, f"data '{data}' cannot be used for the task '{task}': {reason}") from error
        listed, read = (set(map(os.path.abspath, images)) for images in (_images(found[split]), dataset.im_files))
        if unread := sorted(listed - read):
            raise YoloAttnError(
                f"data '{data}': {len(unread)} {split} images cannot be read or have wrong labels, the first being "
                f"{unread[0]}; remove them, so that every run sees the same set"
            )
        if split == "val" and len(listed) < 2:
            raise YoloAttnError(
                f"data '{data}': there is one image in its val split, and the intervals of a comparison come from "
                "drawing among several; give at least 2, better hundreds"
            )
        if not any(len(label["cls"]) for label in dataset.labels):
            raise YoloAttnError(f"data '{data}': there is not one object in its {split} labels")
        made[split] = dataset
    return made


@dataclass(frozen=True)
class Labelled:
    """An image and its labelled boxes.

    Attributes:
        name: File name.
        cls: Class of each box. Shape ``(G,)``.
        boxes: Left, top, right, bottom, in pixels of the image. Shape ``(G, 4)``.
    """

    name: str
    cls: np.ndarray
    boxes: np.ndarray


def labelled_images(dataset: Any) -> list[Labelled]:
    """Return the images and labels of one of Ultralytics' datasets, sorted by name, as validation sees them."""
    found = []
    for file, label in zip(dataset.im_files, dataset.labels, strict=True):
        height, width = label["shape"]
        boxes = xywh2xyxy(np.asarray(label["bboxes"], np.float32).reshape(-1, 4)) * [width, height, width, height]
        found.append(Labelled(Path(file).name, np.asarray(label["cls"]).reshape(-1).astype(int), boxes))
    return sorted(found, key=lambda image: image.name)


def refill_mosaic_buffers(dataset: Any, used: bool) -> None:
    """Replace the images that mosaics are drawn from by a random choice, which depends on the random state alone.

    Ultralytics collects them as it loads images, so they depend on all epochs before.

    Args:
        dataset: A training dataset of Ultralytics, or one that holds such; one that is cached in memory, has no buffer
            or is of another kind stays as it is.
        used: Whether mosaics are still drawn; else the buffer is only emptied.
    """
    for inner in host_datasets(dataset):
        chosen: list[int] = []
        if used and hasattr(inner, "buffer"):
            chosen = random.sample(range(inner.ni), min(inner.ni, inner.max_buffer_length))
            chosen = chosen[1:] or chosen  # the host keeps one fewer than the most
        fill_mosaic_buffer(inner, chosen)


def host_datasets(dataset: Any) -> Iterator[BaseDataset]:
    """Yield Ultralytics' datasets inside those of torch, such as ``Subset`` and ``ConcatDataset``."""
    if isinstance(dataset, BaseDataset):
        yield dataset
    elif isinstance(dataset, ConcatDataset):
        for inner in dataset.datasets:
            yield from host_datasets(inner)
    elif isinstance(dataset, Subset):
        yield from host_datasets(dataset.dataset)


def fill_mosaic_buffer(dataset: Any, chosen: Sequence[int]) -> None:
    """Have one of Ultralytics' datasets draw mosaics from these images, by number, which are loaded.

    A dataset that is cached in memory, or has no buffer, stays as it is.
    """
    if dataset.cache == "ram" or not hasattr(dataset, "buffer"):
        return
    for i in dataset.buffer:
        dataset.ims[i] = dataset.im_hw0[i] = dataset.im_hw[i] = None
    dataset.buffer.clear()
    if chosen:
        with ThreadPoolExecutor() as threads:
            list(threads.map(dataset.load_image, chosen))
        dataset.buffer[:] = chosen  # the threads were not in order


def _images(places: str | Sequence[str]) -> list[Path]:
    """List images as Ultralytics does: of folders without hidden ones, of list files with ``./`` for their folder."""
    found: list[str] = []
    for place in map(Path, [places] if isinstance(places, str) else places):
        if place.is_dir():
            found += glob.glob(str(Path(glob.escape(str(place))) / "**" / "*.*"), recursive=True)
        else:
            lines = place.read_text(encoding="utf-8-sig").split("\n")
            found += [str(place.parent / line) if line.startswith("./") else line for line in lines if line.strip()]
    return [Path(image) for image in sorted(found) if image.rpartition(".")[-1].lower() in IMG_FORMATS]
