"""The forms of SE, cSE, ECA, GC, SNL and scSE: two kernels each way, and one for the gradients of their weights.

``channel_kernels`` says what they compute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from yolo_attn.blocks.fused import channel_kernels as kernels
from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers, parameters_of, small

_PROGRAMS = 528  # four for each multiprocessor of an H100
_MOST_BLOCKS = 64  # of an image: each program adds the parts of all
_LONGEST = 128  # positions of a tile
_TILE = 4096
_STAGE_TILE = 8192
_WIDEST = 512
_MOST_WEIGHTS = 2**17
_COMBINE = {"add": 1, "max": 2, "mul": 3}


class _Settings(NamedTuple):
    scale: float = 1.0
    add: int = 0  # whether there is an addend
    mul: int = 0  # whether there is a gate
    bias: int = 0
    width: int = 0  # hidden
    taps: int = 0
    softmax: int = 0
    combine: int = 0
    eps: float = 0.0  # of the LayerNorm; 0 for none

    @classmethod
    def of(cls, numbers: Numbers) -> _Settings:
        scale, *integers, eps = numbers  # all are floats under torch.compile
        return cls._make([scale, *map(int, integers), eps])

    @property
    def transforms(self) -> int:
        return self.add + self.mul


class _Plan(NamedTuple):
    """How a block is computed on maps of some size."""

    settings: _Settings
    programs: tuple[int, int]  # images, blocks of positions
    sizes: tuple[int, int, int]  # channels, positions, positions of a block
    width: int  # values that the last layer takes; 0 for a convolution
    row: int  # values of a row
    of_transform: int  # values of a row of gradients for each transform
    pool: dict[str, int]  # constants of the kernels
    write: dict[str, int]
    reduce: dict[str, int]
    weights: dict[str, int]
    parameters: list[int]  # sizes of the parameters of a transform


def _row(s: _Settings, channels: int) -> tuple[int, int]:
    """Return the values that the last layer takes, and those of a row."""
    width = s.width or (0 if s.taps else channels)
    return width, channels + s.transforms * (channels + width) + 2


@functools.lru_cache(1000)
def _plan(settings: tuple[float, ...], images: int, channels: int, positions: int) -> _Plan:
    """Share positions between programs: enough of them to fill the GPU, few enough to add their parts."""
    s = _Settings.of(settings)
    width, row = _row(s, channels)
    wanted = triton.cdiv(positions, min(_MOST_BLOCKS, triton.cdiv(_PROGRAMS, images)))
    bp = min(_LONGEST, max(32, triton.next_power_of_2(wanted)))
    tile = {"BC": min(triton.next_power_of_2(channels), _TILE // bp), "BP": bp}
    span = triton.cdiv(wanted, bp) * bp
    blocks = triton.cdiv(positions, span)
    hid, bb = triton.next_power_of_2(max(width, 1)), triton.next_power_of_2(blocks)
    cs = min(triton.next_power_of_2(channels), max(_STAGE_TILE // max(hid, bb), 16))
    pool = {"SOFTMAX": s.softmax, "COMBINE": s.combine, **tile}
    reduce = {"ADD": s.add, "MUL": s.mul, "COMBINE": s.combine, **tile}
    write = {**pool, **reduce, "TAPS": s.taps, "HID": hid, "CS": cs, "BB": bb}
    of_transform = 2 * channels + max(4 * width, s.taps + 1)
    norm, hid = s.width if s.eps else 0, max(hid, 16)  # a product of matrices has at least 16 rows and columns
    constants = {"W1": int(s.width > 0), "BIAS": s.bias, "NORM": int(norm > 0)}
    weights = {**constants, "HID": hid, "BC": 16 if hid > 128 else 32, "BN": 16}
    parameters = [s.width * channels, s.bias * s.width, norm, norm, channels * width, s.bias * channels]
    sizes = (channels, positions, span)
    return _Plan(s, (images, blocks), sizes, width, row, of_transform, pool, write, reduce, weights, parameters)


class _Layers(NamedTuple):
    """Parameters as the kernels take them, ``None`` for those that a block does not have."""

    add: Sequence[Tensor | None]  # W1, b1, gain, shift, W2, b2
    mul: Sequence[Tensor | None]
    mask: Sequence[Tensor | None]  # of positions: w, b


def _layers(parameters: Sequence[Tensor], s: _Settings) -> _Layers:
    rest: Iterator[Tensor] = iter(parameters)

    def take(*present: float) -> list[Tensor | None]:
        return [next(rest) if there else None for there in present]

    def transform(there: int) -> list[Tensor | None]:
        return take(s.width, s.width and s.bias, s.eps, s.eps, 1, s.bias) if there else [None] * 6

    if s.softmax:
        mask = take(1, 1)
        return _Layers(transform(s.add), transform(s.mul), mask)
    return _Layers(transform(s.add), transform(s.mul), take(s.combine, s.combine and s.bias))


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes of the rows of the images, and of ``z`` of the positions where there is a mask."""
    s = _Settings.of(settings)
    n, c, height, width = x.shape
    of_positions = [(n, height * width)] if s.softmax or s.combine else []
    return [(n, _row(s, c)[1]), *of_positions]


def _forward(call: Call) -> None:
    x, y = call.maps
    rows, z = (*call.saved, None)[:2]
    plan = _plan(tuple(call.settings), call.images, call.channels, call.positions)
    s, layers = plan.settings, _layers(call.parameters, plan.settings)
    parts = call.new(*plan.programs, call.channels + 2)
    args = (x, *layers.mask, z, parts, *plan.sizes, s.scale, *call.strides[:3])
    slab.launch(kernels.pool, plan.programs, *args, **plan.pool)
    args = (x, z, parts, y, rows, *layers.add, *layers.mul, *plan.sizes, plan.width, plan.row)
    slab.launch(kernels.write, plan.programs, *args, *call.strides, s.scale, s.eps, **plan.write)


def _backward(call: Call) -> Gradients:
    x, gy, gx = call.maps
    rows, z = (*call.saved, None)[:2]
    plan = _plan(tuple(call.settings), call.images, call.channels, call.positions)
    s, layers = plan.settings, _layers(call.parameters, plan.settings)
    parts = call.new(*plan.programs, s.transforms * call.channels)
    of_rows = call.new(call.images, s.transforms * plan.of_transform)
    of_z = None if z is None else torch.empty_like(z)
    of_mask = call.new(*plan.programs, call.channels + 1) if z is not None and call.needs else None
    sizes = (*plan.sizes, plan.width, plan.row)
    args: tuple[Any, ...] = (x, gy, z, rows, of_z, parts, *sizes, *call.strides[:6], s.scale)
    slab.launch(kernels.reduce, plan.programs, *args, **plan.reduce)
    args = (x, gy, z, of_z, parts, gx, rows, of_rows, of_mask, layers.mask[0])
    args += (*layers.add[:1], *layers.add[2:5], *layers.mul[:1], *layers.mul[2:5])
    args += (*sizes, s.transforms * plan.of_transform, *call.strides, s.scale, s.eps)
    slab.launch(kernels.write_gradient, plan.programs, *args, NEEDS=int(call.needs), **plan.write)
    if not call.needs:
        return ()
    found = _of_layers(plan, rows, of_rows)
    if of_mask is None:
        return found
    of_weight, of_bias = of_mask.sum((0, 1)).split([call.channels, 1])
    return [of_weight, of_bias, *found] if s.softmax else [*found, of_weight, of_bias]


def _of_layers(plan: _Plan, rows: Tensor, of_rows: Tensor) -> list[Tensor]:
    """Return the gradients of the parameters of the transforms."""
    s, width, channels = plan.settings, plan.width, plan.sizes[0]
    if s.taps:
        of_taps = of_rows[:, 2 * channels :].sum(0)
        return [of_taps[: s.taps], of_taps[s.taps :]]
    size = sum(plan.parameters)
    out = small(rows, s.transforms, size)
    programs = (-(-channels // plan.weights["BC"]), s.transforms)
    args = (rows, of_rows, out, plan.programs[0], channels, width)
    strides = (plan.row, s.transforms * plan.of_transform, plan.of_transform, size)
    slab.launch(kernels.weights, programs, *args, *strides, **plan.weights)
    return [part for part in out.view(-1).split(plan.parameters * s.transforms) if part.numel()]


def _too_wide(width: int, channels: int) -> str | None:
    """Return why layers of some width are refused: each program of an image computes them."""
    if width > _WIDEST:
        return f"its layers have {width} hidden values, more than {_WIDEST}"
    if width * channels > _MOST_WEIGHTS:
        return f"a layer has {width} x {channels} weights, more than {_MOST_WEIGHTS}"
    return None


def _given(block: Any) -> list[Tensor | None]:
    return [p for p in parameters_of(block) if p is not None]


def _form(settings: Callable[[Any], _Settings], refuses: Callable[[Any], str | None] = lambda block: None) -> Form:
    return Form(_forward, _backward, _saved, lambda block: [*settings(block)], _given, lambda block, x: refuses(block))


def _of_gc(block: Any) -> _Settings:
    add, mul, transform = "add" in block.fusion, "mul" in block.fusion, block.add_transform or block.mul_transform
    layers = {"bias": 1, "width": transform.down.out_features, "eps": transform.norm.eps}
    return _Settings(block.scale, add=add, mul=mul, softmax=block.mask is not None, **layers)


def _of_squeeze(scale: float, squeeze: Any, combine: int = 0) -> _Settings:
    return _Settings(scale, mul=1, bias=squeeze.bias is not None, width=squeeze.out_features, combine=combine)


def _refuses_scse(block: Any) -> str | None:
    if block.combine == "concat":
        return "combine='concat' ends in a convolution of 2C channels, which takes most of the time"
    return _too_wide(block.cse.squeeze.out_features, block.channels)


SE = _form(
    lambda block: _of_squeeze(block.scale, block.squeeze),
    lambda block: _too_wide(block.squeeze.out_features, block.channels),
)
ECA = _form(lambda block: _Settings(block.scale, mul=1, bias=block.conv.bias is not None, taps=block.kernel_size))
GC = _form(
    _of_gc, lambda block: _too_wide((block.add_transform or block.mul_transform).down.out_features, block.channels)
)
SNL = _form(lambda block: _Settings(add=1, bias=1, softmax=1), lambda block: _too_wide(block.channels, block.channels))
SCSE = _form(lambda block: _of_squeeze(block.cse.scale, block.cse.squeeze, _COMBINE[block.combine]), _refuses_scse)
