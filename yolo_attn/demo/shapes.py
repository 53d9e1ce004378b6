"""The drawn objects of the demo's scenes: each class is a function that returns polygons in a unit square.

A shape is a list of `Part`: polygons in painting order, x to the right and y down, inside ``[-0.5, 0.5]``. Colours are
drawn at random by the scene, so a class can only be told by its form. Proportions are drawn from the generator passed
in: no two cars are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """One filled polygon of a shape."""

    points: np.ndarray  # (n, 2), unit coordinates
    tone: float = 1.0  # brightness relative to the colour
    accent: bool = False  # painted in the object's second colour


def _rect(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def _ellipse(cx: float, cy: float, rx: float, ry: float, n: int = 32) -> np.ndarray:
    t = np.arange(n) * (2 * np.pi / n)
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def _ring(cx: float, cy: float, rx: float, ry: float, width: float, turn: tuple[float, float]) -> np.ndarray:
    """Return a bent band: the part of a ring between two angles, given in radians."""
    t = np.linspace(*turn, 24)
    outer = np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)
    inner = np.stack([cx + (rx - width) * np.cos(t), cy + (ry - width) * np.sin(t)], axis=1)
    return np.concatenate([outer, inner[::-1]])


def car(rng: np.random.Generator) -> list[Part]:
    """Draw a side view: body, cabin with two windows, two wheels."""
    roof, hood = rng.uniform(-0.32, -0.24), rng.uniform(-0.06, 0.0)
    front, back = rng.uniform(0.16, 0.26), rng.uniform(-0.44, -0.34)
    wheel, axle = rng.uniform(0.1, 0.13), rng.uniform(0.26, 0.31)
    parts = [
        Part(np.array([(back, hood), (back + 0.1, roof), (front - 0.12, roof), (front + 0.04, hood)])),
        Part(_rect(-0.5, hood, 0.5, 0.2)),
        Part(np.array([(back + 0.06, hood), (back + 0.13, roof + 0.05), (-0.1, roof + 0.05), (-0.1, hood)]), 1.3, True),
        Part(
            np.array([(-0.05, hood), (-0.05, roof + 0.05), (front - 0.14, roof + 0.05), (front - 0.03, hood)]),
            1.3,
            True,
        ),
    ]
    for x in (-axle, axle):
        parts += [Part(_ellipse(x, 0.2, wheel, wheel), 0.2), Part(_ellipse(x, 0.2, wheel / 2, wheel / 2), 1.4, True)]
    return parts


def house(rng: np.random.Generator) -> list[Part]:
    """Draw a front view: wall, gable roof, chimney, door and window."""
    half, eave = rng.uniform(0.32, 0.4), rng.uniform(-0.12, 0.02)
    door = rng.uniform(-half + 0.06, 0.0)
    return [
        Part(_rect(half - 0.16, -0.44, half - 0.05, eave), 0.5),
        Part(_rect(-half, eave, half, 0.5)),
        Part(np.array([(-0.5, eave), (0.0, -0.5), (0.5, eave)]), 0.8, True),
        Part(_rect(door, 0.18, door + 0.16, 0.5), 0.4),
        Part(_rect(0.1, eave + 0.12, half - 0.08, eave + 0.3), 1.5, True),
    ]


def tree(rng: np.random.Generator) -> list[Part]:
    """Draw a trunk under either three tiers of a fir or the lobes of a broad crown."""
    trunk = rng.uniform(0.05, 0.08)
    parts = [Part(_rect(-trunk, 0.1, trunk, 0.5), 0.6, True)]
    if rng.random() < 0.5:
        width = rng.uniform(0.28, 0.36)
        for i, (top, base) in enumerate([(-0.1, 0.3), (-0.3, 0.1), (-0.5, -0.12)]):
            half = width - 0.07 * i
            parts.append(Part(np.array([(-half, base), (0.0, top), (half, base)]), 0.75 + 0.15 * i))
        return parts
    for i, angle in enumerate(np.arange(6) * (np.pi / 3) + rng.uniform(0, 1)):
        x, y = 0.18 * np.cos(angle), -0.16 + 0.14 * np.sin(angle)
        parts.append(Part(_ellipse(x, y, rng.uniform(0.17, 0.2), rng.uniform(0.16, 0.19)), 0.8 + 0.07 * i))
    return parts


def ball(rng: np.random.Generator) -> list[Part]:
    """Draw a disc with a curved band and a highlight."""
    bend = rng.uniform(0.1, 0.24)
    t = np.linspace(-np.pi / 2, np.pi / 2, 16)
    edge = np.stack([0.5 * np.cos(t), 0.5 * np.sin(t)], axis=1)
    left, right = edge * [bend - 0.3, 1.0], edge * [bend + 0.3, 1.0]
    highlight = Part(_ellipse(-0.2, -0.24, 0.09, 0.07), 1.6)
    return [Part(_ellipse(0, 0, 0.5, 0.5)), Part(np.concatenate([left, right[::-1]]), 0.9, True), highlight]


def star(rng: np.random.Generator) -> list[Part]:
    """Draw five points around a smaller star of the second colour."""
    waist = rng.uniform(0.19, 0.26)
    t = np.arange(10) * (np.pi / 5) - np.pi / 2
    outline = np.stack([np.cos(t), np.sin(t)], axis=1) * np.where(np.arange(10) % 2, waist, 0.5)[:, None]
    return [Part(outline), Part(outline * rng.uniform(0.4, 0.6), 1.1, True)]


def cup(rng: np.random.Generator) -> list[Part]:
    """Draw a tapered cup with an open rim, a stripe and a handle."""
    foot, stripe = rng.uniform(0.18, 0.28), rng.uniform(0.0, 0.15)
    return [
        Part(_ring(0.22, 0.05, 0.28, 0.24, 0.08, (-np.pi / 2, np.pi / 2)), 0.85),
        Part(np.array([(-0.4, -0.38), (0.3, -0.38), (foot - 0.05, 0.46), (-foot - 0.05, 0.46)])),
        Part(_rect(-foot - 0.05, stripe, foot - 0.05, stripe + 0.12), 1.0, True),
        Part(_ellipse(-0.05, -0.38, 0.35, 0.1), 1.25),
        Part(_ellipse(-0.05, -0.37, 0.29, 0.07), 0.4),
    ]


def clutter(rng: np.random.Generator) -> list[Part]:
    """Draw one form that belongs to no class: a bar, a wedge, a cross, an arch or a crooked plate."""
    kind = rng.integers(5)
    if kind == 0:
        half = rng.uniform(0.04, 0.2)
        return [Part(_rect(-0.5, -half, 0.5, half))]
    if kind == 1:
        return [Part(np.array([(-0.5, 0.4), (rng.uniform(-0.5, 0.5), -0.4), (0.5, 0.4)]))]
    if kind == 2:
        half = rng.uniform(0.06, 0.14)
        return [Part(_rect(-0.5, -half, 0.5, half)), Part(_rect(-half, -0.5, half, 0.5))]
    if kind == 3:
        return [Part(_ring(0, 0.25, 0.5, 0.5, rng.uniform(0.08, 0.2), (np.pi, 2 * np.pi)))]
    return [Part(_rect(-0.4, -0.4, 0.4, 0.4) + rng.uniform(-0.1, 0.1, (4, 2)))]


class Shape(NamedTuple):
    """A class of objects: how it is drawn and how far it may be turned."""

    category_id: int  # as COCO's own ids, with gaps
    draw: Callable[[np.random.Generator], list[Part]]
    tilt: float  # largest rotation either way, degrees


SHAPES: dict[str, Shape] = {
    "car": Shape(3, car, 12),
    "house": Shape(7, house, 8),
    "tree": Shape(8, tree, 10),
    "ball": Shape(13, ball, 180),
    "star": Shape(21, star, 180),
    "cup": Shape(47, cup, 15),
}
"""The classes, in the order of their category ids."""
