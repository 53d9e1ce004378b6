"""Lower bound on the cost of an attention block: two passes over the map forward, two more backward.

On the CPU the floor is timed: one mean over the positions and one multiplication by a given ``(N, C, 1, 1)`` gate; in
training also the gate's gradient, the sum of ``gy * x`` over the positions, and ``gy * gate``. On CUDA it is computed:
bytes read and written, divided by the device's copy rate.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from yolo_attn.speed import interleaved

MAPS = {"forward": 3, "training": 7}
"""Maps read or written: ``x`` by the pool; ``x`` and ``y`` by the gate; in training also ``gy`` and ``x`` for the
gate's gradient, ``gy`` and ``gx`` for the input's."""

ONE_KERNEL_MAPS = {"forward": 2, "training": 5}
"""Those of a block whose kernels read the map once: ``x`` and ``y``; in training also ``gy``, ``x`` and ``gx``."""

_COPY_BYTES, _COPY_ROUNDS = 2**30, 20


def floor_ms(x: Tensor, pass_: str, bytes_per_second: float, one_kernel: bool = False) -> float:
    """Return the milliseconds in which a device moves the fewest bytes that a block on ``x`` can move.

    Args:
        x: Map.
        pass_: Forward, or with the backward pass.
        bytes_per_second: Rate of a copy, reads and writes.
        one_kernel: Whether one kernel each way is enough for the block.
    """
    return (ONE_KERNEL_MAPS if one_kernel else MAPS)[pass_] * x.nbytes / bytes_per_second * 1e3


def copy_rates(device: str, rounds: int = _COPY_ROUNDS) -> dict[str, float]:
    """Measure a CUDA device's copy rate on 1 GiB, in bytes per second; reads and writes both count.

    Returns:
        ``best`` and ``median`` of ``rounds`` copies.
    """
    source = torch.zeros(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    stopwatch = interleaved.cuda_events(device)
    rounds_taken = interleaved.interleaved({"copy": lambda: target.copy_(source)}, rounds=rounds, stopwatch=stopwatch)
    rates = [2 * source.nbytes / (times["copy"] / 1e3) for times in rounds_taken]
    return {"best": max(rates), "median": statistics.median(rates)}


def floor_function(xs: Sequence[Tensor], upstreams: Sequence[Tensor], pass_: str) -> Callable[[], object]:
    """Return a function that runs the floor's operations on the next of ``xs``."""
    gate = torch.rand_like(xs[0][:, :, :1, :1])
    products = cheapest_sum_of_products(xs[0], upstreams[0]) if pass_ == "training" else None
    turns: Iterator[tuple[Tensor, Tensor]] = itertools.cycle(zip(xs, upstreams, strict=True))

    @torch.no_grad()
    def run() -> None:
        x, upstream = next(turns)
        x.mean((2, 3))
        _ = x * gate
        if products is not None:
            products(upstream, x)
            _ = upstream * gate

    return run


def cheapest_sum_of_products(x: Tensor, upstream: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the fastest of torch's ways to sum ``upstream * x`` over the positions for these maps."""
    with torch.no_grad():
        ways = {name: lambda way=way: way(upstream, x) for name, way in SUMS_OF_PRODUCTS.items()}
        rounds = list(interleaved.interleaved(ways, rounds=5, warmup_rounds=1))
    fastest = min(ways, key=lambda name: statistics.median(times[name] for times in rounds))
    return SUMS_OF_PRODUCTS[fastest]


def _multiply_and_sum(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((2, 3))


def _matrix_products(a: Tensor, b: Tensor) -> Tensor:
    return (a.flatten(2).unsqueeze(2) @ b.flatten(2).unsqueeze(3))[:, :, 0, 0]


def _vector_products(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a.flatten(2), b.flatten(2))


SUMS_OF_PRODUCTS = {
    "multiply and sum": _multiply_and_sum,
    "matrix products": _matrix_products,
    "vector products": _vector_products,
}
