"""Ultralytics' multi-GPU training on the CPU: two processes and gloo in the place of two GPUs and nccl.

GPU-only parts of Ultralytics are replaced, in the process that starts the training and in its workers: the number of
processes, the process group, an average that gloo lacks, and the device given to ``DistributedDataParallel`` and to the
final validation. The rest is Ultralytics' own: the program written for the workers, the launcher, samplers, loop and
validation.

``python -m torch.distributed.run ... ddp_on_cpu.py PROGRAM`` runs Ultralytics' program with these replacements.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ultralytics.engine import trainer as host
from ultralytics.engine import validator
from ultralytics.utils import LOCAL_RANK, RANK

RANKS = 2
_init, _command, _backend = host.BaseTrainer.__init__, host.generate_ddp_command, validator.AutoBackend


@contextlib.contextmanager
def cpus_for_gpus():
    with (
        mock.patch.object(host.BaseTrainer, "__init__", _with_two_ranks),
        mock.patch.object(host.BaseTrainer, "_setup_ddp", _join_gloo),
        mock.patch.object(host, "generate_ddp_command", _under_this_file),
        mock.patch.object(torch.nn.parallel, "DistributedDataParallel", _WithoutDevice),
        mock.patch.object(dist, "reduce", _reduce),
        mock.patch.object(validator, "get_torch_device_backend", _one_device),
        mock.patch.object(validator, "AutoBackend", _backend_on_cpu),
    ):
        yield


def _with_two_ranks(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    self.world_size, self.ddp = RANKS, LOCAL_RANK == -1


def _join_gloo(self):
    dist.init_process_group("gloo", rank=RANK, world_size=RANKS)


def _under_this_file(trainer):
    command, program = _command(trainer)
    return [*command[:-1], __file__, program], program


class _WithoutDevice(DistributedDataParallel):
    def __init__(self, module, device_ids, **kwargs):
        assert device_ids == [None]  # the index of the CPU, which this class would refuse
        super().__init__(module, **kwargs)


def _reduce(tensor, dst, op, sums=dist.reduce):
    if op is not dist.ReduceOp.AVG:
        return sums(tensor, dst=dst, op=op)
    sums(tensor, dst=dst, op=dist.ReduceOp.SUM)
    tensor /= RANKS


def _one_device(kind):
    return SimpleNamespace(current_device=lambda: 0)


def _backend_on_cpu(device, **given):
    return _backend(device=torch.device("cpu"), **given)


# --- what each rank tells ---------------------------------------------------------------------------------------------
def record(event, folder, trainer):
    """Store the state of a rank at an event; a callback, ``functools.partial(record, event, folder)``."""
    ddp = trainer.model
    told = {
        "trainer": f"{type(trainer).__module__}.{type(trainer).__name__}",
        "wrapped": isinstance(ddp, DistributedDataParallel),
        "find_unused": ddp.find_unused_parameters,
        "static_graph": ddp.static_graph,
        "parameters": {k: v.detach().clone() for k, v in ddp.module.named_parameters()},
        "buffers": {k: v.clone() for k, v in ddp.module.named_buffers()},
        "frozen": {k for k, v in ddp.module.named_parameters() if not v.requires_grad},
        "images": sorted(trainer.train_loader.sampler),
        "loss": None if trainer.loss is None else float(trainer.loss),
    }
    torch.save(told, Path(folder) / f"{event}-{RANK}.pt")


def die_in_second_epoch(trainer):
    """Kill a worker by a signal; a callback."""
    if RANK == 1 and trainer.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what the program unpickles
    with cpus_for_gpus():
        runpy.run_path(sys.argv[1], run_name="__main__")
