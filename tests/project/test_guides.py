"""The commands and Python blocks of README and guides run, page by page, on small files with the names they use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.guide import Step, cheap, code_blocks, steps_of, write_steps
from support.paths import ROOT
from support.stand_ins import provide

GUIDES = (
    "index", "training", "insert", "adopt", "compare", "show", "export", "checkpoints", "budget", "several-gpus",
    "concepts",
)  # fmt: skip
PAGES = {"README": ROOT / "README.md", **{name: ROOT / "docs" / f"{name}.md" for name in GUIDES}}

NOT_RUN = {
    "pip install .": "installs; .ci/run installs the wheel",
    "pip install 'yolo-attn[export]'": "downloads",
    "yolo-attn demo": "minutes; tests/demo runs it",
    "yolo-attn train model=yolo11n-ela.yaml data=mine.yaml epochs=100": "is to be stopped; tests/train stops trainings",
    "yolo-attn train resume model=runs/detect/train/weights/last.pt": "needs the stopped one; tests/train resumes it",
    "yolo-attn export model=best.pt format=onnx dynamic=True": "needs the extra `export`; tests/export runs it",
    "yolo-attn export model=best.pt format=openvino --json": "needs the extra `export`; tests/export runs it",
    "yolo-attn export model=best.pt format=engine device=0 --no-check": "needs a GPU",
    "python tools/measure_export.py FOLDER --map yolo11n.pt DATA.yaml": "hours",
    "python tools/measure_export.py docs/results/export --show": "tests/instruments runs it",
    "yolo-attn subset --coco COCO_DIR --preset coco-5k -o datasets/coco5k": "needs COCO; tests/subset runs it",
    "yolo-attn train model=yolo11n-ela.yaml pretrained=yolo11n.pt data=coco.yaml device=0,1": "needs two GPUs",
    "@ya.register  # the constructor takes the number of channels first\nclass MyBlock(torch.nn.Module): ...\n": "no "
    "class to run; that of docs/blocks.md is",
}
"""Steps that are written and not run, with the reason."""

NO_PROGRAM = {
    "insert": "rows alone are no model; tests/models builds such rows",
    "compare": "the file matrix.yaml of the commands below it",
}
"""Pages with YAML blocks."""

BEFORE = {
    "yolo-attn report runs/part1 runs/part2 runs/part3 -o runs/whole": [
        f"yolo-attn compare matrix.yaml --data data.yaml -o runs/part{k} --only {k}/3" for k in (2, 3)
    ]
}
"""Commands that the text says to run elsewhere before a command."""


def planned(page: Path) -> list[Step]:
    """Return the steps of a page that are run, in their cheap form."""
    steps = [step for step in steps_of(page.read_text(encoding="utf-8")) if step.written not in NOT_RUN]
    before = [[Step(text, tuple(text.split())) for text in BEFORE.get(step.written, ())] for step in steps]
    return [cheap(one) for earlier, step in zip(before, steps, strict=True) for one in (*earlier, step)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if planned(page)])
def test_the_code_of_a_page_runs(name, tmp_path, scenes):
    text = PAGES[name].read_text(encoding="utf-8")
    provide(tmp_path, text, scenes)
    write_steps(steps := planned(PAGES[name]), tmp_path / "steps.json")
    away = ("PYTEST_", "GITHUB_")  # Ultralytics puts its runs elsewhere in tests
    environment = {k: v for k, v in os.environ.items() if not k.startswith(away)} | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "YOLO_CONFIG_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "support.guide", "steps.json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    ran = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"written"')]
    print(*(f"{step['cpu']:6.1f} s  {step['written'].splitlines()[0]}" for step in ran), sep="\n")
    assert [step["code"] for step in ran] == [0] * len(steps), (ran[-1:], done.stderr)


def test_what_is_not_run_is_written_somewhere():
    written = {step.written for page in PAGES.values() for step in steps_of(page.read_text(encoding="utf-8"))}
    assert set(NOT_RUN) <= written


def test_blocks_of_other_languages_are_known():
    other = {}
    for name, page in PAGES.items():
        for kind, code in code_blocks(page.read_text(encoding="utf-8")):
            if kind not in ("bash", "python"):
                other.setdefault(name, []).append(kind)
                yaml.safe_load(code)
    assert other == {name: ["yaml"] for name in NO_PROGRAM}


@pytest.mark.parametrize("page", sorted({*PAGES.values(), *ROOT.glob("docs/*.md")}), ids=lambda page: page.name)
def test_python_blocks_compile(page):
    for kind, code in code_blocks(page.read_text(encoding="utf-8")):
        if kind == "python":
            compile(code, page.name, "exec")


def test_steps_of_a_page():
    page = "```bash\nyolo-attn train a=1 \\\n    epochs=5  # words\ncp a b\n```\n```\noutput\n```\n"
    page += "```python\nimport os\nos.getcwd()\n```\n```python\nos.sep\n```\n```\nyolo-attn blocks\n```\n"
    assert [step.written for step in steps_of(page)] == [
        "yolo-attn train a=1 epochs=5", "cp a b", "import os\nos.getcwd()\n", "os.sep", "yolo-attn blocks",
    ]  # fmt: skip
    assert steps_of(page)[3].python == "import os\nos.sep\n"
    assert cheap(steps_of(page)[0]).words[2:4] == ("a=1", "epochs=1")
