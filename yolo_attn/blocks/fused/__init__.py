"""Fused forms of blocks: one or two Triton kernels each way in place of a chain of small operations.

A block names its form in one class fact, ``fused``; the definition stays the plain block. The form is used where it is
switched on, on CUDA with Triton, in eager mode and under ``torch.compile``; everywhere else the plain block computes.
It is off by default: it has not been measured on a GPU yet.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pkgutil
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from yolo_attn.blocks.ops import is_exported, is_traced
from yolo_attn.errors import YoloAttnError

if TYPE_CHECKING:
    from yolo_attn.blocks.base import AttentionBlock
    from yolo_attn.blocks.fused.form import Form

T = TypeVar("T")
VARIABLE = "YOLO_ATTN_FUSED"
"""Environment variable: ``1`` switches the fused forms on, ``eager`` on but not under ``torch.compile``, ``0`` off."""

_OLDEST_TORCH = (2, 6)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_MOST_VALUES = 2**31 - 1  # offsets within an image and sizes are 32-bit integers

_PLAIN_CLASSES = {
    nn.BatchNorm2d, nn.Conv1d, nn.Conv2d, nn.GroupNorm, nn.Identity, nn.LayerNorm, nn.Linear, nn.ModuleList,
    nn.Sequential,
}  # fmt: skip
"""Layers whose parameters say what they compute; not so those that are pruned, quantised, low-rank or synchronised."""


_VALUES = {"": (False, True), "0": (False, True), "1": (True, True), "eager": (True, False)}


def _from_environment() -> tuple[bool, bool]:
    given = os.environ.get(VARIABLE, "0")
    if given not in _VALUES:
        raise YoloAttnError(
            f"{VARIABLE}={given}: give 1 to switch the fused forms on, eager to leave compiled graphs to Inductor, or 0"
        )
    return _VALUES[given]


def _constant(function: Callable[..., T]) -> Callable[..., T]:
    """Keep what a function returned, and have ``torch.compile`` take it for a constant instead of tracing it."""
    known = functools.lru_cache(100)(function)

    @functools.wraps(function)
    def constant(*args: Any) -> T:
        return known(*args)

    vars(constant)["_dynamo_marked_constant"] = True  # as torch.compiler.assume_constant_result, which imports Dynamo
    return constant


_switched_on, _in_graphs = _from_environment()
_forms: dict[str, Form] = {}
_paths: dict[str, str] = {}
_broken: dict[str, str] = {}


def switch(on: bool, compiled: bool = True) -> None:
    """Switch the fused forms on or off; ``compiled``: whether they are used under ``torch.compile`` too."""
    global _switched_on, _in_graphs
    _switched_on, _in_graphs = on, compiled


def fused(on: bool = True, compiled: bool = True) -> contextlib.ExitStack:
    """Switch the fused forms of the blocks on or off, in the whole process; as a context manager, until its end.

    Args:
        on: Whether blocks may use Triton kernels on CUDA.
        compiled: Whether they may under ``torch.compile`` too, where Inductor otherwise makes kernels of the plain
            block; this is settled when a graph is compiled.

    Raises:
        YoloAttnError: If one is neither ``True`` nor ``False``.

    Example:
        >>> import yolo_attn as ya
        >>> with ya.fused(False):
        ...     pass
    """
    for name, value in (("", on), ("compiled=", compiled)):
        if not isinstance(value, bool):
            raise YoloAttnError(f"fused({name}{value!r}): give True or False")
    restore = contextlib.ExitStack()
    restore.callback(switch, _switched_on, _in_graphs)
    switch(on, compiled)
    return restore


def is_on() -> bool:
    """Tell whether the fused forms are switched on."""
    return _switched_on


def paths() -> dict[str, str]:
    """Return how each kind of block was computed last: ``"fused"``, or ``"plain: "`` and why.

    Blocks that ran only while the forms were switched off are left out.
    """
    return dict(_paths)


def forget(name: str) -> None:
    """Forget how a kind of block was computed."""
    _paths.pop(name, None)


def describe() -> str:
    """Return in one line whether the fused forms are used here, and why not."""
    if reason := unavailable():
        return f"off ({reason})"
    if not _switched_on:
        return f"off by default, not measured on a GPU yet; {VARIABLE}=1 switches them on"
    return "on" if _in_graphs else "on, but not under torch.compile"


def used() -> str:
    """Return in one line how the blocks of this process were computed: by which path each kind, or why by none."""
    return "; ".join(f"{name} {path}" for name, path in _paths.items()) or describe()


def compute(block: AttentionBlock, x: Tensor) -> Tensor | None:
    """Return what a block gives, by its fused form; ``None`` where the plain block has to compute it."""
    if is_exported() or (is_traced() and not _in_graphs):
        return None
    reason = _reason(block, x)
    name = block.yaml_name
    if reason:
        if not is_traced():
            _paths[name] = f"plain: {reason}"
        return None
    from yolo_attn.blocks.fused import node  # imports Triton

    if is_traced():
        return node.compute_compiled(block, x)
    try:
        y = node.compute(block, x, _form(block.fused))
    except node.KernelFailed as failed:
        plain = plainly(block, x)  # raises where the input is what is wrong
        give_up(name, block.fused, failed.__cause__)
        return plain
    _paths[name] = "fused"
    return y


def plainly(block: AttentionBlock, x: Tensor) -> Tensor:
    """Return what the plain block gives."""
    y: Tensor = type(block).forward.__wrapped__(block, x)  # type: ignore[attr-defined]
    return y


def give_up(name: str, form: str, error: BaseException | None) -> None:
    """Compute blocks of a form plainly from now on, and warn of it once."""
    said = (str(error).strip().splitlines() or [""])[0]
    reason = f"its kernel failed ({type(error).__name__}: {said})"
    if form not in _broken:
        warnings.warn(f"{name}: {reason}; it is computed without (shown once)", UserWarning, stacklevel=4)
    _broken[form] = reason
    _paths[name] = f"plain: {reason}"


def _reason(block: AttentionBlock, x: Tensor) -> str | None:
    """Return why a block cannot be computed by its fused form, ``None`` where it can."""
    if missing := unavailable():
        return missing
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
    if _has_other_layers(block):
        return "one of its layers has hooks or was replaced"
    if not is_traced() and (watching := _watching(x)):
        return f"{watching} is at work"
    return _form(block.fused).refuses(block, x)


@_constant
def unavailable() -> str | None:
    """Return why no fused form can be used here, ``None`` where they can."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _OLDEST_TORCH:
        return f"torch {torch.__version__} is older than {'.'.join(map(str, _OLDEST_TORCH))}"
    try:
        import triton  # noqa: F401
    except Exception as error:
        return f"Triton cannot be imported ({type(error).__name__})"
    if not torch.cuda.is_available() and not _interpreted():
        return "there is no CUDA device"
    return None


@_constant
def _interpreted() -> bool:
    """Tell whether Triton interprets kernels on the CPU, as the tests have it do."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def _has_other_layers(module: nn.Module) -> bool:
    """Tell whether a layer inside would do more than its parameters say."""
    for layer in module._modules.values():
        if layer is None:
            continue
        if type(layer) not in _PLAIN_CLASSES and not type(layer).__module__.startswith("yolo_attn.blocks."):
            return True
        if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
            return True
        if layer._modules and _has_other_layers(layer):
            return True
    return False


def _watching(x: Tensor) -> str | None:
    """Return what sees single operations, or has to derive them, and would not see into a kernel."""
    if type(x) is not Tensor and type(x) is not nn.Parameter:
        return f"a subclass of tensors ({type(x).__name__})"
    if torch._C._len_torch_dispatch_stack():
        return "a dispatch mode"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a torch.func transform"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode AD"
    return None


def _form(name: str) -> Form:
    _load(name)  # before torch.compile sees what the dictionary holds
    return _forms[name]


@_constant
def _load(name: str) -> bool:
    """Import all forms at once: ``torch.compile`` does not see what is added while it traces."""
    from yolo_attn.blocks import ATTENTION_BLOCKS

    for wanted in {name, *(block.fused for block in ATTENTION_BLOCKS.values() if block.fused)}:
        _forms[wanted] = pkgutil.resolve_name(f"yolo_attn.blocks.fused.{wanted}")
    return True
