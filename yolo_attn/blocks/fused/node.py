"""The autograd node of all fused forms, and the operators that stand for it under ``torch.compile``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from yolo_attn.blocks.fused import _form
from yolo_attn.blocks.fused.form import Form


def compute(block: Any, x: Tensor, form: Form) -> Tensor:
    """Return what a block gives, as one node of the graph where gradients are recorded."""
    parameters, settings = form.parameters(block), form.settings(block)
    if torch.is_grad_enabled():
        y: Tensor = _Node.apply(block, form, settings, x, *parameters)
        return y
    out = _filled(form, x, parameters, settings)
    form.update(block, out)
    return out[0]


def compute_compiled(block: Any, x: Tensor) -> Tensor:
    """Return what a block gives, by an operator that ``torch.compile`` keeps as it is."""
    form = _form(block.fused)
    out: list[Tensor] = torch.ops.yolo_attn.fused(x, form.parameters(block), form.settings(block), block.fused)
    form.update(block, out)
    return out[0]


def _filled(form: Form, x: Tensor, parameters: Sequence[Tensor], settings: Sequence[float]) -> list[Tensor]:
    out = form.outputs(x, parameters, settings)
    with torch.cuda.device_of(x):
        form.forward(x, parameters, settings, out)
    return out


def _gradients(
    form: Form,
    gy: Tensor,
    x: Tensor,
    saved: Sequence[Tensor],
    parameters: Sequence[Tensor],
    settings: Sequence[float],
    needs: bool,
) -> list[Tensor | None]:
    if gy.dtype != x.dtype or gy.stride(2) != gy.shape[3] * gy.stride(3) or 0 in gy.stride():
        gy = torch.empty_like(x).copy_(gy)
    with torch.cuda.device_of(x):
        gx, *rest = form.backward(gy, x, saved, parameters, settings, needs)
    return [gx, *(g.to(p.dtype).view_as(p) for g, p in zip(rest, parameters, strict=False))]


class _Node(torch.autograd.Function):
    """Compute a block by its form; second derivatives by the plain block."""

    @staticmethod
    def forward(ctx: Any, block: Any, form: Form, settings: list[float], x: Tensor, *parameters: Tensor) -> Tensor:
        y, *saved = out = _filled(form, x, parameters, settings)
        form.update(block, out)
        ctx.block, ctx.form, ctx.settings, ctx.number = block, form, settings, len(parameters)
        ctx.save_for_backward(x, *parameters, *saved)
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        x, *rest = ctx.saved_tensors
        parameters, saved = rest[: ctx.number], rest[ctx.number :]
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():  # for second derivatives
            found = _plain_gradients(ctx.block, gy, x, parameters, needed)
        else:
            found = _gradients(ctx.form, gy, x, saved, parameters, ctx.settings, any(needed[1:]))
        found += [None] * (len(needed) - len(found))
        return None, None, None, *(g if need else None for g, need in zip(found, needed, strict=True))


def _plain_gradients(
    block: Any, gy: Tensor, x: Tensor, parameters: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor | None]:
    inputs = [t for t, need in zip((x, *parameters), needed, strict=True) if need]
    y = block.forward.__wrapped__(block, x)
    found = iter(torch.autograd.grad(y, inputs, gy, create_graph=True))
    return [next(found) if need else None for need in needed]


# --- the operators under torch.compile --------------------------------------------------------------------------------
@torch.library.custom_op("yolo_attn::fused", mutates_args=())
def _operator(x: Tensor, parameters: Sequence[Tensor], settings: Sequence[float], name: str) -> list[Tensor]:
    return _filled(_form(name), x, parameters, settings)


@_operator.register_fake
def _(x: Tensor, parameters: Sequence[Tensor], settings: Sequence[float], name: str) -> list[Tensor]:
    return _form(name).outputs(x, parameters, settings)


@torch.library.custom_op("yolo_attn::fused_backward", mutates_args=())
def _backward_operator(
    gy: Tensor,
    x: Tensor,
    saved: Sequence[Tensor],
    parameters: Sequence[Tensor],
    settings: Sequence[float],
    name: str,
) -> list[Tensor]:
    found = [g for g in _gradients(_form(name), gy, x, saved, parameters, settings, True) if g is not None]
    return found + [torch.zeros_like(p) for p in parameters[len(found) - 1 :]]  # buffers have no gradients


@_backward_operator.register_fake
def _(
    gy: Tensor,
    x: Tensor,
    saved: Sequence[Tensor],
    parameters: Sequence[Tensor],
    settings: Sequence[float],
    name: str,
) -> list[Tensor]:
    return [torch.empty_like(t) for t in (x, *parameters)]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, parameters, ctx.settings, ctx.name = inputs
    ctx.number = len(parameters)
    ctx.save_for_backward(x, *parameters, *output[1:])


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    x, *rest = ctx.saved_tensors
    parameters, saved = rest[: ctx.number], rest[ctx.number :]
    gx, *of_parameters = torch.ops.yolo_attn.fused_backward(grads[0], x, saved, parameters, ctx.settings, ctx.name)
    return gx, of_parameters, None, None


_operator.register_autograd(_backward, setup_context=_remember)
