"""Outputs of a packed model in a process that cannot import yolo_attn."""

import json
import subprocess
import sys

import pytest
import torch
from support import tiny_model

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.export import check, pack
from yolo_attn.host.compat import dynamic_torchscript

WITHOUT_US = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "yolo_attn":
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
import torch
images = torch.load("images.pt")
expected = torch.load("expected.pt")
"""

TORCH_ALONE = """
with torch.no_grad():
    found = torch.jit.load("packed/model.torchscript").eval()(images)
assert "ultralytics" not in sys.modules
torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
"""

ULTRALYTICS = """
import json, numpy
from ultralytics import YOLO
facts = json.load(open("packed/model.json"))
model = YOLO("packed/model.torchscript", task=facts["task"])
picture = (images[0].flip(0).permute(1, 2, 0).numpy() * 255).round().astype("uint8")
result = model.predict(picture, imgsz=64, conf=0.05, verbose=False)[0]
assert {str(k): v for k, v in result.names.items()} == facts["names"], (result.names, facts["names"])
assert len(result.boxes)
"""

NEEDS_US = """
from yolo_attn import blocks
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    where = tmp_path_factory.mktemp("a packed model")
    best = tiny_model.checkpoint(where)
    pack.pack(best, where / "packed", imgsz=64)
    images = check.photographs((2, 3, 32, 96))  # another size than the traced one, where values stay small
    torch.save(images, where / "images.pt")
    with torch.no_grad():
        torch.save(torch.load(best, weights_only=False)["model"].float()(images)[0], where / "expected.pt")
    best.unlink()
    return where


def without_us(code, folder):
    return subprocess.run([sys.executable, "-c", WITHOUT_US + code], cwd=folder, capture_output=True, text=True)


@pytest.mark.contract("packs")
@pytest.mark.slow
@pytest.mark.parametrize("code", [TORCH_ALONE, ULTRALYTICS], ids=["torch alone", "ultralytics"])
def test_it_gives_the_same_where_yolo_attn_cannot_be_imported(code, packed):
    done = without_us(code, packed)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_process_of_that_test_really_cannot_import_it(packed):
    assert "yolo_attn is blocked" in without_us(NEEDS_US, packed).stderr


@pytest.mark.slow
def test_weights_and_yaml_make_the_model_again(packed):
    tensors = torch.load(packed / "packed" / "weights.pt", weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    model = ya.YOLO(str(packed / "packed" / "model.yaml")).load(str(packed / "packed" / "weights.pt")).model.eval()
    with torch.no_grad():
        found = model(torch.load(packed / "images.pt"))[0]
    torch.testing.assert_close(found, torch.load(packed / "expected.pt"), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_what_was_checked_is_written_down(packed):
    facts = json.loads((packed / "packed" / "model.json").read_text())
    assert [c["shape"][0] for c in facts["check"]] == [1, 2]
    assert all(c["passed"] for c in facts["check"])
    assert facts["made_with"]["yolo_attn"] == ya.__version__
    assert 'task="detect"' in (packed / "packed" / "README.md").read_text()


@pytest.mark.slow
def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_model.checkpoint(tmp_path)
    assert cli.main(["pack", "best.pt", "-o", "out/packed", "--imgsz", "64"]) == 0
    said = capsys.readouterr().out
    assert "worst difference to the checkpoint" in said
    assert sorted(p.name for p in (tmp_path / "out" / "packed").iterdir()) == [
        *("README.md", "model.json", "model.torchscript", "model.yaml", "weights.pt")
    ]
    assert cli.main(["pack", "none.pt", "-o", "out/other"]) == 2
    assert "yolo-attn: no weights at 'none.pt'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "other").exists()
    assert cli.main(["pack", "bst.pt", "-o", "out/other"]) == 2
    assert "yolo-attn: no weights at 'bst.pt'. Did you mean 'best.pt'?" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_whose_script_differs_is_refused(tmp_path, monkeypatch):
    best = tiny_model.checkpoint(tmp_path)
    monkeypatch.setitem(check.TOLERANCES, "fp32", -1.0)
    with pytest.raises(ya.YoloAttnError, match="cannot be packed, its TorchScript differs"):
        pack.pack(best, tmp_path / "packed", imgsz=64)
    assert not (tmp_path / "packed").exists()


def test_free_sizes_are_allowed_where_a_release_does_not_list_them(monkeypatch):
    from ultralytics.engine import exporter

    asked = []
    monkeypatch.setattr(exporter, "validate_args", lambda format, given, allowed: asked.append(allowed))
    with dynamic_torchscript():
        exporter.validate_args("torchscript", None, ["batch"])
    exporter.validate_args("torchscript", None, ["batch"])
    assert asked == [["batch", "dynamic"], ["batch"]]
