"""Settings and named presets of a subset. Imports nothing heavy, because the command line reads it for its help."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolo_attn.errors import YoloAttnError, one_of

SAMPLINGS = ("stratified", "random")
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Choice:
    """Settings that choose images and boxes of a set.

    Args:
        images: Number of training images, or a fraction of those that qualify (a float up to 1.0); None for all.
        val_images: The same for validation images. Where validation has to be split off, None is a tenth.
        sampling: ``stratified`` keeps the proportions of boxes by class and size; ``random`` is plain, and nested:
            with one seed, the first 100 images are among the first 200.
        seed: Seed of the choice.
        classes: Names of the classes to keep; None for all.
        keep_class_ids: Let classes keep the numbers they have in the whole set instead of counting from 0.
        sizes: Sizes of the objects to keep (``small``, ``medium``, ``large``); None for all.
        min_boxes: Kept boxes an image must have to qualify.
        background: Largest share of images without a kept box; 0 leaves them out, 1 keeps all.

    Raises:
        YoloAttnError: A value is out of range.
    """

    images: int | float | None = None
    val_images: int | float | None = None
    sampling: str = "stratified"
    seed: int = 0
    classes: tuple[str, ...] | None = None
    keep_class_ids: bool = False
    sizes: tuple[str, ...] | None = None
    min_boxes: int = 0
    background: float = 1.0

    def __post_init__(self):
        if self.sampling not in SAMPLINGS:
            raise YoloAttnError(one_of("sampling", self.sampling, SAMPLINGS))
        for name in ("seed", "min_boxes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise YoloAttnError(f"{name} must be a whole number of at least 0, not {value!r}.")
        if not 0 <= self.background <= 1:
            raise YoloAttnError(f"background is a share from 0 to 1, not {self.background!r}.")
        for name in ("images", "val_images"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 < value <= 1:
                raise YoloAttnError(f"{name} as a fraction is above 0 and at most 1.0, not {value!r}.")
        for name in ("classes", "sizes"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _names(name, value))
        for size in self.sizes or ():
            if size not in SIZES:
                raise YoloAttnError(one_of("size", size, SIZES))


def _names(kind: str, value: str | tuple[str, ...]) -> tuple[str, ...]:
    given = (value,) if isinstance(value, str) else tuple(value)
    if not given:
        raise YoloAttnError(f"{kind} is empty: name at least one, or leave it out to keep all.")
    return tuple(dict.fromkeys(given))


PRESETS = {
    "coco-1k": Choice(images=1_000),
    "coco-5k": Choice(images=5_000),
    "minitrain-25k": Choice(images=25_000),
}


def preset(name: str) -> Choice:
    """Return a named choice: a number of training images, stratified, seed 0, and the whole validation set.

    Raises:
        YoloAttnError: No preset has this name.
    """
    if name not in PRESETS:
        raise YoloAttnError(one_of("preset", name, PRESETS))
    return PRESETS[name]


def parse_amount(text: str) -> int | float:
    """Parse a number of images, e.g. ``5000``, or a fraction, e.g. ``0.1`` or ``10%``.

    Raises:
        YoloAttnError: It is neither.

    Examples:
        >>> parse_amount("5000"), parse_amount("0.1"), parse_amount("10%")
        (5000, 0.1, 0.1)
    """
    word = text.strip().replace("_", "")
    try:
        if word.endswith("%"):
            return float(word[:-1]) / 100
        return int(word) if word.lstrip("+-").isdecimal() else _finite(word)
    except ValueError:
        raise YoloAttnError(f"'{text}' is no number of images: give e.g. 5000, or a fraction: 0.1 or 10%.") from None


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(word)
    return value


def amount(wanted: int | float | None, available: int, kind: str) -> int:
    """Return the number of images to take of those available.

    Args:
        wanted: A number, a fraction, or None for all.
        available: Number of images there are.
        kind: Name of the set, for the error.

    Raises:
        YoloAttnError: More are wanted than are available, or not a number of images.
    """
    if wanted is None:
        return available
    if isinstance(wanted, float) and available:
        return max(1, math.floor(wanted * available + 0.5))
    if isinstance(wanted, (bool, float)) or not isinstance(wanted, int) or not 1 <= wanted <= available:
        raise YoloAttnError(f"{kind} has {available} images: ask for 1 to {available} of them, not {wanted!r}.")
    return wanted
