"""Draw one small figure per map, with its colour scale, in the aspect of the image."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.axes_grid1 import ImageGrid, make_axes_locatable  # type: ignore[import-untyped]
from PIL import Image

from yolo_attn.gates.gate import Gate
from yolo_attn.gates.statistics import DEAD, SATURATED
from yolo_attn.show.letterbox import Placement, onto_image, onto_line
from yolo_attn.util.plotting import styled

LONG_SIDE = 640
"""Pixels of an image's longer side in a picture, at most."""

_WIDTH, _TALLEST, _DPI = 4.2, 5.0, 115  # inches, inches, dots per inch
_FREE = {"figure.constrained_layout.use": False}  # for figures that are cropped to their content instead
_VEIL = 0.62  # weight of a map's colour over the grey image
_LEAST = 0.01  # least span of a scale, so that the noise of a constant map is not amplified
_LINE, _FRESH = "#0072b2", "#d55e00"


@dataclass(frozen=True)
class Scene:
    """Image to draw on.

    Attributes:
        picture: ``(H, W, 3)``, RGB, with a long side of at most ``LONG_SIDE``.
        placement: Position of the image in the model's input.
        outlines: Corners of the detections, ``(k, 2)`` each, in pixels of ``picture``.
    """

    picture: np.ndarray
    placement: Placement
    outlines: Sequence[np.ndarray] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.picture.shape[:2]


@dataclass(frozen=True)
class Scale:
    """Colour scale of a map.

    Attributes:
        norm: Maps values to [0, 1].
        colours: Maps [0, 1] to colours.
        label: Name of the values.
        fading: Whether small values are transparent.
    """

    norm: Normalize
    colours: Colormap
    label: str
    fading: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the colours of values, ``(..., 3)``, in [0, 1]."""
        return self.colours(self.norm(np.nan_to_num(values)))[..., :3]

    def weight(self, values: np.ndarray) -> np.ndarray:
        """Return the opacity of the colour over the image, in [0, 1]; 0 for NaN."""
        weight = 0.2 + 0.6 * self.norm(np.nan_to_num(values)) if self.fading else _VEIL
        return np.where(np.isnan(values), 0.0, weight)


@dataclass(frozen=True)
class Tile:
    """One of several maps drawn side by side.

    Attributes:
        name: Its heading.
        grid: The map.
        mark: A point to mark, x and y in pixels of the picture.
    """

    name: str
    grid: np.ndarray
    mark: np.ndarray | None = None


def shrunk(image: np.ndarray) -> np.ndarray:
    """Return an image with its long side at most ``LONG_SIDE``, BGR to RGB."""
    ratio = LONG_SIDE / max(image.shape[:2])
    if ratio < 1:
        size = [max(round(n * ratio), 1) for n in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def scale_of(gate: Gate, shown: Iterable[np.ndarray], full: bool = False) -> Scale:
    """Return one colour scale for maps that are compared.

    The colours run from the smallest to the largest value. Where a gate both strengthens and weakens, the middle colour
    is 1, which keeps the features.

    Args:
        gate: One of the gates; all are of the same kind.
        shown: Values that are drawn.
        full: Whether the colours span the gate's whole range.
    """
    values = list(shown)
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    if gate.kind in ("weights", "pairs") and low >= 0:
        return Scale(Normalize(0, max(high, 2.0)), colormaps["magma"], "times the uniform weight", fading=True)
    middle = gate.neutral if gate.top is not None else 0.0
    label = "value" if gate.top is None else "gate" if gate.neutral is None else "gate (1 changes nothing)"
    if full and gate.top is not None:
        norm = Normalize(0, gate.top) if middle is None else TwoSlopeNorm(middle, 0, gate.top)
        return Scale(norm, colormaps["viridis" if middle is None else "coolwarm"], label)
    if middle is not None and low < middle < high:
        half = max(middle - low, high - middle, _LEAST / 2)
        return Scale(Normalize(middle - half, middle + half), colormaps["coolwarm"], label)
    return Scale(Normalize(*_at_least(_LEAST, low, high)), colormaps["viridis"], label)


def _at_least(span: float, low: float, high: float) -> tuple[float, float]:
    """Return both ends, widened to ``span`` around their centre if they are closer."""
    return (low, high) if high - low >= span else ((low + high - span) / 2, (low + high + span) / 2)


def overlay(values: np.ndarray, scene: Scene, scale: Scale) -> np.ndarray:
    """Return a grey picture with a map's colours over it; it stays grey where the map is NaN.

    Args:
        values: The map at every pixel of the picture.
        scene: The picture.
        scale: Colour scale.

    Returns:
        ``(H, W, 3)``, RGB, 8 bits.
    """
    grey = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2GRAY)[..., None] / 255 * np.ones(3)
    weight = scale.weight(values)[..., None]
    mixed = (1 - weight) * grey + weight * scale(values)
    return (mixed.clip(0, 1) * 255).round().astype(np.uint8)


# --- panels -----------------------------------------------------------------------------------------------------------
def plain_panel(picture: np.ndarray, title: str) -> bytes:
    """Draw a picture without a map."""
    with styled(**_FREE):
        figure, axes = _figure(picture.shape[:2])
        axes.imshow(picture)
        axes.set_title(title)
        return to_png(figure)


def map_panel(grid: np.ndarray, scene: Scene, scale: Scale, title: str) -> bytes:
    """Draw one map over the image, without interpolation."""
    with styled(**_FREE):
        figure, axes = _figure(scene.size)
        _draw_map(axes, grid, scene, scale)
        axes.set_title(title)
        _add_bar(figure, make_axes_locatable(axes).append_axes("right", 0.12, pad=0.08), scale)
        return to_png(figure)


def strips_panel(product: Gate, rows: Gate, columns: Gate, scene: Scene, scale: Scale, title: str) -> bytes:
    """Draw the product of row and column gates, averaged over channels, and both gates along its sides."""
    with styled(**_FREE):
        figure, axes = _figure(scene.size, extra=1.0)
        _draw_map(axes, product.values.mean(0), scene, scale)
        axes.set_title(title)
        beside = make_axes_locatable(axes)
        at, (height, width) = scene.placement, scene.size
        left = beside.append_axes("left", 0.75, pad=0.08, sharey=axes)
        _draw_row_gate(left, *_along(rows, at.top, at.height, at.input_size[0], height))
        below = beside.append_axes("bottom", 0.6, pad=0.08, sharex=axes)
        _draw_column_gate(below, *_along(columns, at.left, at.width, at.input_size[1], width))
        _add_bar(figure, beside.append_axes("right", 0.12, pad=0.08), scale)
        return to_png(figure)


def sheet_panel(tiles: Sequence[Tile], scene: Scene, colours: str, title: str) -> bytes:
    """Draw several maps over small versions of the image, each with its own range in its title."""
    across = 2 if len(tiles) <= 4 else 4
    down = math.ceil(len(tiles) / across)
    height, width = scene.size
    small = Scene(scene.picture[::across, ::across], scene.placement)
    with styled(**_FREE):
        one = min((_WIDTH - 0.4) / across, _TALLEST / down * width / height)
        apart = max(0.08, 0.95 - one)  # room for the headings of narrow images
        tall = (one * height / width + 0.4) * down + 0.8
        figure = Figure(figsize=((one + apart) * across + 0.9, tall))
        grid = ImageGrid(
            figure,
            (0.02, 0.02, 0.85, 1 - 0.85 / tall),
            (down, across),
            axes_pad=(apart, 0.4),
            cbar_mode="single",
            cbar_size=0.12,
            cbar_pad=apart,
        )
        grid.get_divider().set_anchor("N")
        for axes in grid:
            axes.set_axis_off()
        for axes, tile in zip(grid, tiles, strict=False):
            low, high = float(tile.grid.min()), float(tile.grid.max())
            own = Scale(
                Normalize(*_at_least(_LEAST / 10, low, high)), colormaps[colours], "", fading=colours == "magma"
            )
            _draw_map(axes, tile.grid, small, own)
            axes.set_title(f"{tile.name}\n{low:.3g} to {high:.3g}", fontsize=8, pad=3)
            if tile.mark is not None:
                axes.plot(*tile.mark / across, "+", color="white", markersize=9, markeredgewidth=2.4)
                axes.plot(*tile.mark / across, "+", color="black", markersize=8, markeredgewidth=1)
        figure.suptitle(title, fontsize=10, x=0.45, y=0.99)
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colormaps[colours]), cax=grid.cbar_axes[0])
        bar.set_ticks([0, 1], labels=["lowest\nof each", "highest\nof each"])
        return to_png(figure)


def cam_panel(values: np.ndarray, scene: Scene, title: str) -> bytes:
    """Draw a class activation map over the image, larger values in stronger colour."""
    scale = Scale(Normalize(0, 1), colormaps["inferno"], "share of the maximum", fading=True)
    with styled(**_FREE):
        figure, axes = _figure(scene.size)
        pixels = onto_image(values, scene.placement, scene.size, smooth=True)
        axes.imshow(overlay(pixels, scene, scale))
        _draw_outlines(axes, scene)
        axes.set_title(title)
        _add_bar(figure, make_axes_locatable(axes).append_axes("right", 0.12, pad=0.08), scale)
        return to_png(figure)


def channel_panel(gate: Gate, scale: Scale, title: str) -> bytes:
    """Draw a channel gate: sorted as bars, with the freshly built block's, and in the order of the channels."""
    values = gate.values.ravel()
    ordered = np.sort(values)[::-1]
    what = "channels of each branch" if gate.kind == "branches" else "channels"
    with styled():
        figure = Figure(figsize=(_WIDTH, 3.4))
        bars, strip = figure.subplots(2, 1, height_ratios=(5, 1))
        base = gate.neutral if gate.neutral is not None else 0.0
        boxes = [[(k - 0.5, base), (k - 0.5, v), (k + 0.5, v), (k + 0.5, base)] for k, v in enumerate(ordered)]
        bars.add_collection(PolyCollection(boxes, facecolors=scale(ordered), linewidths=0))
        _draw_steps(bars, values, color="#333333", linewidth=0.8, label="this model")
        if gate.fresh is not None:
            _draw_steps(bars, gate.fresh, color=_FRESH, linewidth=1.2, linestyle="--", label="at init")
            bars.legend(loc="upper right", frameon=False, fontsize=9)
        _limit(bars, gate, scale)
        bars.set(xlim=(-0.5, len(values) - 0.5), xlabel=f"{what}, sorted by their gate", ylabel=scale.label)
        bars.set_title(title)
        lines = gate.values if gate.kind == "branches" else values[None]
        strip.imshow(lines, aspect="auto", cmap=scale.colours, norm=scale.norm, interpolation="nearest")
        strip.set(yticks=[], xlabel=f"{what}, in their order")
        strip.grid(False)
        return to_png(figure)


def _draw_steps(axes: Axes, values: np.ndarray, **style: Any) -> None:
    axes.step(range(values.size), np.sort(values, axis=None)[::-1], where="mid", **style)


def _limit(axes: Axes, gate: Gate, scale: Scale) -> None:
    """Set the axis to the range of the colour scale, and mark the dead and saturated limits inside it."""
    low, high = cast(float, scale.norm.vmin), cast(float, scale.norm.vmax)
    if gate.neutral is None and low > 0:
        low = 0.0
    margin = 0.06 * (high - low)
    axes.set_ylim(low if low == 0 else low - margin, high + margin)
    for share, word in ((DEAD, "dead"), (SATURATED, "saturated")):
        if gate.top is not None and low <= share * gate.top <= high:
            axes.axhline(share * gate.top, color="#666666", linewidth=0.8, linestyle=":")
            axes.text(0.01, share * gate.top, word, transform=axes.get_yaxis_transform(), fontsize=8, va="bottom")


def _figure(size: tuple[int, int], extra: float = 0.0) -> tuple[Figure, Axes]:
    """Return a figure with one panel as wide as fits, in the aspect of an image."""
    height, width = size
    across = min(_WIDTH, _TALLEST * width / height)
    figure = Figure(figsize=(across + 0.9 + extra, across * height / width + 0.5 + extra))
    axes = figure.subplots()
    axes.set_axis_off()
    return figure, axes


def _draw_map(axes: Axes, grid: np.ndarray, scene: Scene, scale: Scale) -> None:
    axes.imshow(overlay(onto_image(grid, scene.placement, scene.size), scene, scale))
    _draw_outlines(axes, scene)


def _draw_outlines(axes: Axes, scene: Scene) -> None:
    for corners in scene.outlines:
        for colour, width in (("black", 2.2), ("white", 1.0)):
            axes.add_patch(Polygon(corners - 0.5, closed=True, fill=False, edgecolor=colour, linewidth=width))


def _along(gate: Gate, start: int, length: int, input_length: int, pixels: int) -> tuple[np.ndarray, ...]:
    """Return mean, 10th and 90th percentile over the channels of a gate along one side, at every pixel of the side."""
    flat = gate.values.reshape(len(gate.values), -1)
    lines = (flat.mean(0), *np.percentile(flat, (10, 90), axis=0))
    return tuple(onto_line(line, start, length, input_length, pixels) for line in lines)


def _draw_row_gate(axes: Axes, mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    at = np.arange(len(mean))
    axes.fill_betweenx(at, low, high, color=_LINE, alpha=0.25, linewidth=0)
    axes.plot(mean, at, color=_LINE, linewidth=1)
    axes.tick_params(left=False, labelleft=False)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("row gate", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.grid(False)


def _draw_column_gate(axes: Axes, mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    at = np.arange(len(mean))
    axes.fill_between(at, low, high, color=_LINE, alpha=0.25, linewidth=0)
    axes.plot(at, mean, color=_LINE, linewidth=1)
    axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False, right=True, labelright=True)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("column gate", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.grid(False)


def _add_bar(figure: Figure, side: Axes, scale: Scale) -> None:
    figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=side, label=scale.label)


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG of 256 dithered colours, which looks the same at less than half the size."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    crop: dict[str, Any] = {} if figure.get_layout_engine() else {"bbox_inches": "tight", "pad_inches": 0.06}
    figure.savefig(drawn, format="png", dpi=_DPI, pil_kwargs={"compress_level": 0}, metadata={"Software": None}, **crop)
    picture = Image.open(drawn).convert("RGB")
    colours = picture.quantize(256, Image.Quantize.FASTOCTREE)
    picture.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(packed, "PNG", optimize=True)
    return packed.getvalue()
