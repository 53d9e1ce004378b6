"""Fused forms of blocks: one or two Triton kernels each way in place of a chain of small operations.

A block names its form in one class fact, ``fused``; the definition stays the plain block. The form is used where it is
switched on, on CUDA with Triton, in eager mode and under ``torch.compile``; everywhere else the plain block computes.
It is off by default: it has not been measured on a GPU yet.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yolo_attn.blocks.ops import is_exported, is_traced

if TYPE_CHECKING:
    from yolo_attn.blocks.base import AttentionBlock
    from yolo_attn.blocks.fused.form import Form

VARIABLE = "YOLO_ATTN_FUSED"
"""Environment variable: ``1`` switches the fused forms on, ``0`` off."""

_OLDEST_TORCH = (2, 6)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_MOST_VALUES = 2**31 - 1  # offsets within an image and sizes are 32-bit integers

_switched_on = os.environ.get(VARIABLE, "0") == "1"
_paths: dict[str, str] = {}
_broken: dict[str, str] = {}


@contextmanager
def _until_the_end(before: bool) -> Iterator[None]:
    try:
        yield
    finally:
        _set(before)


def _set(on: bool) -> None:
    global _switched_on
    _switched_on = on


def fused(on: bool = True) -> Any:
    """Switch the fused forms of the blocks on or off; as a context manager, until its end.

    Args:
        on: Whether blocks may use Triton kernels on CUDA.

    Example:
        >>> import yolo_attn as ya
        >>> with ya.fused(False):
        ...     pass
    """
    before = _switched_on
    _set(on)
    return _until_the_end(before)


def is_on() -> bool:
    """Tell whether the fused forms are switched on."""
    return _switched_on


def paths() -> dict[str, str]:
    """Return how each kind of block was computed last: ``"fused"``, or ``"plain: "`` and why.

    Blocks that ran only while the forms were switched off are left out.
    """
    return dict(_paths)


def describe() -> str:
    """Return in one line whether the fused forms are used here, and why not."""
    if reason := _unavailable():
        return f"off ({reason})"
    if not _switched_on:
        return f"off by default, not measured on a GPU yet; {VARIABLE}=1 switches them on"
    return "on"


def compute(block: AttentionBlock, x: Tensor) -> Tensor | None:
    """Return what a block gives, by its fused form; ``None`` where the plain block has to compute it."""
    if is_exported() or torch.jit.is_scripting():
        return None
    name = type(block).__name__
    reason = _reason(block, x)
    if reason is None:
        from yolo_attn.blocks.fused import node

        if is_traced():
            return node.compute_compiled(block, x)
        try:
            y = node.compute(block, x, _form(block.fused))
        except Exception as error:  # a kernel that cannot be built: any kind of error of Triton or the driver
            reason = _give_up(name, block.fused, error)
        else:
            _paths[name] = "fused"
            return y
    if not is_traced():
        _paths[name] = f"plain: {reason}"
    return None


def _give_up(name: str, form: str, error: Exception) -> str:
    said = (str(error).strip().splitlines() or [""])[0]
    _broken[form] = f"its kernel failed ({type(error).__name__}: {said})"
    warnings.warn(f"{name}: {_broken[form]}; it is computed without (shown once)", UserWarning, stacklevel=3)
    return _broken[form]


def _reason(block: AttentionBlock, x: Tensor) -> str | None:
    """Return why a block cannot be computed by its fused form, ``None`` where it can."""
    if unavailable := _unavailable():
        return unavailable
    if not (x.is_cuda or (x.is_cpu and _interpreted())):
        return f"the map is on {x.device.type}"
    if x.dim() != 4 or x.shape[1] != block.channels:
        return f"the map has the shape {tuple(x.shape)}"
    if x.dtype not in _DTYPES:
        return f"the map is {x.dtype}"
    if not 0 < x.numel() <= _MOST_VALUES:
        return f"the map has {x.numel()} values"
    if x.shape[2] > 1 and x.stride(2) != x.shape[3] * x.stride(3):
        return "the positions of the map are not in one sequence in memory"
    if block.fused in _broken:
        return _broken[block.fused]
    if _is_transformed():
        return "a torch.func transform or forward-mode AD is at work"
    return _form(block.fused).refuses(block, x)


@functools.lru_cache(1)
def _unavailable() -> str | None:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _OLDEST_TORCH:
        return f"torch {torch.__version__} is older than {'.'.join(map(str, _OLDEST_TORCH))}"
    try:
        import triton  # noqa: F401
    except Exception as error:
        return f"Triton cannot be imported ({type(error).__name__})"
    if not torch.cuda.is_available() and not _interpreted():
        return "there is no CUDA device"
    return None


@functools.lru_cache(1)
def _interpreted() -> bool:
    """Tell whether Triton interprets kernels on the CPU, as the tests have it do."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def _is_transformed() -> bool:
    functorch = torch._C._functorch
    return functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0


@functools.lru_cache(100)
def _form(name: str) -> Form:
    form: Form = pkgutil.resolve_name(f"yolo_attn.blocks.fused.{name}")
    return form
