"""Every script in ``tools/`` is short and runs from a checkout."""

import os
import subprocess
import sys

import pytest
from instruments import matrix, subset, training
from instruments.paths import RESULTS, ROOT, TOOLS
from support.markdown import table_rows
from support.tiers import sampled

SCRIPTS = sorted(file.name for file in TOOLS.glob("*.py"))
WITHOUT_HELP = {"make_block_table.py", "update_generated.py"}  # they take no arguments and write into the checkout


def run(script, *words, cwd):
    """Run a script as from a shell: only its folder and installed packages are importable."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}  # the package is that of this checkout
    command = [sys.executable, TOOLS / script, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize("script", sampled(sorted({*SCRIPTS} - WITHOUT_HELP), ["insert.py"], "slow"))
def test_a_script_prints_its_help(script, tmp_path):
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout or "'yolo' commands use" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_a_docstring_and_no_body(script):
    text = (TOOLS / script).read_text()
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 16


@pytest.mark.slow
def test_the_tables_of_exports_are_made_from_the_stored_lines(tmp_path):
    done = run("measure_export.py", RESULTS / "export", "--show", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("### Worst difference to PyTorch\n\n| block ")


@pytest.mark.slow
def test_a_generated_set_is_measured(tmp_path):
    source = subset.write_large_coco(tmp_path / "coco", images=60, val_images=8)
    case = subset.measure(source, tmp_path / "out", ["--images", "20"])
    assert case["seconds"] > 0
    assert 0.01 < case["GB"] < 10
    head, row = table_rows(subset.to_markdown({"--images 20": case}))
    assert head == ["flags", *case]
    assert row[0] == "`--images 20`"
    assert any("random" in name for name in head)


def test_the_timed_methods_exist():
    for owner, names in training.PARTS.items():
        assert [name for name in names if not callable(getattr(owner, name, None))] == [], owner


def test_ways_of_carrying_out_runs_in_a_table():
    parts = {"in all": 4.0, "start": 1.5, "other": 0.5}
    took = {("fresh", 1): [matrix.Took(30, 20, parts)], ("forked", 2): [matrix.Took(9, 12, parts)]}
    took["forked", 2] += [matrix.Took(10, 11, {**parts, "start": 2.5}), matrix.Took(99, 13, parts)]
    head, *rows = table_rows("\n".join(matrix.table({way: matrix.median(ones) for way, ones in took.items()})))
    assert head == ["runs", "at a time", "seconds", "times as fast", "CPU seconds", *(f"a run: {p}" for p in parts)]
    assert rows == [
        ["fresh", "1", "30.0", "1.00", "20.0", "4.0", "1.5", "0.5"],
        ["forked", "2", "10.0", "3.00", "12.0", "4.0", "1.5", "0.5"],
    ]


@pytest.mark.slow
def test_a_comparison_is_timed_on_the_cpu(scenes, tiny_models, tmp_path):
    words = ["--per-gpu", 1, "--device", "cpu", "--threads", 1, "--seeds", 0, "--way", "forked"]
    settings = ["epochs=1", "imgsz=32", "batch=8", "amp=False"]
    done = run("measure_matrix.py", scenes, *words, "--models", ",".join(tiny_models), *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "2 runs, epochs=1 imgsz=32 batch=8 amp=False; " in said
    assert " cores; Python " in said
    head, row = table_rows(said[said.index("| runs") :])
    assert row[:2] == ["forked", "1"]
    seconds = dict(zip(head, row, strict=True))
    assert 0 < float(seconds["a run: start"]) < float(seconds["a run: in all"]) <= float(seconds["seconds"])
    assert float(seconds["CPU seconds"]) > 0
    assert list(tmp_path.iterdir()) == []
