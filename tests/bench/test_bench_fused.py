"""The fused arm of the bench, the kernels it counts, and their floor."""

from __future__ import annotations

import functools

import pytest
import torch
from support.bench_modules import SMALL

from yolo_attn.bench import arms, floor, launches, models
from yolo_attn.bench.cases import Case, ModelCase
from yolo_attn.blocks import ATTENTION_BLOCKS, fused

pytestmark = pytest.mark.usefixtures("one_thread")


def case(block, pass_="forward"):
    return Case(block, SMALL, "fp32", "contiguous", pass_, False)


def test_the_fused_arm_is_left_out_with_its_reason_where_it_cannot_run():
    before = fused.is_on()
    with fused.fused(before):
        built = arms.build(case("SGE"), "cpu", ("tutorial", "fused"), {})
    assert set(built.functions) == {"ours", "tutorial"}
    assert built.left_out["ours fused"] == fused.unavailable() or "cpu" in built.left_out["ours fused"]
    assert "ours fused" not in arms.build(case("GAM"), "cpu", ("fused",), {}).left_out


def test_the_fused_arm_launches_kernels_and_the_others_do_not(monkeypatch):
    """Whatever the environment says."""
    slab = pytest.importorskip("yolo_attn.blocks.fused.slab")
    monkeypatch.setattr(fused, "unavailable", lambda: None)
    monkeypatch.setattr(fused, "_interpreted", lambda: True)
    for on in (True, False):
        with fused.fused(on), slab.recorded() as launches:
            built = arms.build(case("SGE", "training"), "cpu", ("tutorial", "fused"), {})
            assert set(built.functions) == set(built.memory) == {"ours", "ours fused", "tutorial"}
            for name, function in built.functions.items():
                launches.clear()
                function()
                assert len(launches) == (2 if name == "ours fused" else 0), name


def test_the_compiled_fused_arm_launches_kernels(monkeypatch):
    """And is left out with its reason where the kernels are not used."""
    slab = pytest.importorskip("yolo_attn.blocks.fused.slab")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr(fused, "unavailable", lambda: None)
    monkeypatch.setattr(fused, "_interpreted", lambda: True)
    asked = case("SGE")._replace(compiled=True)
    with fused.fused(False), slab.recorded() as launches:
        built = arms.build(asked, "cpu", ("fused",), {})
        assert set(built.functions) == {"ours", "ours fused", "ours compiled", "ours fused compiled"}
        for name, function in built.functions.items():
            launches.clear()
            function()
            assert len(launches) == ("fused" in name), name
        assert arms.build(asked, "cpu", ("fused",), {"ours": "no compiler"}).left_out == {
            "ours compiled": "no compiler", "ours fused compiled": "no compiler",
        }  # fmt: skip
        monkeypatch.setattr(fused, "switch", lambda on, compiled=True: setattr(fused, "_switched_on", on))
        monkeypatch.setattr(fused, "_in_graphs", False)
        left_out = arms.build(asked, "cpu", ("fused",), {}).left_out
        assert left_out == {"ours fused compiled": "on, but not under torch.compile"}


def test_kernels_are_counted_without_a_gpu_and_set_the_floor():
    pytest.importorskip("triton")
    for name, block in ATTENTION_BLOCKS.items():
        counted = launches.planned(block(64), (2, 64, 20, 20), torch.float16)
        assert (counted is None) == (not block.fused), name
        assert counted is None or min(counted) >= 1
    assert launches.planned(ATTENTION_BLOCKS["SGE"](64), (2, 64, 20, 20), torch.float16) == (1, 1)
    x = torch.empty(1000, dtype=torch.float16, device="meta")
    assert floor.floor_ms(x, "forward", 1e6) == 6.0
    assert floor.floor_ms(x, "forward", 1e6, one_kernel=True) == 4.0
    assert floor.floor_ms(x, "training", 1e6, one_kernel=True) == 10.0


def test_models_with_fused_forms_stand_beside_those_without(tmp_path, monkeypatch):
    files = models.write_models("yolo11n.yaml", ["SGE", "GAM"], tmp_path)
    told = []
    monkeypatch.setattr(models, "_function", lambda *_: told.append(fused.is_on()) or (lambda: fused.is_on()))
    forward = ModelCase("yolo11n.yaml", "fp32", "forward", 1)
    with fused.fused(False):
        _, left_out = models.build(forward, files, 64, "cpu", with_fused=True)
        assert list(left_out) == ["SGE fused"]
        monkeypatch.setattr(fused, "unavailable", lambda: None)
        told.clear()
        functions, left_out = models.build(forward, files, 64, "cpu", with_fused=True)
        assert not left_out
        assert {name: function() for name, function in functions.items()} == {
            "base": False, "identity control": False, "SGE": False, "SGE fused": True, "GAM": False,
        }  # fmt: skip
        assert told == [False, False, False, True, False]
