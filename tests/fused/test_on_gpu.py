"""Values and gradients of the fused forms on a GPU: ``pytest -m gpu``."""

import pytest
import torch
from instruments.fused_cases import BOUNDS, FUSED, LARGE, SMALL, cases, errors, inputs, made

from yolo_attn.blocks import fused

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("name", FUSED)
def test_values_and_gradients_are_those_of_the_plain_block(name):
    wrong = {}
    for case in cases(name, (*SMALL, *LARGE)):
        bound = BOUNDS[case.dtype]
        found = {key: e for key, e in errors(case, "cuda").items() if not e < (bound if key in ("y", "x") else 5e-5)}
        if found:
            wrong[str(case)] = found
    assert not wrong


@pytest.mark.parametrize("name", FUSED)
def test_a_captured_training_step_gives_the_same(name):
    case = next(iter(cases(name, ((4, 64, 20, 20),))))
    block, (x, gy) = made(case, "cuda").eval(), inputs(case, "cuda")
    x.requires_grad_()
    wanted = [x, *block.parameters()]
    with fused.fused():
        right = torch.autograd.grad(block(x), wanted, gy)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = torch.autograd.grad(block(x), wanted, gy)
        graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))


@pytest.mark.parametrize("name", FUSED)
def test_a_scaled_step_in_mixed_precision_gives_the_same(name):
    case = next(iter(cases(name, ((4, 64, 20, 20),))))
    steps = {}
    for on in (True, False):
        block, (x, gy) = made(case, "cuda"), inputs(case, "cuda")
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, device="cuda")), *block.parameters()], lr=0.1)
        scaler = torch.amp.GradScaler("cuda", init_scale=128.0)
        with fused.fused(on), torch.autocast("cuda", torch.float16):
            y = block(x.half())
        scaler.scale((y * gy).mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        steps[on] = [y.float(), *(p.detach() for p in block.parameters())]
    torch.testing.assert_close(steps[True], steps[False], rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", FUSED)
def test_a_compiled_block_gives_the_same(name):
    case = next(iter(cases(name, ((4, 64, 20, 20),))))
    torch._dynamo.reset()
    block, (x, gy) = made(case, "cuda").eval(), inputs(case, "cuda")
    x.requires_grad_()
    wanted = [x, *block.parameters()]
    with fused.fused():
        right = torch.autograd.grad(block(x), wanted, gy)
        found = torch.autograd.grad(torch.compile(block, fullgraph=True)(x), wanted, gy)
    torch.testing.assert_close(found, right)
