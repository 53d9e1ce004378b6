"""Warnings about unread and rewired rows: none of a sound model, and one of every model that was made wrong."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from ultralytics.nn import tasks

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.model import build_shapes
from yolo_attn.host.model_files import host_model_files, shipped_models
from yolo_attn.host.said import say_once
from yolo_attn.host.wiring import rewired_rows, sources_of, unread_rows

FAMILIES = (
    "yolov3", "yolov5", "yolov6", "yolov8", "yolov8-seg", "yolov8-pose", "yolov9c", "yolov10n",
    "yolo11", "yolo11-seg", "yolo12", "yolo26",
)  # fmt: skip

Model = dict[str, Any]


def models() -> Iterator[tuple[Path, str, Model]]:
    """Yield every stock and shipped model YAML that can be built, at each of its scales."""
    for file in [*host_model_files(), *shipped_models().values()]:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for scale in content.get("scales") or [""]:
            yield file, scale, {**content, "scale": scale}


def alarms(model: Model) -> list[str]:
    """Return what is said of a model's wiring, and the warnings when the parser builds it."""
    said: list[str] = []
    say_once.cache_clear()
    with mock.patch.object(tasks.LOGGER, "warning", said.append):
        try:
            build_shapes(model, model["scale"])
        except (YoloAttnError, OSError) as error:
            if "download" not in str(error):
                raise
    return [*map(str, unread_rows(model)), *map(str, rewired_rows(model)), *said]


def faults(family: str) -> Iterator[tuple[str, str, Model]]:
    """Yield faulty copies of a stock model: what kind of fault, where, and the model."""
    (file,) = [file for file in host_model_files() if file.name == f"{family}.yaml"]
    model = yaml.safe_load(file.read_text(encoding="utf-8"))
    rows, split = [*model["backbone"], *model["head"]], len(model["backbone"])
    for k in range(len(rows) - 1):
        yield "inserted, nothing shifted", f"row {k}", _inserted(rows, k, split, model)
    for k in sources_of(len(rows) - 1, rows[-1]):
        yield "attention left unread", f"row {k}", _inserted(rows, k, split, model, shift=True)
    for i, row in enumerate(rows):
        if row[2] != "Concat":
            continue
        for place, source in enumerate(sources_of(i, row)):
            if source == i - 1:
                continue
            changed = deepcopy(rows)
            changed[i][0][place] = source - 1
            changed.insert(split, [-1, 1, "SE", []])  # a model with attention, which is read
            yield "Concat reads the row before", f"row {i}", _model(_shifted(changed, split, skip=split), split, model)


def _inserted(rows: list[Any], k: int, split: int, model: Model, shift: bool = False) -> Model:
    """Return a model with SE behind row ``k``; ``shift`` corrects later rows, which then do not read SE."""
    changed = deepcopy(rows)
    changed.insert(k + 1, [k if shift else -1, 1, "SE", []])
    if shift:
        changed = _shifted(changed, k + 1, skip=k + 1)
        if changed[k + 2][0] == -1:
            changed[k + 2][0] = k
        elif isinstance(changed[k + 2][0], list):
            changed[k + 2][0] = [k if f == -1 else f for f in changed[k + 2][0]]
    return _model(changed, split + (k < split), model)


def _shifted(rows: list[Any], at: int, skip: int) -> list[Any]:
    """Return rows whose absolute ``from`` of rows behind ``at`` is corrected by one."""
    for i, row in enumerate(rows):
        if i != skip:
            several = isinstance(row[0], list)
            given = [f + 1 if f >= at else f for f in (row[0] if several else [row[0]])]
            row[0] = given if several else given[0]
    return rows


def _model(rows: list[Any], split: int, model: Model) -> Model:
    return {**model, "backbone": rows[:split], "head": rows[split:]}


def is_named(model: Model) -> bool:
    """Tell whether a warning names a fault of the model."""
    return bool(unread_rows(model) or rewired_rows(model))


def main(words: Sequence[str] | None = None) -> int:
    """Print how many sound models are warned of, and how many faulty ones are not; return 1 if a sound one is."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args(words)
    built, false = 0, 0
    for file, scale, model in models():
        built += 1
        if said := alarms(model):
            false += 1
            print(f"false alarm: {file.name} at scale {scale or '-'}: {said}")
    print(f"{built} sound models: {false} false alarms")
    made: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for family in FAMILIES:
        for kind, where, model in faults(family):
            made[kind] += 1
            named[kind] += is_named(model)
            if not is_named(model):
                print(f"not named: {family}, {kind}, {where}")
    for kind, count in made.items():
        print(f"{kind}: {named[kind]} of {count} named")
    return int(false > 0)
