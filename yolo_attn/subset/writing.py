"""Write one split of a YOLO set: linked or copied images, and a label file for each."""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.labelled_images import LabelledImages


def write_split(folder: Path, split: str, images: LabelledImages, paths: list[str], copy: bool = False) -> str:
    """Write ``images/SPLIT`` and ``labels/SPLIT``.

    Args:
        folder: Where to.
        split: ``train`` or ``val``.
        images: The images and their labels; an image without kept boxes gets an empty label file.
        paths: Absolute path of each image file.
        copy: Copy the images; they are linked otherwise, or copied where links are impossible.

    Returns:
        SHA-256 of the labels.

    Raises:
        YoloAttnError: Two images would share a label file.
    """
    names = [name.replace("/", "_") for name in images.file_names]
    stems = _stems(names, images.origin)
    image_folder, label_folder = (str(folder / kind / split) for kind in ("images", "labels"))
    os.makedirs(image_folder)
    os.makedirs(label_folder)
    with ThreadPoolExecutor(1) as beside:  # linking is bound by the file system
        putting = beside.submit(_write_images, paths, [f"{image_folder}/{name}" for name in names], copy)
        digest = _write_labels([f"{label_folder}/{stem}.txt" for stem in stems], _label_texts(images))
        putting.result()
    return digest


def _write_images(paths: list[str], targets: list[str], copy: bool) -> None:
    put = shutil.copyfile if copy else _link
    for path, target in zip(paths, targets, strict=True):
        put(path, target)


def _write_labels(paths: list[str], texts: list[str]) -> str:
    seen = hashlib.sha256()
    for path, text in zip(paths, texts, strict=True):
        content = text.encode()
        seen.update(b"%d\n" % len(content) + content)
        with open(path, "wb", buffering=0) as file:
            file.write(content)
    return seen.hexdigest()


def _stems(names: list[str], origin: str) -> list[str]:
    stems = [os.path.splitext(name)[0] for name in names]
    if len(set(stems)) < len(stems):
        shared = next(stem for k, stem in enumerate(sorted(stems)) if stem == sorted(stems)[k + 1])
        raise YoloAttnError(f"{origin} has two images that would share the label file {shared}.txt.")
    return stems


def _label_texts(images: LabelledImages) -> list[str]:
    """Return the label file of each image: a line ``class cx cy w h`` per kept box, fractions of the image."""
    kept = images.kept
    columns = (images.category[kept].tolist(), *images.box[:, kept].tolist())
    lines = [f"{c} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, x, y, w, h in zip(*columns, strict=True)]
    ends = np.cumsum(images.boxes_per_image).tolist()
    return ["".join(lines[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _link(target: str, link: str) -> None:
    try:
        os.symlink(target, link)
    except (OSError, NotImplementedError):  # e.g. Windows without the privilege
        shutil.copyfile(target, link)
