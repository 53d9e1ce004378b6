"""Replace the attention blocks of a model by controls."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from yolo_attn.controls import IdentityControl, PlainControl
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host import registry
from yolo_attn.host.hyper import bind
from yolo_attn.host.model import means_block, split_name, with_named_arguments
from yolo_attn.host.row_names import place_of
from yolo_attn.util.lists import as_list

KINDS = ("identity", "plain")


def control_of(model: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a model dict with its attention blocks replaced by controls.

    Args:
        model: A model YAML's content.
        kind: ``"identity"`` or ``"plain"``.

    Raises:
        YoloAttnError: If there is no such control, or the model has no attention.
    """
    if kind not in KINDS:
        raise YoloAttnError(one_of("control", kind, KINDS))
    made, counted = deepcopy(dict(model)), with_named_arguments(model)
    for section in ("backbone", "head"):
        made[section] = [_control_row(row, kind) for row in counted[section]]
    if made == model:
        raise YoloAttnError(f"a model without attention rows has no {kind} control")
    return made


def _control_row(row: list[Any], kind: str) -> list[Any]:
    source, repeats, name, args = row
    args = as_list(args)
    if means_block(name):
        name, cls = registry.resolve(name)
        return [source, repeats, *_replacement(kind, name, bind(cls, args))]
    if (parts := split_name(name)) is None:
        return row
    host, block, place = parts
    hyper = dict(args.pop()) if args and isinstance(args[-1], Mapping) else {}
    place = place_of(host, block, hyper.pop("place", None) or place)
    control, extra = _replacement(kind, block, hyper)
    return [source, repeats, f"{host}_{control}" + (f"@{place}" if place else ""), [*args, *extra]]


def _replacement(kind: str, block: str, hyper: Mapping[str, Any]) -> tuple[str, list[Any]]:
    if kind == "identity":
        return IdentityControl.__name__, []
    hyper = {k: v for k, v in hyper.items() if k != "init"}
    return PlainControl.__name__, [{"like": block, **({"hyper": hyper} if hyper else {})}]
