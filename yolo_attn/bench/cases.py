"""Request of a bench, parsed and validated, and the list of cases to time. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from yolo_attn.errors import YoloAttnError, one_of

DTYPES = ("fp32", "bf16", "fp16")
LAYOUTS = ("contiguous", "channels_last")
PASSES = ("forward", "training")
MODES = ("eager", "compile")
AGAINST = ("floor", "tutorial", "timm", "fused")
SHAPES = ("8x64x80x80", "8x128x40x40", "8x256x20x20")
GPU_SHAPES = (
    "16x128x40x40", "32x256x80x80", "16x64x80x80", "16x256x80x80", "16x256x20x20", "32x512x40x40",
    "32x64x80x80", "16x512x40x40", "32x128x40x40", "16x512x20x20", "32x256x20x20", "32x512x20x20",
)  # fmt: skip
"""Shapes of the suite on a GPU: batch 16 and 32, P3 to P5 of the n and m models at 640 px, most important first."""
FIRST_SHAPES = 2
"""So many of them, one of each regime, are timed with all arms, before whole models."""
MEMORY_BOUND_BYTES = 32 * 2**20
"""From this size of a map on, moving it takes longer than the launches of a few kernels."""
SUITE_MODELS = ("yolo11n.yaml", "yolov8n.yaml")
SUITE_MINUTES = 8.0
MODEL_BLOCKS = ("ELA", "SE", "ECA", "CBAM", "SGE")
"""Blocks of the whole models in the suite on a GPU."""

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Request:
    """Blocks, shapes, devices and durations of a bench.

    Attributes:
        blocks: YAML names.
        shapes: Images, channels, height, width.
        device: Torch device, ``"cpu"`` or e.g. ``"cuda:0"``.
        dtypes: Any of ``DTYPES``; blocks and maps are converted as a whole.
        layouts: Any of ``LAYOUTS``.
        passes: Any of ``PASSES``: forward under inference mode, and forward with backward in training mode.
        modes: ``"eager"``, optionally with ``"compile"``.
        against: Any of ``AGAINST``.
        models: Base models to put the blocks into.
        imgsz: Image side of the models, in pixels.
        batch: Batch of the models; by default 1 for latency, and for training 16 on CUDA or 4 elsewhere.
        cuda_graphs: Whether passes are also captured as CUDA graphs, and whole models in inference.
        threads: Threads on the CPU; torch's choice by default.
        seconds: Time after which no more rounds start, per group.
        minutes: Time after which no more groups start; unlimited by default.
        suite: Whether to time the published protocol.
        with_form: Those of the blocks that have a fused form; the suite on a GPU begins with them.
    """

    blocks: tuple[str, ...]
    shapes: tuple[Shape, ...]
    device: str
    dtypes: tuple[str, ...]
    layouts: tuple[str, ...] = ("contiguous",)
    passes: tuple[str, ...] = PASSES
    modes: tuple[str, ...] = ("eager",)
    against: tuple[str, ...] = AGAINST
    models: tuple[str, ...] = ()
    imgsz: int = 640
    batch: int | None = None
    cuda_graphs: bool = False
    threads: int | None = None
    seconds: float = 2.0
    minutes: float | None = None
    suite: bool = False
    with_form: tuple[str, ...] = ()

    @property
    def model_blocks(self) -> tuple[str, ...]:
        """Blocks to put into the models."""
        few = tuple(block for block in MODEL_BLOCKS if block in self.blocks)
        return few if few and self.suite and self.on_cuda else self.blocks

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.startswith("cuda")


class Case(NamedTuple):
    """One block on one shape: a group of implementations that are timed interleaved."""

    block: str
    shape: Shape
    dtype: str
    layout: str
    pass_: str
    compiled: bool

    def record(self) -> dict[str, Any]:
        """Return the case as JSON for a raw line."""
        fields = {name.rstrip("_"): value for name, value in self._asdict().items()}
        return {"of": "block", **fields, "shape": shape_name(self.shape)}

    @property
    def title(self) -> str:
        """One-line description of the case."""
        compiled = ", compiled too" if self.compiled else ""
        return f"{self.block} {shape_name(self.shape)} {self.dtype} {self.layout} {self.pass_}{compiled}"


class ModelCase(NamedTuple):
    """One base model with and without the blocks: a group of models that are timed interleaved."""

    model: str
    dtype: str
    pass_: str
    batch: int
    graph: bool = False

    def record(self) -> dict[str, Any]:
        """Return the case as JSON for a raw line."""
        return {"of": "model", **{name.rstrip("_"): value for name, value in self._asdict().items()}}

    @property
    def title(self) -> str:
        """One-line description of the case."""
        return f"{self.model} {self.dtype} {self.pass_}, batch {self.batch}{', CUDA graph' * self.graph}"


# --- cases ------------------------------------------------------------------------------------------------------------
def cases_of(request: Request) -> list[Case | ModelCase]:
    """Return all cases of a request, most important first."""
    if not request.suite:
        return list(_asked(request))
    return list(_gpu_suite(request) if request.on_cuda else _suite(request))


def _asked(request: Request) -> Iterator[Case | ModelCase]:
    for dtype in request.dtypes:
        for layout in request.layouts:
            yield from _block_cases(request, dtype, layout, "compile" in request.modes)
    for model in request.models:
        for dtype in request.dtypes:
            yield from _model_cases(request, model, dtype)


def _gpu_suite(request: Request) -> Iterator[Case | ModelCase]:
    """Yield the cases on a GPU: both regimes with all arms, the first model, then the rest."""
    form = replace(request, blocks=request.with_form)
    others = replace(request, blocks=tuple(block for block in request.blocks if block not in request.with_form))
    few = request.shapes[:FIRST_SHAPES]
    yield from _block_cases(replace(form, shapes=few), "fp16", "contiguous", compiled=True)
    for model in request.models[:1]:
        yield from _model_cases(request, model, "fp16")
    yield from _block_cases(replace(form, shapes=request.shapes[FIRST_SHAPES:]), "fp16", "contiguous", compiled=False)
    yield from _block_cases(replace(form, shapes=few), "fp16", "channels_last", compiled=False)
    yield from _block_cases(replace(others, shapes=few), "fp16", "contiguous", compiled=False)
    yield from _block_cases(replace(form, shapes=few), "fp32", "contiguous", compiled=False)
    for model in request.models[1:]:
        yield from _model_cases(request, model, "fp16")


def _suite(request: Request) -> Iterator[Case | ModelCase]:
    first, second = "fp32", "bf16"
    yield from _block_cases(request, first, "contiguous", compiled=True)
    for model in request.models[:1]:
        yield from _model_cases(request, model, first)
    yield from _block_cases(request, first, "channels_last", compiled=False)
    yield from _block_cases(request, second, "contiguous", compiled=False)
    for model in request.models[1:]:
        yield from _model_cases(request, model, first)


def _block_cases(request: Request, dtype: str, layout: str, compiled: bool) -> Iterator[Case]:
    for shape in request.shapes:
        for pass_ in request.passes:
            for block in request.blocks:
                yield Case(block, shape, dtype, layout, pass_, compiled)


def _model_cases(request: Request, model: str, dtype: str) -> Iterator[ModelCase]:
    training = (4,) if not request.on_cuda else (16, 64) if request.suite else (16,)
    batches: dict[str, tuple[int, ...]] = {"forward": (1,), "training": training}
    for pass_ in request.passes:
        for batch in (request.batch,) if request.batch else batches[pass_]:
            yield ModelCase(model, dtype, pass_, batch)
        if pass_ == "forward" and request.cuda_graphs:
            yield ModelCase(model, dtype, pass_, request.batch or 1, graph=True)


# --- parsing ----------------------------------------------------------------------------------------------------------
def shape_name(shape: Sequence[int]) -> str:
    """Return a shape as text, e.g. ``8x64x80x80``."""
    return "x".join(map(str, shape))


def parse_shape(text: str) -> Shape:
    """Parse a shape such as ``8x64x80x80``.

    Raises:
        YoloAttnError: If it is not four whole numbers above 0.

    Examples:
        >>> parse_shape("8x64x80x80")
        (8, 64, 80, 80)
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){3}", text):
        raise YoloAttnError(f"shape '{text}' is not images x channels x height x width; write e.g. 8x64x80x80")
    images, channels, height, width = map(int, text.split("x"))
    return images, channels, height, width


def parse_choices(kind: str, text: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """Parse a comma-separated list of allowed words; ``all`` means all of them.

    Raises:
        YoloAttnError: For a word that is not allowed; the message names the nearest.
    """
    allowed = tuple(allowed)
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if words == ("all",):
        return allowed
    for word in words or (text,):
        if word not in allowed:
            raise YoloAttnError(one_of(kind, word, allowed))
    return words


def as_dict(request: Request) -> dict[str, Any]:
    """Return a request as JSON for the header of the raw lines."""
    return {**asdict(request), "shapes": [shape_name(shape) for shape in request.shapes]}
