"""Summarize a subset and the set it was chosen from: numbers, a Markdown page, and notes to the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_attn.subset.choice import SIZES
from yolo_attn.subset.divergence import class_errors, divergence, random_divergence
from yolo_attn.subset.labelled_images import FATES, LabelledImages

MEASURE_NAMES = {
    "class": "boxes by class, JS divergence (bits)",
    "class_size": "boxes by class and size, JS divergence (bits)",
    "boxes_per_image": "images by number of boxes, JS divergence (bits)",
    "max_class_error": "largest relative error of a class's share",
}
FATE_NAMES = {
    "crowd": "crowd regions",
    "outside": "wholly outside the image",
    "no_area": "without area",
    "duplicate": "exact duplicates",
    "other_class": "of other classes",
    "other_size": "of other sizes",
}


@dataclass(frozen=True)
class Chosen:
    """One split of a subset.

    Args:
        part: The chosen images.
        whole: All that qualified.
        seed: Seed of the choice, for the random parts it is compared with.
    """

    part: LabelledImages
    whole: LabelledImages
    seed: int

    @property
    def is_part(self) -> bool:
        """Whether some of the qualifying images were not chosen."""
        return len(self.part) < len(self.whole)


def summarize(chosen: Mapping[str, Chosen]) -> dict[str, Any]:
    """Return all numbers of a subset as JSON values; the caller adds the notes."""
    return {"notes": [], "splits": {split: _split(each) for split, each in chosen.items()}}


def _split(chosen: Chosen) -> dict[str, Any]:
    part, whole = chosen.part, chosen.whole
    table, whole_table = part.counts(), whole.counts()
    errors = class_errors(table.sum(1), whole_table.sum(1))
    shown = np.unique(part.category[part.kept] * len(part) + part.image[part.kept]) // max(len(part), 1)
    showing = np.bincount(shown, minlength=len(part.class_names))
    counts = part.count_by_fate()
    summary: dict[str, Any] = {
        "images": len(part),
        "of_images": len(whole),
        "background_images": int((part.boxes_per_image == 0).sum()),
        "boxes": int(table.sum()),
        "of_boxes": int(whole_table.sum()),
        "boxes_by_size": dict(zip(SIZES, table.sum(0).tolist(), strict=True)),
        "of_boxes_by_size": dict(zip(SIZES, whole_table.sum(0).tolist(), strict=True)),
        "left_out": {name: counts[name] for name in FATES[1:]},
        "classes": {
            name: {
                "images": int(showing[k]),
                "boxes": int(table[k].sum()),
                **dict(zip(SIZES, table[k].tolist(), strict=True)),
                "of_boxes": int(whole_table[k].sum()),
                "share_error": round(float(errors[k]), 6),
            }
            for k, name in enumerate(part.class_names)
        },
    }
    if chosen.is_part:
        summary["divergence"] = {
            "subset": divergence(part, whole),
            "random": random_divergence(whole, len(part), chosen.seed),
        }
    return summary


def missing_classes(summary: Mapping[str, Any]) -> list[str]:
    """Return the classes of a split's summary that have boxes in the whole set and none in the part."""
    return [name for name, row in summary["classes"].items() if row["of_boxes"] and not row["boxes"]]


def as_markdown(summary: Mapping[str, Any]) -> str:
    """Return a summary as a Markdown page."""
    lines = ["# Subset", "", *(f"- {note}" for note in summary["notes"])]
    for split, numbers in summary["splits"].items():
        lines += ["", f"## {split}", "", *_overview(numbers)]
        if "divergence" in numbers:
            lines += ["", *_divergences(numbers)]
        lines += ["", *_class_table(numbers)]
    return "\n".join(lines) + "\n"


def _overview(numbers: Mapping[str, Any]) -> list[str]:
    left_out = [f"{count:,} {FATE_NAMES[fate]}" for fate, count in numbers["left_out"].items() if count]
    by_size = ", ".join(
        f"{size} {_share(numbers['boxes_by_size'], size)} (of all: {_share(numbers['of_boxes_by_size'], size)})"
        for size in SIZES
    )
    return [
        f"{numbers['images']:,} of {numbers['of_images']:,} images, {numbers['background_images']:,} of them without "
        f"objects; {numbers['boxes']:,} of {numbers['of_boxes']:,} boxes.",
        f"By size: {by_size}.",
        f"Left out of the labels of these images: {', '.join(left_out) or 'nothing'}.",
    ]


def _share(by_size: Mapping[str, int], size: str) -> str:
    return f"{by_size[size] / max(sum(by_size.values()), 1):.1%}"


def _divergences(numbers: Mapping[str, Any]) -> list[str]:
    subset, random = numbers["divergence"]["subset"], numbers["divergence"]["random"]
    rows = [f"| {name} | {subset[key]:.6f} | {random[key]:.6f} |" for key, name in MEASURE_NAMES.items()]
    return ["| distance from the whole | this subset | random, mean of 20 |", "| --- | --- | --- |", *rows]


def _class_table(numbers: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {row['images']:,} | {row['boxes']:,} | {row['small']:,} | {row['medium']:,} | {row['large']:,} | "
        f"{row['of_boxes']:,} | {row['share_error']:+.1%} |"
        for name, row in numbers["classes"].items()
    ]
    head = "| class | images | boxes | small | medium | large | boxes in all | error of its share |"
    return [head, "| --- |" + " --- |" * 7, *rows]
