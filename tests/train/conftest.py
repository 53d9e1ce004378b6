"""Fixtures of trainings."""

import pytest

from yolo_attn.compare.trainer import ComparisonMixin


@pytest.fixture
def with_workers(monkeypatch):
    """Have the loader use workers on the CPU too, and collect what it starts: one list of processes per iterator."""
    from torch.utils.data import dataloader

    started = []

    class Iterator(dataloader._MultiProcessingDataLoaderIter):
        def __init__(self, loader):
            super().__init__(loader)
            started.append([worker.pid for worker in self._workers])

    monkeypatch.setattr(dataloader, "_MultiProcessingDataLoaderIter", Iterator)
    build = ComparisonMixin.build_loaders

    def building(trainer):
        trainer.args.workers = 2
        build(trainer)

    monkeypatch.setattr(ComparisonMixin, "build_loaders", building)
    return started
