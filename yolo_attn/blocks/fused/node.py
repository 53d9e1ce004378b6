"""The autograd node of all fused forms, and the operators that stand for it under ``torch.compile``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from yolo_attn.blocks import fused
from yolo_attn.blocks.fused import _form
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers, small
from yolo_attn.errors import YoloAttnError

T = TypeVar("T")


class KernelFailed(Exception):  # noqa: N818
    """A kernel could not be built or launched; the cause says why."""


def _launched(carry_out: Callable[[Call], T], call: Call) -> T:
    """Launch on the device of the map; any error of Triton or the driver, save missing memory, is a kernel's."""
    try:
        with torch.cuda.device_of(call.x):
            return carry_out(call)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        raise KernelFailed from error


def compute(block: Any, x: Tensor, form: Form) -> Tensor:
    """Return what a block gives, as one node of the graph where gradients are recorded."""
    parameters, settings = form.parameters(block), form.settings(block)
    if torch.is_grad_enabled():
        y: Tensor = _Node.apply(block, form, settings, x, *parameters)
        return y
    y, *saved = _filled(form, x, parameters, settings)
    if form.update:
        form.update(block, saved)
    return y


def _empty(form: Form, x: Tensor, parameters: Any, settings: Numbers) -> list[Tensor]:
    """Return the result and what is saved, to be filled."""
    return [torch.empty_like(x), *(small(x, *shape) for shape in form.saved(x, parameters, settings))]


def _filled(form: Form, x: Tensor, parameters: Any, settings: Numbers) -> list[Tensor]:
    y, *saved = out = _empty(form, x, parameters, settings)
    _launched(form.forward, Call((x, y), saved, parameters, settings))
    return out


def _gradients(
    form: Form, gy: Tensor, x: Tensor, saved: Sequence[Tensor], parameters: Any, settings: Numbers, needs: bool
) -> list[Any]:
    if gy.dtype != x.dtype or gy.stride(2) != gy.shape[3] * gy.stride(3) or 0 in gy.stride():
        gy = torch.empty_like(x).copy_(gy)
    gx = torch.empty_like(x)
    found = _launched(form.backward, Call((x, gy, gx), saved, parameters, settings, needs))
    pairs = zip(found, parameters, strict=False)  # buffers have no gradients
    return [gx, *(None if g is None or p is None else g.to(p.dtype).view_as(p) for g, p in pairs)]


class _Node(torch.autograd.Function):
    """Compute a block by its form; second derivatives by the plain block."""

    @staticmethod
    def forward(ctx: Any, block: Any, form: Form, settings: list[float], x: Tensor, *parameters: Tensor) -> Tensor:
        y, *saved = _filled(form, x, parameters, settings)
        if form.update:
            form.update(block, saved)
        ctx.block, ctx.form, ctx.settings, ctx.training = block, form, settings, block.training
        ctx.number = len(parameters)
        ctx.save_for_backward(x, *parameters, *saved)
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        x, *rest = ctx.saved_tensors
        parameters, saved = rest[: ctx.number], rest[ctx.number :]
        needed = ctx.needs_input_grad[3:]
        found: Gradients | None = None
        if not torch.is_grad_enabled():
            try:
                found = _gradients(ctx.form, gy, x, saved, parameters, ctx.settings, any(needed[1:]))
            except KernelFailed as failed:
                fused.give_up(ctx.block.yaml_name, ctx.block.fused, failed.__cause__)
        if found is None:  # or second derivatives may be wanted
            found = _plain_gradients(ctx.block, ctx.training, gy, x, parameters, needed)
        found = [g if need else None for g, need in zip(found, needed, strict=False)]
        return None, None, None, *found, *[None] * (len(needed) - len(found))


def _plain_gradients(
    block: Any, training: bool, gy: Tensor, x: Tensor, parameters: Sequence[Tensor], needed: Sequence[bool]
) -> Gradients:
    inputs = [t for t, need in zip((x, *parameters), needed, strict=True) if need]
    mixed = x.dtype != torch.float32 and any(p is not None and p.dtype != x.dtype for p in parameters)  # autocast
    with _as_it_was(block, training), torch.enable_grad(), torch.autocast(x.device.type, x.dtype, enabled=mixed):
        y = fused.plainly(block, x)
    found = iter(torch.autograd.grad(y, inputs, gy, create_graph=torch.is_grad_enabled()))
    return [next(found) if need else None for need in needed]


@contextlib.contextmanager
def _as_it_was(block: nn.Module, training: bool) -> Iterator[None]:
    """Compute a block once more: in the mode of the first time, and without a second update of running statistics."""
    before = [(module, module.training, module._buffers.copy()) for module in block.modules()]
    for module, _, buffers in before:
        module._buffers.update({name: b if b is None else b.clone() for name, b in buffers.items()})
    if block.training != training:
        block.train(training)
    try:
        yield
    finally:
        for module, mode, buffers in before:
            module.training = mode
            module._buffers.update(buffers)


# --- the operators under torch.compile --------------------------------------------------------------------------------
# Their lists of tensors cannot hold None: parameters are given without missing ones; ``there`` says which those are.
def compute_compiled(block: Any, x: Tensor) -> Tensor:
    """Return what a block gives, by an operator that ``torch.compile`` keeps as it is."""
    form, names = _form(block.fused), f"{block.fused} {block.yaml_name}"
    parameters = form.parameters(block)
    there, given = [p is not None for p in parameters], [p for p in parameters if p is not None]
    y, *saved = torch.ops.yolo_attn.fused(x, given, there, form.settings(block), names)
    if form.update:
        form.update(block, [t.detach() for t in saved])
    out: Tensor = y
    return out


def _told(given: Sequence[Tensor], there: Sequence[bool], settings: Numbers, names: str) -> tuple[Any, ...]:
    """Return form, name of the block, all parameters and settings."""
    form, block = names.split()
    rest = iter(given)
    return _form(form), block, [next(rest) if one else None for one in there], settings


@contextlib.contextmanager
def _explained(block: str) -> Iterator[None]:
    try:
        yield
    except KernelFailed as failed:
        raise YoloAttnError(
            f"the kernel of {block} failed in a compiled graph, which cannot do without it; set {fused.VARIABLE}=0"
        ) from failed.__cause__


_TOLD = "Tensor[] given, bool[] there, float[] settings, str names) -> Tensor[]"


@torch.library.custom_op("yolo_attn::fused", mutates_args=(), schema=f"(Tensor x, {_TOLD}")
def _operator(x: Tensor, *told: Any) -> list[Tensor]:
    form, block, parameters, settings = _told(*told)
    with _explained(block):
        out = _filled(form, x, parameters, settings)
    fused._paths[block] = "fused"
    return out


@_operator.register_fake
def _(x: Tensor, *told: Any) -> list[Tensor]:
    form, _, *rest = _told(*told)
    return _empty(form, x, *rest)


@torch.library.custom_op(
    "yolo_attn::fused_backward", mutates_args=(), schema=f"(Tensor gy, Tensor x, Tensor[] saved, {_TOLD}"
)
def _backward_operator(gy: Tensor, x: Tensor, saved: Sequence[Tensor], *told: Any) -> list[Tensor]:
    form, block, parameters, settings = _told(*told)
    with _explained(block):
        gx, *found = _gradients(form, gy, x, saved, parameters, settings, True)
    found += [None] * (len(parameters) - len(found))  # buffers
    pairs = [(g, p) for g, p in zip(found, parameters, strict=True) if p is not None]
    # gradients may be parts of one tensor, which an operator must not return
    return [gx, *(torch.zeros_like(p) if g is None else g.clone() for g, p in pairs)]


@_backward_operator.register_fake
def _(gy: Tensor, x: Tensor, saved: Sequence[Tensor], given: Sequence[Tensor], *_: Any) -> list[Tensor]:
    return [torch.empty_like(t) for t in (x, *given)]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, given, *ctx.told = inputs
    ctx.number = len(given)
    ctx.save_for_backward(x, *given, *output[1:])


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    x, *rest = ctx.saved_tensors
    given, saved = rest[: ctx.number], rest[ctx.number :]
    gx, *found = torch.ops.yolo_attn.fused_backward(grads[0], x, saved, given, *ctx.told)
    return gx, found, None, None, None


_operator.register_autograd(_backward, setup_context=_remember)
