"""Filter boxes and images by class, size, number of boxes and share of background."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.subset.choice import SIZES, Choice
from yolo_attn.subset.labelled_images import OTHER_CLASS, OTHER_SIZE, LabelledImages
from yolo_attn.subset.sampling import shuffled

BACKGROUND_STREAM = 50


def filter_boxes(images: LabelledImages, choice: Choice) -> LabelledImages:
    """Drop the boxes of other classes and sizes from the labels, and renumber the classes if asked to.

    Raises:
        YoloAttnError: A class is not known.
    """
    if choice.sizes is not None:
        unwanted = [k for k, size in enumerate(SIZES) if size not in choice.sizes]
        images = images.exclude_boxes(np.isin(images.size, unwanted), OTHER_SIZE)
    if choice.classes is None:
        return images
    for name in choice.classes:
        if name not in images.class_names:
            raise YoloAttnError(one_of("class", name, images.class_names))
    kept = [k for k, name in enumerate(images.class_names) if name in choice.classes]
    other = ~np.isin(images.category, kept)
    images = images.exclude_boxes(other, OTHER_CLASS)
    if choice.keep_class_ids:
        return images
    number = np.zeros(
        len(images.class_names), np.int64
    )  # boxes of other classes are dropped, so their number is arbitrary
    number[kept] = np.arange(len(kept))
    return replace(images, category=number[images.category], class_names=tuple(images.class_names[k] for k in kept))


def eligible_images(images: LabelledImages, choice: Choice) -> np.ndarray:
    """Return the positions of the images that may be chosen, ascending.

    Raises:
        YoloAttnError: There are none.
    """
    boxes = images.boxes_per_image
    found = np.flatnonzero(boxes >= max(choice.min_boxes, 1))
    background = np.flatnonzero(boxes == 0) if not choice.min_boxes else np.array([], np.int64)
    if choice.background < 1:
        allowed = math.floor(choice.background / (1 - choice.background) * len(found) + 1e-9)
        order = shuffled(len(background), choice.seed, BACKGROUND_STREAM)
        background = background[order[:allowed]]
    found = np.sort(np.concatenate([found, background]))
    if not len(found):
        raise YoloAttnError(
            f"no image of {images.origin} qualifies: none has {max(choice.min_boxes, 1)} or more boxes of the wanted "
            "classes and sizes."
        )
    return found
