"""Tensor operations shared by the blocks: gating, pooling, normalisation, and checks for tracing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_is_compiling = getattr(torch.compiler, "is_compiling", lambda: False)  # missing from the first torch 2 releases
_is_tracing: Callable[[], bool] = torch.jit.is_tracing
_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # also missing from early torch 2


class Depthwise(nn.Conv2d):
    """Depthwise convolution; float16 on a CPU is computed in float32: torch never returns from some kernels."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        if x.is_cpu and x.dtype == torch.float16:
            bias = None if self.bias is None else self.bias.float()
            y: Tensor = self._conv_forward(x.float(), self.weight.float(), bias)
            return y.to(x.dtype)
        return super().forward(x)


def depthwise(channels: int, height: int, width: int, dilation: int = 1) -> Depthwise:
    """Return a depthwise convolution with bias that keeps the size of the map, for odd kernel sizes."""
    padding = (height // 2 * dilation, width // 2 * dilation)
    return Depthwise(channels, channels, (height, width), padding=padding, dilation=dilation, groups=channels)


def strip_convs(channels: int, length: int, dilation: int = 1) -> nn.Sequential:
    """Return two depthwise convolutions, one along the width and then one along the height."""
    return nn.Sequential(depthwise(channels, 1, length, dilation), depthwise(channels, length, 1, dilation))


def is_traced() -> bool:
    """Tell whether the call is compiled, exported or traced; then no warnings, and no branches on sizes."""
    return _is_compiling() or _is_tracing()


def is_exported() -> bool:
    """Tell whether the call is traced or exported for another runtime.

    Then every tensor must have four dimensions, batch first (ncnn silently misreads others), products with weights
    must be convolutions, and no size may become a constant of the graph.
    """
    return _is_tracing() or _is_exporting()


def in_place() -> bool:
    """Tell whether an intermediate result may be overwritten: neither autograd nor a tracer records it."""
    return not (torch.is_grad_enabled() or is_traced())


def multiply(x: Tensor, *gates: Tensor, overwrite: bool = False) -> Tensor:
    """Return ``x`` times its gates, in the dtype of ``x``; in place where no gradient is recorded.

    Args:
        x: Feature map.
        *gates: Gates that broadcast to ``x``.
        overwrite: Whether ``x`` is an intermediate result of the caller, which may be overwritten.
    """
    for gate in gates:
        gate = gate.to(x.dtype)
        x = x.mul_(gate) if overwrite and in_place() else x * gate
        overwrite = True
    return x


def gate(logits: Tensor, scale: float) -> Tensor:
    """Return ``scale * sigmoid(logits)``, in (0, scale)."""
    return torch.sigmoid(logits) if scale == 1 else torch.sigmoid(logits) * scale


def pointwise(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer to the channels at every position, ``(N, in, H, W)`` -> ``(N, out, H, W)``."""
    return F.conv2d(x, layer.weight.view(layer.out_features, -1, 1, 1), layer.bias)


def bottleneck(x: Tensor, down: nn.Linear, up: nn.Linear) -> Tensor:
    """Return ``up(relu(down(x)))`` over the channels at every position."""
    return pointwise(pointwise(x, down).relu_(), up)


def is_channels_last(x: Tensor) -> bool:
    """Tell whether channels are last in memory; not while traced, when the layout is not known."""
    return x.stride(1) == 1 and x.shape[1] > 1 and not is_traced()


def strips(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of every row, ``(N, C, H, 1)``, and of every column, ``(N, C, 1, W)``."""
    if is_channels_last(x):  # ten times faster reduced in the order of the memory
        x = x.permute(0, 2, 3, 1)
        return x.mean(2, keepdim=True).permute(0, 3, 1, 2), x.mean(1, keepdim=True).permute(0, 3, 1, 2)
    return x.mean(3, keepdim=True), x.mean(2, keepdim=True)


def max_hw(x: Tensor) -> Tensor:
    """Return the maximum over positions, ``(N, C, 1, 1)``; indices are kept only if a gradient needs them."""
    return x.amax((2, 3), keepdim=True) if in_place() or is_traced() else F.max_pool2d(x, x.shape[2:])


def max_along(x: Tensor, dim: int) -> Tensor:
    """Return the maximum along one dimension, which is kept; indices are kept only if a gradient needs them."""
    return x.amax(dim, keepdim=True) if in_place() or is_traced() else x.max(dim, keepdim=True).values


def max_c(x: Tensor) -> Tensor:
    """Return the maximum over channels, ``(N, 1, H, W)``; indices are kept only if a gradient needs them."""
    return max_along(x, 1)


def variance(x: Tensor) -> Tensor:
    """Return the unbiased variance over positions, ``(N, C, 1, 1)``; that of a single position is 0."""
    biased = (x - x.mean((2, 3), keepdim=True)).square().mean((2, 3), keepdim=True)  # several times faster than var
    return biased * (1 + 1 / other_positions(x))


def sum_groups(x: Tensor, groups: int, width: int) -> Tensor:
    """Return the sum over the ``width`` channels of each group, ``(N, C, H, W)`` -> ``(N, G, H, W)``."""
    if is_exported():
        return F.conv2d(x, x.new_ones(groups, width, 1, 1), groups=groups)
    return x.view(x.shape[0], groups, width, *x.shape[2:]).sum(2)


def multiply_groups(x: Tensor, gates: Tensor, groups: int, width: int) -> Tensor:
    """Return ``x`` times the gate ``(N, G, H, W)`` of each group of ``width`` channels."""
    gates = gates.to(x.dtype)
    if is_exported():
        return x * F.conv2d(gates, gates.new_ones(groups * width, 1, 1, 1), groups=groups)
    return (x.view(x.shape[0], groups, width, *x.shape[2:]) * gates.unsqueeze(2)).flatten(1, 2)


def adaptive_kernel(channels: int, gamma: float, b: float) -> int:
    """Return the odd kernel size ``t`` or ``t + 1``, with ``t = int(abs((log2 C + b) / gamma))``, of ECA."""
    t = int(abs((math.log2(channels) + b) / gamma))
    return t if t % 2 else t + 1


def conv_channels(x: Tensor, layer: nn.Conv1d) -> Tensor:
    """Slide a kernel over ``(N, 1, L, 1)``, a sequence of channels, zeros beyond both ends."""
    return F.conv2d(x, layer.weight.unsqueeze(3), layer.bias, padding=(layer.kernel_size[0] // 2, 0))


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Return the channels in another order: the first of every group, then the second of every group, and so on."""
    if groups == 1:
        return x
    n, channels, height, width = x.shape
    if is_exported():  # in four dimensions
        swapped = x.reshape(n, groups, channels // groups, height * width).transpose(1, 2)
        return swapped.reshape(n, channels, height, width)
    return F.channel_shuffle(x, groups)


def other_positions(x: Tensor) -> Tensor | int:
    """Return ``HW - 1``, at least 1, by which an unbiased variance divides; a tensor where no size may be constant."""
    if is_exported():
        return (torch.ones_like(x[:1, :1]).sum((2, 3), keepdim=True) - 1).clamp_min(1)
    return max(x.shape[2] * x.shape[3] - 1, 1)


def project(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Apply a 1x1 convolution to one channel, ``(N, C, H, W)`` -> ``(N, 1, H, W)``.

    On a CPU one product with a vector is faster than a convolution: in training, and with more than one thread. On tiny
    maps, of fewer than 256 positions, and in channels-last order it is not.
    """
    if is_traced() or not x.is_cpu or x.stride(1) < 256 or x.dtype != layer.weight.dtype:  # 1 where channels come last
        projected: Tensor = layer(x)
        return projected
    rows = layer.weight.view(1, 1, -1).expand(x.shape[0], -1, -1)  # (N, 1, C)
    flat = x.flatten(2)  # (N, C, HW)
    product = torch.bmm(rows, flat) if layer.bias is None else torch.baddbmm(layer.bias, rows, flat)
    return product.view(x.shape[0], 1, *x.shape[2:])


def context(x: Tensor, mask: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the mean weighted by ``softmax_hw(mask(x))``, ``(N, C, 1, 1)``, and the weights, ``(N, 1, H, W)``."""
    logits = project(x, mask)  # (N, 1, H, W)
    if is_exported():
        weights = torch.exp(logits - logits.amax((2, 3), keepdim=True))
        weights = weights / weights.sum((2, 3), keepdim=True)
        return (x * weights).sum((2, 3), keepdim=True), weights
    flat = F.softmax(logits.flatten(2), 2).to(x.dtype)  # (N, 1, HW)
    if torch.is_grad_enabled():  # so that the gradient of x lies in memory as x does
        of_x = torch.bmm(x.flatten(2), flat.transpose(1, 2))  # (N, C, 1)
    else:  # twice as fast
        of_x = torch.bmm(flat, x.flatten(2).transpose(1, 2))  # (N, 1, C)
    return of_x.view(*x.shape[:2], 1, 1), flat.view(logits.shape)


def batch_norm(x: Tensor, norm: nn.BatchNorm2d | nn.Identity) -> Tensor:
    """Apply ``norm``; with a single value per channel, which has no variance, use the running statistics."""
    if norm.training and x.numel() == x.shape[1] and isinstance(norm, nn.BatchNorm2d):
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    return norm(x)  # type: ignore[no-any-return]


def folded(norm: nn.BatchNorm2d | nn.Identity, conv: nn.Conv2d | nn.Linear) -> nn.Identity:
    """Fold ``norm`` into the convolution or linear layer before it, and return an identity to replace it.

    Like Ultralytics' own ``fuse()``, it uses the running statistics in any mode, and freezes the layer.
    """
    if isinstance(norm, nn.BatchNorm2d):
        mean, var = norm.running_mean, norm.running_var
        fused = fuse_conv_bn_weights(conv.weight, conv.bias, mean, var, norm.eps, norm.weight, norm.bias)  # type: ignore[arg-type]
        conv.weight, conv.bias = fused
        conv.requires_grad_(False)
    return nn.Identity().train(norm.training)


def no_autocast(device_type: str) -> contextlib.AbstractContextManager[None]:
    """Return a context without autocast; a null context where it is off, so that exported graphs stay unchanged."""
    if device_type == "meta":  # the meta device has no autocast state
        return contextlib.nullcontext()
    if hasattr(torch, "get_autocast_dtype"):  # this and the argument below: newer torch
        enabled = torch.is_autocast_enabled(device_type)
    else:
        enabled = torch.is_autocast_cpu_enabled() if device_type == "cpu" else torch.is_autocast_enabled()
    return torch.autocast(device_type, enabled=False) if enabled else contextlib.nullcontext()
