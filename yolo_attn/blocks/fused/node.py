"""The autograd node of all fused forms, and the operators that stand for it under ``torch.compile``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yolo_attn.blocks import fused
from yolo_attn.blocks.fused import _form
from yolo_attn.blocks.fused.form import Form
from yolo_attn.errors import YoloAttnError


class KernelFailed(Exception):  # noqa: N818
    """A kernel could not be built or launched."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def _launching(x: Tensor) -> Iterator[None]:
    """Launch on the device of ``x``; any error of Triton or the driver, save missing memory, is a kernel's."""
    try:
        with torch.cuda.device_of(x):
            yield
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        raise KernelFailed(error) from error


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
    form, names = _form(block.fused), f"{block.fused} {block.yaml_name}"
    out: list[Tensor] = torch.ops.yolo_attn.fused(x, form.parameters(block), form.settings(block), names)
    form.update(block, [t.detach() for t in out])
    return out[0]


def _filled(form: Form, x: Tensor, parameters: Sequence[Tensor], settings: Sequence[float]) -> list[Tensor]:
    out = form.outputs(x, parameters, settings)
    with _launching(x):
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
) -> list[Tensor]:
    if gy.dtype != x.dtype or gy.stride(2) != gy.shape[3] * gy.stride(3) or 0 in gy.stride():
        gy = torch.empty_like(x).copy_(gy)
    with _launching(x):
        gx, *rest = form.backward(gy, x, saved, parameters, settings, needs)
    return [gx, *(g.to(p.dtype).view_as(p) for g, p in zip(rest, parameters, strict=False))]


class _Node(torch.autograd.Function):
    """Compute a block by its form; second derivatives by the plain block."""

    @staticmethod
    def forward(ctx: Any, block: Any, form: Form, settings: list[float], x: Tensor, *parameters: Tensor) -> Tensor:
        y, *saved = out = _filled(form, x, parameters, settings)
        form.update(block, out)
        ctx.block, ctx.form, ctx.settings, ctx.training = block, form, settings, block.training
        ctx.number = len(parameters)
        ctx.save_for_backward(x, *parameters, *saved)
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        x, *rest = ctx.saved_tensors
        parameters, saved = rest[: ctx.number], rest[ctx.number :]
        needed = ctx.needs_input_grad[3:]
        found: list[Tensor | None] | None = None
        if not torch.is_grad_enabled():
            try:
                found = [*_gradients(ctx.form, gy, x, saved, parameters, ctx.settings, any(needed[1:]))]
            except KernelFailed as failed:
                fused.give_up(ctx.block.yaml_name, ctx.block.fused, failed.error)
        if found is None:  # or second derivatives may be wanted
            found = _plain_gradients(ctx.block, ctx.training, gy, x, parameters, needed)
        found += [None] * (len(needed) - len(found))
        return None, None, None, *(g if need else None for g, need in zip(found, needed, strict=True))


def _plain_gradients(
    block: Any, training: bool, gy: Tensor, x: Tensor, parameters: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor | None]:
    inputs = [t for t, need in zip((x, *parameters), needed, strict=True) if need]
    mixed = any(p.dtype != x.dtype for p in parameters) and x.dtype != torch.float32  # as under autocast
    with _as_it_was(block, training), torch.enable_grad(), torch.autocast(x.device.type, x.dtype, enabled=mixed):
        y = fused.plainly(block, x)
    found = iter(torch.autograd.grad(y, inputs, gy, create_graph=torch.is_grad_enabled()))
    return [next(found) if need else None for need in needed]


@contextlib.contextmanager
def _as_it_was(block: nn.Module, training: bool) -> Iterator[None]:
    """Compute a block once more: in the mode of the first time, and without a second update of running statistics."""
    mode, buffers = block.training, [(module._buffers, dict(module._buffers)) for module in block.modules()]
    for held, before in buffers:
        held.update({name: value if value is None else value.clone() for name, value in before.items()})
    if mode != training:
        block.train(training)
    try:
        yield
    finally:
        for held, before in buffers:
            held.update(before)
        if mode != training:
            block.train(mode)


# --- the operators under torch.compile --------------------------------------------------------------------------------
@torch.library.custom_op("yolo_attn::fused", mutates_args=())
def _operator(x: Tensor, parameters: Sequence[Tensor], settings: Sequence[float], name: str) -> list[Tensor]:
    form, block = name.split()
    with _explained(block):
        out = _filled(_form(form), x, parameters, settings)
    fused._paths[block] = "fused"
    return out


@_operator.register_fake
def _(x: Tensor, parameters: Sequence[Tensor], settings: Sequence[float], name: str) -> list[Tensor]:
    return _form(name.split()[0]).outputs(x, parameters, settings)


@torch.library.custom_op("yolo_attn::fused_backward", mutates_args=())
def _backward_operator(
    gy: Tensor,
    x: Tensor,
    saved: Sequence[Tensor],
    parameters: Sequence[Tensor],
    settings: Sequence[float],
    name: str,
) -> list[Tensor]:
    form, block = name.split()
    with _explained(block):
        gx, *rest = _gradients(_form(form), gy, x, saved, parameters, settings, True)
    found = [gx, *(g.clone() for g in rest)]  # they may be parts of one tensor, which an operator must not return
    return found + [torch.zeros_like(p) for p in parameters[len(rest) :]]  # buffers have no gradients


@contextlib.contextmanager
def _explained(block: str) -> Iterator[None]:
    try:
        yield
    except KernelFailed as failed:
        raise YoloAttnError(
            f"the kernel of {block} failed in a compiled graph, which cannot do without it; set {fused.VARIABLE}=0"
        ) from failed


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
