"""Typed access to the parts of a built Ultralytics model, which :class:`torch.nn.Module` types as anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn


def model_layers(model: nn.Module) -> nn.Sequential:
    """Return the layers of a built YOLO model, in the order of its YAML's rows."""
    return cast("nn.Sequential", model.model)


def model_yaml(model: nn.Module) -> Mapping[str, Any] | None:
    """Return the model dict that a YOLO model was built from, ``None`` where it keeps none."""
    given = getattr(model, "yaml", None)
    return given if isinstance(given, Mapping) and given else None


def repeats(layer: nn.Module) -> list[nn.Module]:
    """Return the modules that a layer applies in turn: the repeats of an ``nn.Sequential``, or the layer itself."""
    return list(layer) if type(layer) is nn.Sequential and len(layer) else [layer]
