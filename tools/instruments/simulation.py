"""Simulate comparisons with a known true difference, to check the statistics on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_attn.evaluate.matches import Matches

IOUS = np.linspace(0.5, 0.95, 10)


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
    return Scene(
        images=images,
        shares=shares,
        target_image=target_image,
        target_cls=rng.choice(classes, targets, p=shares),
        target_area=np.exp(rng.normal(8, 2, targets)).clip(20, 4e5),
        hardness=rng.normal(0, 1, targets) + rng.normal(0, 0.7, images)[target_image],
    )


def detect(rng: np.random.Generator, scene: Scene, per_image: int, quality: float | np.ndarray = 0.0) -> Matches:
    """Draw the detections of one run: every target with an overlap and a confidence, and false positives.

    Args:
        rng: Random numbers of this run.
        scene: Images and targets.
        per_image: Detections per image, on average.
        quality: Quality of the run, overall or per image; 0.3 is about 0.05 mAP.
    """
    targets = len(scene.target_cls)
    wrong = max(scene.images * per_image - targets, 0)
    seen = np.broadcast_to(quality, scene.images)[scene.target_image] - scene.hardness
    seen = seen + 0.15 * np.log(scene.target_area / 3000) + rng.normal(0, 0.7, targets)
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
