"""Id lists: files of a few kilobytes that rebuild a subset exactly.

The first line is a comment with a JSON object: the split, the label options, and SHA-256 checksums of the ids and of
the labels. Every further line holds an id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.labelled_images import LabelledImages

LABEL_OPTIONS = ("classes", "keep_class_ids", "sizes")
ADVICE = "Get the list again, or take its first line away to use the ids unchecked"


@dataclass(frozen=True)
class IdList:
    """Ids of images, as text.

    Args:
        path: The file.
        ids: The ids.
        header: Content of the first line; empty where there is none.
    """

    path: Path
    ids: tuple[str, ...]
    header: dict = field(default_factory=dict)

    def positions(self, images: LabelledImages) -> np.ndarray:
        """Return the positions of these ids among the images, ascending.

        Raises:
            YoloAttnError: Some are not.
        """
        known = {str(number): k for k, number in enumerate(images.ids)}
        unknown = [number for number in self.ids if number not in known]
        if unknown:
            raise YoloAttnError(
                f"{len(unknown)} of {len(self.ids)} ids of {self.path} are not among the images of {images.origin}, "
                f"the first being {unknown[0]}."
            )
        return np.array(sorted(known[number] for number in self.ids))


def ids_text(ids: Sequence[float | str], header: dict) -> str:
    """Return the content of an id list."""
    checked = {**header, "images": len(ids), "ids_sha256": _checksum([str(i) for i in ids])}
    return "".join(f"{line}\n" for line in (f"# {json.dumps(checked, ensure_ascii=False)}", *ids))


def read_ids(path: Path) -> IdList:
    """Read an id list and verify its checksum; a list without a header is not verified.

    Raises:
        YoloAttnError: It cannot be read, holds an id twice or none, or was changed.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise YoloAttnError(f"cannot read the id list {path}: {getattr(error, 'strerror', None) or error}.") from error
    header = _header(Path(path), lines[0]) if lines and lines[0].startswith("#") else {}
    ids = tuple(line for line in lines if line and not line.startswith("#"))
    if not ids:
        raise YoloAttnError(f"the id list {path} holds no ids.")
    if len(set(ids)) < len(ids):
        twice = next(i for k, i in enumerate(ids) if i in ids[:k])
        raise YoloAttnError(f"the id list {path} names the id {twice} twice.")
    if header and header["ids_sha256"] != _checksum(ids):
        raise YoloAttnError(
            f"the id list {path} is not what was written: it holds {len(ids)} ids where {header.get('images')} were "
            f"listed, or others (wrong SHA-256). {ADVICE}."
        )
    return IdList(Path(path), ids, header)


def find_id_lists(paths: Sequence[Path]) -> dict[str, IdList]:
    """Read id lists whose headers name their split.

    Args:
        paths: Files, or a folder with ``train.ids.txt`` and ``val.ids.txt``.

    Raises:
        YoloAttnError: A file does not say so, or two are for the same split.
    """
    files = [file for path in paths for file in (_lists_in(path) if Path(path).is_dir() else [Path(path)])]
    found: dict[str, IdList] = {}
    for file in files:
        listed = read_ids(file)
        split = listed.header.get("split")
        if split not in ("train", "val"):
            raise YoloAttnError(f"{file} does not say whether it is for train or val: use --train-ids or --val-ids.")
        if split in found:
            raise YoloAttnError(f"{found[split].path} and {file} are both for {split}.")
        found[split] = listed
    return found


def label_options(lists: dict[str, IdList]) -> dict:
    """Return the label options of the listed subset: classes, sizes and numbering.

    Raises:
        YoloAttnError: The lists disagree.
    """
    found = [{name: listed.header[name] for name in LABEL_OPTIONS} for listed in lists.values() if listed.header]
    if any(options != found[0] for options in found):
        raise YoloAttnError(f"the id lists were made with different classes or sizes: {found[0]} and {found[1]}.")
    return found[0] if found else {}


def verify_labels(listed: IdList, labels_sha256: str) -> None:
    """Check that the labels of a rebuilt split are those the list was made with.

    Raises:
        YoloAttnError: They are not.
    """
    if listed.header.get("labels_sha256") != labels_sha256:
        raise YoloAttnError(
            f"the images of {listed.path} are all there, but their labels are not those the list was made with: the "
            "annotations are another version. Take the first line away to use the ids all the same."
        )


def _lists_in(folder: Path) -> list[Path]:
    found = [p for p in (folder / f"{split}.ids.txt" for split in ("train", "val")) if p.is_file()]
    if not found:
        raise YoloAttnError(f"{folder} has no train.ids.txt and no val.ids.txt.")
    return found


def _header(path: Path, line: str) -> dict:
    try:
        header = json.loads(line.lstrip("# "))
        if not {"ids_sha256", *LABEL_OPTIONS} <= set(header):
            raise ValueError("keys are missing")
    except (ValueError, TypeError) as error:
        raise YoloAttnError(f"the first line of the id list {path} is damaged ({error}). {ADVICE}.") from error
    return header


def _checksum(ids: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{number}\n" for number in ids).encode()).hexdigest()
