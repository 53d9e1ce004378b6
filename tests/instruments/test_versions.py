"""The contract on the installed releases; the window around them; and the table of what came out elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ultralytics
from instruments.contract import command, releases, table
from instruments.contract.checks import CHECKS, ready_models
from instruments.contract.contract import FAILED, NOT_HERE, OK, OUTCOMES, name_of, run
from instruments.contract.workbench import NotHere
from support.paths import ROOT
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host import patch
from yolo_attn.host import releases as window

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")


# --- the contract -----------------------------------------------------------------------------------------------------
OWN_PROCESSES = ("host_alone", "worker_rebuilds", "opens_elsewhere", "packs", "commands", "compares")
"""Checks that take such; the tests of the engine, of DDP training, packing, commands and comparisons do the same."""

QUICK = [check for check in CHECKS if check.__name__ not in OWN_PROCESSES]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    pytest.importorskip("cloudpickle", reason="Ultralytics installs it for its first multi-GPU training")
    found = run(tmp_path_factory.mktemp("contract"), quick=True, checks=QUICK)
    return {outcome.check: outcome for outcome in found}


@pytest.mark.slow
@pytest.mark.parametrize("check", [name_of(check) for check in QUICK])
def test_the_installed_releases_keep_the_contract(outcomes, check):
    assert outcomes[check].result == OK, outcomes[check].detail


def test_what_a_check_raises_is_its_outcome(tmp_path, capsys):
    def breaks(bench):
        raise KeyError("c2")

    def has_nothing_to_check(bench):
        raise NotHere("no such model")

    found = run(tmp_path, checks=[breaks, has_nothing_to_check])
    assert [(o.result, o.detail) for o in found] == [(FAILED, "KeyError: 'c2'"), (NOT_HERE, "no such model")]
    lines = [json.loads(line) for line in (tmp_path / OUTCOMES).read_text().splitlines()]
    assert lines[0]["environment"]["ultralytics"] == ultralytics.__version__
    assert [line["check"] for line in lines[1:]] == ["breaks", "has nothing to check"]


def test_a_ready_model_of_a_family_that_is_not_there_is_refused(monkeypatch):
    """An older parser would build its rows, as something else."""
    monkeypatch.setattr(patch, "host_model_names", lambda: ["yolov8.yaml", "yolo11.yaml"])
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

    assert window.untested("ultralytics", ultralytics.__version__) == ""
    assert window.untested("torch", torch.__version__) == ""


def test_the_window_begins_where_the_dependencies_do():
    stated = (ROOT / "pyproject.toml").read_text()
    for package, (first, _) in window.TESTED.items():
        assert re.search(rf'^  "{package}>={re.escape(first)}[,"]', stated, re.MULTILINE), package


@pytest.mark.parametrize(
    ("package", "release", "says"),
    [
        ("ultralytics", "8.2.103", "ultralytics 8.2.103 is older than"),
        ("ultralytics", "8.99.0", "ultralytics 8.99.0 is newer than"),
        ("ultralytics", "mine", "says it is release 'mine', none of the releases"),
        ("torch", "1.13.1+cu117", "torch 1.13.1+cu117 is older than"),
        ("torch", "2.99.0", "torch 2.99.0 is newer than"),
    ],
)
def test_a_release_outside_the_window(package, release, says):
    first, last = window.TESTED[package]
    said = window.untested(package, release)
    assert says in said
    assert f"{first} to {last}" in said
    assert len(said.splitlines()) == 1


def test_what_it_says_to_install_is_in_the_window():
    from packaging.requirements import Requirement

    for package, (first, last) in window.TESTED.items():
        wanted = Requirement(re.search(r"pip install '(.*)'", window.instead(package))[1])
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
        table.store(made, tmp_path / "rows.jsonl")
    text = table.to_markdown(table.read(tmp_path / "rows.jsonl"))
    lines = [line for line in text.splitlines() if line.startswith("| 8")]
    assert lines == [
        "| 8.3.0 | 2.4.1 | 3.11.7 | 1 of 2 | none | compares |",
        "| 8.9.0 | 2.4.1 | 3.11.7 | 1 of 2 | none | compares |",
        "| 8.10.0 | 2.4.1 | 3.11.7 | 0 of 2 | trains | compares |",
    ]
    assert "- **failed** on 8.10.0 with torch 2.4.1: trains: KeyError: 'c2'" in text
    releases = ", ".join(f"{release} with torch 2.4.1" for release in ("8.3.0", "8.9.0", "8.10.0"))
    assert f"- compares: nothing to check on {releases}: it has no records" in text
    assert "a mishap" not in text
    assert f"- **ready models**: {ready_models.__doc__}" in text


def test_every_check_says_what_it_is_in_one_line():
    assert [c.__name__ for c in CHECKS if "\n" in (c.__doc__ or "\n").strip()] == []


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
    assert "| 8.3.0 | 2.4.1 |" in out
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
    assert "| 8.4.2 |" in (tmp_path / "versions.md").read_text()
    assert command.try_releases(["newest"], results) == 2


@pytest.mark.slow
def test_an_environment_sees_what_is_installed_here(tmp_path, monkeypatch):
    """Without pip, which would ask for the network: the environment itself, and what it puts first."""
    asked = []
    monkeypatch.setattr(releases, "_pip", lambda python, *words: asked.append((python, words)))
    python = releases.environment_with(["ultralytics==8.3.0"], tmp_path)
    assert releases.environment_with(["ultralytics==8.3.0"], tmp_path) == python
    assert asked == [(str(python), ("install", "--quiet", "ultralytics==8.3.0"))]
    code = "import sys, ultralytics; print(sys.prefix, ultralytics.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    prefix, release = done.stdout.split()
    assert Path(prefix) == python.parents[1]
    assert release == ultralytics.__version__
