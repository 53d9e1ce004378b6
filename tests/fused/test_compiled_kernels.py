"""Every kernel compiles for NVIDIA GPUs, which needs none: the interpreter takes code that the compiler refuses."""

import os

import pytest
import torch
from instruments.fused_cases import FUSED, Case, inputs, made, options_of

triton = pytest.importorskip("triton")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="kernels are interpreted in this process"),
]
CAPABILITIES = (80, 90)
_TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int32: "*i32"}


def signature_of(kernel, args, constants):
    """Return the types and the constants of a launch as Triton's launcher finds them: a 1 is a constant."""
    types, fixed = {}, dict(constants)
    for name, value in zip(kernel.arg_names, args, strict=False):
        if isinstance(value, torch.Tensor):
            types[name] = _TYPES[value.dtype]
        elif value is None or (isinstance(value, int) and value == 1):
            fixed[name] = value
        else:
            types[name] = "fp32" if isinstance(value, float) else "i32"
    return {name: types.get(name, "constexpr") for name in kernel.arg_names}, fixed


def launches(case, monkeypatch):
    """Return the launches of a training step, without carrying them out."""
    from yolo_attn.blocks import fused
    from yolo_attn.blocks.fused import node, slab

    seen = []
    monkeypatch.setattr(
        slab, "launch", lambda kernel, programs, *args, **constants: seen.append((kernel, args, constants))
    )
    block, (x, gy) = made(case), inputs(case)
    node.compute(block, x.requires_grad_(), fused._form(block.fused)).backward(gy)
    return seen


def compile_kernel(kernel, args, constants, capability):
    """Compile a kernel as it is launched; return the machine code and the bytes of shared memory."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {name: constants.pop(name) for name in ("num_warps",) if name in constants} or {"num_warps": 8}
    types, fixed = signature_of(kernel, args, constants)
    source = ASTSource(kernel, signature=types, constexprs=fixed)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.mark.parametrize("name", FUSED)
def test_kernels_compile_for_gpus(name, monkeypatch):
    """By default in half precision for both kinds of GPU, in float32 and with each option for one."""
    done = set()
    for options in options_of(name):
        for dtype, channels_last in ((torch.float16, True), *([] if options else [(torch.float32, False)])):
            case = Case(name, options, (2, 64, 20, 20), dtype, channels_last)
            for kernel, args, constants in launches(case, monkeypatch):
                key = (kernel.fn.__qualname__, kernel.fn.__module__, str(signature_of(kernel, args, constants)))
                if key in done:
                    continue
                done.add(key)
                for capability in CAPABILITIES if channels_last and not options else CAPABILITIES[-1:]:
                    built = compile_kernel(kernel, args, dict(constants), capability)
                    assert built.asm["cubin"]
                    assert built.metadata.shared <= 100 * 1024
    assert done
