"""Shared by all tests: nobody's Ultralytics settings are touched, nothing looks for a network, two threads."""

import os
import tempfile
from pathlib import Path

os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="yolo-attn-tests-")
os.environ["YOLO_OFFLINE"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "2")

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def pretrained() -> Path:
    """A real pretrained checkpoint, where one lies beside the checkout."""
    path = SHARED / "weights" / "yolo11n.pt"
    if not path.is_file():
        pytest.skip("needs shared/weights/yolo11n.pt beside the checkout")
    return path


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """Data YAML of a small drawn set: enough to train on, not to learn from."""
    from yolo_attn.coco_subset import convert_coco
    from yolo_attn.demo_scenes import make_scenes

    root = tmp_path_factory.mktemp("drawn scenes")
    coco = make_scenes(root / "coco", train=16, val=8, size=64, seed=1)
    return convert_coco(coco, root / "yolo")


@pytest.fixture(scope="session")
def base_weights(tmp_path_factory) -> Path:
    """A checkpoint of stock yolo11n with random weights."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "base n.pt"
    torch.save({"model": YOLO("yolo11n.yaml").model, "train_args": {}}, path)
    return path


@pytest.fixture(scope="module")
def one_thread():
    """Small tensors only lose to the threads' waiting for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
