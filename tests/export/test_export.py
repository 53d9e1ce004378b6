"""Exported files give the outputs of PyTorch, and the check detects those that do not."""

import importlib.util
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from support import tiny_model
from support.users_blocks import known
from torch import nn
from ultralytics.engine.model import Model

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.export import check as export_check
from yolo_attn.export import host as export_host
from yolo_attn.export.check import CheckedExport, Comparison, check, differences, export_checked, photographs
from yolo_attn.export.host import _as_exported
from yolo_attn.host.gated import blocks_inside
from yolo_attn.host.registry import is_attention


class FrozenMean(nn.Module):
    """A block as tutorials write it: the number of positions is a Python number, which tracing freezes."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 4.0))

    def forward(self, x):
        positions = int(x.shape[2]) * int(x.shape[3])
        return x * torch.sigmoid(self.weight * x.sum((2, 3), keepdim=True) / positions)


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    return tiny_model.checkpoint(tmp_path_factory.mktemp("with every block"))


@pytest.fixture
def frozen(tmp_path):
    """A checkpoint whose export is right at the traced size and nowhere else."""
    content = tiny_model.model_yaml()
    first = content["backbone"][0]
    content["backbone"] = [first, [-1, 1, "FrozenMean", []], first, [-1, 1, "Conv", [128, 3, 1]]]
    content["head"][0][0] = [3]
    with known(FrozenMean):
        yield tiny_model.checkpoint(tmp_path, "frozen.pt", content)


# --- every block, in every runtime that is here -----------------------------------------------------------------------
@pytest.mark.parametrize(
    "format",
    [
        pytest.param("torchscript", marks=pytest.mark.contract("exports")),
        *(pytest.param(format, marks=pytest.mark.slow) for format in ("onnx", "openvino", "ncnn")),
    ],
)
def test_a_model_with_every_block_is_the_same_in_the_runtime(format, best, tmp_path):
    for module in {"onnx": ["onnx", "onnxruntime"], "ncnn": ["ncnn", "pnnx"], "openvino": ["openvino"]}.get(format, []):
        pytest.importorskip(module, reason=f"{module} is not installed; pip install 'yolo-attn[export]'")
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    dynamic = format != "ncnn"
    found = ya.export_checked(copy, format=format, dynamic=dynamic, imgsz=64)
    assert found.file.exists()
    assert [c.shape for c in found.comparisons] == [(1, 3, 64, 64), (2, 3, 32, 96)][: 1 + dynamic]
    assert not found.failures, found.failures
    assert all(0 < c.worst < c.tolerance for c in found.comparisons)


@pytest.mark.slow
def test_a_gated_concatenation_is_the_same_in_the_runtime(tmp_path):
    content = tiny_model.model_yaml()
    content["backbone"] = [*content["backbone"][:2], [-1, 1, "SPPF_LSKA", [16, 5, {"kernel_size": 7}]]]
    content["head"][0][0] = [2]
    found = ya.export_checked(tiny_model.checkpoint(tmp_path, content=content), format="torchscript", imgsz=64)
    assert not found.failures, found.failures


# --- a file that is wrong ---------------------------------------------------------------------------------------------
def test_a_size_that_tracing_froze_is_found(frozen):
    fixed, other = export_checked(frozen, format="torchscript", dynamic=True, imgsz=64).comparisons
    assert fixed.passed
    assert not other.passed
    assert other.worst > 3 * other.tolerance


def test_the_command_exits_with_1_and_names_format_size_difference_and_tolerance(frozen, capsys):
    assert cli.main(["export", f"model={frozen}", "format=torchscript", "dynamic=True", "imgsz=64"]) == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("yolo-attn:")]
    assert "torchscript fp32, 2x3x" in line
    assert "worst difference" in line
    assert f"tolerance {export_check.TOLERANCES['fp32']:g}" in line
    assert "WRONG" in said.out


def test_every_block_that_is_left_out_is_found(best):
    """Removing any one block changes the outputs by more than the tolerance of the check."""
    model = ya.YOLO(str(best)).model.float().eval()
    images = photographs((1, 3, 64, 64))
    blind = []
    with torch.no_grad():
        wanted = model(images)[0]
        for block in [*(row for row in model.model if is_attention(row)), *blocks_inside(model).values()]:
            block.forward = lambda x: x
            if differences([model(images)[0]], [wanted])[0] <= export_check.TOLERANCES["fp32"]:
                blind.append(type(block).__name__)
            del block.forward
    assert not blind


@pytest.mark.slow
def test_a_file_that_cannot_be_run_is_a_failure_with_the_runtimes_words(best, tmp_path, monkeypatch):
    def raises(images):
        raise RuntimeError("a long trace\nInput shape mismatch")

    monkeypatch.setattr(export_check, "open_exported", lambda file, device: raises)
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    (line,) = export_checked(copy, format="torchscript", imgsz=64).failures
    assert line == "torchscript fp32, 1x3x64x64: worst difference inf, tolerance 0.001 (Input shape mismatch)"


def test_a_head_whose_end2end_cannot_be_set_as_in_8_4_0():
    class Head(nn.Module):
        export, end2end = False, property(lambda self: False)

    written, model = nn.Module(), nn.Module()
    written.model, model.model = nn.Sequential(Head()), nn.Sequential(Head())
    written.model[0].export = True
    used = SimpleNamespace(model=written, device="cpu", args=SimpleNamespace(nms=False))
    assert _as_exported(model, used).model[0].export
    assert not model.model[0].export


# --- the command ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_command_prints_json_or_a_line_for_each_size(best, tmp_path, capsys):
    copy = tmp_path / "2nd try" / "best.pt"
    copy.parent.mkdir()
    copy.write_bytes(best.read_bytes())
    words = ["export", f"model={copy}", "format=torchscript", "imgsz=64"]
    assert cli.main([*words, "dynamic=True", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert found["file"] == str(copy.with_suffix(".torchscript"))
    assert [c["shape"][0] for c in found["comparisons"]] == [1, 2]
    assert all(c["worst"] < c["tolerance"] for c in found["comparisons"])
    assert cli.main(words) == 0
    assert "torchscript fp32, 1x3x64x64: worst difference" in capsys.readouterr().out
    assert cli.main(["--no-check", *words[:0:-1], "mode=export"]) == 0  # in another order
    assert "not checked here: --no-check" in capsys.readouterr().out


def test_while_a_command_exports_other_threads_export_as_ever(monkeypatch):
    class Asked(Exception):  # noqa: N818
        """Ultralytics' own method was called: this is what it does first."""

    def ask():
        raise Asked

    model = SimpleNamespace(_check_is_pytorch_model=ask)

    def from_another_thread(_):
        with ThreadPoolExecutor(1) as thread, pytest.raises(Asked):
            thread.submit(Model.export, model).result()
        with pytest.raises(AttributeError, match="add_callback"):  # here the export is the one that is checked
            Model.export(model)

    monkeypatch.setattr(export_host, "run_host_command", from_another_thread)
    assert export_host.run_export_command(["export"]) is None
    with pytest.raises(Asked):
        Model.export(model)


def test_a_misspelled_flag_is_named(capsys):
    assert cli.main(["export", "model=best.pt", "--nocheck"]) == 2
    assert "unknown flag '--nocheck'. Did you mean '--no-check'?" in capsys.readouterr().err


@pytest.mark.slow
def test_a_runtime_that_is_not_here_is_said(best, tmp_path, monkeypatch):
    monkeypatch.setitem(export_check.RUNTIMES, "torchscript", ("no_such_runtime",))
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    found = export_checked(copy, format="torchscript", imgsz=64)
    assert str(found).endswith("torchscript fp32: not checked here: no_such_runtime is not installed")
    assert not found.failures
    assert found.file.exists()


@pytest.mark.parametrize(("format", "module"), [("onnx", "onnx"), ("openvino", "openvino"), ("ncnn", "ncnn")])
def test_what_a_format_needs_and_is_not_installed_is_named(format, module, best, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    assert cli.main(["export", f"model={copy}", f"format={format}", "imgsz=64"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert f"format={format} needs {module}, which is not installed" in line
    assert "pip install 'yolo-attn[export]'" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["format=ncnn", "dynamic=True"], "argument 'dynamic' is not supported for format='ncnn'"),
        (["format=torchscript", "half=True"], "FP16 TorchScript export is only supported on GPU"),
        (["format=nope"], "Invalid export format='nope'"),
    ],
)
def test_what_a_format_cannot_do_is_one_line(words, says, best, tmp_path, capsys):
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    assert cli.main(["export", f"model={copy}", "device=cpu", *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert line.startswith(f"yolo-attn: {says}")


@pytest.mark.parametrize("format", [f for f, modules in export_check.RUNTIMES.items() if modules])
def test_a_runtime_is_known_by_its_module(format):
    absent = [m for m in export_check.RUNTIMES[format] if importlib.util.find_spec(m) is None]
    assert bool(export_check.unavailable_reason(format)) == bool(absent) or format == "coreml"
    assert "device of its own" in export_check.unavailable_reason("rknn")


@pytest.mark.slow
def test_plain_python_still_exports_as_ultralytics_does(best, tmp_path):
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    assert ya.YOLO(str(copy)).export(format="torchscript", imgsz=64) == str(copy.with_suffix(".torchscript"))


# --- how it is compared -----------------------------------------------------------------------------------------------
def worst(given, wanted, ranked=False):
    return differences(given, wanted, ranked)[0]


def test_scores_are_compared_as_they_are_and_boxes_as_shares_of_the_image():
    wanted = torch.tensor([[[320.0, 640.0], [0.2, 0.9]]])  # (1, 2 channels, 2 places)
    given = wanted + torch.tensor([[[6.4, 0.0], [0.0, 0.003]]])
    assert worst([given], [wanted]) == pytest.approx(0.01, rel=1e-4)
    assert worst([wanted + torch.tensor([[[0.64], [0.003]]])], [wanted]) == pytest.approx(0.003, rel=1e-4)


def test_other_shapes_and_values_that_are_no_numbers_are_infinitely_wrong():
    wanted = torch.zeros(1, 6, 3)
    assert worst([wanted], [wanted]) == 0
    assert worst([wanted[..., :2]], [wanted]) == math.inf
    assert worst([wanted, wanted], [wanted]) == math.inf
    assert worst([wanted.clone().fill_(math.nan)], [wanted]) == math.inf
    assert worst([wanted.clone().fill_(math.inf)], [wanted]) == math.inf


def detections(*rows):
    return torch.tensor([rows])


def test_detections_of_almost_the_same_score_may_change_places():
    one, other, last = [10.0, 10, 50, 60, 0.8, 3], [100.0, 80, 200, 300, 0.7999, 1], [0.0, 0, 9, 9, 0.1, 2]
    wanted = detections(one, other, last)
    assert worst([detections(other, one, last)], [wanted], ranked=True) < 0.001
    assert worst([detections(other, one, last)], [wanted]) > 0.5


def test_a_detection_that_is_missing_or_of_another_class_is_found():
    one, other, last = [10.0, 10, 50, 60, 0.8, 3], [100.0, 80, 200, 300, 0.7, 1], [0.0, 0, 9, 9, 0.1, 2]
    wanted = detections(one, other, last)
    assert worst([detections(one, one, last)], [wanted], ranked=True) > 0.05
    assert worst([detections(one, [*other[:5], 2.0], last)], [wanted], ranked=True) >= 1
    another_last = [5.0, 5, 90, 90, 0.1005, 0]
    assert worst([detections(one, other, another_last)], [wanted], ranked=True) < 0.001


def test_the_typical_difference_is_that_of_the_worst_channel():
    wanted = torch.zeros(1, 2, 4)
    given = torch.tensor([[[0.4, 0, 0, 0], [0.1, 0.1, 0.1, 0.1]]])
    assert differences([given], [wanted]) == pytest.approx((0.4, 0.2))  # sqrt(0.16 / 4), and 0.1


@pytest.mark.parametrize(
    ("precision", "worst", "typical", "passed"),
    [
        ("fp32", 9e-4, 9e-4, True),
        ("fp32", 2e-3, 1e-5, False),
        ("fp16", 0.5, 0.01, True),
        ("fp16", 0.5, 0.04, False),
        ("int8", 0.9, 0.1, True),
        ("int8", 0.9, 0.2, False),
        ("w8a16", 0.9, 0.1, True),
        ("fp32", math.nan, math.nan, False),
        ("int8", math.inf, math.inf, False),
    ],
)
def test_precision_decides_what_counts_and_the_tolerance(precision, worst, typical, passed):
    found = Comparison((1, 3, 64, 64), precision, worst, typical)
    assert found.passed == passed
    report = CheckedExport("best.onnx", "onnx", precision, (found,))
    assert bool(report.failures) != passed
    assert json.loads(json.dumps(report.as_dict()))["passed"] == passed


def test_photographs_are_pictures_of_any_size_and_the_same_each_time():
    images = photographs((3, 3, 40, 72))
    assert images.shape == (3, 3, 40, 72)
    assert 0 <= images.min() < 0.1 < 0.9 < images.max() <= 1
    assert torch.equal(images, photographs((3, 3, 40, 72)))
    assert not torch.equal(images[0], images[2])
    assert photographs((1, 4, 8, 8)).shape == (1, 4, 8, 8)


@pytest.mark.slow
def test_nms_inside_the_file_is_compared_detection_by_detection(best, tmp_path):
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    model = ya.YOLO(str(copy))
    exported = export_check.export_model(model, format="torchscript", imgsz=64, nms=True, conf=0.3)
    assert exported.ranked
    found = check(exported)
    assert not found.failures, found.failures
