"""The rows that ``embed`` names are those of the model as it is; ``row_map`` has them by those of the base."""

import numpy as np
import pytest
import torch

import yolo_attn as ya

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def models(base_weights, tmp_path):
    made = ya.insert("yolo11n.yaml", "SE", at="backbone:P3;neck:P3", init="identity")
    model = ya.YOLO(made.save(tmp_path / "yolo11n-se.yaml")).load(base_weights)
    return ya.YOLO(base_weights), model, made.row_map


def embedding(model, row):
    return model.embed(IMAGE, imgsz=64, embed=[row], verbose=False)[0]


def test_the_embedding_of_a_row_of_the_base(models):
    base, model, row_map = models
    for row in (10, 16):
        assert row_map[row] > row
        assert torch.equal(embedding(model, row_map[row]), embedding(base, row))
        assert not torch.equal(embedding(model, row), embedding(base, row))
