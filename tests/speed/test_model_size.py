"""Parameters and floating point operations of models with attention, counted against sums by hand."""

import pytest
import torch
from torch import nn

import yolo_attn as ya
from yolo_attn.speed import size


def convolutions(model: nn.Module, imgsz: int) -> int:
    """Operations of all convolutions, two per multiply-add, from their weights and output sizes alone."""
    total = 0

    def add(module, _, output):
        nonlocal total
        total += 2 * output.shape[2:].numel() * module.weight.numel()

    for module in model.modules():
        assert not isinstance(module, (nn.ConvTranspose2d, nn.Linear, nn.Conv1d)), module
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(torch.zeros(1, 3, imgsz, imgsz))
    return total


def rows_of(model: nn.Module, kind: str) -> list[nn.Module]:
    return [module for module in model.modules() if type(module).__name__ == kind]


@pytest.fixture(scope="module")
def yolo11n():
    return ya.YOLO("yolo11n.yaml").model.eval()


def test_gflops_of_a_stock_model(yolo11n):
    """One C2PSA at P5: 2 heads, keys of 32 and values of 64 channels, every position with every other."""
    positions = (64 // 32) ** 2
    attention = 2 * 2 * positions**2 * (32 + 64)
    assert size.count_gflops(yolo11n, 64) * 1e9 == convolutions(yolo11n, 64) + attention


def test_gflops_with_non_local_rows(tmp_path, yolo11n):
    ya.insert("yolo11n.yaml", "NL", at="neck:P4,P5").save(tmp_path / "yolo11-nl.yaml")
    model = ya.YOLO(str(tmp_path / "yolo11n-nl.yaml")).model.eval()
    assert [block.theta.out_channels for block in rows_of(model, "NL")] == [64, 128]
    p4, p5 = (64 // 16) ** 2, (64 // 32) ** 2
    pairs = 2 * p4**2 * (64 + 64) + 2 * p5**2 * (128 + 128)
    projections = 2 * 4 * (p4 * 128 * 64 + p5 * 256 * 128)
    added = 1e9 * (size.count_gflops(model, 64) - size.count_gflops(yolo11n, 64))
    assert added == pytest.approx(pairs + projections, abs=0.5)


def test_gflops_with_global_context_rows(tmp_path, yolo11n):
    """Per row: a mask and a weighted sum over all positions, then two layers on one vector, hidden width C / 16."""
    ya.insert("yolo11n.yaml", "GC", at="neck:P3,P5").save(tmp_path / "yolo11-gc.yaml")
    model = ya.YOLO(str(tmp_path / "yolo11n-gc.yaml")).model.eval()
    p3, p5 = (64 // 8) ** 2, (64 // 32) ** 2
    rows = 2 * (2 * p3 * 64 + 2 * 64 * 8) + 2 * (2 * p5 * 256 + 2 * 256 * 16)
    added = 1e9 * (size.count_gflops(model, 64) - size.count_gflops(yolo11n, 64))
    assert added == pytest.approx(rows, abs=0.5)


@pytest.mark.parametrize("width", [8, 24])
def test_attention_by_one_kernel_is_counted(width, monkeypatch):
    """On the CPU torch has a formula for it since 2.15 only; here it is taken away."""
    from torch.utils import flop_counter

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    monkeypatch.setattr(
        flop_counter, "flop_registry", {op: f for op, f in flop_counter.flop_registry.items() if op != kernel}
    )
    model = nn.Sequential(nn.Conv2d(3, width, 1, bias=False), ya.create_attention("NL", width)).eval()
    hw, inner = 16 * 16, width // 2
    convs = 2 * hw * (3 * width + 4 * width * inner)
    pairs = 2 * 2 * hw * hw * inner
    assert size.count_gflops(model, 16) == pytest.approx((convs + pairs) / 1e9)


def test_parameters(yolo11n):
    assert size.count_parameters(nn.Linear(3, 5)) == 20
    assert size.count_parameters(yolo11n) == 2_624_080  # as Ultralytics publishes it
