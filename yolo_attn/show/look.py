"""Look at what a model attends to: the gates that its blocks compute for an image, taken during one prediction.

A hook on the input of every block calls the block's own ``attention(x)``; nothing is computed a second way. Beside each
gate stands what the same block, freshly built, makes of the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.errors import YoloAttnError
from yolo_attn.gates.find import Site, declared_tops, find_sites
from yolo_attn.gates.gate import Gate, read_gates
from yolo_attn.host.checkpoints import open_source
from yolo_attn.host.registry import row_blocks
from yolo_attn.models.graph import level_of
from yolo_attn.show.letterbox import Placement, place
from yolo_attn.train.yolo import YOLO

TASKS = ("detect", "segment", "pose", "obb", "classify")


@dataclass(frozen=True)
class BlockMaps:
    """What one block computed for one image.

    Attributes:
        site: Where it stands.
        channels: Channels of its input.
        size: Height and width of its input.
        stride: Pixels of the model's input per position.
        gates: Its maps; empty where there is a ``note``.
        note: Why there are none; empty where there are.
    """

    site: Site
    channels: int
    size: tuple[int, int]
    stride: float
    gates: tuple[Gate, ...]
    note: str = ""

    @property
    def where(self) -> str:
        """Part of the model and level, e.g. ``neck P3, stride 8``."""
        level = level_of(self.stride)
        return f"{self.site.section}{f' {level}' if level else ''}, stride {self.stride:g}"


@dataclass(frozen=True)
class Looked:
    """One prediction of a model, and what its blocks computed on the way.

    Attributes:
        image: The image, ``(H, W, 3)``, BGR.
        result: Ultralytics' own result.
        tensor: The model's input, ``(1, 3, h, w)``.
        placement: Where the image lies in it.
        blocks: What each block computed, in the order of the rows.
    """

    image: np.ndarray
    result: Any
    tensor: Tensor
    placement: Placement
    blocks: tuple[BlockMaps, ...]


class Watched:
    """A model that can be looked at while it predicts.

    Args:
        source: Checkpoint or model YAML. A model built from a YAML has random weights, the same every time.
        seed: Seed of the freshly built model that gates are compared with, and of the weights where ``source`` is a
            YAML; by default the seed that the checkpoint was trained with.

    Raises:
        YoloAttnError: If there is no such model, or it is for a task that is not among ``TASKS``.
    """

    def __init__(self, source: str | Path, seed: int | None = None):
        self.source = str(source)
        self.yolo = _open(self.source, seed or 0)
        self.task = self.yolo.task
        if self.task not in TASKS:
            raise YoloAttnError(f"'{source}' is a model for '{self.task}'; drawn are those for {', '.join(TASKS)}")
        self.model: nn.Module = self.yolo.model
        self.seed = _trained_seed(self.model) if seed is None else seed
        self.unwatched = deepcopy(self.model).eval()  # neither fused nor hooked, for what needs gradients
        self.sites = find_sites(self.model, row_blocks())
        self._seen: dict[str, Any] = {}
        self._watch(_fresh(self.model, self.seed) if self.sites else {})

    def look(self, image: np.ndarray, **settings: Any) -> Looked:
        """Predict one image and return what the blocks computed for it.

        Args:
            image: ``(H, W, 3)``, BGR, as OpenCV reads it.
            **settings: What ``ultralytics.YOLO.predict`` takes: ``imgsz``, ``conf``, ``device``, ...
        """
        self._seen.clear()
        result = self.yolo.predict(image, verbose=False, **settings)[0]
        tensor = self._seen.pop("input")
        size = tuple(tensor.shape[2:])
        wanted = self.yolo.predictor.imgsz
        stretched = "RTDETR" in type(self.yolo.predictor).__name__
        placement = place(image.shape[:2], size, tuple(wanted), self.task == "classify", stretched)
        blocks = tuple(self._maps_of(path, site, size[0]) for path, site in self.sites.items())
        return Looked(image, result, tensor, placement, blocks)

    def _watch(self, fresh: Mapping[str, nn.Module]) -> None:
        self.model.model[0].register_forward_pre_hook(_input_recorder(self._seen))
        modules = dict(self.model.named_modules())
        for path in self.sites:
            modules[path].register_forward_pre_hook(_maps_recorder(self._seen, path, fresh.get(path)))

    def _maps_of(self, path: str, site: Site, height: int) -> BlockMaps:
        if path not in self._seen:
            return BlockMaps(site, 0, (0, 0), 0.0, (), "it was not run in this prediction")
        (_, channels, *size), tops, maps, fresh, note = self._seen[path]
        size = tuple(size)
        gates = () if note else tuple(read_gates(maps, channels, size, tops, fresh))
        return BlockMaps(site, channels, size, height / size[0], gates, note)


# --- opening ----------------------------------------------------------------------------------------------------------
def _open(source: str, seed: int) -> YOLO:
    if source.lower().endswith((".yaml", ".yml")):
        return _seeded(seed, lambda: YOLO(source))
    open_source(source)  # says what is wrong with a checkpoint
    return YOLO(source)


def _fresh(model: nn.Module, seed: int) -> dict[str, nn.Module]:
    """Return the modules of the model as freshly built from its own YAML; none where that cannot be built."""
    if not isinstance(getattr(model, "yaml", None), Mapping):
        return {}
    try:
        built = _seeded(seed, lambda: type(model)(deepcopy(model.yaml), verbose=False))
    except Exception:  # e.g. a model whose own code has changed since: there is no before then
        return {}
    return dict(built.eval().named_modules())


def _seeded(seed: int, make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


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
# Plain functions, because Ultralytics copies a model before it predicts: a copied function still writes where it did.
def _input_recorder(seen: dict[str, Any]) -> Callable[..., None]:
    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["input"] = inputs[0].detach().float().cpu().clone()

    return record


def _maps_recorder(seen: dict[str, Any], path: str, fresh: nn.Module | None) -> Callable[..., None]:
    def record(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x, before, note, maps = inputs[0], None, "", []
        if not hasattr(block, "attention"):
            note = f"{type(block).__name__} has no attention(x) that could be drawn"
        elif type(block) in ATTENTION_BLOCKS.values():
            maps = _as_arrays(block.attention(x))
        else:
            maps, note = _of_a_users_block(block, x)
        if not note and type(fresh) is type(block):
            before = _as_arrays(fresh.to(x).attention(x))
        seen[path] = (tuple(x.shape), declared_tops(block, len(maps)), maps, before, note)

    return record


def _of_a_users_block(block: nn.Module, x: Tensor) -> tuple[list[np.ndarray], str]:
    try:
        return _as_arrays(block.attention(x)), ""
    except Exception as error:  # one block that cannot be drawn leaves the others
        return [], f"{type(block).__name__}.attention(x) failed: {type(error).__name__}: {error}"


def _as_arrays(maps: Tensor | tuple[Tensor, ...]) -> list[np.ndarray]:
    maps = (maps,) if isinstance(maps, Tensor) else maps
    return [one[0].detach().float().cpu().numpy().copy() for one in maps]
