"""Recorder of gates: outputs are unchanged, copies of the model work, and no hook remains."""

import copy

import pytest
import torch
from torch import nn

from yolo_attn.gates.find import Declared, declared_maps
from yolo_attn.gates.watch import GateRecorder, maps_of


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 2, 1)).eval()


def mean_of(key, module, x):
    return type(module).__name__, float(x.detach().mean())


def test_inputs_are_measured_in_the_order_the_modules_run(model):
    x = torch.rand(1, 3, 5, 5)
    truth = model(x)
    with GateRecorder({"last": model[2], "first": model[0]}, mean_of) as recorder:
        assert torch.equal(model(x), truth)
    assert list(recorder.results) == ["first", "last"]
    assert recorder.results["first"] == ("Conv2d", float(x.mean()))
    assert recorder.results["last"] == ("Conv2d", float(model[1](model[0](x)).mean()))
    assert not [m for m in model.modules() if m._forward_pre_hooks]


def test_a_copy_of_the_model_adds_to_the_same_results(model):
    recorder = GateRecorder({"first": model[0]}, mean_of)
    copied = copy.deepcopy(model)
    copied(torch.ones(1, 3, 2, 2))
    assert recorder.results == {"first": ("Conv2d", 1.0)}
    recorder.clear()
    assert not recorder.results


def test_hooks_go_when_the_model_fails(model):
    def fail(key, module, x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError), GateRecorder({"last": model[2]}, fail):
        model(torch.rand(1, 3, 2, 2))
    assert not [m for m in model.modules() if m._forward_pre_hooks]


class Declaring(nn.Module):
    """A user's block that declares its maps as the shipped ones do."""

    maps = ("channel", "weights")
    tops = (2.0, None)

    def attention(self, x):
        return x.mean((2, 3), keepdim=True), x.mean(1, keepdim=True).flatten(1).softmax(1).view_as(x[:, :1])


class Undeclared(Declaring):
    maps = ("a map", "of another")


def test_declared_maps_are_believed_and_others_are_guessed():
    block = Declaring()
    assert len(maps_of(block, torch.rand(2, 4, 3, 3))) == 2
    assert declared_maps(block, 2) == Declared(("channel", "weights"), (2.0, None))
    assert declared_maps(block, 1) is None  # it returned another number of maps than it declares
    assert declared_maps(Undeclared(), 2) is None
