"""Turn a detection set in COCO's format into a YOLO set: linked images, label files and a dataset YAML.

Everything is written to a temporary folder beside the target and renamed at the end, so a folder that is there is
complete. What it was made with is kept in it (``subset.json``): asking again for the same reuses it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import yaml

from .errors import YoloAttnError, one_of

SPLITS = ("train", "val")
MARKER = "subset.json"


def convert_coco(
    source: Path,
    out: Path,
    *,
    images: int | None = None,
    val_images: int | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """Convert a COCO-format set, or a random part of it, to a YOLO set that Ultralytics trains on.

    Boxes are clipped to the image; crowd regions, boxes without area and exact duplicates are left out; images without
    objects stay, with an empty label file. Samples are nested: with one seed, the first 100 images are among the first
    200.

    Args:
        source: Folder with ``annotations/instances_train*.json`` and ``instances_val*.json``, and the images in
            ``images/train``, ``train2017`` or ``images/train2017`` (``val`` likewise).
        out: Folder to write; reused as it is if it was made with the same parameters from the same annotations.
        images: Number of training images, a plain random sample; None for all.
        val_images: Number of validation images, likewise.
        classes: Names of the categories to keep; None for all. Images that show none of them stay, as background.
        seed: Seed of the samples.

    Returns:
        Path of the written ``data.yaml``.

    Raises:
        YoloAttnError: Something is missing, malformed, not as many as asked for, or not writable; or `out` holds
            something else.
    """
    source, out = Path(source), Path(os.path.abspath(out))  # the dataset YAML names `out` in full, links unresolved
    if not source.is_dir():
        raise YoloAttnError(f"COCO folder {source} does not exist or is not a folder.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise YoloAttnError(f"seed must be a whole number of at least 0, not {seed!r}.")
    files = {split: _find_json(source, split) for split in SPLITS}
    content, digests = {}, {}
    for split, path in files.items():
        content[split], digests[split] = _read_json(path)
    kept = _kept_categories({split: _categories(content[split], files[split]) for split in SPLITS}, classes)
    parameters = {
        "source": str(source.resolve()),
        "annotations": digests,
        "images": images,
        "val_images": val_images,
        "classes": None if classes is None else list(kept.values()),
        "seed": seed,
    }

    def build(folder: Path) -> None:
        notes = []
        for stream, (split, wanted) in enumerate(zip(SPLITS, (images, val_images), strict=True)):
            records = _sample(content[split], files[split], wanted, np.random.default_rng([seed, stream]))
            pictures = _find_images(source, split, files[split], records)
            boxes = _write_split(folder, split, records, pictures, content[split], files[split], list(kept))
            notes.append(f"{split}: {len(records)} images, {boxes} boxes, from {files[split].name}")
        _write_yaml(folder / "data.yaml", out, list(kept.values()), parameters, notes)

    return build_once(out, MARKER, parameters, build) / "data.yaml"


def build_once(out: Path, marker: str, parameters: dict, build: Callable[[Path], None]) -> Path:
    """Fill a folder through a temporary sibling and a rename, unless it already holds the same.

    Args:
        out: The folder; may be absent or empty.
        marker: Name of the JSON file, written last, that holds the parameters and the number of files.
        parameters: What the content depends on, as JSON values.
        build: Fills the empty folder it is given.

    Returns:
        `out`.

    Raises:
        YoloAttnError: `out` holds something else, is damaged, or cannot be written.
    """
    if _is_done(out, marker, parameters):
        return out
    partial = out.parent / f".{out.name}.partial-{uuid.uuid4().hex[:8]}"
    try:
        partial.mkdir(parents=True)
        build(partial)
        record = {"parameters": parameters, "files": _count_files(partial)}
        (partial / marker).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if out.is_dir():
            out.rmdir()  # it is empty
        partial.rename(out)
    except OSError as error:
        if _is_done(out, marker, parameters):  # another process was faster
            return out
        raise YoloAttnError(f"cannot write {out}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _is_done(out: Path, marker: str, parameters: dict) -> bool:
    """Tell whether `out` is complete; raise if it is anything but that, absent or an empty folder."""
    advice = "Choose another folder or remove this one."
    if not os.path.lexists(out):
        return False
    if not out.is_dir():
        raise YoloAttnError(f"{out} exists and is not a folder. {advice}")
    try:
        if not any(out.iterdir()):
            return False
        record = json.loads((out / marker).read_text(encoding="utf-8"))
        made_with, files = record["parameters"], record["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise YoloAttnError(f"{out} exists and was not made by this command (no valid {marker}). {advice}") from error
    if made_with != parameters:
        names = [k for k in {**parameters, **made_with} if made_with.get(k) != parameters.get(k)]
        changes = ", ".join(f"{k} {_short(made_with.get(k))} there, {_short(parameters.get(k))} now" for k in names)
        raise YoloAttnError(f"{out} was made with other parameters ({changes}). {advice}")
    present = _count_files(out)
    for name, count in files.items():
        if present.get(name, 0) < count:
            raise YoloAttnError(f"{out} is damaged: {name} has {present.get(name, 0)} of {count} files. {advice}")
    return True


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _count_files(folder: Path) -> dict[str, int]:
    """Count the readable files of every sub-folder; a link whose target is gone does not count."""
    counts = {}
    for where, _, names in os.walk(folder):
        name = Path(where).relative_to(folder).as_posix()
        if name != ".":
            counts[name] = sum(os.path.isfile(os.path.join(where, n)) for n in names)
    return counts


def _names(paths: Iterable[Path], limit: int = 8) -> str:
    names = sorted(p.name for p in paths)
    return (", ".join(names[:limit]) + (", ..." if len(names) > limit else "")) or "nothing"


def _find_json(source: Path, split: str) -> Path:
    folder = source / "annotations"
    if not folder.is_dir():
        raise YoloAttnError(
            f"{source} has no annotations/ folder with instances_{split}*.json; it holds {_names(source.iterdir())}."
        )
    found = [p for p in sorted(folder.iterdir()) if re.fullmatch(rf"instances_{split}(?!val).*\.json", p.name)]
    exact = [p for p in found if p.name == f"instances_{split}.json"]
    if exact or len(found) == 1:
        return (exact or found)[0]
    if found:
        raise YoloAttnError(
            f"{folder} has several {split} sets ({_names(found)}); keep one or name it instances_{split}.json."
        )
    raise YoloAttnError(f"{folder} has no instances_{split}*.json; it holds {_names(folder.iterdir())}.")


def _read_json(path: Path) -> tuple[dict, str]:
    """Return the content and its SHA-256."""
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
    except OSError as error:
        raise YoloAttnError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise YoloAttnError(f"{path} is not valid JSON, perhaps cut short: {error}.") from error
    if not isinstance(content, dict):
        raise YoloAttnError(f"{path} is not a COCO detection file: it holds a {type(content).__name__}, not an object.")
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise YoloAttnError(f"{path} is not a COCO detection file: it has no list of objects {key!r}.")
    return content, hashlib.sha256(raw).hexdigest()


def _malformed(path: Path, what: str, entry: dict, error: Exception) -> YoloAttnError:
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return YoloAttnError(f"{path} has a malformed entry in {what!r} ({reason}): {_short(entry)}.")


def _categories(content: dict, path: Path) -> dict[int, str]:
    """Return the category names by id, in the order of the ids."""
    names: dict[int, str] = {}
    for entry in content["categories"]:
        try:
            names[int(entry["id"])] = str(entry["name"])
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(path, "categories", entry, error) from error
    if not names:
        raise YoloAttnError(f"{path} names no categories.")
    return dict(sorted(names.items()))


def _kept_categories(by_split: dict[str, dict[int, str]], classes: Sequence[str] | None) -> dict[int, str]:
    known = by_split["train"]
    if by_split["val"] != known:
        odd = sorted(set(known.items()) ^ set(by_split["val"].items()))[0]
        raise YoloAttnError(f"train and val name different categories, the first being {odd[1]!r} with id {odd[0]}.")
    if classes is None:
        return known
    wanted = [classes] if isinstance(classes, str) else list(classes)
    if not wanted:
        raise YoloAttnError("classes is empty: name at least one class, or leave it out to keep all.")
    for name in wanted:
        if name not in known.values():
            raise YoloAttnError(one_of("class", name, known.values()))
    return {i: name for i, name in known.items() if name in wanted}


def _sample(content: dict, path: Path, wanted: int | None, rng: np.random.Generator) -> list[dict]:
    """Return the image records, or a random part of them, in the order of their ids."""
    try:
        records = sorted(content["images"], key=lambda entry: entry["id"])
    except (KeyError, TypeError) as error:
        raise YoloAttnError(f"{path} has images without a usable 'id'.") from error
    if wanted is None:
        return records
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= len(records):
        raise YoloAttnError(
            f"{path.name} has {len(records)} images: ask for 1 to {len(records)} of them, not {wanted!r}."
        )
    return [records[i] for i in sorted(rng.permutation(len(records))[:wanted])]


def _find_images(source: Path, split: str, path: Path, records: list[dict]) -> list[Path]:
    """Return the picture of every record; all must be there."""
    try:
        names = [str(entry["file_name"]) for entry in records]
    except KeyError as error:
        raise YoloAttnError(f"{path} has images without 'file_name'.") from error
    if not names:
        raise YoloAttnError(f"{path} lists no images.")
    year = path.stem.removeprefix("instances_")
    places = [source / "images" / year, source / year, source / "images" / split, source / split]
    folders = [p for p in places if p.is_dir()]
    folders += [source / "images", source]  # for names that bring their own folder
    folder = next((p for p in folders if (p / names[0]).is_file()), folders[0]).resolve()  # links need absolute paths
    pictures = [folder / name for name in names]
    missing = [p for p in pictures if not p.is_file()]
    if missing:
        raise YoloAttnError(f"{len(missing)} of {len(names)} {split} images are missing, the first being {missing[0]}.")
    return pictures


def _write_split(
    folder: Path, split: str, records: list[dict], pictures: list[Path], content: dict, path: Path, kept: list[int]
) -> int:
    """Link the pictures and write their labels; return the number of boxes."""
    index = {category: i for i, category in enumerate(kept)}
    known = {int(entry["id"]) for entry in content["categories"]}
    images = {entry["id"] for entry in content["images"]}
    by_image = defaultdict(list)
    for entry in content["annotations"]:
        try:
            if entry["image_id"] not in images or entry["category_id"] not in known:
                raise ValueError("unknown image_id or category_id")
            x, y, w, h = (float(v) for v in entry["bbox"])
            if not entry.get("iscrowd", 0) and entry["category_id"] in index:
                by_image[entry["image_id"]].append((index[entry["category_id"]], x, y, x + w, y + h))
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(path, "annotations", entry, error) from error
    (folder / "images" / split).mkdir(parents=True)
    (folder / "labels" / split).mkdir(parents=True)
    total, stems = 0, set()
    for record, picture in zip(records, pictures, strict=True):
        name = Path(record["file_name"].replace("/", "_"))
        if name.stem in stems:
            raise YoloAttnError(f"{path} has two images that would share the label file {name.stem}.txt.")
        stems.add(name.stem)
        _link(picture, folder / "images" / split / name)
        try:
            lines = _label_lines(by_image[record["id"]], float(record["width"]), float(record["height"]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise _malformed(path, "images", record, error) from error
        total += len(lines)
        (folder / "labels" / split / f"{name.stem}.txt").write_text("".join(lines), encoding="utf-8")
    return total


def _label_lines(boxes: list[tuple[int, float, float, float, float]], width: float, height: float) -> list[str]:
    """Return ``class cx cy w h`` lines, as fractions of the image; boxes are (class, x1, y1, x2, y2) in pixels."""
    lines: dict[str, None] = {}  # a set that keeps the order
    for category, x1, y1, x2, y2 in boxes:
        x1, x2 = max(x1, 0.0) / width, min(x2, width) / width
        y1, y2 = max(y1, 0.0) / height, min(y2, height) / height
        w, h = f"{x2 - x1:.6f}", f"{y2 - y1:.6f}"
        if float(w) > 0 and float(h) > 0:
            lines[f"{category} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {w} {h}\n"] = None
    return list(lines)


def _link(target: Path, link: Path) -> None:
    try:
        link.symlink_to(target)
    except (OSError, NotImplementedError):  # e.g. Windows without the privilege
        shutil.copyfile(target, link)


def _write_yaml(path: Path, root: Path, names: list[str], parameters: dict, notes: list[str]) -> None:
    about = [f"Made by yolo-attn from {_one_line(parameters['source'])}", *notes]
    asked = {k: parameters[k] for k in ("images", "val_images", "classes", "seed")}
    about.append("Asked for: " + ", ".join(f"{k}={_one_line(v)}" for k, v in asked.items()))
    about += [f"SHA-256 of the {split} annotations: {digest}" for split, digest in parameters["annotations"].items()]
    data = {"path": str(root), "train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=float("inf"))
    path.write_text("".join(f"# {line}\n" for line in about) + text, encoding="utf-8")


def _one_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
