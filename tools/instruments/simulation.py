"""Simulate comparisons with a known true difference, to check the statistics on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_attn.evaluate.matches import Matches

IOUS = np.linspace(0.5, 0.95, 10)

_IMAGES = """
852 132 124 103 99 85 83 78 66 60 59 58 52 49 48 46 46 44 43 43 42 42 41 40 39 38 37 35 35 34 33 32 32 32 32 32 30
30 28 28 28 27 26 26 26 25 25 25 22 19 19 18 17 17 16 16 16 16 15 15 15 14 14 12 12 12 12 11 10 10 8 8 8 7 7 6 5 3
2 2
"""
COCO_IMAGES = np.array(_IMAGES.split(), float)
"""Images with each of COCO's 80 classes, in thousandths: of 2,076 of its training images."""

_TARGETS = """
4 3.5 3.6 1.5 1.9 2.6 3.3 1.7 1.9 1.2 1.9 1.5 2.5 4.3 1.4 1.5 1.5 1.8 2.2 2 3 1.8 2 1.8 1.9 1.7 1.5 3 1.4 1.1 2
2.4 2.1 1.2 1.6 1.3 3.6 3 1.5 1.5 1.2 2.2 1.1 1.2 1.4 1.9 1.2 3.4 1.2 1.1 1.5 2 2.1 1.1 1.1 3.4 1.6 1.5 4.9 1.3
3.1 1.5 3.8 3.4 3 1.8 1 1 2.3 4.3 3.9 3.9 2.8 2.1 1.5 1.2 1.4 2.8 1.2 1
"""
COCO_TARGETS = np.array(_TARGETS.split(), float)
"""Targets of the class in such an image, on average."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Images with targets of varying difficulty.

    Attributes:
        images: Number of images.
        shares: Frequency of each class.
        target_image: Image of each target.
        target_cls: Class of each target.
        target_area: Area of each target, in square pixels.
        hardness: Difficulty of each target, partly that of its image.
    """

    images: int
    shares: np.ndarray
    target_image: np.ndarray
    target_cls: np.ndarray
    target_area: np.ndarray
    hardness: np.ndarray


def make_scene(rng: np.random.Generator, images: int, classes: int, targets: int) -> Scene:
    """Draw images with numbers of targets and class frequencies as uneven as COCO's."""
    shares = 1 / np.arange(1, classes + 1) ** 0.9
    shares /= shares.sum()
    target_image = np.sort(rng.choice(images, targets, p=rng.dirichlet(np.ones(images))))
    return _scene(rng, images, shares, target_image, rng.choice(classes, targets, p=shares))


def make_coco_scene(rng: np.random.Generator, images: int) -> Scene:
    """Draw images with COCO's 80 classes, each in as many images, and as often in one, as in COCO."""
    holds = rng.random((images, len(COCO_IMAGES))) < COCO_IMAGES / 1000
    target_image, target_cls = np.nonzero(holds)
    again = rng.geometric(1 / COCO_TARGETS[target_cls])
    shares = COCO_IMAGES * COCO_TARGETS / (COCO_IMAGES @ COCO_TARGETS)
    return _scene(rng, images, shares, np.repeat(target_image, again), np.repeat(target_cls, again))


def _scene(
    rng: np.random.Generator, images: int, shares: np.ndarray, target_image: np.ndarray, target_cls: np.ndarray
) -> Scene:
    targets = len(target_cls)
    return Scene(
        images=images,
        shares=shares,
        target_image=target_image,
        target_cls=target_cls,
        target_area=np.exp(rng.normal(8, 2, targets)).clip(20, 4e5),
        hardness=rng.normal(0, 1, targets) + rng.normal(0, 0.7, images)[target_image],
    )


def detect(
    rng: np.random.Generator,
    scene: Scene,
    per_image: int,
    quality: float | np.ndarray = 0.0,
    of_target: float | np.ndarray = 0.0,
) -> Matches:
    """Draw the detections of one run: every target with an overlap and a confidence, and false positives.

    Args:
        rng: Random numbers of this run.
        scene: Images and targets.
        per_image: Detections per image, on average.
        quality: Quality of the run, overall or per image; 0.3 is about 0.05 mAP.
        of_target: Quality per target, added to it.
    """
    targets = len(scene.target_cls)
    wrong = max(scene.images * per_image - targets, 0)
    seen = np.broadcast_to(quality, scene.images)[scene.target_image] - scene.hardness
    seen = seen + of_target + 0.15 * np.log(scene.target_area / 3000) + rng.normal(0, 0.7, targets)
    overlap = 0.35 + 0.6 / (1 + np.exp(-seen)) + rng.normal(0, 0.05, targets)
    logit = np.append(1.2 * seen - 0.5 + rng.normal(0, 1, targets), rng.normal(-4.5, 1.3, wrong))
    area = np.append(scene.target_area * np.exp(rng.normal(0, 0.1, targets)), np.exp(rng.normal(8, 2, wrong)))
    return Matches(
        images=scene.images,
        image=np.append(scene.target_image, rng.integers(0, scene.images, wrong)),
        cls=np.append(scene.target_cls, rng.choice(len(scene.shares), wrong, p=scene.shares)),
        confidence=1 / (1 + np.exp(-logit)),
        correct=np.append(overlap, np.zeros(wrong))[:, None] >= IOUS,
        target_image=scene.target_image,
        target_cls=scene.target_cls,
        area=area,
        target=np.append(np.arange(targets), np.full(wrong, -1)),
        target_area=scene.target_area,
    )


@dataclass(frozen=True)
class Regime:
    """Shares of the variance of a mean difference by source; they sum to 1.

    Attributes:
        seeds: Seeds, regardless of the images.
        images: Images, regardless of the seed.
        interaction: Seed and image together.
    """

    seeds: float
    images: float
    interaction: float


REGIMES = {
    "seeds": Regime(0.98, 0.01, 0.01),
    "mostly seeds": Regime(0.8, 0.2, 0.0),
    "seeds and images": Regime(0.5, 0.5, 0.0),
    "mostly images": Regime(0.2, 0.8, 0.0),
    "images": Regime(0.01, 0.98, 0.01),
    "interaction": Regime(0.05, 0.05, 0.9),
    "all three": Regime(1 / 3, 1 / 3, 1 / 3),
}


def linear_differences(rng: np.random.Generator, regime: Regime, seeds: int, images: int) -> np.ndarray:
    """Draw differences per seed and image whose mean, over both, has the true value 0 and variance 1.

    The effects of images are skewed, as those of real images are; those of seeds are normal.

    Returns:
        Shape ``(seeds, images)``.
    """
    by_seed = rng.normal(0, np.sqrt(regime.seeds * seeds), (seeds, 1))
    by_image = (rng.exponential(1, (1, images)) - 1) * np.sqrt(regime.images * images)
    both = (rng.exponential(1, (seeds, images)) - 1) * np.sqrt(regime.interaction * images * seeds)
    return by_seed + by_image + both
