"""Command line of ``yolo-attn subset``. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.choice import PRESETS, Choice, parse_amount, preset
from yolo_attn.util.words import log_to_stderr, refuse

CHOICE_FLAGS = (
    "images", "val_images", "sampling", "seed", "min_boxes", "background", "classes", "keep_class_ids", "sizes",
)  # fmt: skip


def add_flags(subset: argparse.ArgumentParser) -> None:
    """Add the flags of ``yolo-attn subset`` to its parser."""
    subset.add_argument(
        "--coco", "--yolo", dest="source", metavar="PATH", required=True, type=Path,
        help="COCO folder (annotations/ and images, as downloaded), COCO-format .json, or data .yaml of a YOLO set",
    )  # fmt: skip
    subset.add_argument("-o", "--output", required=True, type=Path, help="folder to write")
    subset.add_argument("--images-dir", type=Path, help="folder with the images of a .json (default: next to it)")
    subset.add_argument(
        "--download",
        action="store_true",
        help="download COCO 2017 into the --coco folder first (20 GB), missing parts only",
    )
    what = subset.add_argument_group("which images")
    what.add_argument("--preset", help=f"a named choice with the whole val: {', '.join(PRESETS)}")
    what.add_argument("--images", metavar="N", help="training images: 5000, or a fraction: 0.1, 10%% (default: all)")
    what.add_argument(
        "--val-images", metavar="N", help="validation images, likewise (default: all; a tenth if split off a .json)"
    )
    what.add_argument(
        "--sampling", help="stratified: keep the proportions of classes and sizes (default) | random: plain and nested"
    )
    what.add_argument("--seed", type=int, help="seed of the choice (default: 0)")
    what.add_argument("--min-boxes", type=int, metavar="N", help="only images with at least N kept boxes")
    what.add_argument(
        "--background", type=float, metavar="SHARE",
        help="at most this share of images without a kept box: 0 leaves them out (default: 1, all)",
    )  # fmt: skip
    what.add_argument(
        "--ids", type=Path, nargs="+", metavar="FILE", help="rebuild a subset from its folder or *.ids.txt"
    )
    what.add_argument("--train-ids", type=Path, metavar="FILE", help="exactly these training images, an id per line")
    what.add_argument("--val-ids", type=Path, metavar="FILE", help="exactly these validation images")
    labels = subset.add_argument_group("which boxes (in train and val)")
    labels.add_argument("--classes", help="keep these classes only, e.g. person,car; renumbered from 0")
    labels.add_argument(
        "--keep-class-ids", action="store_true", default=None, help="let classes keep the numbers of the whole set"
    )
    labels.add_argument(
        "--sizes", help="keep boxes of these sizes only: small (below 32^2 px), medium, large (from 96^2 px); others "
        "leave the labels, and the images stay",
    )  # fmt: skip
    subset.add_argument("--copy", action="store_true", help="copy the images (default: link them)")
    subset.add_argument(
        "--verify", action="store_true",
        help="decode every chosen image wholly, also of a subset that is there; exit code 1 if any file is at fault",
    )  # fmt: skip
    subset.add_argument("--json", action="store_true", help="print the summary as JSON instead of the data YAML's path")


def run(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Write a subset; return the path of the data YAML, or the summary as JSON, and the exit code."""
    refuse(trailing)
    from yolo_attn.subset.convert import MARKER, convert_coco
    from yolo_attn.subset.download import download
    from yolo_attn.subset.id_lists import find_id_lists, read_ids

    log, lists = log_to_stderr("subset"), find_id_lists(arguments.ids or [])
    for split in ("train", "val"):
        if path := getattr(arguments, f"{split}_ids"):
            lists[split] = read_ids(path)
    if arguments.download:
        download(arguments.source, log=log)
    is_there = (arguments.output / MARKER).is_file()
    written = convert_coco(
        arguments.source,
        arguments.output,
        _choice(arguments),
        images_dir=arguments.images_dir,
        id_lists=lists,
        copy=arguments.copy,
        log=log,
    )
    code = int(arguments.verify and not _is_sound(written.parent, is_there, log))
    if arguments.json:
        return (written.parent / "summary.json").read_text(encoding="utf-8").rstrip(), code
    log(f"summary: {written.parent / 'summary.md'}")
    return str(written), code


def _is_sound(folder: Path, is_there: bool, log: Callable[[str], None]) -> bool:
    """Decode the images of a subset, and tell whether all its files are as they should be; log those that are not.

    Args:
        folder: The subset.
        is_there: Whether it was written earlier, so that the notes of then were not logged.
        log: Called with each line.
    """
    from yolo_attn.subset.verify import stored_notes, undecodable

    log("decoding all images")
    broken, notes = undecodable(folder), stored_notes(folder)
    for line in notes if is_there else ():
        log(f"note: {line}")
    for name, reason in broken.items():
        log(f"note: {name} cannot be decoded ({reason})")
    if not (broken or notes):
        log("all images can be decoded, and have the sizes stated")
    return not (broken or notes)


def _choice(arguments: argparse.Namespace) -> Choice:
    """Return the preset, or the choice that the flags describe."""
    given = {name: value for name in CHOICE_FLAGS if (value := getattr(arguments, name)) is not None}
    if arguments.preset:
        chosen = preset(arguments.preset)
        if given:
            flag = "--" + next(iter(given)).replace("_", "-")
            raise YoloAttnError(f"--preset {arguments.preset} settles the choice: leave out {flag}, or the preset")
        return chosen
    for name in ("images", "val_images"):
        if name in given:
            given[name] = parse_amount(given[name])
    for name in ("classes", "sizes"):
        if name in given:
            given[name] = tuple(word.strip() for word in given[name].split(",") if word.strip())
    return Choice(**given)
