"""The memory of a run is estimated from its model before it begins."""

import dataclasses
import json

import pytest
import torch
from support.tiny_training import tiny_model

from yolo_attn.compare.memory import _counts, estimate_mb
from yolo_attn.compare.run_folder import RunSpec
from yolo_attn.host.model import load_model_dict

SPEC = RunSpec("tiny", tiny_model(False), "", "", None, None, 0, {"imgsz": 64, "batch": 8}, {})


def changed(device="cpu", model=None, **overrides):
    return estimate_mb(
        dataclasses.replace(SPEC, device=device, model=model or SPEC.model, overrides={**SPEC.overrides, **overrides})
    )


def test_what_is_kept_for_the_backward_pass_is_counted():
    """Another convolution keeps its output, and that of its normalisation; its input was kept before."""
    more = {**SPEC.model, "backbone": [*SPEC.model["backbone"], [-1, 1, "Conv", [128, 1, 1]]]}
    (parameters, kept), (more_parameters, more_kept) = (_counts(json.dumps(m), 64) for m in (SPEC.model, more))
    assert more_parameters - parameters == 128 * 128 + 2 * 128
    assert more_kept - kept == pytest.approx(2 * 4 * 128 * 2 * 2, rel=0.3)


def test_it_grows_with_batch_size_and_precision():
    assert changed() < changed(batch=16) < changed(batch=16, imgsz=128) < changed(batch=16, imgsz=128, multi_scale=0.5)
    base = changed("cuda", imgsz=640, amp=True)
    assert base < changed("cuda", imgsz=640, amp=False)


def test_a_model_that_needs_values_has_no_estimate(monkeypatch):
    from yolo_attn.blocks.ela import ELA

    def forward(self, x):
        if not torch.isfinite(x).all():
            raise ValueError
        return x

    monkeypatch.setattr(ELA, "forward", forward)
    _counts.cache_clear()
    assert changed() is None
    _counts.cache_clear()


@pytest.mark.slow
def test_a_full_model_has_a_likely_estimate():
    """One GPU with 320 px and batches of 32 in mixed precision took from 1 to 2 GB, and the estimate is above that."""
    model = load_model_dict("yolo11n.yaml")
    assert 1500 < changed("cuda", model, imgsz=320, batch=32) < 3000
