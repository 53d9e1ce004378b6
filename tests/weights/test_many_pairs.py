"""Between stock models as many values arrive as by Ultralytics' own loading, and with attention the very same ones."""

from __future__ import annotations

import copy
import functools
import itertools
import re

import pytest
import torch
import ultralytics
from support.random_weights import randomize
from support.tiers import sampled

import yolo_attn as ya
from yolo_attn.host.loading import load_by_host
from yolo_attn.host.model import host_model_names
from yolo_attn.models.built import model_layers
from yolo_attn.weights.transfer import check_source

NOT_HERE = ("resnet", "rtdetr-", "yolov10", "yolov9", "yolov3", "yolo12-")  # downloads, large ones, repetitions
UNSET = 12345.0
FEW = [
    ("yolov8n-worldv2.yaml", "yolov8n.yaml"),
    ("yolov8n-p2.yaml", "yolov8n.yaml"),
    ("yolov8n-p6.yaml", "yolov8n.yaml"),
    ("yolov8n-ghost.yaml", "yolov8n.yaml"),
    ("yolo11n-cls.yaml", "yolo11n.yaml"),
    ("yolo11n.yaml", "yolo11n-cls.yaml"),
    ("yolo26n.yaml", "yolo11n.yaml"),
    ("yolo11n.yaml", "yolov8n.yaml"),
    ("yolo11s.yaml", "yolo11n.yaml"),
    ("yolov8n-rtdetr.yaml", "yolov8n.yaml"),
    ("yoloe-11n-seg.yaml", "yolo11n-seg.yaml"),
]


def scaled(name):
    return re.sub(r"^(yolo(?:e-)?v?\d+)(?=[.-])", r"\1n", name)


def family(name):
    """Return the generation of a model, across its tasks and variants."""
    return re.search(r"\d+", name)[0]


STOCK = [scaled(name) for name in host_model_names() if not any(word in name for word in NOT_HERE)]
PAIRS = [(a, b) for b, a in itertools.permutations(STOCK, 2) if family(a) == family(b)]
PAIRS += [pair for pair in FEW if pair not in PAIRS]


def class_of(name):
    kinds = {"rtdetr": "RTDETR", "world": "YOLOWorld", "yoloe": "YOLOE"}
    return getattr(ultralytics, next((kind for word, kind in kinds.items() if word in name), "YOLO"))


@functools.lru_cache(maxsize=4)
def source(name):
    torch.manual_seed(0)
    return randomize(class_of(name)(name).model)


@pytest.fixture(scope="module")
def unset(tmp_path_factory):
    """Return a function that builds a model whose values are all the same, with an SE behind row 2 or without."""
    folder = tmp_path_factory.mktemp("models")

    @functools.lru_cache(maxsize=32)
    def build(name, attention):
        made = ya.insert(name, "SE", at="after:2") if attention else None
        model = class_of(name)(made.save(folder / name.replace(".yaml", "-se.yaml")) if made else name).model
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.fill_(UNSET)
        return model

    return lambda name, attention=False: copy.deepcopy(build(name, attention))


def loaded(model, load):
    """Load, and return the tensors of all rows but attention, named as in a model without."""
    torch.manual_seed(1)  # the head may get a new layer
    load(model)
    rows = [row for row in model_layers(model) if type(row) is not ya.ATTENTION_BLOCKS["SE"]]
    return {f"{i}.{k}": t for i, row in enumerate(rows) for k, t in row.state_dict().items()}


def count(tensors):
    return sum(int((t != UNSET).sum()) for t in tensors.values())


@pytest.mark.parametrize(("target", "given"), sampled(PAIRS, FEW[:4]))
def test_no_fewer_values_than_by_ultralytics_and_with_attention_the_same(target, given, unset):
    weights = source(given)
    theirs = loaded(unset(target), lambda model: load_by_host(model, weights, False))
    ours = loaded(unset(target), lambda model: ya.transfer_weights(model, weights))
    assert count(ours) >= count(theirs) > 0
    with_attention = unset(target, attention=True)
    if is_another(unset(target), weights):
        with pytest.raises(ya.YoloAttnError, match="another architecture or scale"):
            ya.transfer_weights(with_attention, weights)
        return
    found = loaded(with_attention, lambda model: ya.transfer_weights(model, weights))
    assert found.keys() == ours.keys()
    assert [k for k, t in found.items() if not torch.equal(t, ours[k])] == []


def is_another(model, weights):
    """Tell whether a comparison would refuse the weights for a model without attention."""
    try:
        check_source(model, weights, same_architecture=True)
    except ya.YoloAttnError:
        return True
    return False


@pytest.mark.parametrize(
    ("target", "given", "more"),
    [
        ("yolov8n-worldv2.yaml", "yolov8n.yaml", False),
        ("yolov8n-p2.yaml", "yolov8n.yaml", True),
        ("yolo11n-cls.yaml", "yolo11n.yaml", True),
    ],
)
def test_roles_are_followed_where_that_gives_more_and_numbers_where_not(target, given, more, unset):
    weights = source(given)
    theirs = count(loaded(unset(target), lambda model: load_by_host(model, weights, False)))
    ours = count(loaded(unset(target), lambda model: load_by_our_class(target, model, weights)))
    assert ours > theirs if more else ours == theirs


def load_by_our_class(name, model, weights):
    opened = getattr(ya, class_of(name).__name__)(name)
    opened.model = model
    opened.load(weights)


@pytest.mark.parametrize(("target", "given"), [("yolov8n-p6.yaml", "yolov8n.yaml"), ("yolo11s.yaml", "yolo11n.yaml")])
def test_only_attention_has_weights_refused_and_only_a_comparison_those_of_a_base(target, given, unset, tmp_path):
    weights, model = source(given), unset(target)
    load_by_our_class(target, model, weights)
    check_source(model, weights)
    assert is_another(model, weights)
    with pytest.raises(ya.YoloAttnError, match="another architecture or scale"):
        ya.YOLO(ya.insert(target, "SE", at="after:2").save(tmp_path / target)).load(weights)
