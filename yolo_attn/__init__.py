"""Attention blocks for Ultralytics YOLO: insert them, keep every pretrained weight, compare honestly.

Importing the package makes every block a row that a model YAML may use; it imports neither torch nor Ultralytics.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from yolo_attn import registration
from yolo_attn.errors import YoloAttnError
from yolo_attn.registration import register, unregister
from yolo_attn.registry import create_attention, registered

if TYPE_CHECKING:
    from yolo_attn.blocks import ATTENTION_BLOCKS
    from yolo_attn.engine import YOLO
    from yolo_attn.model_yaml import insert
    from yolo_attn.weights import TransferReport, transfer_weights

__version__ = "0.1.0"
__all__ = [
    "ATTENTION_BLOCKS",
    "YOLO",
    "TransferReport",
    "YoloAttnError",
    "create_attention",
    "insert",
    "register",
    "registered",
    "transfer_weights",
    "unregister",
]

_LAZY = {
    "ATTENTION_BLOCKS": "blocks",
    "YOLO": "engine",
    "insert": "model_yaml",
    "TransferReport": "weights",
    "transfer_weights": "weights",
}

registration.install()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"yolo_attn.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
