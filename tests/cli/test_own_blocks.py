"""A block of one's own on the command line: inserted, trained, opened and compared in processes of their own."""

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from support import ddp_on_cpu

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.compare import run_folder
from yolo_attn.compare.plan import Plan, read_plan, specs_of
from yolo_attn.errors import YoloAttnError
from yolo_attn.util.imports import imported

MINE = """
import torch
import yolo_attn as ya


@ya.register
class Scale(torch.nn.Module):
    def __init__(self, channels, start: float = 1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((channels, 1, 1), start))

    def forward(self, x):
        return x * self.weight
"""
SETTINGS = ["epochs=1", "imgsz=32", "batch=8", "workers=0", "plots=False", "val=False", "optimizer=SGD", "device=cpu"]


def run(folder, *words):
    """Run the command in a folder; return its exit code and output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "yolo_attn.cli", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_models):
    """A folder outside the checkout with a block, and a model that it was inserted into by the command."""
    folder = tmp_path_factory.mktemp("their folder")
    (folder / "lib").mkdir()
    (folder / "lib" / "mine_scale.py").write_text(MINE)
    (folder / "tiny.yaml").write_text(Path(tiny_models[0]).read_text())
    words = ["insert", "tiny.yaml", "--block", "Scale", "--at", "after:2", "-o", "tiny-scale.yaml", "start=0.5"]
    code, said = run(folder, "--import", "lib/mine_scale.py", *words)
    assert code == 0, said
    return folder


@pytest.mark.slow
def test_train_and_predict(folder, scenes):
    words = ["train", "model=tiny-scale.yaml", f"data={scenes}", "--import=lib/mine_scale.py", *SETTINGS]
    code, said = run(folder, *words, f"project={folder / 'out'}", "name=run")
    assert code == 0, said
    image = next((scenes.parent / "images" / "val").iterdir())
    words = [f"model={folder}/out/run/weights/best.pt", "predict", f"source={image}", "imgsz=32", f"project={folder}"]
    code, said = run(folder / "lib", *words, "--import", "mine_scale")
    assert code == 0, said
    assert (folder / "predict" / image.name).is_file()
    assert "unpickled in full" not in said
    code, said = run(folder, *words)
    assert code == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("yolo-attn:")]
    assert "best.pt' needs the class mine_scale.Scale" in line
    assert "--import FILE" in line


@pytest.mark.slow
def test_a_comparison_whose_matrix_names_the_file(folder, scenes):
    overrides = {"epochs": 1, "imgsz": 32, "batch": 8, "val": False}
    plan = {"arms": ["tiny-scale.yaml"], "register": "lib/mine_scale.py", "seeds": [0], "device": "cpu", "threads": 1}
    (folder / "matrix.yaml").write_text(yaml.safe_dump({**plan, "data": str(scenes), "overrides": overrides}))
    code, said = run(folder, "compare", "matrix.yaml", "-o", "compared", "--speed-seconds", "0")
    assert code == 0, said
    (spec,) = [run_folder.read_spec(file.parent) for file in folder.rglob("compared/runs/*/result.json")]
    assert spec.imports == [str(folder / "lib" / "mine_scale.py")]


@pytest.fixture
def registered_here(folder):
    """The file of the block, imported in this process too, and forgotten at the end."""
    yield folder / "lib" / "mine_scale.py"
    if "Scale" in ya.registered():
        ya.unregister("Scale")
    sys.modules.pop("mine_scale", None)


@pytest.mark.slow
def test_the_ranks_of_a_multi_gpu_training(folder, scenes, registered_here):
    pytest.importorskip("cloudpickle", reason="Ultralytics installs it for its first multi-GPU training")
    settings = dict(word.split("=") for word in SETTINGS if not word.startswith(("device", "plots", "val")))
    with imported([str(registered_here)]), ddp_on_cpu.cpus_for_gpus():
        model = ya.YOLO(folder / "tiny-scale.yaml")
        numbers = {key: int(value) if value.isdigit() else value for key, value in settings.items()}
        model.train(data=str(scenes), plots=False, project=str(folder / "ranks"), name="run", **numbers)
    assert (folder / "ranks" / "run" / "weights" / "last.pt").is_file()


def test_the_block_is_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine_listed.py").write_text(MINE.replace("Scale", "ListedScale"))
    try:
        assert cli.main(["blocks", "--import", "mine_listed.py"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].split() == ["ListedScale", "256", "start=1.0"]
    finally:
        ya.unregister("ListedScale")
        sys.modules.pop("mine_listed")


def test_a_change_of_the_file_is_another_run(tmp_path, scenes, tiny_models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan(arms=[tiny_models[0]], data=str(scenes), seeds=[0], device="cpu")
    (without,) = specs_of(plan)
    assert without.imports_checksum is None
    assert "imports_checksum" not in asdict(without) or without.key == replace(without, imports=["/other/mine.py"]).key
    keys = []
    for text in ("A = 1\n", "A = 2\n"):
        Path("mine_plan.py").write_text(text)
        with imported(["mine_plan.py"]):
            (spec,) = specs_of(plan)
        keys.append(spec.key)
    assert len({without.key, *keys}) == 3
    with pytest.raises(YoloAttnError, match="different imports_checksum cannot be compared"):
        run_folder.check_comparable({"a": without, "b": spec})
    sys.modules.pop("mine_plan")


def test_a_run_refuses_a_file_that_changed_since(tmp_path, scenes, tiny_models, monkeypatch):
    from yolo_attn.compare import run as worker

    monkeypatch.chdir(tmp_path)
    Path("mine_run.py").write_text("A = 1\n")
    with imported(["mine_run.py"]):
        (spec,) = specs_of(Plan(arms=[tiny_models[0]], data=str(scenes), seeds=[0], device="cpu"))
    folder = run_folder.prepare(spec, tmp_path / "runs")
    del sys.modules["mine_run"]
    Path("mine_run.py").write_text("A = 2\n")
    with pytest.raises(YoloAttnError, match=r"mine_run\.py changed since this run was planned"):
        worker.run(folder)
    assert sys.modules.pop("mine_run").A == 2, "a run imports the files of its spec itself, wherever it is started"


def test_the_paths_of_a_matrix_file_are_relative_to_it(tmp_path):
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text("arms: [yolo11n.yaml]\nregister: [mine.py, package.blocks]\n")
    assert read_plan(matrix)["register"] == [str(tmp_path / "mine.py"), "package.blocks"]
    matrix.write_text("arms: [yolo11n.yaml]\nregister: {a: b}\n")
    with pytest.raises(YoloAttnError, match="is not a Python file or a list of them"):
        read_plan(matrix)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("blocks --import none.py", "no file 'none.py' to import"),
        ("train model=a.yaml --import none.py", "no file 'none.py' to import"),
        ("export --import=none.py model=a.pt", "no file 'none.py' to import"),
        ("predict model=a.pt --import", "--import: give a Python file or the name of a module"),
        ("compare matrix.yaml", "matrix-mine.py' to import"),
    ],
)
def test_a_wrong_import_is_one_line(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matrix.yaml").write_text("arms: [a.yaml]\nregister: matrix-mine.py\ndata: d.yaml\n")
    assert cli.main(words.split()) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn:")]
    assert says in line
