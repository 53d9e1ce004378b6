"""Models as public YAMLs write them: every base weight kept, outputs of the base, one epoch, and a checkpoint."""

import csv

import pytest
import torch
import yaml
from instruments.public_style import at_scale_n
from support.paths import FIXTURES
from support.random_weights import calibrate_norms
from support.tiers import sampled

import yolo_attn as ya
from yolo_attn.export.check import photographs
from yolo_attn.host.gated import blocks_inside
from yolo_attn.host.registry import is_attention

FILES = sorted((FIXTURES / "public_style").glob("*.yaml"))
HELD = {
    "yolo11-CBAM": {"17": "CBAM", "21": "CBAM", "25": "CBAM"},
    "yolo11-SPPF_LSKA": {
        **{f"{row}.{branch}": "EMA" for row, branch in ((4, "m.0.cv2"), (6, "m.0.m.0.cv2"), (6, "m.0.m.1.cv2"))},
        **{f"8.m.0.m.{i}.cv2": "EMA" for i in (0, 1)},
        "9.cv2": "LSKA",
        "10.m.0.attn": "CAA",
        "10.m.0.ffn.1": "CAA",
    },
    "yolov8-C2f_EMA": {
        f"{row}.m.{i}.cv2": "EMA" for row, repeats in ((2, 1), (4, 2), (6, 2), (8, 1)) for i in range(repeats)
    },
    "yolov8-channels-first": {"9": "EMA", "17": "SimAM", "21": "CA", "25": "SE"},
}
"""Rows of each file at scale n, by layer and branch."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Checkpoints of the stock models with random weights and the batch statistics of photographs."""
    files = {}
    for family in ("yolo11", "yolov8"):
        torch.manual_seed(5)
        model = calibrate_norms(ya.YOLO(f"{family}n.yaml").model, photographs((2, 3, 64, 64)))
        files[family] = tmp_path_factory.mktemp("bases") / f"{family}n.pt"
        torch.save({"model": model, "train_args": {}}, files[family])
    return files


def outputs(model):
    with torch.no_grad():
        return model.float().eval()(photographs((2, 3, 64, 96)))[0]


def blocks_of(model):
    rows = {str(i): row for i, row in enumerate(model.model) if is_attention(row)}
    inside = {path.removesuffix(".attention"): block for path, block in blocks_inside(model.model).items()}
    return {path: type(block).__name__ for path, block in {**rows, **inside}.items()}


@pytest.mark.parametrize("file", sampled(FILES, lambda file: "LSKA" in file.stem, "slow"), ids=lambda file: file.stem)
def test_the_outputs_before_training_are_those_of_the_base(file, bases, tmp_path):
    base = ya.YOLO(bases[file.stem[:6]]).model
    model = ya.YOLO(at_scale_n(file, tmp_path)).load(base, init="identity").model
    report = ya.transfer_weights(model, base, strict=True)
    assert (report.missing, report.dropped) == ([], ())
    assert sum(r.loaded for r in report.rows) == sum(p.numel() for p in base.parameters())
    assert blocks_of(model) == HELD[file.stem]
    assert torch.equal(outputs(model), outputs(base))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_one_epoch_runs_and_its_checkpoint_opens(file, bases, scenes, tmp_path):
    """As the file stands, without a word added to it."""
    named = tmp_path / file.name.replace("yolov8", "yolov8n").replace("yolo11", "yolo11n")
    named.write_text(file.read_text())
    model = ya.YOLO(named)
    model.train(
        data=str(scenes), pretrained=str(bases[file.stem[:6]]), project=str(tmp_path), name="run", epochs=1, imgsz=64,
        batch=8, workers=0, plots=False, device="cpu", optimizer="SGD",
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run" / "results.csv").open()))
    assert len(rows) == 1
    logged = {row["path"] for row in csv.DictReader((tmp_path / "run" / "gates.csv").open())}
    assert logged == {f"model.{path}" + ".attention" * ("." in path) for path in HELD[file.stem]}
    opened = ya.YOLO(tmp_path / "run" / "weights" / "last.pt")
    assert blocks_of(opened.model) == HELD[file.stem]
    assert torch.isfinite(outputs(opened.model)).all()
    assert opened.model.yaml["backbone"] == yaml.safe_load(file.read_text())["backbone"]
