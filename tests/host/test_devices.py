"""Parsing of device words, equal for all commands."""

import re

import pytest
import torch

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.devices import device_kind, torch_device, torch_devices, training_devices


@pytest.fixture
def gpus(monkeypatch):
    def see(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return see


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (None, ["cuda:0"]), ("", ["cuda:0"]), ("cpu", ["cpu"]), ("cuda", ["cuda:0"]), ("cuda:1", ["cuda:1"]),
        (0, ["cuda:0"]), ("1", ["cuda:1"]), ("0,1", ["cuda:0", "cuda:1"]), ([1, 0], ["cuda:1", "cuda:0"]),
        ("(0, 1)", ["cuda:0", "cuda:1"]), ("cuda:0,cuda:1", ["cuda:0", "cuda:1"]),
    ],
)  # fmt: skip
def test_words_and_their_devices(words, names, gpus):
    gpus(2)
    assert torch_devices(words) == names
    assert training_devices(words) == [name.removeprefix("cuda:") for name in names]
    assert device_kind(words) == ("cpu" if names == ["cpu"] else "cuda")


@pytest.mark.parametrize("words", [None, "", "cpu"])
def test_without_a_gpu_the_cpu_is_used(words, gpus):
    gpus(0)
    assert torch_devices(words) == training_devices(words) == ["cpu"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("gpu", "unknown device 'gpu'. Did you mean 'cpu'? Allowed: cpu, cuda:0"),
        ("mps", "unknown device 'mps'"),
        ("7", "unknown device '7': there is no GPU 7, torch sees 1 of them"),
        ("0,3", "there is no GPU 3"),
        ("cuda", None),
        ("cpu,0", "several devices are GPUs by number"),
        ("-1", "unknown device '-1'"),
    ],
)
def test_what_is_not_there_is_named(words, says, gpus):
    gpus(1)
    if says is None:
        assert torch_device(words) == "cuda:0"
        return
    with pytest.raises(YoloAttnError, match=re.escape(says)):
        torch_devices(words)


def test_cuda_without_a_gpu_is_refused(gpus):
    gpus(0)
    with pytest.raises(YoloAttnError, match="there is no GPU 0, torch sees 0"):
        torch_devices("cuda")


def test_one_device_is_one(gpus):
    gpus(2)
    with pytest.raises(YoloAttnError, match="device=0,1 names 2 devices; give one"):
        torch_device("0,1")


def test_a_comparison_does_not_run_on_mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert torch_device("mps") == "mps"
    with pytest.raises(YoloAttnError, match="device=mps"):
        training_devices("mps")
