"""Build the implementations of a block for a case, run each once, and return functions to time."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from yolo_attn.bench import timm_blocks, tutorial
from yolo_attn.bench.cases import Case
from yolo_attn.bench.floor import floor_function
from yolo_attn.bench.memory import kept_for_backward, peak_maps
from yolo_attn.bench.tutorial.first_ring import TutorialNL
from yolo_attn.blocks import fused
from yolo_attn.host.registry import create_attention

Function = Callable[[], object]
T = TypeVar("T")

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TORCH_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
LARGEST_ON_CPU = 2 * 2**30
"""Limit of the pairwise matrices on the CPU, in bytes; a block that needs more is left out."""

_MOST_BUFFERS = 128
_L2_BYTES = 64 * 2**20  # if torch does not report it


class Inputs(NamedTuple):
    """Feature maps to run on in turns, and the upstream gradient of each."""

    xs: list[Tensor]
    upstreams: list[Tensor]


@dataclass
class Arms:
    """Functions that are timed against each other in one case.

    Attributes:
        device: Torch device.
        functions: By name of the implementation; each call runs it on the next input.
        runs_per_call: Runs per call of a function, where not 1.
        left_out: By name, the reason why an implementation is missing.
        memory: By name, memory kept for the backward pass and peak memory, in multiples of the input.
        first_call_s: By name, the seconds of the first call, compilation included.
    """

    device: str
    functions: dict[str, Function] = field(default_factory=dict)
    runs_per_call: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    memory: dict[str, dict[str, float | bool | None]] = field(default_factory=dict)
    first_call_s: dict[str, float] = field(default_factory=dict)


def build(
    case: Case, device: str, against: tuple[str, ...], not_compiled: dict[str, str], cuda_graphs: bool = False
) -> Arms:
    """Build all implementations for a case; leave out those that cannot be built or run.

    Args:
        case: Block, shape, precision, layout and pass.
        device: Torch device.
        against: Other implementations to build: ``"floor"``, ``"tutorial"``, ``"timm"``; ``"fused"`` is ours by its
            kernels. On CUDA the floor is computed.
        not_compiled: By implementation, the reason for not compiling it.
        cuda_graphs: Whether to capture passes too.
    """
    inputs = make_inputs(case, device)
    arms = Arms(device)
    if "floor" in against and not device.startswith("cuda"):
        arms.functions["floor"] = floor_function(*inputs, case.pass_)
    modules = _modules(case, against, arms)
    for name, module in modules.items():
        _add_eager(arms, name, module, inputs, case)
    with_kernels = "fused" in against and "ours" in modules and _add_fused(arms, modules["ours"], inputs, case)
    modules = {name: module for name, module in modules.items() if name in arms.functions and name != "timm"}
    if case.compiled:
        torch._dynamo.reset()  # the number of compilations per code object is limited
        for name, module in modules.items():
            add_compiled(arms, name, module, inputs, case, not_compiled.get(name))
        if with_kernels:
            add_compiled(arms, "ours fused", modules["ours"], inputs, case, not_compiled.get("ours"), kernels=True)
    if cuda_graphs and device.startswith("cuda"):
        for name, module in modules.items():
            _try(arms, f"{name} graph", switched(False, partial(_graph, module, inputs, case.pass_)), len(inputs.xs))
        if with_kernels:
            capture = switched(True, partial(_graph, modules["ours"], inputs, case.pass_))
            _try(arms, "ours fused graph", capture, len(inputs.xs))
    return arms


def switched(on: bool, function: Callable[[], T]) -> Callable[[], T]:
    """Return a function that is called with the fused forms on or off, whatever the environment says."""

    def call() -> T:
        fused.switch(on)
        return function()

    return call


def make_inputs(case: Case, device: str, buffers: int | None = None) -> Inputs:
    """Return random maps and gradients; on CUDA enough of them to exceed the second-level cache."""
    first, upstream = _random(case, device, 0), _random(case, device, 1)
    count = buffers or (_buffers(first.nbytes, device) if device.startswith("cuda") else 1)
    xs = [first, *(first.clone() for _ in range(count - 1))]
    upstreams = [upstream, *(upstream.clone() for _ in range(count - 1))] if case.pass_ == "training" else xs
    return Inputs([x.requires_grad_(case.pass_ == "training") for x in xs], upstreams)


def make_module(case: Case, implementation: str, device: str) -> nn.Module | None:
    """Return our, the tutorial's or timm's block for a case with the same weights, or ``None`` if there is none."""
    torch.manual_seed(0)
    block = create_attention(case.block, case.shape[1])
    made: nn.Module | None = block
    if implementation == "tutorial":
        made = tutorial.from_block(block)
    elif implementation == "timm":
        made = timm_blocks.from_block(case.block, block)
    if made is None:
        return None
    made = made.to(device, TORCH_DTYPES[case.dtype]).to(memory_format=TORCH_LAYOUTS[case.layout])
    return made.train(case.pass_ == "training")


def function_of(module: Callable[[Tensor], Tensor], parameters: list[Tensor], inputs: Inputs, pass_: str) -> Function:
    """Return a function that runs a module on the next input, forward or forward and backward."""
    return _training(module, parameters, inputs) if pass_ == "training" else _forward(module, inputs.xs)


def why_too_large(case: Case, module: nn.Module, device: str) -> str | None:
    """Return why a module is too large for the CPU, or ``None``; a limit for matrices of all pairs of positions."""
    whole_matrices = isinstance(module, TutorialNL) or type(module).__name__ == "NonLocalAttn"
    if not whole_matrices or device.startswith("cuda"):
        return None
    matrices = 4 if case.pass_ == "training" else 2  # before and after the softmax, and their gradients
    images, _, height, width = case.shape
    needed = matrices * images * (height * width) ** 2 * TORCH_DTYPES[case.dtype].itemsize
    if needed <= LARGEST_ON_CPU:
        return None
    return f"holds {needed / 2**30:.1f} GiB of pairwise weights, on the CPU the limit is {LARGEST_ON_CPU / 2**30:.0f}"


# --- functions --------------------------------------------------------------------------------------------------------
def _forward(module: Callable[[Tensor], Tensor], xs: list[Tensor]) -> Function:
    turns = itertools.cycle(xs)

    @torch.inference_mode()
    def run() -> None:
        module(next(turns))

    return run


def _training(module: Callable[[Tensor], Tensor], parameters: list[Tensor], inputs: Inputs) -> Function:
    turns: Iterator[tuple[Tensor, Tensor]] = itertools.cycle(zip(*inputs, strict=True))

    def run() -> None:
        x, upstream = next(turns)
        module(x).backward(upstream)
        x.grad = None
        for parameter in parameters:
            parameter.grad = None

    return run


def _graph(module: nn.Module, inputs: Inputs, pass_: str) -> Function:
    """Capture the passes on all inputs as one CUDA graph, and return its replay."""
    parameters = list(module.parameters())

    def run(x: Tensor, upstream: Tensor) -> None:
        y = module(x)
        if pass_ == "training":
            torch.autograd.grad(y, [x, *parameters], upstream)

    def all_runs() -> None:
        for x, upstream in zip(*inputs, strict=True):
            run(x, upstream)

    with torch.inference_mode(pass_ == "forward"):
        return captured(all_runs)


def captured(run: Function) -> Function:
    """Capture what a function launches as one CUDA graph, and return its replay."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # initialize all libraries before the capture
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


# --- implementations --------------------------------------------------------------------------------------------------
def _modules(case: Case, against: tuple[str, ...], arms: Arms) -> dict[str, nn.Module]:
    made = {}
    for name in ("ours", *(name for name in ("tutorial", "timm") if name in against)):
        try:
            module = make_module(case, name, arms.device)
        except (ImportError, ValueError) as error:
            arms.left_out[name] = reason(error)
            continue
        if module is not None:
            made[name] = module
    return made


def _add_eager(arms: Arms, name: str, module: nn.Module, inputs: Inputs, case: Case) -> None:
    x = inputs.xs[0]
    if why := why_too_large(case, module, arms.device):
        arms.left_out[name] = why
        return
    run = switched(False, function_of(module, list(module.parameters()), inputs, case.pass_))
    if _try(arms, name, lambda: run) and case.pass_ == "training":
        arms.memory[name] = _memory(module, run, x)


def _memory(module: nn.Module, run: Function, x: Tensor) -> dict[str, float | bool | None]:
    kept = kept_for_backward(module, x)
    return {"x": kept.x, "maps": kept.maps, "peak_maps": peak_maps(run, x)}


def _add_fused(arms: Arms, module: nn.Module, inputs: Inputs, case: Case) -> bool:
    """Add our block by its kernels, or the reason why it is computed without; say whether it was added."""
    if not getattr(module, "fused", ""):
        return False
    run = switched(True, function_of(module, list(module.parameters()), inputs, case.pass_))
    added = _try_kernels(arms, "ours fused", run, case)
    if added and case.pass_ == "training":
        arms.memory["ours fused"] = _memory(module, run, inputs.xs[0])
    return added


def add_compiled(
    arms: Arms, name: str, module: nn.Module, inputs: Inputs, case: Case, why_not: str | None, kernels: bool = False
) -> None:
    """Add a compiled module with the seconds of its first call, or the reason why it is left out."""
    compiled = f"{name} compiled"
    if why_not:
        arms.left_out[compiled] = why_not
        return
    run = switched(kernels, function_of(torch.compile(module), list(module.parameters()), inputs, case.pass_))
    if kernels:
        _try_kernels(arms, compiled, run, case)
    else:
        _try(arms, compiled, lambda: run)


def _try_kernels(arms: Arms, name: str, run: Function, case: Case) -> bool:
    """Add a function of our block by its kernels as :func:`_try` does; leave it out if they were not used."""
    fused.forget(case.block)
    if not _try(arms, name, lambda: run):
        return False
    path = fused.paths().get(case.block, f"plain: {fused.describe()}")
    if path != "fused":
        del arms.functions[name], arms.first_call_s[name]
        arms.left_out[name] = path.removeprefix("plain: ")
    return path == "fused"


def _try(arms: Arms, name: str, build: Callable[[], Function], runs: int = 1) -> bool:
    """Make a function, call it once and add it; on any error record the reason and return ``False``."""
    began = time.perf_counter()
    try:
        run = build()
        run()
        if arms.device.startswith("cuda"):
            torch.cuda.synchronize(arms.device)
    except Exception as error:  # compilers and third-party kernels raise anything
        arms.left_out[name] = reason(error)
        gc.collect()
        if arms.device.startswith("cuda"):
            torch.cuda.empty_cache()
        return False
    arms.functions[name], arms.first_call_s[name] = run, time.perf_counter() - began
    if runs > 1:
        arms.runs_per_call[name] = runs
    return True


def reason(error: BaseException) -> str:
    """Return an error as one line of at most 200 characters."""
    if isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "does not fit into memory"
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- inputs -----------------------------------------------------------------------------------------------------------
def _random(case: Case, device: str, seed: int) -> Tensor:
    values = torch.randn(case.shape, generator=torch.Generator().manual_seed(seed))
    return values.to(device=device, dtype=TORCH_DTYPES[case.dtype], memory_format=TORCH_LAYOUTS[case.layout])


def _buffers(nbytes: int, device: str) -> int:
    """Return the number of maps that exceed twice the device's second-level cache."""
    cache = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0) or _L2_BYTES
    return min(_MOST_BUFFERS, math.floor(2 * cache / nbytes) + 2)
