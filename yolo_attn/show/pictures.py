"""Draw the pictures of one image: prediction, class activation map, and the gates of every block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from yolo_attn.gates.gate import Gate
from yolo_attn.report.formatting import number, percent, plural
from yolo_attn.report.parts import Block, Gallery, Heading, Image, Paragraph, Section
from yolo_attn.show import panels
from yolo_attn.show.detections import Detection, detections
from yolo_attn.show.letterbox import position_of
from yolo_attn.show.look import BlockMaps, Prediction
from yolo_attn.show.panels import Scale, Scene, Tile

_TILES = {"product": 4, "full": 4, "full half": 4, "factors": 4, "cells": 4, "kernels": 2, "groups": 8, "pairs": 4}
"""Most maps of a block that are drawn one by one, by kind."""
_CONSTANT = 1e-6
MOST_OUTLINES = 10
"""Largest number of detections that are outlined and explained by a class activation map."""


@dataclass(frozen=True)
class DrawOptions:
    """Channels and colour range to draw.

    Attributes:
        channels: Channels to draw one by one; by default those whose gate varies most over the positions.
        full: Whether colours span a gate's whole range.
    """

    channels: tuple[int, ...] = ()
    full: bool = False


@dataclass(frozen=True)
class View:
    """Prediction of one image by one model, and the maps to draw of it.

    Attributes:
        name: Name of the model.
        prefix: Prefix of its file names.
        predicted: Prediction and maps.
        cam: Class activation map over the model's input, and what it explains; ``None`` for none.
        blocks: The blocks to draw.
    """

    name: str
    prefix: str
    predicted: Prediction
    cam: tuple[np.ndarray, str] | None
    blocks: Sequence[BlockMaps]

    @cached_property
    def detections(self) -> list[Detection]:
        """Detections, most confident first."""
        return detections(self.predicted.result)

    @cached_property
    def scene(self) -> Scene:
        """The image to draw on."""
        picture = panels.shrunk(self.predicted.image)
        ratio = picture.shape[1] / self.predicted.image.shape[1]
        found = [d.corners * ratio for d in self.detections[:MOST_OUTLINES] if d.corners is not None]
        return Scene(picture, self.predicted.placement, found)


def section(title: str, key: str, views: Sequence[View], options: DrawOptions) -> Section:
    """Draw one image's section of the page: the prediction, the class activation map and the maps of every block.

    Args:
        title: The image's name.
        key: The folder of its files.
        views: Predictions of one or two models.
        options: Channels and colour range to draw.
    """
    blocks: list[Block] = [Gallery([list(_model_images(view, key)) for view in views])]
    for matching in _matched(views):
        titles = dict.fromkeys(f"{block.location.label} ({block.where})" for _, block in matching)
        scales = _scales([gate for _, block in matching for gate in block.gates], options.full)
        held = [_Block(view, block, views, key) for view, block in matching]
        drawn = [
            [image for b in held if b.view is view for image in _block_images(b, scales, options)] for view in views
        ]
        blocks.append(Heading(" | ".join(titles)))
        blocks += [Paragraph(f"{_model_prefix(view, views)}{block.note}") for view, block in matching if block.note]
        blocks.append(Gallery(drawn))
    return Section(key, title, blocks)


def _matched(views: Sequence[View]) -> list[list[tuple[View, BlockMaps]]]:
    """Return groups of blocks that are drawn together: those at the same place of two models."""
    places: dict[tuple, list[tuple[View, BlockMaps]]] = {}
    for view in views:
        counts: dict[tuple, int] = {}
        for block in view.blocks:
            place = (block.where, bool(block.location.host))
            counts[place] = counts.get(place, 0) + 1
            places.setdefault((*place, counts[place]), []).append((view, block))
    return sorted(places.values(), key=lambda matching: matching[0][1].location.row)


def _model_prefix(view: View, views: Sequence[View]) -> str:
    return f"{view.name}: " if len(views) > 1 else ""


# --- the whole model --------------------------------------------------------------------------------------------------
def _model_images(view: View, key: str) -> Iterable[Image]:
    found = plural(len(view.detections), "detection") if view.scene.outlines else _best(view)
    plotted = panels.shrunk(view.predicted.result.plot(pil=False))
    yield Image(
        f"{key}/{view.prefix}prediction.png",
        panels.plain_panel(plotted, f"{view.name}\nprediction"),
        f"Prediction: {found}.",
    )
    if view.cam is not None:
        values, explained = view.cam
        drawn = panels.cam_panel(values, view.scene, f"{view.name}\nclass activation map")
        yield Image(f"{key}/{view.prefix}cam.png", drawn, f"Class activation map of the whole model: {explained}.")


def _best(view: View) -> str:
    words = [f"{d.name} {d.confidence:.2f}" for d in view.detections[:3]]
    return ", ".join(words) or "nothing found"


# --- one block --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Block:
    """A block to draw, with the models shown in the same gallery."""

    view: View
    maps: BlockMaps
    views: Sequence[View]
    key: str

    def title(self, what: str) -> str:
        """Return the heading of one of its pictures."""
        return f"{_model_prefix(self.view, self.views)}{self.maps.location.label}\n{what}"

    def file(self, kind: str) -> str:
        """Return the name of one of its pictures."""
        at = self.maps.location
        inside = at.path.removeprefix(f"model.{at.row}").removesuffix("attention").strip(".")
        words = [f"{self.view.prefix}{at.row:02d}", at.block, *filter(None, [inside]), kind]
        return f"{self.key}/{'-'.join(words)}.png"

    def panel(self, kind: str, png: bytes, caption: str) -> Image:
        """Return one of its pictures."""
        return Image(self.file(kind), png, f"{_model_prefix(self.view, self.views)}{caption}")


def _scales(gates: Sequence[Gate], full: bool) -> dict[str, Scale]:
    """Return one colour scale per kind of gate, for all models and freshly built blocks."""
    scales = {}
    for kind in dict.fromkeys(gate.kind for gate in _drawn(gates)):
        alike = [gate for gate in gates if gate.kind == kind]
        shown = [values for gate in alike for values in (_shown(gate), _shown_at_init(gate)) if values is not None]
        scales[kind] = panels.scale_of(max(alike, key=lambda gate: gate.top or 0), shown, full)
    return scales


def _drawn(gates: Sequence[Gate]) -> list[Gate]:
    """Return the gates to draw; those of rows and columns are drawn beside their product, if they have one."""
    beside = ("rows", "columns") if any(gate.kind == "product" for gate in gates) else ()
    return [gate for gate in gates if gate.kind not in beside and (gate.per_channel or gate.grids() is not None)]


def _shown(gate: Gate) -> np.ndarray:
    """Return the values to draw: the mean of a gate's maps over positions, or the values of a channel gate."""
    grids = gate.grids()
    return gate.values if grids is None else grids.mean(0)


def _shown_at_init(gate: Gate) -> np.ndarray | None:
    """Return the values to draw of the freshly built block; ``None`` if they are constant."""
    grids = gate.grids(fresh=True)
    before = gate.fresh if grids is None else grids.mean(0)
    return None if before is None or np.ptp(before) <= _CONSTANT else before


def _block_images(block: _Block, scales: Mapping[str, Scale], options: DrawOptions) -> Iterable[Image]:
    beside = {gate.kind: gate for gate in block.maps.gates}
    seen: dict[str, int] = {}
    for gate in _drawn(block.maps.gates):
        seen[gate.kind] = number = seen.get(gate.kind, 0) + 1
        file = gate.kind.replace(" ", "-") + (f"-{number}" if number > 1 else "")
        if gate.per_channel:
            drawn = panels.channel_panel(gate, scales[gate.kind], block.title(gate.name))
            yield block.panel(file, drawn, f"{_description(gate)} {_describe_statistics(gate)}")
        else:
            yield from _map_images(block, gate, scales[gate.kind], beside, file)
            if gate.kind in _TILES:
                yield _tiles_image(block, gate, options, file)


def _map_images(block: _Block, gate: Gate, scale: Scale, beside: Mapping[str, Gate], file: str) -> Iterable[Image]:
    scene, title = block.view.scene, block.title(_averaged(gate))
    if gate.kind == "product":
        drawn = panels.strips_panel(gate, beside["rows"], beside["columns"], scene, scale, title)
    else:
        drawn = panels.map_panel(_shown(gate), scene, scale, title)
    yield block.panel(file, drawn, f"{_description(gate)} {_describe_statistics(gate)}")
    if (before := _shown_at_init(gate)) is not None:
        drawn = panels.map_panel(before, scene, scale, f"{title}, at init")
        yield block.panel(f"{file}-init", drawn, "The same block freshly built, for the same features.")


def _averaged(gate: Gate) -> str:
    if gate.kind == "pairs":
        return f"{gate.name}, averaged over who looks"
    count = len(gate.values)
    return gate.name if count == 1 else f"{gate.name}, mean of {count}"


def _tiles_image(block: _Block, gate: Gate, options: DrawOptions, file: str) -> Image:
    tiles = _tiles(block, gate, options)
    colours = "magma" if gate.kind == "pairs" else "viridis"
    drawn = panels.sheet_panel(tiles, block.view.scene, colours, block.title(f"{gate.name}, one by one"))
    which = {
        "pairs": "How a position weighs all others; the cross marks it.",
        "groups": "The groups one by one.",
        "kernels": "The small kernel, then the large one.",
        "full half": "Those that vary most over the image.",
    }.get(gate.kind, "Chosen channels." if options.channels else "The channels whose gate varies most over the image.")
    return block.panel(f"{file}-each", drawn, which)


def _tiles(block: _Block, gate: Gate, options: DrawOptions) -> list[Tile]:
    if gate.kind == "pairs":
        return _seen_from_detections(block, gate)
    grids, word = gate.values, {"groups": "group", "kernels": "kernel", "full half": "map"}.get(gate.kind, "channel")
    chosen = [c for c in options.channels if c < len(grids)] if word == "channel" else []
    if not chosen:
        spread = grids.reshape(len(grids), -1).std(1)
        chosen = sorted(np.argsort(-spread, kind="stable")[: _TILES[gate.kind]].tolist())
    return [Tile(f"{word} {k}", grids[k]) for k in chosen]


def _seen_from_detections(block: _Block, gate: Gate) -> list[Tile]:
    predicted, scene = block.view.predicted, block.view.scene
    found = [(d.name, d.corners.mean(0)) for d in block.view.detections if d.corners is not None]
    height, width = predicted.image.shape[:2]
    points = found[: _TILES["pairs"]] or [("the middle", np.array([width / 2, height / 2]))]
    tiles = []
    for name, point in points:
        position = position_of(tuple(point), predicted.placement, (height, width), gate.size)
        tiles.append(Tile(f"from {name}", gate.query_weights(position), point * scene.size[1] / width))
    return tiles


# --- words ------------------------------------------------------------------------------------------------------------
SENTENCES = {
    "channel": "One factor for each channel.",
    "product": "Row gate times column gate; at the sides each gate, as mean and middle 80 % of the channels.",
    "spatial": "One factor for each position.",
    "groups": "One factor for each position and group of channels.",
    "kernels": "One factor for each position: of the small, then of the large kernel.",
    "factors": "One factor for each value, of either sign.",
    "branches": "How much of each branch a channel takes; over the branches it sums to 1.",
    "weights": "How much each position contributes to the context that all positions get.",
    "pairs": "How much each position is looked at.",
    "full": "One factor for each value.",
    "cells": "One factor for each channel and cell of the map.",
    "channel half": "One factor for each channel of one half.",
    "full half": "One factor for each value of the other half of the channels.",
    "rows": "One factor for each channel and row.",
    "columns": "One factor for each channel and column.",
}


def _description(gate: Gate) -> str:
    return SENTENCES[gate.kind]


def _describe_statistics(gate: Gate) -> str:
    """Return the statistics of a gate as a sentence."""
    s = gate.statistics
    if s.uniformity is not None:
        words = [f"Uniformity {number(s.uniformity, 3)}, peak {number(s.peak, 1)} times uniform"]
    else:
        low, mean, high = (number(value, 3 if gate.top else 4) for value in (s.min, s.mean, s.max))
        words = [f"Values {low} to {high}, mean {mean}"]
    if s.dead is not None and s.saturated is not None and (s.dead or s.saturated):
        words.append(f"dead {percent(s.dead)} %, saturated {percent(s.saturated)} %")
    text = "; ".join(words) + "."
    if s.from_init is None or gate.fresh is None:
        return text
    if not s.from_init.max:
        return f"{text} As at init."
    start = f" (there {number(float(gate.fresh.flat[0]), 2)} everywhere)" if np.ptp(gate.fresh) <= _CONSTANT else ""
    return f"{text} From init{start}: {s.from_init.mean:.2g} on average, {s.from_init.max:.2g} at most."
