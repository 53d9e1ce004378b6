"""What the forms with gates along rows and columns leave to the plain block."""

import pytest
import torch

from yolo_attn.blocks.ela import ELA

pytest.importorskip("triton")


@pytest.mark.parametrize(
    ("options", "shape", "reason"),
    [
        ({"conv_groups": 1}, (1, 64, 8, 8), "its convolution adds 64 channels x 7 positions"),
        ({"kernel_size": 257}, (1, 64, 8, 8), "its convolution adds 1 channels x 257 positions"),
        ({"norm_groups": 1}, (1, 1024, 8, 8), "its groups together have 1024 channels"),
        ({}, (1, 64, 8000, 2), "its strips take 32768 values a group"),
        ({}, (1, 64, 160, 160), None),
        ({"variant": "T"}, (1, 64, 640, 640), None),
        ({"variant": "L", "bias": True}, (1, 512, 80, 80), None),
    ],
)
def test_ela_is_computed_plainly_where_little_is_gained(options, shape, reason):
    from yolo_attn.blocks.fused.ela import FusedELA

    found = FusedELA.refuses(ELA(shape[1], **options), torch.empty(shape, device="meta"))
    assert found is None if reason is None else found.startswith(reason)
