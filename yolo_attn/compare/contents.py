"""Know images and labels by their contents: checksums for the specs of runs, and a record that names what changed.

Every image is read once, when a comparison is planned. The record, a digest of each image and of its label, lies in the
folder ``data`` of the comparison.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolo_attn.compare.run_folder import RESULT, TRAINING, RunSpec
from yolo_attn.errors import YoloAttnError, like
from yolo_attn.evaluate.npz import Record

DATA = "data"
_THREADS, _TOLD_FROM = 8, 2 * 2**30
_LOG = logging.getLogger("ultralytics")


@dataclass(frozen=True, eq=False)
class Contents(Record):
    """Digests of images and labels.

    Attributes:
        images: Number of images.
        names: File name of each image.
        classes: Names of the classes.
        splits: Names of the splits.
        split: Split of each image, by position. Shape ``(N,)``.
        image: First 64 bits of the SHA-256 of each image file. Shape ``(N,)``.
        label: The same of its label file; 0 without one. Shape ``(N,)``.
    """

    images: int
    names: tuple[str, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    split: np.ndarray
    image: np.ndarray
    label: np.ndarray

    def __post_init__(self) -> None:
        self._make_arrays(("split", "image", "label"))
        for name in ("classes", "splits"):
            object.__setattr__(self, name, tuple(map(str, getattr(self, name))))
        self._check_lengths(("split", "image", "label"), self.images)
        self._check_indices("split", len(self.splits))
        self._check_names()

    def of(self, split: str) -> dict[tuple[str, int], tuple[int, int]]:
        """Return the digests of the images and labels of a split by name, with a count for equal names."""
        found: dict[tuple[str, int], tuple[int, int]] = {}
        counts: dict[str, int] = {}
        for k in np.flatnonzero(self.split == self.splits.index(split)) if split in self.splits else ():
            name = self.names[k]
            counts[name] = counts.get(name, -1) + 1
            found[name, counts[name]] = (int(self.image[k]), int(self.label[k]))
        return found


class Seen(NamedTuple):
    """A data YAML, the checksum of its images' names and sizes and its labels, and that of its images' contents."""

    file: Path
    checksum: str
    images_checksum: str


_records: dict[tuple[str, str], Contents] = {}
"""Record of what was read in this process, by both checksums."""


def read_data(data: str, splits: Sequence[str] | None = None) -> Seen:
    """Read all images and labels of a set once.

    Args:
        data: The data YAML.
        splits: Splits to read; by default those that a training uses.

    Raises:
        YoloAttnError: If it, or images it names, are missing or cannot be read.
    """
    from yolo_attn.host.data import SPLITS, data_files

    found = data_files(data, splits or SPLITS)
    names, contents = hashlib.sha256(repr(sorted(found.names.items())).encode()), hashlib.sha256()
    sizes = {image: _size(image, data) for files in found.files.values() for image, _ in files}
    if (total := sum(sizes.values())) >= _TOLD_FROM:
        _LOG.info(f"reading {len(sizes):,} images ({total / 2**30:.1f} GB) for their checksum")
    rows: list[tuple[str, int, int, int]] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for i, (split, files) in enumerate(found.files.items()):
            digests = threads.map(_digest, [image for image, _ in files], [data] * len(files))
            for (image, label), digest in zip(files, digests, strict=True):
                text = label.read_bytes() if label.is_file() else None
                names.update(f"{split}/{image.name} {sizes[image]}\n".encode())
                names.update(b"no label\n" if text is None else text)
                contents.update(f"{split}/{image.name} ".encode() + digest)
                of_label = 0 if text is None else _short(hashlib.sha256(text).digest())
                rows.append((image.name, i, _short(digest), of_label))
    image_names = tuple(name for name, *_ in rows)
    parts, images, labels = np.array([row[1:] for row in rows], np.uint64).reshape(-1, 3).T
    seen = Seen(found.file, names.hexdigest(), contents.hexdigest())
    classes = tuple(str(name) for _, name in sorted(found.names.items()))
    record = Contents(len(rows), image_names, classes, tuple(found.files), parts.astype(int), images, labels)
    _records[seen.checksum, seen.images_checksum] = record
    return seen


def _size(image: Path, data: str) -> int:
    try:
        return image.stat().st_size
    except OSError as error:
        raise _unreadable(error, image, data) from error


def _digest(image: Path, data: str) -> bytes:
    try:
        return hashlib.sha256(image.read_bytes()).digest()
    except OSError as error:
        raise _unreadable(error, image, data) from error


def _unreadable(error: OSError, image: Path, data: str) -> YoloAttnError:
    return like(error, f"data '{data}': the image {image} cannot be read ({error.strerror or error})")


def _short(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")


# --- what changed -----------------------------------------------------------------------------------------------------
def write_record(out: Path, spec: RunSpec) -> None:
    """Write the record of a run's images and labels into the folder of its comparison, if they were read here."""
    record = _records.get((spec.data_checksum, spec.images_checksum or ""))
    if record is not None and not (file := _file(out, spec)).is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        record.save(file)


def differences(one: tuple[Path, RunSpec], other: tuple[Path, RunSpec]) -> str | None:
    """Return how the images and labels of the second differ from those of the first, as far as that is recorded.

    Args:
        one: A comparison's folder, and one of its runs.
        other: Another.

    Returns:
        E.g. ``3 of 400 val images have other contents, e.g. 1.jpg``; ``None`` if nothing differs.
    """
    (_, before), (_, now) = one, other
    unknown = before.images_checksum is None or now.images_checksum is None
    if before.data_checksum == now.data_checksum and (unknown or before.images_checksum == now.images_checksum):
        return None
    records = [_load(*held) for held in (one, other)]
    if records[0] is not None and records[1] is not None:
        return "; ".join(_compared(records[0], records[1])) or None
    if before.data_checksum == now.data_checksum:
        return "images of the same names and sizes have other contents"
    return "names or sizes of images, labels, or names of classes differ"


def check_same_data(runs: Mapping[str, tuple[Path, RunSpec]]) -> None:
    """Check that all runs saw the same images and labels, as far as these are recorded.

    Args:
        runs: Folder of the comparison, and spec, by what to call the run.

    Raises:
        YoloAttnError: If they differ; the message names two runs, and what differs.
    """
    known: dict[tuple[str, str | None], str] = {}
    for name, (_, spec) in runs.items():
        known.setdefault((spec.data_checksum, spec.images_checksum), name)
    recorded = [name for name in known.values() if _load(*runs[name]) is not None]
    for other in recorded[1:]:
        if said := differences(runs[recorded[0]], runs[other]):
            raise YoloAttnError(
                f"results of different images or labels cannot be compared: from {recorded[0]} to {other}, {said}"
            )


def with_unrecorded(specs: Sequence[RunSpec], root: Path) -> list[RunSpec]:
    """Replace specs by those of runs that were stored before contents of images were recorded, where there are such.

    Args:
        specs: The runs.
        root: Folder of all runs.
    """
    taken = []
    for spec in specs:
        before = replace(spec, images_checksum=None)
        old, new = root / before.folder_name, root / spec.folder_name
        there = (old / RESULT).is_file() or (old / TRAINING).is_dir()
        taken.append(before if there and not (new / RESULT).is_file() else spec)
    return taken


def unrecorded(specs: Iterable[RunSpec]) -> str | None:
    """Return what is to be said of runs whose images were not recorded; ``None`` if there are none."""
    recorded = [spec.images_checksum is not None for spec in specs]
    if all(recorded):
        return None
    return (
        f"{recorded.count(False)} of {len(recorded)} runs were stored before the contents of images were recorded: "
        "that their images are the same is known by names and sizes only"
    )


def _file(out: Path, spec: RunSpec) -> Path:
    return out / DATA / f"{spec.data_checksum[:10]}-{(spec.images_checksum or '')[:10]}.npz"


def _load(out: Path, spec: RunSpec) -> Contents | None:
    if spec.images_checksum is None:
        return None
    try:
        return Contents.load(_file(out, spec))
    except YoloAttnError:
        return None


def _compared(before: Contents, now: Contents) -> Iterator[str]:
    for split in dict.fromkeys((*before.splits, *now.splits)):
        held, found = before.of(split), now.of(split)
        both = [key for key in found if key in held]
        for k, (kind, verb) in enumerate((("images have", "other contents"), ("labels have", "other contents"))):
            changed = [key for key in both if held[key][k] != found[key][k]]
            yield from _said(changed, len(both), f"{split} {kind} {verb}")
        yield from _said([key for key in found if key not in held], len(found), f"{split} images are new")
        yield from _said([key for key in held if key not in found], len(held), f"{split} images are not there")
    if before.classes != now.classes:
        yield "the classes have other names"


def _said(keys: Sequence[tuple[str, int]], total: int, what: str) -> Iterator[str]:
    if keys:
        yield f"{len(keys):,} of {total:,} {what}, e.g. {keys[0][0]}"
