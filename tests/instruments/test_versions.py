"""The contract's promises and outcomes; the window of supported releases; environments and the table of releases."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ultralytics
from instruments.contract import command, releases, table
from instruments.contract.promises import FAILED, NOT_HERE, OK, PROMISES, outcomes
from support.markdown import table_rows
from support.paths import ROOT, TESTS
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host import parsing
from yolo_attn.host import releases as window
from yolo_attn.util import jsonl

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")


# --- the contract -----------------------------------------------------------------------------------------------------
def test_every_promise_has_tests_and_every_mark_names_a_promise():
    files = releases.contract_tests()
    marks = {mark for file in files for mark in re.findall(r'mark\.contract\("([^"]+)"\)', file.read_text())}
    assert marks == set(PROMISES)


def test_every_promise_is_described_in_one_line():
    assert [promise for promise, meaning in PROMISES.items() if "\n" in meaning or not meaning.endswith(".")] == []


def test_tests_of_the_blocks_exist():
    assert [file for file in releases.BLOCK_TESTS if not (TESTS / "blocks" / file).is_file()] == []


EXAMPLE = """
import pytest

@pytest.mark.contract("trains")
def test_breaks():
    raise KeyError("c2")

@pytest.mark.contract("trains")
def test_holds(): ...

@pytest.mark.contract("compares")
def test_has_nothing_to_check():
    pytest.skip("it has no records")

@pytest.mark.contract("fuses")
@pytest.mark.parametrize("broken", [False, True])
def test_half_is_here(broken):
    if broken:
        pytest.skip("not here")

@pytest.fixture
def broken():
    raise OSError("no disk")

@pytest.mark.contract("packs")
def test_has_a_broken_fixture(broken): ...

def test_promises_nothing_and_fails():
    assert 0

def test_promises_nothing(): ...
"""


@pytest.mark.slow
def test_outcomes_are_those_of_the_marked_tests(tmp_path):
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = contract\n")
    report = tmp_path / "report.xml"
    words = ["-p", "conftest", "-p", "no:cacheprovider", "-n", "1", f"--junitxml={report}", "test_example.py"]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT)])}
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=tmp_path, env=variables, capture_output=True)
    assert done.returncode == 1, done.stdout
    found = {o.pop("check"): o for o in outcomes(report.read_text())}
    assert all(o.pop("seconds") >= 0 for o in found.values())
    assert found.pop("trains") == {"result": FAILED, "detail": "test_breaks: KeyError: 'c2'"}
    assert found.pop("compares") == {"result": NOT_HERE, "detail": "it has no records"}
    assert found.pop("fuses") == {"result": OK, "detail": "1 passed, 1 skipped"}
    assert re.match(r"test_has_a_broken_fixture: .*no disk", found["packs"]["detail"])
    assert found.pop("packs")["result"] == FAILED
    assert found.pop("test_example test_promises_nothing_and_fails")["result"] == FAILED
    assert {(o["result"], o["detail"]) for o in found.values()} == {(FAILED, "no test ran")}
    assert set(found) == set(PROMISES) - {"trains", "compares", "fuses", "packs"}


@pytest.mark.contract("ready models")
def test_a_ready_model_of_a_family_that_is_not_there_is_refused(monkeypatch):
    """An older parser would build its rows, as something else."""
    monkeypatch.setattr(parsing, "host_model_names", lambda: ["yolov8.yaml", "yolo11.yaml"])
    with pytest.raises(ya.YoloAttnError, match=r"made of yolo26.yaml, which .* take a ready model of yolo11 or yolov8"):
        ya.YOLO("yolo26n-ela.yaml")


@pytest.mark.parametrize(
    ("method", "of_old"),
    [  # until 8.3.153 there were no matches per image, until 8.3.167 their boxes were in other pixels
        ("_process_batch", lambda self, detections, boxes, classes: None),
        ("_prepare_pred", lambda self, pred, pbatch: None),
    ],
)
def test_a_comparison_that_could_not_be_judged_is_refused_before_it_trains(
    method, of_old, scenes, tmp_path, monkeypatch
):
    from ultralytics.models.yolo.detect import DetectionValidator

    from yolo_attn.compare.driver import compare
    from yolo_attn.compare.host import _recording
    from yolo_attn.compare.plan import Plan

    monkeypatch.setattr(DetectionValidator, method, of_old)
    _recording.cache_clear()
    with pytest.raises(ya.YoloAttnError, match="no per-image matches"):
        compare(Plan(["yolo11n.yaml", "yolo11n-ela.yaml"], str(scenes), device="cpu"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    _recording.cache_clear()


# --- the window -------------------------------------------------------------------------------------------------------
def test_the_installed_releases_are_in_the_window():
    import torch

    assert window.untested_warning("ultralytics", ultralytics.__version__) == ""
    assert window.untested_warning("torch", torch.__version__) == ""


def test_the_window_begins_where_the_dependencies_do():
    stated = (ROOT / "pyproject.toml").read_text()
    for package, (first, _) in window.TESTED.items():
        assert re.search(rf'^  "{package}>={re.escape(first)}[,"]', stated, re.MULTILINE), package


@pytest.mark.parametrize(
    ("package", "release", "says"),
    [
        ("ultralytics", "8.2.103", "ultralytics 8.2.103 is older than"),
        ("ultralytics", "8.99.0", "ultralytics 8.99.0 is newer than"),
        ("ultralytics", "mine", "reports release 'mine', none of the releases"),
        ("torch", "1.13.1+cu117", "torch 1.13.1+cu117 is older than"),
        ("torch", "2.99.0", "torch 2.99.0 is newer than"),
    ],
)
def test_a_release_outside_the_window(package, release, says):
    first, last = window.TESTED[package]
    said = window.untested_warning(package, release)
    assert says in said
    assert f"{first} to {last}" in said
    assert len(said.splitlines()) == 1


def test_what_it_says_to_install_is_in_the_window():
    from packaging.requirements import Requirement

    for package, (first, last) in window.TESTED.items():
        wanted = Requirement(re.search(r"pip install '(.*)'", window.install_command(package))[1])
        assert wanted.name == package
        assert {first, last} <= set(wanted.specifier.filter([first, last, "0.1", "99.0"]))
        assert not wanted.specifier.contains("99.0")


@pytest.mark.slow
def test_importing_beside_another_release_warns_once():
    """Whatever is imported, and how often, in one process."""
    code = (
        "import ultralytics; ultralytics.__version__ = '8.99.0'; import yolo_attn, yolo_attn.train.yolo;"
        "from ultralytics.nn import tasks; yolo_attn.host.patch.install(); yolo_attn.YOLO('yolo11n-se.yaml')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "UntestedVersionWarning" in line]
    assert len(warned) == 1
    assert "ultralytics 8.99.0 is newer" in warned[0]


def test_a_release_without_what_rows_need_is_refused(monkeypatch):
    monkeypatch.delattr(tasks.BaseModel, "fuse")
    with pytest.raises(ya.YoloAttnError, match=r"no ultralytics.nn.tasks.BaseModel.fuse.*pip install 'ultralytics>="):
        window.check_host(tasks)


# --- other releases ---------------------------------------------------------------------------------------------------
def row(release="8.3.0", failed="", ended="", wanted=()):
    outcomes = [
        {"check": "trains", "result": FAILED if failed else OK, "detail": failed or "an epoch", "seconds": 1.0},
        {"check": "compares", "result": NOT_HERE, "detail": "it has no records", "seconds": 1.0},
    ]
    found = {"ultralytics": release, "torch": "2.4.1", "python": "3.11.7"}
    return {
        "requirements": [f"ultralytics=={release}", *wanted],
        "environment": found,
        "outcomes": outcomes,
        "ended": ended,
    }


def test_the_table_has_a_row_per_release_and_the_reasons(tmp_path):
    for made in (row("8.10.0", failed="KeyError: 'c2'"), row("8.3.0", failed="a mishap"), row("8.9.0"), row("8.3.0")):
        jsonl.append(tmp_path / "rows.jsonl", made)
    text = table.to_markdown(table.read(tmp_path / "rows.jsonl"))
    assert table_rows(text) == [
        ["Ultralytics", "torch", "Python", "passed", "failed", "nothing to check"],
        ["8.3.0", "2.4.1", "3.11.7", "1 of 2", "none", "compares"],
        ["8.9.0", "2.4.1", "3.11.7", "1 of 2", "none", "compares"],
        ["8.10.0", "2.4.1", "3.11.7", "0 of 2", "trains", "compares"],
    ]
    assert "- **failed** on 8.10.0 with torch 2.4.1: trains: KeyError: 'c2'" in text
    releases = ", ".join(f"{release} with torch 2.4.1" for release in ("8.3.0", "8.9.0", "8.10.0"))
    assert f"- compares: nothing to check on {releases}: it has no records" in text
    assert "a mishap" not in text
    assert f"- **ready models**: {PROMISES['ready models']}" in text


def test_the_stored_rows_make_the_stored_page():
    rows = table.read(command.STORED)
    assert len(rows) >= 14
    assert table.to_page(rows) == command.STORED.with_suffix(".md").read_text()


def test_a_release_as_it_is_named():
    assert releases.requirements("8.3.0,torch==2.4.1") == ["ultralytics==8.3.0", "torch==2.4.1"]
    for word in ("newest", "8.3", "torch==2.4.1", ""):
        with pytest.raises(ya.YoloAttnError, match="not a release"):
            releases.requirements(word)


@pytest.mark.parametrize(
    ("made", "code"), [(row(), 0), (row(failed="KeyError"), 1), (row(ended="exit 139: Segmentation fault"), 1)]
)
def test_the_canary_reports_and_tells_by_its_exit_code(made, code, monkeypatch, capsys):
    tried = []
    monkeypatch.setattr(command, "newest_release", lambda: "8.9.9")
    monkeypatch.setattr(command, "try_release", lambda wanted, **_: tried.append(wanted) or made)
    assert command.try_newest() == code
    assert tried == [["ultralytics==8.9.9"]]
    out = capsys.readouterr().out
    assert table_rows(out)[1][:2] == ["8.3.0", "2.4.1"]
    assert made["ended"] in out


def test_a_canary_without_an_index_says_so(monkeypatch, capsys):
    def unreachable():
        raise ya.YoloAttnError("pip install ultralytics: no index")

    monkeypatch.setattr(command, "newest_release", unreachable)
    assert command.try_newest() == 2
    assert capsys.readouterr().err == "canary: pip install ultralytics: no index\n"


def test_trying_releases_stores_rows_and_writes_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "try_release", lambda wanted, **_: row(wanted[0].split("==")[1], wanted=wanted[1:]))
    results = tmp_path / "versions.jsonl"
    assert command.try_releases(["8.3.1", "8.4.2,torch==2.4.1"], results) == 0
    assert len(table.read(results)) == 2
    assert table_rows((tmp_path / "versions.md").read_text())[2][0] == "8.4.2"
    assert command.try_releases(["newest"], results) == 2


@pytest.mark.slow
def test_an_environment_sees_what_is_installed_here(tmp_path, monkeypatch):
    """Without pip, which would ask for the network: the environment itself, and what it puts first."""
    asked = []
    monkeypatch.setattr(releases, "pip", lambda python, *words: asked.append((python, words)))
    python = releases.environment_with(["ultralytics==8.3.0"], tmp_path)
    assert releases.environment_with(["ultralytics==8.3.0"], tmp_path) == python
    assert asked == [(str(python), ("install", "--quiet", "ultralytics==8.3.0"))]
    code = "import sys, ultralytics; print(sys.prefix, ultralytics.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    prefix, release = done.stdout.split()
    assert Path(prefix) == python.parents[1]
    assert release == ultralytics.__version__
