"""Detect the format of a set: COCO 2017 as downloaded, one COCO-format JSON, or a YOLO set."""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.coco_json import read_coco
from yolo_attn.subset.labelled_images import LabelledImages
from yolo_attn.subset.yolo_set import YoloPart, find_yolo_parts

SPLITS = ("train", "val")
HOW_TO_GET_COCO = (
    "COCO 2017: unpack annotations_trainval2017.zip, train2017.zip and val2017.zip of cocodataset.org into one folder, "
    "or let --download do it"
)


@dataclass(frozen=True)
class CocoPart:
    """One COCO-format JSON and the folders that may hold its images."""

    path: Path
    folders: tuple[Path, ...]

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        seen = hashlib.sha256()
        try:
            with self.path.open("rb") as file:
                while block := file.read(1 << 20):
                    seen.update(block)
        except OSError as error:
            raise YoloAttnError(f"cannot read {self.path}: {error.strerror or error}.") from error
        return seen.hexdigest()

    def read(self) -> LabelledImages:
        """Read the file."""
        return read_coco(self.path, self.folders)


def find_source(path: Path, images_dir: Path | None = None) -> Mapping[str, CocoPart | YoloPart]:
    """Return the parts of a set: ``train`` and ``val``, or ``all`` where one file has to be split.

    Args:
        path: A COCO folder (``annotations/instances_*.json`` and images), a COCO-format JSON, a data YAML, or a folder
            with a ``data.yaml``.
        images_dir: Folder with the images of a COCO-format JSON, if not its own folder.

    Raises:
        YoloAttnError: It is none of these, or ambiguous.
    """
    path = Path(path)
    if images_dir is not None and not Path(images_dir).is_dir():
        raise YoloAttnError(f"images folder {images_dir} does not exist or is not a folder.")
    if path.suffix.lower() in (".yaml", ".yml"):
        return _yolo(path, images_dir)
    if path.is_dir():
        if not (path / "annotations").is_dir() and (path / "data.yaml").is_file():
            return _yolo(path / "data.yaml", images_dir)
        found = {split: _find_json(path, split) for split in SPLITS}
        return {split: CocoPart(file, _folders(file, path, split, images_dir)) for split, file in found.items()}
    if path.is_file() and path.suffix.lower() == ".json":
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        return {"all": CocoPart(path, _folders(path, root, path.stem, images_dir))}
    if path.exists():
        raise YoloAttnError(f"{path} is neither a COCO folder, nor a COCO-format .json, nor a data .yaml.")
    raise YoloAttnError(f"{path} does not exist. {HOW_TO_GET_COCO}.")


def _yolo(path: Path, images_dir: Path | None) -> dict[str, YoloPart]:
    if images_dir is not None:
        raise YoloAttnError(f"an images folder goes with a COCO-format JSON; {path} names its images itself.")
    return find_yolo_parts(path)


def _find_json(source: Path, split: str) -> Path:
    folder = source / "annotations"
    if not folder.is_dir():
        raise YoloAttnError(
            f"{source} has no annotations/ folder with instances_{split}*.json, and no data.yaml; it holds "
            f"{_names(source.iterdir())}. {HOW_TO_GET_COCO}."
        )
    found = [p for p in sorted(folder.iterdir()) if re.fullmatch(rf"instances_{split}(?!val).*\.json", p.name)]
    exact = [p for p in found if p.name == f"instances_{split}.json"]
    if exact or len(found) == 1:
        return (exact or found)[0]
    if found:
        raise YoloAttnError(
            f"{folder} has several {split} sets ({_names(found)}); keep one or name it instances_{split}.json."
        )
    raise YoloAttnError(
        f"{folder} has no instances_{split}*.json; it holds {_names(folder.iterdir())}. To split train and val off one "
        "JSON, give that file instead of the folder."
    )


def _names(paths: Iterable[Path], limit: int = 8) -> str:
    names = sorted(p.name for p in paths)
    return (", ".join(names[:limit]) + (", ..." if len(names) > limit else "")) or "nothing"


def _folders(file: Path, root: Path, split: str, images_dir: Path | None) -> tuple[Path, ...]:
    year = file.stem.removeprefix("instances_")
    if images_dir is not None:
        places = [images_dir / year, images_dir / split, images_dir]
    else:
        places = [root / "images" / year, root / year, root / "images" / split, root / split, root / "images", root]
        places.append(file.parent)
    return tuple(dict.fromkeys(Path(os.path.abspath(p)) for p in places if p.is_dir()))


def locate(images: LabelledImages, what: str) -> list[str]:
    """Return the path of every image file; each must exist and not be empty. None is decoded.

    Args:
        images: The images.
        what: What they are, for the message.

    Raises:
        YoloAttnError: Some are missing or empty.
    """
    folder = _folder_of(images)
    paths = [os.path.join(folder, name) for name in images.file_names]
    missing, empty = [], []
    for path in paths:
        try:
            if not os.stat(path).st_size:
                empty.append(path)
        except OSError:
            missing.append(path)
    for wrong, how in ((missing, "missing"), (empty, "empty files")):
        if wrong:
            advice = "" if os.path.isdir(os.path.dirname(wrong[0])) else " Say where they lie with --images-dir."
            raise YoloAttnError(
                f"{len(wrong)} of {len(paths)} {what} images are {how}, the first being {wrong[0]}.{advice}"
            )
    return paths


def _folder_of(images: LabelledImages) -> str:
    """Return the folder that holds the first image; links need it resolved."""
    here = [f for f in images.folders if images.file_names and (f / images.file_names[0]).is_file()]
    return os.path.realpath((here or images.folders)[0])


def without_overlap(parts: Mapping[str, LabelledImages]) -> tuple[dict[str, LabelledImages], int]:
    """Remove the images that are in both parts from train.

    Two images are the same if they are the same file, or have the same name and the same content; where a file is
    not there to be compared, the same name and the same id.

    Returns:
        The parts, and the number of images that train lost.

    Raises:
        YoloAttnError: Nothing is left to train on.
    """
    train, val = parts["train"], parts["val"]
    by_name = {os.path.basename(name): k for k, name in enumerate(val.file_names)}
    named_alike = [(k, by_name.get(os.path.basename(name))) for k, name in enumerate(train.file_names)]
    pairs = [(k, other) for k, other in named_alike if other is not None]
    if not pairs:
        return dict(parts), 0
    folders = _folder_of(train), _folder_of(val)
    same = {k for k, other in pairs if _same_image(train, k, val, other, folders)}
    if len(same) == len(train):
        raise YoloAttnError(
            f"every training image of {train.origin} is a validation image of {val.origin}, too: give one of them, and "
            "train and val are split off it."
        )
    stays = np.array([k for k in range(len(train)) if k not in same])
    return {**parts, "train": train.take(stays)}, len(same)


def _same_image(train: LabelledImages, k: int, val: LabelledImages, other: int, folders: tuple[str, str]) -> bool:
    one, two = os.path.join(folders[0], train.file_names[k]), os.path.join(folders[1], val.file_names[other])
    try:
        return os.path.samefile(one, two) or filecmp.cmp(one, two, shallow=False)
    except OSError:
        return train.ids[k] == val.ids[other]
