"""The forms of SE, cSE, ECA, GC, SNL and scSE: two kernels each way, and one for the gradients of their weights.

``channel_kernels`` says what they compute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import triton
from torch import Tensor

from yolo_attn.blocks.fused import channel_kernels as kernels
from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers, parameters_of

_PROGRAMS = 528  # four for each multiprocessor of an H100
_MOST_BLOCKS = 64  # of an image: each program adds the parts of all
_LONGEST = 512  # positions of a tile
_MOST_POSITIONS = 2**17  # so that these parts stay less to read than the map
_TILE = 4096
_STAGE_TILE = 8192
_WIDEST = 512
_MOST_WEIGHTS = 2**17
_COMBINE = {"add": 1, "max": 2, "mul": 3}


class _Settings(NamedTuple):
    scale: float = 1.0
    eps: float = 0.0  # of the LayerNorm
    layers: int = 2  # of a transform; 0 for a convolution over channels
    width: int = 0  # values that the last layer takes, or taps
    add: int = 0  # whether there is an addend
    mul: int = 0  # whether there is a gate
    softmax: int = 0
    combine: int = 0


class _Plan(NamedTuple):
    """Sizes and constants with which a block is computed on maps of some size."""

    programs: tuple[int, int]  # images, blocks of positions
    sizes: tuple[int, int, int]  # channels, positions, width
    parts: list[int]  # sizes of the gradients of W1, b1, gain, shift, W2, b2 for each transform
    constants: dict[str, dict[str, int]]  # of each kernel


@functools.lru_cache(1000)
def _plan(settings: tuple[float, ...], images: int, channels: int, positions: int) -> _Plan:
    """Share positions between programs: enough of them to fill the GPU, few enough to add their parts."""
    s = _Settings._make([*settings[:2], *map(int, settings[2:])])  # all are floats under torch.compile
    wanted = triton.cdiv(positions, min(_MOST_BLOCKS, triton.cdiv(_PROGRAMS, images)))
    bp = min(_LONGEST, max(32, triton.next_power_of_2(wanted)))
    blocks = triton.cdiv(positions, bp)
    rows, hid, bb = map(triton.next_power_of_2, (channels, s.width, blocks))
    cs, bc = min(rows, max(_STAGE_TILE // max(hid, bb), 16)), min(rows, max(_TILE // bp, 16))
    every = {"ADD": s.add, "MUL": s.mul, "SOFTMAX": s.softmax, "COMBINE": s.combine, "BC": bc, "BP": bp}
    every |= {"TAPS": 0 if s.layers else s.width, "HID": hid, "BB": bb, "CS": cs}
    constants = {
        kernel.__name__: {name: every[name] for name in kernel.arg_names if name in every}
        for kernel in (kernels.pool, kernels.write, kernels.reduce, kernels.write_gradient)
    }
    first, hid = int(s.layers == 2), max(hid, 16)  # a product of matrices has at least 16 rows and columns
    constants["weights"] = {"FIRST": first, "HID": hid, "BC": 16 if hid > 128 else 32, "BN": 16}
    parts = [first * s.width * channels, *[first * s.width] * 3, channels * s.width, channels]
    return _Plan((images, blocks), (channels, positions, s.width), parts * (s.add + s.mul), constants)


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes of the rows of the images, and of ``z`` of the positions where there is a mask."""
    s = _Settings._make(settings)
    n, c, height, width = x.shape
    rows = (n, 2 + c + int(s.add + s.mul) * (c + int(s.width)))
    return [rows, (n, height * width)] if s.softmax or s.combine else [rows]


def _forward(call: Call) -> None:
    x, y = call.maps
    rows, z = (*call.saved, None)[:2]
    w, b, *layers = call.parameters
    plan, (scale, eps) = _plan(tuple(call.settings), call.images, call.channels, call.positions), call.settings[:2]
    parts = call.new(*plan.programs, call.channels + 2)
    args = (x, z, parts, w, b, *plan.sizes[:2], scale, *call.strides[:3])
    slab.launch(kernels.pool, plan.programs, *args, **plan.constants["pool"])
    args = (x, y, z, parts, rows, *layers[:6], *layers[-6:], *plan.sizes, scale, eps, *call.strides)
    slab.launch(kernels.write, plan.programs, *args, **plan.constants["write"])


def _backward(call: Call) -> Gradients:
    x, gy, gx = call.maps
    rows, z = (*call.saved, None)[:2]
    w, _, *layers = call.parameters
    plan, (scale, eps) = _plan(tuple(call.settings), call.images, call.channels, call.positions), call.settings[:2]
    (c, _, width), transforms = plan.sizes, len(layers) // 6
    parts, of_rows = call.new(*plan.programs, 3 * c + 1), call.new(call.images, transforms * (2 * c + 4 * width))
    args: tuple[Any, ...] = (x, gy, z, parts, rows, *plan.sizes, *call.strides[:6])
    slab.launch(kernels.reduce, plan.programs, *args, **plan.constants["reduce"])
    args = (x, gy, gx, z, parts, rows, of_rows, w, *layers[:6], *layers[-6:], *plan.sizes)
    args += (scale, eps, *call.strides)
    slab.launch(kernels.write_gradient, plan.programs, *args, NEEDS=int(call.needs), **plan.constants["write_gradient"])
    if not call.needs:
        return ()
    mask = (None, None) if z is None else parts[:, :, 2 * c :].sum((0, 1)).split((c, 1))
    if plan.constants["write"]["TAPS"]:
        of_bias = None if call.parameters[7] is None else of_rows[:, c : 2 * c].sum()
        return [*mask, *[None] * 4, of_rows[:, 2 * c : 2 * c + width].sum(0), of_bias]
    out, constants = call.new(sum(plan.parts)), plan.constants["weights"]
    args = (rows, of_rows, out, call.images, c, width, rows.shape[1], of_rows.shape[1], len(out) // transforms)
    slab.launch(kernels.weights, (-(-c // constants["BC"]), transforms), *args, **constants)
    return [*mask, *out.split_with_sizes(plan.parts)]


def _form(settings: Callable[[Any], _Settings], parameters: Callable[[Any], list[Tensor | None]]) -> Form:
    """Return a form by settings and parameters: ``w``, ``b``, and ``W1, b1, gain, shift, W2, b2`` of each transform."""

    def refuses(block: Any, x: Tensor) -> str | None:
        if getattr(block, "combine", None) == "concat":
            return "combine='concat' ends in a convolution of 2C channels, which takes most of the time"
        s, positions = settings(block), x.shape[2] * x.shape[3]
        if s.layers and s.width > _WIDEST:
            return f"its layers have {s.width} hidden values, more than {_WIDEST}"
        if s.layers and s.width * block.channels > _MOST_WEIGHTS:
            return f"a layer has {s.width} x {block.channels} weights, more than {_MOST_WEIGHTS}"
        if positions > _MOST_POSITIONS:  # only then: a size that is formatted is fixed under torch.compile
            return f"the map has {positions} positions, more than {_MOST_POSITIONS}"
        return None

    return Form(_forward, _backward, _saved, lambda block: [*settings(block)], parameters, refuses)


def _of_gc(block: Any) -> _Settings:
    layers = block.add_transform or block.mul_transform
    add, mul, softmax = "add" in block.fusion, "mul" in block.fusion, block.mask is not None
    return _Settings(block.scale, layers.norm.eps, 2, layers.down.out_features, add, mul, softmax)


def _of_squeeze(block: Any) -> _Settings:
    return _Settings(block.scale, width=block.squeeze.out_features, mul=1)


def _layers(block: Any) -> list[Tensor | None]:
    return [*parameters_of(block.squeeze), None, None, *parameters_of(block.excite)]


SE = _form(_of_squeeze, lambda block: [None, None, *_layers(block)])
ECA = _form(
    lambda block: _Settings(block.scale, layers=0, width=block.kernel_size, mul=1),
    lambda block: [*[None] * 6, *parameters_of(block.conv)],
)
GC = _form(
    _of_gc, lambda block: parameters_of(block) if block.mask is not None else [None, None, *parameters_of(block)]
)
SNL = _form(
    lambda block: _Settings(layers=1, width=block.channels, add=1, softmax=1),
    lambda block: [*parameters_of(block.mask), *[None] * 4, *parameters_of(block.value)],
)
SCSE = _form(
    lambda block: _of_squeeze(block.cse)._replace(combine=_COMBINE[block.combine]),
    lambda block: [*parameters_of(block.sse.conv), *_layers(block.cse)],
)
