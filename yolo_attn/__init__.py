"""Attention blocks for Ultralytics YOLO: insert them, keep every pretrained weight, compare honestly.

Importing the package makes every block a row that a model YAML may use; it imports neither torch nor Ultralytics.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.host import loading, patch, registry
from yolo_attn.host.patch import register, unregister
from yolo_attn.host.registry import create_attention, registered
from yolo_attn.host.releases import UntestedVersionWarning
from yolo_attn.util.version import __version__ as __version__

if TYPE_CHECKING:
    from yolo_attn.blocks import ATTENTION_BLOCKS
    from yolo_attn.blocks.fused import fused
    from yolo_attn.export.check import export_checked
    from yolo_attn.models.adopt import adopt
    from yolo_attn.models.insert import insert
    from yolo_attn.train.yolo import RTDETR, YOLO, YOLOE, YOLOWorld
    from yolo_attn.weights.report import TransferReport
    from yolo_attn.weights.transfer import transfer_weights

__all__ = [
    "ATTENTION_BLOCKS",
    "RTDETR",
    "YOLO",
    "YOLOE",
    "TransferReport",
    "UntestedVersionWarning",
    "YOLOWorld",
    "YoloAttnError",
    "adopt",
    "create_attention",
    "export_checked",
    "fused",
    "insert",
    "register",
    "registered",
    "transfer_weights",
    "unregister",
]

_LAZY = {
    "ATTENTION_BLOCKS": "blocks",
    "RTDETR": "train.yolo",
    "YOLO": "train.yolo",
    "YOLOE": "train.yolo",
    "YOLOWorld": "train.yolo",
    "export_checked": "export.check",
    "adopt": "models.adopt",
    "fused": "blocks.fused",
    "insert": "models.insert",
    "TransferReport": "weights.report",
    "transfer_weights": "weights.transfer",
}

registry.when_loaded(lambda: importlib.import_module("yolo_attn.controls"))
loading.set_loader(lambda *given: importlib.import_module("yolo_attn.weights.transfer").load_by_row(*given))
patch.install()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"yolo_attn.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


if os.environ.get("YOLO_ATTN_IMPORT"):  # a user's files with blocks, see yolo_attn.util.imports
    importlib.import_module("yolo_attn.util.imports").import_entries_at_start()
