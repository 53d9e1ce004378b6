"""Draw what a block reads and writes: the map, its gates in their shape, and the product, as SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

_DEPTH, _SIDE = 30, 76  # of the map: channels go into the picture
_WIDTH, _BASELINE, _STEP = 190, 130, 200


def drawing(maps: str, words: Mapping[str, Any]) -> str:
    """Return the drawing.

    Args:
        maps: Shapes of the gates, as in the stored facts.
        words: Words of a language; ``kinds`` has a caption for each shape.
    """
    shapes = list(dict.fromkeys(re.findall(r"\(.*?\)", maps)))
    boxes = [_box(0, "x", "(N, C, H, W)", "(N, C, H, W)")]
    boxes += [_box(i, words["kinds"].get(shape, ""), shape, shape) for i, shape in enumerate(shapes, 1)]
    boxes.append(_box(len(shapes) + 1, "y", "(N, C, H, W)", "(N, C, H, W)"))
    arrows = [_arrow(i) for i in range(len(shapes) + 1)]
    width = _STEP * (len(shapes) + 2)
    label = escape(words["reads"])
    body = "".join(boxes + arrows)
    return (
        f'<figure style="width:100%"><svg viewBox="0 0 {width} 190" role="img" aria-label="{label}" '
        f'style="max-width:{width}px;width:100%" fill="none" stroke="currentColor" stroke-width="1.2">{body}</svg>'
        f"<figcaption>{label}</figcaption></figure>"
    )


def _box(place: int, title: str, shape: str, sizes: str) -> str:
    """Return a cuboid of rows, columns and channels, thin where the shape has a 1."""
    parts = [part.strip() for part in sizes.strip("()").split(",")]
    names = parts[1:] if len(parts) == 4 else ["1", *parts[1:]]
    depth, height, width = (_extent(name, full) for name, full in zip(names, (_DEPTH, _SIDE, _SIDE), strict=True))
    left = place * _STEP + (_WIDTH - width - depth) / 2
    top = _BASELINE - height
    front = f'<rect x="{left:.0f}" y="{top:.0f}" width="{width}" height="{height}"/>'
    lid = f'<path d="M{left:.0f} {top:.0f} l{depth} {-depth * 0.6:.0f} h{width} l{-depth} {depth * 0.6:.0f}"/>'
    side = f'<path d="M{left + width:.0f} {_BASELINE} l{depth} {-depth * 0.6:.0f} v{-height}"/>'
    middle = place * _STEP + _WIDTH / 2
    texts = f'<g stroke="none" fill="currentColor" text-anchor="middle" font-size="13"><text x="{middle:.0f}" y="155">'
    texts += f'{escape(title)}</text><text x="{middle:.0f}" y="175" opacity=".7">{escape(shape)}</text></g>'
    return front + lid + side + texts


def _extent(name: str, full: int) -> int:
    if name == "1":
        return 5
    return full // 2 if name in ("G", "2", "L", "C/2", "K") else full


def _arrow(place: int) -> str:
    x = place * _STEP + _WIDTH - 12
    return f'<path d="M{x} 95 h26 m-7 -5 l7 5 l-7 5"/>'
