"""Predict an image and record the gates that a model's blocks compute for it.

The maps are those of the block's own ``attention(x)``, taken during the prediction. Each comes with the map that the
freshly built block computes for the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from yolo_attn.blocks import AttentionBlock
from yolo_attn.errors import YoloAttnError
from yolo_attn.gates.find import Location, declared_maps, find_locations
from yolo_attn.gates.gate import Gate, gates_of
from yolo_attn.gates.watch import GateRecorder, maps_of
from yolo_attn.host.checkpoints import open_source
from yolo_attn.host.registry import row_blocks
from yolo_attn.models.built import model_layers, model_yaml
from yolo_attn.models.graph import level_of
from yolo_attn.show.letterbox import Placement, place
from yolo_attn.train.yolo import YOLO

TASKS = ("detect", "segment", "pose", "obb", "classify")


@dataclass(frozen=True)
class BlockMaps:
    """Maps that one block computed for one image.

    Attributes:
        location: Location of the block.
        channels: Channels of its input.
        size: Height and width of its input.
        gates: Its maps; empty where there is a ``note``.
        note: Why there are none; empty where there are.
        stride: Pixels of the model's input per position; 0 if the block did not run.
    """

    location: Location
    channels: int = 0
    size: tuple[int, int] = (0, 0)
    gates: tuple[Gate, ...] = ()
    note: str = ""
    stride: float = 0.0

    @property
    def where(self) -> str:
        """Section of the model, level and stride, e.g. ``neck P3, stride 8``."""
        level = level_of(self.stride)
        return f"{self.location.section}{f' {level}' if level else ''}, stride {self.stride:g}"


@dataclass(frozen=True)
class Prediction:
    """Prediction of one image, and the maps that the model's blocks computed for it.

    Attributes:
        image: The image, ``(H, W, 3)``, BGR.
        result: Ultralytics' own result.
        tensor: The model's input, ``(1, 3, h, w)``.
        placement: Position of the image in the model's input.
        blocks: Maps of each block, in the order of the layers.
    """

    image: np.ndarray
    result: Any
    tensor: Tensor
    placement: Placement
    blocks: tuple[BlockMaps, ...]


class GateWatcher:
    """Record the gates of a model while it predicts.

    Args:
        source: Checkpoint or model YAML. A model built from a YAML has random weights, the same every time.
        seed: Seed of the freshly built model that gates are compared with, and of the weights where ``source`` is a
            YAML; by default the seed that the checkpoint was trained with.

    Raises:
        YoloAttnError: If there is no such model, or its task is not among ``TASKS``.
    """

    def __init__(self, source: str | Path, seed: int | None = None):
        self.source = str(source)
        self.yolo = _open(self.source, seed or 0)
        self.task = self.yolo.task
        if self.task not in TASKS:
            raise YoloAttnError(f"'{source}' is a model for '{self.task}'; drawn are those for {', '.join(TASKS)}")
        self.model = cast("nn.Module", self.yolo.model)
        self.seed = _trained_seed(self.model) if seed is None else seed
        self.unwatched = deepcopy(self.model).eval()  # neither fused nor hooked, for class activation maps
        self.locations = find_locations(self.model, row_blocks())
        fresh = _rebuilt_modules(self.model, self.seed) if self.locations else {}
        modules = dict(self.model.named_modules())
        self._input = GateRecorder({"input": model_layers(self.model)[0]}, lambda _, module, x: _copied(x))
        self._maps = GateRecorder(
            {path: modules[path] for path in self.locations},
            lambda path, block, x: _record(self.locations[path], block, fresh.get(path), x),
        )

    def predict(self, image: np.ndarray, **settings: Any) -> Prediction:
        """Predict one image and return the maps that the blocks computed for it.

        Args:
            image: ``(H, W, 3)``, BGR, as OpenCV reads it.
            **settings: Arguments of ``ultralytics.YOLO.predict``: ``imgsz``, ``conf``, ``device``, ...
        """
        self._maps.clear()
        (result,) = self.yolo.predict(image, verbose=False, **settings)
        tensor = self._input.results["input"]
        height, width = tensor.shape[2:]
        predictor: Any = self.yolo.predictor
        stretched, wanted = "RTDETR" in type(predictor).__name__, tuple(predictor.imgsz)
        placement = place(image.shape[:2], (height, width), wanted, self.task == "classify", stretched)
        blocks = tuple(self._maps_of(path, at, height) for path, at in self.locations.items())
        return Prediction(image, result, tensor, placement, blocks)

    def _maps_of(self, path: str, at: Location, height: int) -> BlockMaps:
        maps = self._maps.results.get(path)
        if maps is None:
            return BlockMaps(at, note="it was not run in this prediction")
        return replace(maps, stride=height / maps.size[0])


# --- opening ----------------------------------------------------------------------------------------------------------
def _open(source: str, seed: int) -> YOLO:
    if source.lower().endswith((".yaml", ".yml")):
        return _seeded(seed, lambda: YOLO(source))
    open_source(source)  # raises YoloAttnError for an invalid checkpoint
    return YOLO(source)


def _rebuilt_modules(model: nn.Module, seed: int) -> dict[str, nn.Module]:
    """Return the modules of the model freshly built from its own YAML; none if it cannot be built."""
    given, make = model_yaml(model), type(model)
    if given is None:
        return {}
    try:
        built: nn.Module = _seeded(seed, lambda: make(deepcopy(given), verbose=False))
    except Exception:  # e.g. a model whose code has changed since training
        return {}
    return dict(built.eval().named_modules())


def _seeded(seed: int, build: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _trained_seed(model: nn.Module) -> int:
    arguments = getattr(model, "args", {})
    arguments = arguments if isinstance(arguments, Mapping) else vars(arguments)
    return int(arguments.get("seed") or 0)


def read_image(path: str | Path) -> np.ndarray:
    """Return an image as Ultralytics reads it, BGR.

    Raises:
        YoloAttnError: If there is none, or it cannot be read.
    """
    try:
        read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except FileNotFoundError as error:
        raise YoloAttnError(f"no image at '{path}'") from error
    except (OSError, cv2.error) as error:
        raise YoloAttnError(f"'{path}' cannot be read as an image") from error
    if read is None:
        raise YoloAttnError(f"'{path}' cannot be read as an image")
    return read


# --- recording --------------------------------------------------------------------------------------------------------
def _copied(x: Tensor) -> Tensor:
    return x.detach().float().cpu().clone()


def _record(location: Location, block: nn.Module, fresh: nn.Module | None, x: Tensor) -> BlockMaps:
    """Return the maps of a block; those of a user's block that fails are replaced by a note."""
    _, channels, height, width = x.shape
    maps, note = _maps_or_note(block, x)
    if note:
        return BlockMaps(location, channels, (height, width), note=note)
    before = _as_arrays(maps_of(fresh.to(x), x)) if fresh is not None and type(fresh) is type(block) else None
    declared = declared_maps(block, len(maps))
    tops = declared.tops if declared else (None,) * len(maps)
    gates = gates_of(maps, channels, (height, width), tops, before, declared.kinds if declared else None)
    return BlockMaps(location, channels, (height, width), tuple(gates))


def _maps_or_note(block: nn.Module, x: Tensor) -> tuple[list[np.ndarray], str]:
    if not hasattr(block, "attention"):
        return [], f"{type(block).__name__} has no attention(x) that could be drawn"
    try:
        return _as_arrays(maps_of(block, x)), ""
    except Exception as error:
        if isinstance(block, AttentionBlock):
            raise
        return [], f"{type(block).__name__}.attention(x) failed: {type(error).__name__}: {error}"


def _as_arrays(maps: tuple[Tensor, ...]) -> list[np.ndarray]:
    return [one[0].detach().float().cpu().numpy().copy() for one in maps]
