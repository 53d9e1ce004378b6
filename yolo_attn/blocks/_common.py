"""What the blocks share: argument checks, initialisation, and the few operations that read or write a feature map.

Every operation that passes over the ``(N, C, H, W)`` map is one plain function here, so that a fused kernel can stand
behind it without touching a block. None of them uses adaptive pooling, ``view`` or ``expand``: they run on any memory
format and export with dynamic sizes.
"""

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


def is_traced() -> bool:
    """Whether the call is being compiled, exported or traced: no warnings and no decisions on sizes then."""
    return _is_compiling() or torch.jit.is_tracing()


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


# ------------------------------------------------------------------------------------- operations on the feature map


def gate(logits: Tensor, scale: float = 1.0) -> Tensor:
    """Return ``scale * sigmoid(logits)``, in ``(0, scale)``; exactly ``scale / 2`` where the logits are 0."""
    return torch.sigmoid(logits) if scale == 1.0 else torch.sigmoid(logits) * scale


def apply_gates(x: Tensor, *gates: Tensor) -> Tensor:
    """Return ``x * gates[0] * gates[1] ...`` in the dtype and memory format of ``x``; gates broadcast against ``x``."""
    for one in gates:
        x = x * one.to(x.dtype)
    return x


def mean_hw(x: Tensor) -> Tensor:
    """Return the mean over positions, ``(N, C, H, W)`` -> ``(N, C)``."""
    return x.mean((2, 3))


def max_hw(x: Tensor) -> Tensor:
    """Return the maximum over positions, ``(N, C, H, W)`` -> ``(N, C)``."""
    return x.amax((2, 3))


def strips(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of every row ``(N, C, H)`` and of every column ``(N, C, W)``."""
    return x.mean(3), x.mean(2)


def max_mean_c(x: Tensor) -> Tensor:
    """Return maximum and mean over channels, in this order, ``(N, C, H, W)`` -> ``(N, 2, H, W)``."""
    return torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), dim=1)


def project_c(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 1x1 convolution to one channel as a matrix product, ``(N, C, H, W)`` -> ``(N, 1, H, W)``."""
    logits = conv.weight.reshape(1, 1, -1) @ x.flatten(2)  # (N, 1, HW); a 3-D weight spares matmul a copy of x
    if conv.bias is not None:
        logits = logits + conv.bias
    return logits.unflatten(2, x.shape[2:])


def softmax_hw(logits: Tensor) -> Tensor:
    """Return the softmax over positions, ``(N, 1, H, W)`` -> ``(N, 1, H, W)``, summing to 1."""
    return torch.softmax(logits.flatten(2), dim=2).unflatten(2, logits.shape[2:])


def weighted_sum_hw(x: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_hw weights * x``; ``(N, C, H, W)`` and ``(N, 1, H, W)`` -> ``(N, C)``."""
    return (x.flatten(2) @ weights.to(x.dtype).flatten(2).transpose(1, 2)).squeeze(2)


def group_similarity(x: Tensor, groups: int) -> Tensor:
    """Return ``sum_c x_c * mean_hw(x_c)`` over the channels of each group, ``(N, C, H, W)`` -> ``(N, G, H, W)``.

    Computed in at least float32, also under autocast: the sum overflows float16 for activations in the hundreds.
    """
    with _no_autocast(x.device.type):
        wide = x if x.dtype == torch.float64 else x.float()
        grouped = wide.flatten(2).unflatten(1, (groups, -1))  # (N, G, C/G, HW)
        mean = grouped.mean(3).unsqueeze(2)  # (N, G, 1, C/G)
        return (mean @ grouped).squeeze(2).unflatten(2, x.shape[2:])


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


def _no_autocast(device_type: str) -> contextlib.AbstractContextManager[None]:
    """Return a context without autocast; nothing at all where it is off, so that exported graphs stay plain."""
    if device_type == "meta":  # a device without data has no autocast to ask about
        return contextlib.nullcontext()
    if hasattr(torch, "get_autocast_dtype"):  # this and the argument below: newer torch
        enabled = torch.is_autocast_enabled(device_type)
    else:
        enabled = torch.is_autocast_cpu_enabled() if device_type == "cpu" else torch.is_autocast_enabled()
    return torch.autocast(device_type, enabled=False) if enabled else contextlib.nullcontext()
