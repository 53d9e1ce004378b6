"""What the blocks share: argument checks, initialisation, gates and norms of small maps."""

from __future__ import annotations

import contextlib
import difflib
import warnings
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from yolo_attn.blocks._exported import pointwise

Init = Literal["paper", "identity"]
INITS = ("paper", "identity")

# ---------------------------------------------------------------------------------------------------- argument checks


def check_int(name: str, value: object, minimum: int = 1) -> int:
    """Return ``value`` if it is an integer of at least ``minimum``; ``bool`` and ``float`` are refused."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; give an integer >= {minimum}, e.g. {name}=16")
    if value < minimum:
        raise ValueError(f"{name}={value} is too small; give an integer >= {minimum}")
    return value


def check_positive(name: str, value: object) -> float:
    """Return ``value`` if it is a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; give a number > 0, e.g. {name}=2")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}={value} is not a positive finite number; give one > 0, e.g. {name}=2")
    return value


def check_number(name: str, value: object) -> float:
    """Return ``value`` if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; give a number, e.g. {name}=1")
    if not abs(value) < float("inf"):
        raise ValueError(f"{name}={value} is not finite; give a finite number, e.g. {name}=1")
    return value


def check_bool(name: str, value: object) -> bool:
    """Return ``value`` if it is ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; give True or False")
    return value


def check_choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``allowed``; otherwise name the nearest one."""
    allowed = list(allowed)
    listed = ", ".join(map(repr, allowed))
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; give one of {listed}")
    if value not in allowed:
        by_lower = {choice.lower(): choice for choice in allowed}
        near = difflib.get_close_matches(value.lower(), by_lower, n=1)
        hint = f" (did you mean {by_lower[near[0]]!r}?)" if near else ""
        raise ValueError(f"{name}={value!r} is unknown{hint}; give one of {listed}")
    return value


def check_odd(name: str, value: object) -> int:
    """Return ``value`` if it is an odd positive integer (a kernel size that keeps the map's size)."""
    size = check_int(name, value)
    if size % 2 == 0:
        raise ValueError(
            f"{name}={size} is even and would shift the map; give an odd one, e.g. {size - 1} or {size + 1}"
        )
    return size


def check_divides(name: str, groups: object, channels: int) -> int:
    """Return ``groups`` if it is an integer that divides ``channels``; otherwise name the nearest divisors."""
    number = check_int(name, groups)
    if channels % number:
        below = largest_divisor(channels, number)
        above = next((d for d in range(number, channels) if channels % d == 0), channels)
        near = f"{below}" if below == above or number > channels else f"{below} or {above}"
        raise ValueError(f"{name}={number} does not divide channels={channels}; the nearest that does: {near}")
    return number


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of ``number`` that is at most ``limit``."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)


# ------------------------------------------------------------------------------------------ warnings, initialisation

_WARNED: set[tuple[str, str]] = set()
_is_compiling = getattr(torch.compiler, "is_compiling", lambda: False)  # missing from the first torch 2 releases
_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # likewise


def is_traced() -> bool:
    """Whether the call is being compiled, exported or traced: no warnings and no decisions on sizes then."""
    return _is_compiling() or torch.jit.is_tracing()


def is_exported() -> bool:
    """Whether the call is traced or exported for another runtime; see :mod:`yolo_attn.blocks._exported`."""
    return torch.jit.is_tracing() or _is_exporting()


def warn_once(block: str, reason: str, message: str) -> None:
    """Warn with ``message``, once per process for each (block, reason)."""
    if (block, reason) not in _WARNED:
        _WARNED.add((block, reason))
        warnings.warn(f"{block}: {message} (said once)", UserWarning, stacklevel=4)


def zero_(*modules: nn.Module) -> None:
    """Set weight and bias of each module to 0."""
    for module in modules:
        for parameter in module.parameters(recurse=False):
            nn.init.zeros_(parameter)


def gate_scale(init: Init) -> float:
    """Scale of a sigmoid gate: 1, or 2 where ``2 * sigmoid(0) = 1`` has to leave the input as it is."""
    return 2.0 if init == "identity" else 1.0


# ------------------------------------------------------------------------------------------- operations on small maps


def gate(logits: Tensor, scale: float = 1.0) -> Tensor:
    """Return ``scale * sigmoid(logits)``, in ``(0, scale)``; exactly ``scale / 2`` where the logits are 0."""
    return torch.sigmoid(logits) if scale == 1.0 else torch.sigmoid(logits) * scale


def as_map(vectors: Tensor) -> Tensor:
    """Return one value per channel as a small map, ``(N, C)`` -> ``(N, C, 1, 1)``."""
    return vectors.unsqueeze(2).unsqueeze(3)


def bottleneck(vectors: Tensor, down: nn.Linear, up: nn.Linear) -> Tensor:
    """Return ``up(relu(down(vectors)))`` of one value per channel, ``(N, C, 1, 1)`` -> ``(N, C, 1, 1)``."""
    if is_exported():
        return pointwise(torch.relu(pointwise(vectors, down)), up)
    return as_map(up(torch.relu(down(vectors.flatten(1)))))


def group_norm(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Apply ``norm``; a group of a single value normalises to 0, where ``nn.GroupNorm`` itself raises."""
    return torch.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


def batch_norm(x: Tensor, norm: nn.BatchNorm2d | nn.Identity) -> Tensor:
    """Apply ``norm``; a single value per channel has no batch statistics, so the running ones serve then."""
    if norm.training and x.numel() == x.shape[1] and isinstance(norm, nn.BatchNorm2d):
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    return norm(x)


def folded(norm: nn.BatchNorm2d | nn.Identity, conv: nn.Conv2d) -> nn.Identity:
    """Fold ``norm`` into the convolution before it, and return what takes its place.

    Like the host's own folding it takes the running statistics, whatever the mode, and leaves nothing to train.
    """
    if isinstance(norm, nn.BatchNorm2d):
        statistics = norm.running_mean, norm.running_var, norm.eps
        conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics, norm.weight, norm.bias)
        conv.requires_grad_(False)
    return nn.Identity().train(norm.training)


def no_autocast(device_type: str) -> contextlib.AbstractContextManager[None]:
    """Return a context without autocast; nothing at all where it is off, so that exported graphs stay plain."""
    if device_type == "meta":  # a device without data has no autocast to ask about
        return contextlib.nullcontext()
    if hasattr(torch, "get_autocast_dtype"):  # this and the argument below: newer torch
        enabled = torch.is_autocast_enabled(device_type)
    else:
        enabled = torch.is_autocast_cpu_enabled() if device_type == "cpu" else torch.is_autocast_enabled()
    return torch.autocast(device_type, enabled=False) if enabled else contextlib.nullcontext()
