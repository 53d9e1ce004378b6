"""Memory kept for the backward pass, and floors, of the bench."""

from __future__ import annotations

import pytest
import torch
from support.bench_modules import SMALL, Made

from yolo_attn.bench import floor, memory

pytestmark = pytest.mark.usefixtures("one_thread")


# --- memory -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("function", "x_kept", "maps"),
    [
        (lambda m, x: x + m.weight, False, 0),  # the gradient of a sum needs no values
        (lambda m, x: x * m.weight, True, 0),  # a parameter is there anyway
        (lambda m, x: x.exp(), False, 1),  # its own result
        (lambda m, x: x * x.mean((2, 3), keepdim=True), True, 1 / 30),  # one value of 30
        (lambda m, x: x.exp().exp(), False, 2),
        (lambda m, x: (x.flatten(1) * x.flatten(1)).view_as(x), True, 0),  # a view is no memory of its own
        (lambda m, x: x.exp().view(-1)[:1] * x, True, 1),  # one element keeps its whole storage
    ],
)
def test_memory_kept_is_each_storage_once(function, x_kept, maps):
    kept = memory.kept_for_backward(Made(function), torch.randn(SMALL, requires_grad=True))
    assert (kept.x, kept.maps) == (x_kept, pytest.approx(maps))


def test_memory_of_what_a_custom_function_saves():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = 2 * x
            ctx.save_for_backward(y, y)
            return y + 1

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    x = torch.randn(SMALL, requires_grad=True)
    assert memory.kept_for_backward(Made(lambda m, x: Twice.apply(x)), x) == (False, 1.0)


def test_there_is_no_peak_without_a_gpu():
    assert memory.peak_maps(lambda: None, torch.zeros(1)) is None


# --- the floor --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", floor.SUMS_OF_PRODUCTS)
def test_all_ways_to_sum_products_are_the_same_sum(name, layout):
    a, b = (torch.randn(SMALL, dtype=torch.float64).to(memory_format=layout) for _ in range(2))
    expected = torch.einsum("nchw,nchw->nc", a, b)
    torch.testing.assert_close(floor.SUMS_OF_PRODUCTS[name](a, b), expected)


def test_the_floor_in_bytes():
    """Forward three maps of 4 MB, forward and backward seven, at 1 GB/s."""
    x = torch.empty(1, 1, 1000, 1000, device="meta")
    assert floor.floor_ms(x, "forward", 1e9) == pytest.approx(12)
    assert floor.floor_ms(x, "training", 1e9) == pytest.approx(28)


def test_the_copy_rate_counts_reads_and_writes(monkeypatch):
    """A fake device that copies 1 GiB in 0.5 to 0.7 s."""
    taken = iter([500.0] * 3 + [700.0, 600.0, 500.0, 600.0, 700.0])
    stopwatch = lambda function, calls: (function(), next(taken))[1]  # noqa: E731
    monkeypatch.setattr(floor.interleaved, "cuda_events", lambda device: stopwatch)
    monkeypatch.setattr(floor, "_COPY_BYTES", 1000)
    rates = floor.copy_rates("cpu", rounds=5)
    assert rates == {"best": pytest.approx(2000 / 0.5), "median": pytest.approx(2000 / 0.6)}
