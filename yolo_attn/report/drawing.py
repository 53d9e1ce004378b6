"""Simple drawings, as SVG and as PNG: lines, areas, dots and text in pixels, coloured by what they mean.

The colours are names, such as ``better``. A page says what they are, so that a drawing in it follows the page into the
dark; a file of its own is drawn on white.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

LIGHT = {
    "text": "#1d2228",
    "muted": "#59636e",
    "line": "#d5dae0",
    "accent": "#0a5a9c",
    "better": "#00558b",
    "worse": "#a63c00",
    "page": "#ffffff",
}
"""Colours by name on white, as in ``report.css``."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HALO = "paint-order:stroke;stroke-width:3px;stroke-linejoin:round;stroke:"
Point = tuple[float, float]


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    points: Sequence[Point]
    tone: str = "text"
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Area:
    """A filled outline, half transparent."""

    points: Sequence[Point]
    tone: str = "muted"


@dataclass(frozen=True)
class Dot:
    """A circle, filled or hollow."""

    x: float
    y: float
    tone: str = "text"
    filled: bool = True
    radius: float = 4.5


@dataclass(frozen=True)
class Text:
    """Text at its baseline; ``anchor`` is ``start``, ``middle`` or ``end``, ``turned`` means read upwards."""

    x: float
    y: float
    text: str
    tone: str = "text"
    anchor: str = "start"
    size: float = 12.0
    bold: bool = False
    turned: bool = False


@dataclass(frozen=True)
class Group:
    """Shapes of one model, with the text shown on hovering over them."""

    shapes: Sequence[Shape]
    title: str
    arm: str


Shape = Stroke | Area | Dot | Text
Item = Shape | Group


@dataclass(frozen=True)
class Drawing:
    """A drawing.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        items: Shapes, from back to front.
    """

    width: float
    height: float
    items: Sequence[Item]

    def shapes(self) -> Iterator[Shape]:
        """Return all shapes, from back to front."""
        for item in self.items:
            yield from item.shapes if isinstance(item, Group) else (item,)


def text_width(text: str, size: float = 12.0) -> float:
    """Return about how wide a text is, in pixels; rather too wide than too narrow."""
    return 0.6 * size * len(text)


# --- SVG --------------------------------------------------------------------------------------------------------------
def to_svg(drawing: Drawing, label: str) -> str:
    """Return a drawing as an element of a page whose style sheet defines the colours.

    Args:
        drawing: The drawing.
        label: Description for screen readers.
    """
    return (
        f'<svg class="drawing" role="img" aria-label="{escape(label)}" viewBox="0 0 {_n(drawing.width)} '
        f'{_n(drawing.height)}" style="max-width:{_n(drawing.width)}px">{_items(drawing)}</svg>'
    )


def to_svg_file(drawing: Drawing, label: str) -> str:
    """Return a drawing as an SVG file, on white."""
    tones = "".join(f".t-{name}{{color:{colour}}}" for name, colour in LIGHT.items())
    page = LIGHT["page"]
    size = f'width="{_n(drawing.width)}" height="{_n(drawing.height)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(label)}" {size} viewBox="0 0 '
        f'{_n(drawing.width)} {_n(drawing.height)}" font-family="{FONT}">\n'
        f"<style>{tones}.hollow{{fill:{page}}}text{{{HALO}{page}}}</style>\n"
        f'<rect {size} fill="{page}"/>\n'
        f"{_items(drawing)}\n</svg>\n"
    )


def _items(drawing: Drawing) -> str:
    return "".join(_group(item) if isinstance(item, Group) else _shape(item) for item in drawing.items)


def _group(group: Group) -> str:
    inside = "".join(map(_shape, group.shapes))
    return f'<g data-arm="{escape(group.arm)}"><title>{escape(group.title)}</title>{inside}</g>'


def _shape(shape: Shape) -> str:
    kind = f'class="t-{shape.tone}"'
    if isinstance(shape, Stroke):
        dashes = ' stroke-dasharray="5 4"' if shape.dashed else ""
        line = f'fill="none" stroke="currentColor" stroke-width="{_n(shape.width)}"{dashes}'
        return f'<polyline {kind} points="{_points(shape.points)}" {line}/>'
    if isinstance(shape, Area):
        return f'<polygon {kind} points="{_points(shape.points)}" fill="currentColor" fill-opacity="0.22"/>'
    if isinstance(shape, Dot):
        inside = 'fill="currentColor"' if shape.filled else 'stroke="currentColor" stroke-width="1.5"'
        hollow = "" if shape.filled else " hollow"
        at = f'cx="{_n(shape.x)}" cy="{_n(shape.y)}" r="{_n(shape.radius)}"'
        return f'<circle class="t-{shape.tone}{hollow}" {at} {inside}/>'
    turn = f' transform="rotate(-90 {_n(shape.x)} {_n(shape.y)})"' if shape.turned else ""
    weight = ' font-weight="600"' if shape.bold else ""
    look = f'font-size="{_n(shape.size)}" text-anchor="{shape.anchor}" fill="currentColor"{weight}{turn}'
    return f'<text {kind} x="{_n(shape.x)}" y="{_n(shape.y)}" {look}>{escape(shape.text)}</text>'


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# --- PNG --------------------------------------------------------------------------------------------------------------
def to_png(drawing: Drawing) -> bytes:
    """Return a drawing as PNG, on white, with two pixels to each of its own."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Polygon
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=(drawing.width / 72, drawing.height / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.axis("off")
    for order, shape in enumerate(drawing.shapes()):
        colour = LIGHT[shape.tone]
        if isinstance(shape, Stroke):
            x, y = zip(*shape.points, strict=True)
            dashes = (0, (5, 4)) if shape.dashed else "-"
            axes.plot(x, y, color=colour, linewidth=shape.width, linestyle=dashes, zorder=order, clip_on=False)
        elif isinstance(shape, Area):
            axes.add_patch(Polygon(shape.points, facecolor=colour, alpha=0.22, linewidth=0, zorder=order))
        elif isinstance(shape, Dot):
            inside = colour if shape.filled else LIGHT["page"]
            edge = 0.0 if shape.filled else 1.5
            at, radius = (shape.x, shape.y), shape.radius
            axes.add_patch(Circle(at, radius, facecolor=inside, edgecolor=colour, linewidth=edge, zorder=order))
        else:
            align = {"start": "left", "middle": "center", "end": "right"}[shape.anchor]
            weight = "bold" if shape.bold else "normal"
            turn: dict[str, Any] = {"rotation": 90, "rotation_mode": "anchor"} if shape.turned else {}
            halo = [withStroke(linewidth=3, foreground=LIGHT["page"])]
            axes.text(
                shape.x, shape.y, shape.text, color=colour, fontsize=0.92 * shape.size, ha=align, va="baseline",
                weight=weight, zorder=order, parse_math=False, family="DejaVu Sans", path_effects=halo, **turn,
            )  # fmt: skip
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=144, metadata={"Software": None})
    return held.getvalue()
