"""Measure intervals and verdicts where classes are rare: ``python tools/check_rare_classes.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from instruments.simulation import Scene, detect, make_coco_scene, make_scene
from yolo_attn.evaluate.bootstrap import Resampled, draw_images, resample
from yolo_attn.evaluate.differences import SIGNIFICANT, Values, differences
from yolo_attn.evaluate.intervals import Uncertainty
from yolo_attn.util.markdown import table

SEEDS, REPLICATES, PER_IMAGE = (2, 3, 5), 100, 20
EFFECT = 0.3
"""Quality of the better arm."""

SOURCES = {"images": (0.0, 2.0, 0.0), "objects": (0.0, 0.0, 2.0), "seeds and images": (0.2, 0.6, 0.0)}
"""Standard deviations of the quality of runs: between seeds, and between images and between targets per arm."""

METRIC = "mAP50-95"
OTHERS = ("2", "3 to 5", "6 to 15", "more")
"""Numbers of images with a class, for the table of single classes."""


@dataclass(frozen=True)
class Kind:
    """A kind of simulated validation set: ``classes`` is ``None`` for those of COCO."""

    images: int
    classes: int | None = None

    def __str__(self) -> str:
        return f"{self.images} images, {'COCO' if self.classes is None else f'{self.classes} classes'}"

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw images and targets."""
        if self.classes is None:
            return make_coco_scene(rng, self.images)
        return make_scene(rng, self.images, self.classes, 5 * self.images)


KINDS = (Kind(60, 40), Kind(240, 80), Kind(60), Kind(240), Kind(600), Kind(2000))


@dataclass(frozen=True, eq=False)
class Experiment:
    """Runs of three arms on one simulated set.

    Attributes:
        arms: Runs of the baseline, of an arm that does not differ from it, and of a better one.
        images: Number of images.
        images_by_class: Number of images that have a target of each class.
    """

    arms: tuple[list[Resampled], list[Resampled], list[Resampled]]
    images: int
    images_by_class: np.ndarray

    def values(self, arm: int, seeds: int, corrected: bool) -> Values:
        """Return the differences of an arm to the baseline, with or without the correction for rare classes."""
        pairs = [(a, b) for a, b in zip(self.arms[arm][:seeds], self.arms[0], strict=False)]
        plain = np.stack([a.metrics[METRIC] - b.metrics[METRIC] for a, b in pairs], axis=1)
        if not corrected:
            return Values(plain[0], plain[1:])
        both = [np.stack([a.for_variance[METRIC][k] - b.for_variance[METRIC][k] for a, b in pairs], 1) for k in (0, 1)]
        return Values(plain[0], both[0][1:], both[1][1:], pairs[0][0].image_df[METRIC])


def simulate(kind: Kind, spread: tuple[float, float, float], number: int) -> Experiment:
    """Draw a set, and train the arms with as many seeds as are asked for at most."""
    rng = np.random.default_rng([7, number])
    scene = kind.scene(rng)
    draws = draw_images(kind.images, REPLICATES, number)
    between, of_image, of_target = spread
    arms = []
    for effect in (0.0, 0.0, EFFECT):
        by_image = rng.normal(effect, of_image, kind.images)
        by_target = rng.normal(0, of_target, len(scene.target_cls))
        runs = [detect(rng, scene, PER_IMAGE, by_image + rng.normal(0, between), by_target) for _ in range(max(SEEDS))]
        arms.append([resample(replace(run, area=None), draws) for run in runs])  # without sizes
    return Experiment((arms[0], arms[1], arms[2]), kind.images, runs[0].images_by_class)


@dataclass(frozen=True)
class Row:
    """Errors of intervals and verdicts, in percent.

    Attributes:
        null: Coverage for the arm that does not differ.
        true: Coverage for the better arm.
        wrong: Share of comparisons in which the arm that does not differ has a verdict.
        found: Share of comparisons in which the better arm has one.
        ratio: Root mean squared standard error over the standard deviation of the estimates, both arms together.
    """

    null: float
    true: float
    wrong: float
    found: float
    ratio: float


def row(experiments: Sequence[Experiment], seeds: int, corrected: bool) -> Row:
    """Return how the package's own ``differences`` does; the true difference of the better arm is the mean estimate."""
    found = [
        differences(
            {"same": e.values(1, seeds, corrected), "better": e.values(2, seeds, corrected)}, e.images, power=False
        )
        for e in experiments
    ]
    truth = {"same": 0.0, "better": float(np.mean([d["better"].estimate for d in found]))}
    held = {name: np.mean([d[name].low <= true <= d[name].high for d in found]) for name, true in truth.items()}
    clear = {name: np.mean([d[name].p_holm < SIGNIFICANT for d in found]) for name in truth}
    errors = [(d[name].estimate - true) ** 2 for d in found for name, true in truth.items()]
    claimed = [d[name].se ** 2 for d in found for name in truth]
    ratio = float(np.sqrt(np.mean(claimed) / np.mean(errors)))
    return Row(100 * held["same"], 100 * held["better"], 100 * clear["same"], 100 * clear["better"], ratio)


def class_coverage(experiments: Sequence[Experiment], seeds: int) -> Mapping[str, tuple[int, float, float]]:
    """Return, by number of images with a class, how many intervals there are, their coverage of 0, and half width."""
    held: dict[str, list[tuple[bool, float]]] = {name: [] for name in OTHERS}
    for e in experiments:
        for c, images in enumerate(e.images_by_class.tolist()):
            if images > 1:
                both = np.stack([a.by_class[:, c] - b.by_class[:, c] for a, b in zip(*e.arms[1::-1], strict=True)], 1)
                both = both[:, :seeds]
                drawn = both[1:][~np.isnan(both[1:]).any(1)]
                low, high = Uncertainty.of(both[0], drawn, images).interval(float(both[0].mean()), 0.95)
                name = OTHERS[int(np.searchsorted([2, 5, 15], images))]
                held[name].append((low <= 0 <= high, (high - low) / 2))
    return {
        name: (len(h), 100 * float(np.mean([x for x, _ in h])), float(np.median([w for _, w in h])))
        for name, h in held.items()
        if h
    }


def to_markdown(experiments: int, kinds: Sequence[Kind] = KINDS) -> str:
    """Simulate all kinds of sets, and return the tables; large sets get fewer experiments."""
    rows, of_classes = [], []
    for kind in kinds:
        number = max(2, experiments // max(1, kind.images // 300))
        for source, spread in SOURCES.items():
            done = [simulate(kind, spread, n) for n in range(number)]
            few = [np.mean([(e.images_by_class <= n).sum() for e in done]) for n in (1, 2, 9, kind.images)]
            classes = " / ".join(f"{n:.0f}" for n in few)
            for seeds in SEEDS:
                plain, ours = (row(done, seeds, corrected) for corrected in (False, True))
                cells = [f"{r.null:.1f} / {r.true:.1f} ({r.ratio:.2f})" for r in (plain, ours)] + [
                    f"{r.wrong:.1f} / {r.found:.0f}" for r in (plain, ours)
                ]
                rows.append([str(kind), classes, source, str(number), str(seeds), *cells])
                print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            if source == "images":
                for seeds in SEEDS[:2]:
                    found = class_coverage(done, seeds)
                    cells = [
                        f"{found[n][1]:.1f} ({found[n][2]:.2f}, {found[n][0]})" if n in found else "" for n in OTHERS
                    ]
                    of_classes.append([str(kind), str(seeds), *cells])
                    print(*of_classes[-1], sep=" | ", file=sys.stderr, flush=True)
    head = ["set", "classes in 1 / up to 2 / up to 9 images / all", "variance from", "experiments", "seeds"]
    head += ["coverage without", "coverage with", "verdicts without", "verdicts with"]
    by_class = ["set, variance from images", "seeds", *(f"{n} images" for n in OTHERS)]
    return "\n".join(table(head, rows)) + "\n\n" + "\n".join(table(by_class, of_classes))


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/check_rare_classes.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="?", type=int, default=200, help="comparisons for each cell")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="numbers of the sets, from 1; all by default")
    parser.add_argument("--means", action="store_true", help="means over objects, not AP: 20 comparisons for each set")
    given = parser.parse_args(words)
    kinds = KINDS if given.only is None else [KINDS[n - 1] for n in given.only]
    if given.means:
        from instruments import rare_means

        print(rare_means.to_markdown(given.experiments, kinds))
    else:
        print(to_markdown(given.experiments, kinds))
