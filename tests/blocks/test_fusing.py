"""``fuse()`` also folds the blocks' normalisations: equal outputs, nothing left to fold, at every place."""

import copy
import inspect
import pickle

import pytest
import torch
from support.block_cases import ADAPTED, INITS, VARIANTS, make, rand
from support.tiers import sampled
from support.users_blocks import known
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.autobackend import AutoBackend

import yolo_attn as ya

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(ADAPTED, "ignore::torch.jit.TracerWarning"),
]

FUSING = [v for v in VARIANTS if hasattr(ya.ATTENTION_BLOCKS[v[0]], "fuse")]
AFTER_AN_ACTIVATION = ("SEAM",)  # no convolution is right before its normalisations
every_fusing = pytest.mark.parametrize(("name", "kwargs"), FUSING, ids=[name for name, _ in FUSING])


class Normalises(nn.Module):
    """User-defined block that folds its norm and counts the calls of ``fuse()``."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.asked = nn.BatchNorm2d(channels), 0

    def forward(self, x):
        return self.norm(x)

    def fuse(self) -> None:
        self.asked += 1
        self.norm = nn.Identity()


class FusesTwo(nn.Module):
    """User-defined block whose ``fuse`` is part of its forward pass."""

    def __init__(self, channels: int):
        super().__init__()

    def forward(self, x):
        return self.fuse(x, x)

    def fuse(self, a, b):
        return (a + b) / 2


class HasAFuse(nn.Module):
    """User-defined block with a submodule named ``fuse``."""

    def __init__(self, channels: int):
        super().__init__()
        self.fuse = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.fuse(x)


def shake(module, seed=0):
    """Set every parameter and running statistic to a random value."""
    generator = torch.Generator().manual_seed(seed)
    for norm in [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.normal_(0, 0.3, generator=generator)
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    return module


def norms(module):
    return [name for name, m in module.named_modules() if isinstance(m, nn.BatchNorm2d)]


def detector(*rows):
    """A small detector with the given modules, one behind the other, between its backbone and its head."""
    backbone = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "C3k2", [64, True]]]
    backbone += [[-1, 1, row, []] if isinstance(row, str) else row for row in rows]
    last = len(backbone) - 1
    head = [[-1, 1, "Conv", [64, 3, 2]], [[last, last + 1], 1, "Detect", ["nc"]]]
    torch.manual_seed(0)
    scales = {"n": [1.0, 1.0, 1024]}  # early releases of Ultralytics build no C3k2 without
    content = {"nc": 3, "scale": "n", "scales": scales, "backbone": backbone, "head": head}
    return shake(tasks.DetectionModel(content, verbose=False).eval())


@pytest.fixture
def users_blocks():
    with known(Normalises, FusesTwo, HasAFuse):
        yield


# --- the block itself -------------------------------------------------------------------------------------------------
@every_fusing
def test_a_fused_block_gives_the_same(name, kwargs):
    for dtype, tolerance in [(torch.float64, 1e-12), (torch.float32, 1e-5)]:
        block = shake(make(name, kwargs, 64)).to(dtype).eval()
        x = rand(2, 64, 5, 7, dtype=dtype)
        expected, maps = block(x), block.attention(x)
        block.fuse()
        torch.testing.assert_close(block(x), expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(block.attention(x), maps, rtol=tolerance, atol=tolerance)
        assert not norms(block)


@every_fusing
def test_fusing_again_changes_nothing(name, kwargs):
    block = shake(make(name, kwargs)).eval()
    block.fuse()
    state = copy.deepcopy(block.state_dict())
    block.fuse()
    assert list(state) == list(block.state_dict())
    assert all(torch.equal(v, state[k]) for k, v in block.state_dict().items())


@every_fusing
def test_a_fused_block_keeps_layout_and_mode_and_survives_being_stored(name, kwargs):
    block = shake(make(name, kwargs)).eval()
    block.fuse()
    assert not any(m.training for m in block.modules())
    x = rand(2, 16, 5, 7).to(memory_format=torch.channels_last)
    assert block(x).is_contiguous(memory_format=torch.channels_last)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(other(x), block(x))


@every_fusing
def test_a_fused_block_exports(name, kwargs):
    block = shake(make(name, kwargs)).eval()
    x = rand(2, 16, 6, 5)
    expected = block(x)
    block.fuse()
    torch.testing.assert_close(torch.export.export(block, (x,)).module()(x), expected)
    torch.testing.assert_close(torch.jit.trace(block, x)(x), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@every_fusing
def test_a_fused_identity_is_exact(name, kwargs, dtype):
    block = make(name, kwargs, init="identity", random=False).to(dtype).eval()
    for norm in [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.running_var.fill_(0.7)
    block.fuse()
    x = 5 * rand(2, 16, 5, 7, dtype=dtype)
    assert torch.equal(block(x), x)


@every_fusing
def test_like_the_hosts_convolutions_a_block_fused_in_training_mode_takes_the_running_statistics(name, kwargs):
    block = shake(make(name, kwargs)).eval()
    shapes = [(2, 16, 5, 7), (1, 16, 1, 1)]
    expected = [block(rand(*shape)) for shape in shapes]
    block.train().fuse()
    assert all(m.training for m in block.modules())
    for shape, wanted in zip(shapes, expected, strict=True):
        torch.testing.assert_close(block(rand(*shape)), wanted)


# --- whole models -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "kwargs", "init"),
    sampled([(*v, i) for v in VARIANTS for i in INITS], lambda case: case[:2] in FUSING and case[2] == "paper", "slow"),
)
def test_no_norm_is_left_in_a_fused_model(name, kwargs, init):
    hyper = {**kwargs, "init": init}
    inside = [[-1, 1, f"C3k2_{name}@{place}", [64, True, 0.5, hyper]] for place in ("inner", "outer")]
    inside.append([-1, 1, f"SPPF_{name}@concat", [64, 5, hyper]])
    model = detector([-1, 1, name, [hyper]], [-1, 2, name, [hyper]], *inside).double()
    x = rand(1, 3, 64, 64, dtype=torch.float64)
    expected = model(x)[0]
    assert model.fuse(verbose=False) is model
    assert bool(norms(model)) == (name in AFTER_AN_ACTIVATION)
    torch.testing.assert_close(model(x)[0], expected, rtol=1e-9, atol=1e-9)
    model.fuse(verbose=False)
    torch.testing.assert_close(model(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_fuse_keeps_the_hosts_signature():
    assert "verbose" in inspect.signature(tasks.BaseModel.fuse).parameters
    assert tasks.BaseModel.fuse.__doc__
    assert not norms(detector("CA").fuse(False))


def test_the_summary_counts_the_fused_blocks(monkeypatch):
    said = []
    monkeypatch.setattr(tasks.BaseModel, "info", lambda self, *a, **k: said.append(norms(self)))
    detector("CA").fuse(verbose=True)
    assert said == [[]]


def test_a_users_block_folds_once_and_only_what_is_registered_is_asked(users_blocks):
    model = detector("Normalises", "FusesTwo", "HasAFuse", [-1, 1, "C3k2_Normalises@outer", [64, True]])
    x = rand(1, 3, 64, 64)
    model(x)
    blocks = [m for m in model.modules() if type(m) is Normalises]
    model.fuse(verbose=False)
    assert [b.asked for b in blocks] == [1, 1]
    model(x)
    other = detector("CA")
    other.add_module("strange", Normalises(3))
    ya.unregister("Normalises")
    other.fuse(verbose=False)
    assert other.strange.asked == 0
    ya.register(Normalises)


@pytest.mark.skipif(not hasattr(tasks, "is_qat"), reason="this version of Ultralytics knows no such training")
def test_a_model_with_fake_quantisation_keeps_its_blocks_as_they_are():
    model = detector("CA")
    model.model[0].add_module("quantizer", type("TensorQuantizer", (nn.Module,), {})())
    model.fuse(verbose=False)
    assert norms(model) == ["model.3.norm"]


@pytest.mark.contract("fuses")
@pytest.mark.parametrize("name", ["yolo11n-cbam.yaml", "yolo11n-ca-inside.yaml"])
def test_fusing_a_whole_model_changes_no_output(name):
    torch.manual_seed(0)
    model = shake(YOLO(name).model).eval()
    x = rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)[0]
        found = model.fuse(verbose=False)(x)[0]
    assert not norms(model)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.parametrize("name", sampled(sorted({name for name, _ in FUSING}), ["CA"], "slow"))
def test_the_hosts_own_ways_to_inference_fuse(name, tmp_path):
    """``YOLO.fuse``, ``val``'s and ``predict``'s backend, ``export``; a fused checkpoint loads again."""
    path = tmp_path / "fused here.pt"
    yolo = YOLO(f"yolo11n-{name.lower()}.yaml")
    shake(yolo.model)
    yolo.save(path)
    x = rand(1, 3, 64, 64)
    expected = copy.deepcopy(yolo.model).eval()(x)[0]
    close = {"rtol": 1e-2, "atol": 1e-2}  # a checkpoint is stored in float16
    for fuse in (True, False):
        backend = AutoBackend(str(path), device=torch.device("cpu"), fuse=fuse)
        assert fuse == (not norms(getattr(backend, "backend", backend).model))  # older versions: itself
        torch.testing.assert_close(backend(x)[0], expected, **close)
    exported = YOLO(path).export(format="torchscript", imgsz=64)
    torch.testing.assert_close(torch.jit.load(exported)(x), expected, **close)
    assert not norms(yolo.fuse().model)
    torch.testing.assert_close(yolo.model.eval()(x)[0], expected, rtol=1e-4, atol=1e-3)
    yolo.save(path)
    again = YOLO(path).fuse().model.eval()
    assert not norms(again)
    torch.testing.assert_close(again(x)[0], expected, **close)
