"""Every block under DistributedDataParallel: synchronised gradients equal the mean over the ranks.

Two processes on the CPU, joined by gloo. Converting a model to SyncBatchNorm works on GPUs only and is not tested;
Ultralytics does not do it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.block_cases import IDS, VARIANTS, make, rand
from torch.nn.parallel import DistributedDataParallel

pytestmark = pytest.mark.slow
RANKS, STEPS = 2, 2  # a static graph is treated otherwise from the second step on
WRAPPED = {
    "plain": {},
    "find_unused": {"find_unused_parameters": True},  # as Ultralytics trains
    "static_graph": {"static_graph": True},  # as Ultralytics trains with compile=True
}


LEARNING = [(i, v) for i, v in zip(IDS, VARIANTS, strict=True) if list(make(*v).parameters())]
"""All variants with their names but those without parameters, which have nothing to synchronise."""


def data_of(rank, step, name):
    size = (36, 30) if name == "NL" else (6, 5)  # so many positions that NL projects again for its backward pass
    x, gy = (rand(2, 16, *size, seed=100 * rank + 10 * step + s, dtype=torch.float64) for s in (1, 2))
    return x.requires_grad_(), gy


def gradients(model, x, gy):
    model.zero_grad()
    (model(x) * gy).sum().backward()
    return [p.grad.clone() for p in model.parameters()]


def gaps(rank, name, kwargs, settings):
    """Return the largest distance of any gradient to the mean over ranks: synchronised, and of this rank alone."""
    alone, block = (make(name, kwargs).double() for _ in range(2))
    wrapped = DistributedDataParallel(block, broadcast_buffers=False, **settings)
    synchronised, own = [], []
    for step in range(STEPS):
        each = [gradients(alone, *data_of(r, step, name)) for r in range(RANKS)]
        means = [sum(of_ranks) / RANKS for of_ranks in zip(*each, strict=True)]
        synchronised += _distances(gradients(wrapped, *data_of(rank, step, name)), means)
        own += _distances(each[rank], means)
    return max(synchronised), max(own)


def _distances(found, wanted):
    return [float((f - w).abs().max()) for f, w in zip(found, wanted, strict=True)]


def measure(rank, folder):
    """Run one rank: train every block for a step, and store its gradients."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    found = {
        f"{label} {way}": gaps(rank, name, kwargs, settings)
        for label, (name, kwargs) in LEARNING
        for way, settings in WRAPPED.items()
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(measure, args=(str(folder),), nprocs=RANKS)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize("way", WRAPPED)
@pytest.mark.parametrize("label", [label for label, _ in LEARNING])
def test_gradients_are_the_mean_over_ranks(measured, label, way):
    for of_rank in measured:
        synchronised, alone = of_rank[f"{label} {way}"]
        assert synchronised < 1e-10
        assert alone > 1e-6, "the ranks' own gradients are alike, so that this would pass without synchronising"
