"""Fixtures of all tests; temporary Ultralytics settings, no network, one thread per process."""

import os
import shutil
import tempfile
from pathlib import Path

os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="yolo-attn-tests-")
os.environ["YOLO_OFFLINE"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from support.paths import SHARED


def pytest_configure(config):
    """Have Triton interpret its kernels where only those tests run: it decides when it is imported."""
    if config.option.markexpr == "interpreter":
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_unconfigure(config):
    """Remove the temporary settings."""
    shutil.rmtree(os.environ["YOLO_CONFIG_DIR"], ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Record the promise of every test of the contract in pytest's XML report."""
    for item in items:
        for mark in item.iter_markers("contract"):
            item.user_properties.append(("promise", mark.args[0]))


@pytest.fixture(scope="session")
def pretrained() -> Path:
    """Path of a pretrained checkpoint, if one is available."""
    path = SHARED / "weights" / "yolo11n.pt"
    if not path.is_file():
        pytest.skip("needs shared/weights/yolo11n.pt beside the checkout")
    return path


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """Data YAML of a small drawn set: enough to train on, not to learn from."""
    from yolo_attn.demo.scenes import make_scenes
    from yolo_attn.subset.convert import convert_coco

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


@pytest.fixture(scope="session")
def everything(tmp_path_factory) -> Path:
    """A checkpoint of yolo11n with every shipped block behind its P4, with random weights; read it only."""
    from support.attention_example import with_blocks

    from yolo_attn import ATTENTION_BLOCKS

    return with_blocks(tmp_path_factory.mktemp("every block"), ATTENTION_BLOCKS)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Two models that train in a second: three convolutions and a head, with and without attention."""
    import yaml

    folder = tmp_path_factory.mktemp("tiny models")
    convs = [[-1, 1, "Conv", [8 * 2**k, 3, 2]] for k in range(5)]
    files = []
    for name, extra in (("tiny", []), ("tiny-ela", [[-1, 1, "ELA", [{"init": "identity"}]]])):
        first = len(convs) + len(extra)
        head = [[[2, 3, first - 1], 1, "Detect", ["nc"]]]
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump({"nc": 80, "backbone": [*convs, *extra], "head": head}))
    return [str(file) for file in files]


@pytest.fixture(scope="module")
def one_thread():
    """Use one thread: small tensors gain nothing from more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def comparing(scenes, monkeypatch):
    """Return a function that runs a comparison with simulated runs in a folder, without checks of models and data."""
    from support.fake_runs import FakeExecutor

    from yolo_attn.compare import driver, results
    from yolo_attn.compare.plan import Plan, arms_of, specs_of
    from yolo_attn.host import data
    from yolo_attn.train import yolo

    plan = Plan(arms=("yolo11n.yaml", "yolo11n-ela.yaml"), data=str(scenes), seeds=(0,), overrides={"epochs": 1})
    arms = arms_of(plan)
    specs = specs_of(plan, arms)
    record = driver._plan_record(specs, arms)
    monkeypatch.setattr(driver, "arms_of", lambda *_: arms)
    monkeypatch.setattr(driver, "specs_of", lambda *_, **__: specs)
    monkeypatch.setattr(driver, "_plan_record", lambda *_: record)
    monkeypatch.setattr(driver, "executor_of", lambda *_: FakeExecutor())
    monkeypatch.setattr(yolo, "check_model_dict", lambda *_: "detect")
    monkeypatch.setattr(data, "prepare_data", lambda *_: None)
    monkeypatch.setattr("yolo_attn.report.plots.draw", lambda _: {})
    write = results.write
    monkeypatch.setattr(
        results, "write", lambda out, log=lambda _: None, replicates=20, ap="ultralytics": write(out, log, 20, ap)
    )
    return lambda out: driver.compare(plan, out, speed_seconds=0)


@pytest.fixture
def faked(monkeypatch):
    """Disable training, timing and plotting; return the executor that simulates results."""
    from support.fake_runs import FakeExecutor

    from yolo_attn.compare import driver

    fake = FakeExecutor()
    monkeypatch.setattr(driver, "executor_of", lambda *_: fake)
    monkeypatch.setattr(driver, "_measure_speed", lambda *_: None)
    monkeypatch.setattr("yolo_attn.report.plots.draw", lambda _: {})  # four fifths of the time
    return fake
