"""Put several drawings into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from yolo_attn.report.drawing import Area, Dot, Drawing, Group, Item, Shape, Stroke, Text

_TITLE, _GAP = 22.0, 14.0


def grid(panels: Sequence[tuple[str, Drawing]], columns: int = 3) -> Drawing:
    """Return one drawing with a grid of titled drawings.

    Args:
        panels: Title and drawing of each panel.
        columns: Number of panels side by side.
    """
    columns = min(columns, len(panels))
    width = max(drawing.width for _, drawing in panels) + _GAP
    items: list[Item] = []
    y = 0.0
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        for k, (title, drawing) in enumerate(row):
            items.append(Text(k * width + 8, y + 15, title, bold=True))
            items += [_moved(item, k * width, y + _TITLE) for item in drawing.items]
        y += max(drawing.height for _, drawing in row) + _TITLE + _GAP
    return Drawing(columns * width, y, items)


def below(text: str, drawing: Drawing) -> Drawing:
    """Return a drawing with a line of text above it."""
    items = [_moved(item, 0, _TITLE) for item in drawing.items]
    return Drawing(drawing.width, drawing.height + _TITLE, [Text(8, 15, text, "worse", bold=True), *items])


def _moved(item: Item, x: float, y: float) -> Item:
    if isinstance(item, Group):
        return replace(item, shapes=[_moved_shape(shape, x, y) for shape in item.shapes])
    return _moved_shape(item, x, y)


def _moved_shape(shape: Shape, x: float, y: float) -> Shape:
    if isinstance(shape, Stroke | Area):
        return replace(shape, points=[(px + x, py + y) for px, py in shape.points])
    assert isinstance(shape, Dot | Text)
    return replace(shape, x=shape.x + x, y=shape.y + y)
