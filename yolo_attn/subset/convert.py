"""Convert a detection set, or a subset of it, to a YOLO set: linked images, labels, a data YAML and a summary.

Everything is written to a temporary folder next to the target and renamed at the end, so a folder that exists is
complete. Its parameters are stored in ``subset.json``; the same parameters reuse the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import yaml

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.choice import Choice, amount
from yolo_attn.subset.id_lists import LABEL_OPTIONS, IdList, ids_text, label_options, verify_labels
from yolo_attn.subset.labelled_images import LabelledImages
from yolo_attn.subset.plot import plot_summary
from yolo_attn.subset.qualify import eligible_images, filter_boxes
from yolo_attn.subset.sampling import choose
from yolo_attn.subset.sizes import check_files
from yolo_attn.subset.sources import SPLITS, find_source, locate, without_overlap
from yolo_attn.subset.summary import Chosen, as_markdown, missing_classes, summarize
from yolo_attn.subset.writing import write_split
from yolo_attn.util.build_once import build_once

MARKER = "subset.json"
VAL_SHARE = 0.1  # of the images, if validation has to be split off and no number is given


def convert_coco(
    source: Path,
    out: Path,
    choice: Choice | None = None,
    *,
    images_dir: Path | None = None,
    id_lists: Mapping[str, IdList] | None = None,
    copy: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Convert a set, or a part of it, to a YOLO set that Ultralytics trains on.

    Boxes are clipped to the image; crowd regions, boxes outside the image or without area and exact duplicates are left
    out; images without objects stay, with an empty label file. Images that are in both `train` and `val` are removed
    from `train`. The filters of the choice apply to train and val.

    Args:
        source: COCO folder, COCO-format JSON or data YAML; see `find_source`.
        out: Folder to write; reused as it is if it was made with the same parameters from the same annotations.
        choice: Images and boxes to take; all by default.
        images_dir: Folder with the images of a COCO-format JSON, if not its own folder.
        id_lists: Images to take, by split, instead of a number; their classes and sizes apply unless the choice names
            others.
        copy: Copy the images instead of linking them.
        log: Called with each line of progress and each note to the user.

    Returns:
        Path of the written ``data.yaml``.

    Raises:
        YoloAttnError: Something is missing, malformed, not as many as asked for, or not writable; or `out` holds
            something else.
    """
    choice, lists = choice or Choice(), dict(id_lists or {})
    for split, wanted in (("train", choice.images), ("val", choice.val_images)):
        if split in lists and wanted is not None:
            raise YoloAttnError(f"an id list settles the {split} images: leave out their number, or the list.")
    listed_options = label_options(lists)
    if not any(getattr(choice, name) for name in LABEL_OPTIONS):
        choice = replace(choice, **listed_options)
    out = Path(os.path.abspath(out))  # the data YAML names `out` in full, links unresolved
    sources = find_source(source, images_dir)
    parameters = {
        "source": os.path.realpath(source),
        "images_dir": None if images_dir is None else os.path.realpath(images_dir),
        "annotations": {part: each.digest() for part, each in sources.items()},
        **json.loads(json.dumps(asdict(choice))),
        "classes": None if choice.classes is None else sorted(choice.classes),
        "ids": {split: listed.header.get("ids_sha256") or list(listed.ids) for split, listed in lists.items()},
        "copy": copy,
    }

    def build(folder: Path) -> None:
        log(f"reading {source}")
        read = {part: each.read() for part, each in sources.items()}
        chosen, notes = _choose(read, choice, lists, log)
        summary = summarize(chosen)
        notes += _class_notes(summary, choice)
        about_files: list[str] = []
        for split, each in chosen.items():
            log(f"writing {split}: {len(each.part)} images")
            paths = locate(each.part, split)
            faults, said = check_files(each.part, paths, split)
            summary["splits"][split]["faulty_files"] = asdict(faults)
            about_files += said
            digest = write_split(folder, split, each.part, paths, copy)
            made_with = {name: getattr(choice, name) for name in LABEL_OPTIONS}
            if split in lists and lists[split].header and json.loads(json.dumps(made_with)) == listed_options:
                verify_labels(lists[split], digest)
            header = {"split": split, "labels_sha256": digest, **made_with}
            (folder / f"{split}.ids.txt").write_text(ids_text(each.part.ids, header), encoding="utf-8")
        notes += about_files
        summary |= {"notes": notes, "notes_on_files": about_files}
        (folder / "summary.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "summary.md").write_text(as_markdown(summary), encoding="utf-8")
        if any(each.is_part for each in chosen.values()):
            plot_summary(summary, folder / "summary.png")
        names = chosen["train"].part.class_names
        _write_yaml(folder / "data.yaml", out, names, parameters, _counts(chosen))
        for note in notes:
            log(f"note: {note}")

    return build_once(out, MARKER, parameters, build) / "data.yaml"


# --- choosing ---------------------------------------------------------------------------------------------------------
def _choose(
    read: dict[str, LabelledImages], choice: Choice, lists: Mapping[str, IdList], log: Callable[[str], None]
) -> tuple[dict[str, Chosen], list[str]]:
    notes: list[str] = []
    if "all" not in read:
        _same_classes(read)
        read, lost = without_overlap(read)
        if lost:
            notes.append(f"{lost} images were in train and in val; they are in val only")
    read = {part: filter_boxes(images, choice) for part, images in read.items()}
    log(f"choosing, {choice.sampling}")
    if "all" in read:
        chosen = _split_off(read["all"], choice, lists, notes)
    else:
        wanted = {"train": choice.images, "val": choice.val_images}
        chosen = {split: _choose_one(read[split], wanted[split], choice, lists, split) for split in SPLITS}
    return chosen, notes


def _same_classes(read: dict[str, LabelledImages]) -> None:
    one, other = read["train"].class_names, read["val"].class_names
    if one != other:
        odd = sorted(set(one) ^ set(other)) or [a for a, b in zip(one, other, strict=True) if a != b]
        raise YoloAttnError(f"train and val name different categories, the first being {odd[0]!r}.")


def _choose_one(
    images: LabelledImages, wanted: int | float | None, choice: Choice, lists: Mapping[str, IdList], split: str
) -> Chosen:
    whole = images.take(eligible_images(images, choice))
    if split in lists:
        return Chosen(images.take(lists[split].positions(images)), whole, choice.seed)
    number = amount(wanted, len(whole), images.origin)
    stream = SPLITS.index(split)
    return Chosen(whole.take(choose(whole, number, choice.sampling, choice.seed, stream)), whole, choice.seed)


def _split_off(
    images: LabelledImages, choice: Choice, lists: Mapping[str, IdList], notes: list[str]
) -> dict[str, Chosen]:
    """Choose val first, then train from the remaining images."""
    whole = images.take(eligible_images(images, choice))
    taken = lists["train"].positions(images) if "train" in lists else np.array([], np.int64)
    free = whole.take(_remaining(whole, images, taken))
    wanted = choice.val_images
    if wanted is None and "val" not in lists:
        wanted = VAL_SHARE
        notes.append(f"val was split off {images.origin}: a tenth of its images (change it with --val-images)")
    if isinstance(wanted, float):
        wanted = min(amount(wanted, len(whole), images.origin), max(len(free) - 1, 1))
    val = _choose_one(images if "val" in lists else free, wanted, choice, lists, "val").part
    if "train" in lists:
        train = images.take(taken)
    else:
        rest = whole.take(_remaining(whole, val, np.arange(len(val))))
        wanted = choice.images
        if isinstance(wanted, float):
            wanted = min(amount(wanted, len(whole), images.origin), len(rest))
        if not len(rest):
            raise YoloAttnError(f"all {len(whole)} images of {images.origin} went to val: ask for fewer --val-images.")
        number = amount(wanted, len(rest), f"{images.origin} without {len(val)} images for val")
        train = rest.take(choose(rest, number, choice.sampling, choice.seed, 0))
    if both := set(train.ids) & set(val.ids):
        raise YoloAttnError(f"{len(both)} images are in both id lists, the first being {min(both)}.")
    return {"train": Chosen(train, whole, choice.seed), "val": Chosen(val, whole, choice.seed)}


def _remaining(images: LabelledImages, others: LabelledImages, rows: np.ndarray) -> np.ndarray:
    """Return the positions of the images that are not among these rows of the others."""
    taken = {others.ids[k] for k in rows}
    return np.array([k for k, number in enumerate(images.ids) if number not in taken], np.int64)


def _class_notes(summary: dict, choice: Choice) -> list[str]:
    """Return notes on classes without boxes.

    Raises:
        YoloAttnError: A class that was asked for by name has no box to train on.
    """
    notes = []
    for split, numbers in summary["splits"].items():
        empty = [name for name in choice.classes or () if not numbers["classes"][name]["boxes"]]
        if empty and split == "train":
            raise YoloAttnError(
                f"class {empty[0]!r} has no box among the {numbers['images']} training images chosen: ask for more "
                "images, or leave the class out."
            )
        missing = empty or missing_classes(summary["splits"][split])
        if missing:
            notes.append(f"{split} shows no {', '.join(missing[:8])}{', ...' if len(missing) > 8 else ''}")
        if numbers["background_images"] > numbers["images"] / 2:
            share = numbers["background_images"] / numbers["images"]
            notes.append(f"{share:.0%} of the {split} images show none of the kept objects; --background 0 leaves them")
    return notes


def _counts(chosen: dict[str, Chosen]) -> list[str]:
    return [
        f"{split}: {len(each.part)} images, {int(each.part.kept.sum())} boxes, from {each.part.origin}"
        for split, each in chosen.items()
    ]


def _write_yaml(path: Path, root: Path, names: tuple[str, ...], parameters: dict, notes: list[str]) -> None:
    about = [f"Made by yolo-attn from {_one_line(parameters['source'])}", *notes]
    asked = {k: v for k, v in parameters.items() if k not in ("source", "annotations", "ids")}
    about.append("Asked for: " + ", ".join(f"{k}={_one_line(v)}" for k, v in asked.items()))
    about += [f"SHA-256 of the annotations, {part}: {digest}" for part, digest in parameters["annotations"].items()]
    data = {"path": str(root), "train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=float("inf"))
    path.write_text("".join(f"# {line}\n" for line in about) + text, encoding="utf-8")


def _one_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
