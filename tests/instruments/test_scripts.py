"""Every script in ``tools/`` is short and runs from a checkout."""

import os
import subprocess
import sys

import pytest
from instruments import subset, training
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
