"""The instrument that runs the host's tests: outcomes, reasons, stand-ins, and a handful of those tests both ways."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import ultralytics
from instruments.host_suite import clients, command, plugin, report, source, standins
from instruments.host_suite.environment import exports, write_commands
from instruments.host_suite.outcomes import (
    FAILED,
    MISSING,
    PASSED,
    SKIPPED,
    Outcome,
    compare,
    counts,
    from_json,
    read_outcomes,
    to_json,
    unexplained,
    without_difference,
)
from instruments.host_suite.reasons import REASONS
from instruments.host_suite.runs import MODELS, PLAIN, Run, Suite
from instruments.paths import ROOT, variables
from support.markdown import table_rows

import yolo_attn as ya

# --- outcomes ---------------------------------------------------------------------------------------------------------
EXAMPLE = """
import time

import pytest
from ultralytics.utils import ONLINE

def test_passes(): ...

@pytest.mark.parametrize("x", [1, "a-b"])
def test_fails(x):
    raise KeyError("train_args")

@pytest.mark.skipif(not ONLINE, reason="environment is offline")
def test_asks_for_a_network():
    from ultralytics.utils import ONLINE as now
    assert not now

def test_skips():
    pytest.skip("no mlflow")

@pytest.fixture
def broken():
    raise OSError("no disk")

def test_has_a_broken_fixture(broken): ...

def test_hangs():
    time.sleep(60)
"""


@pytest.mark.slow
def test_outcomes_are_read_from_a_run_with_the_plugin(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "test_example.py").write_text(EXAMPLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = ["-p", "instruments.host_suite.plugin", "-p", "no:cacheprovider", "--junitxml=report.xml"]
    environment = variables(HOST_SUITE_SECONDS="0.5", **standins.offline(tmp_path, tmp_path))
    pytest_words = [sys.executable, "-m", "pytest", *words, "tests/test_example.py"]
    done = subprocess.run(pytest_words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stdout
    found = read_outcomes((tmp_path / "report.xml").read_text())
    assert {test.removeprefix("test_example::"): outcome.result for test, outcome in found.items()} == {
        "test_passes": PASSED,
        "test_fails[1]": FAILED,
        "test_fails[a-b]": FAILED,
        "test_asks_for_a_network": PASSED,
        "test_skips": SKIPPED,
        "test_has_a_broken_fixture": FAILED,
        "test_hangs": FAILED,
    }
    assert found["test_example::test_fails[1]"].kind == "failed KeyError"
    assert found["test_example::test_hangs"].kind == "failed TimeoutError"
    assert found["test_example::test_hangs"].seconds < 5
    assert "no mlflow" in found["test_example::test_skips"].detail
    assert counts(found) == "2 / 4 / 1"
    assert from_json(to_json(found)) == found


def test_trainers_of_this_package_do_not_rename_tests():
    from ultralytics.models.yolo.detect import DetectionTrainer

    from yolo_attn.train.trainer import trainer_class

    case = f'<testcase classname="tests.t" name="test_task[{trainer_class(DetectionTrainer).__name__}-coco8]"/>'
    assert [*read_outcomes(f"<testsuite>{case}</testsuite>")] == ["t::test_task[DetectionTrainer-coco8]"]


PLAIN_RUN = {
    "t::same": Outcome(PASSED),
    "t::broken": Outcome(PASSED),
    "t::both": Outcome(FAILED, "KeyError: 'a'"),
    "t::otherwise": Outcome(FAILED, "ConnectionError: offline"),
    "t::gone": Outcome(PASSED),
}
OUR_RUN = {
    "t::same": Outcome(PASSED, seconds=3.0),
    "t::broken": Outcome(FAILED, "TypeError: no"),
    "t::both": Outcome(FAILED, "KeyError: 'b'"),
    "t::otherwise": Outcome(FAILED, "yolo_attn.errors.YoloAttnError: offline"),
    "t::new": Outcome(SKIPPED, "no mlflow"),
}
DIFFERENT = ["t::broken", "t::gone", "t::new", "t::otherwise"]


def test_a_difference_is_another_result_another_error_or_a_test_that_did_not_run():
    found = compare(PLAIN_RUN, OUR_RUN)
    assert [difference.test for difference in found] == DIFFERENT
    assert [found[1].ours.result, found[2].plain.result] == [MISSING, MISSING]
    assert compare(PLAIN_RUN, PLAIN_RUN) == []


def test_every_difference_needs_a_reason_and_every_reason_a_difference():
    found = compare(PLAIN_RUN, OUR_RUN)
    reasons = {"t::broken": "right", "t::same": "once", "t::elsewhere": "of a file that was not run"}
    assert [difference.test for difference in unexplained(found, reasons)] == ["t::gone", "t::new", "t::otherwise"]
    assert without_difference(found, list(OUR_RUN), reasons) == ["t::same"]


def results(reasons, clients=(), ours=OUR_RUN):
    return report.Results(
        command="python tools/host_suite.py",
        environment={"cpu": "a CPU", "cores": 2, "python": "3", "torch": "2", "ultralytics": "8", "yolo_attn": "0"},
        attention="ELA",
        plain={"t": PLAIN_RUN},
        ours={("t", "models"): PLAIN_RUN, ("t", "models trainers"): ours},
        clients=list(clients),
        seconds={"plain": 60.0, "ours": 120.0},
        reasons=reasons,
    )


def test_results_without_problems_have_a_reason_for_all_and_only_equal_clients():
    reasons = {f"{test}@trainers": "right because." for test in DIFFERENT}
    equal = {"check": "sahi", "result": "equal"}
    assert results(reasons, [equal]).problems() == []
    assert len(results({}).problems()) == len(DIFFERENT)
    assert results(dict.fromkeys(DIFFERENT, "of the usual way")).problems()
    assert len(results(reasons, [equal, {"check": "sahi", "result": "found nothing"}]).problems()) == 1
    out_of_date = results(reasons, ours=PLAIN_RUN)
    assert out_of_date.problems() == [f"a reason without a difference: {test}" for test in reasons]
    out_of_date.whole = False
    assert len(out_of_date.problems()) == len(reasons) - 1  # no t::new in this run
    assert results({**reasons, "u::test@trainers": "a file that was not run."}).problems() == []


def test_files_of_which_no_test_ran_are_a_problem():
    empty = results({})
    empty.plain, empty.ours = {"t": {}}, {("t", "models"): {}}
    assert empty.problems() == ["t: no test ran"]


def test_the_page_has_counts_reasons_and_what_failed_both_ways():
    page = report.to_page(results({"t::broken@trainers": "Because."}))
    _, usual, trainers, all_files = table_rows(page.split("## Failed")[0])
    assert usual == ["t", "5", "3 / 2 / 0", "3 / 2 / 0", "0"]
    assert trainers == ["t@trainers", "5", "3 / 2 / 0", "1 / 3 / 1", "4"]
    assert all_files[1:] == ["5", "3 / 2 / 0", "3 / 2 / 0", "0"]
    assert "- `t::broken@trainers`: plain passed, with yolo-attn failed (TypeError: no). Because." in page
    assert page.count("**No reason.**") == len(DIFFERENT) - 1
    assert "- `t::both`: KeyError: 'a'" in page.split("## Failed both ways")[1]


def test_results_are_stored_whole():
    written = results({"t::broken@trainers": "Because."}, [{"check": "sahi", "result": "equal"}])
    again = report.Results.from_json(json.loads(json.dumps(written.to_json())), written.reasons)
    assert again == written


def test_the_stored_results_make_the_stored_page_and_have_no_problem():
    stored = report.Results.from_json(json.loads(command.STORED.with_suffix(".json").read_text()), REASONS)
    assert report.to_page(stored) == command.STORED.with_suffix(".md").read_text()
    assert stored.problems() == []
    assert stored.plain.keys() == {*source.FILES}
    details = [o.detail for found in (*stored.plain.values(), *stored.ours.values()) for o in found.values()]
    assert [detail for detail in details if re.search(r"(^|[ '\"])/(tmp|home|root|opt|work)/", detail)] == []


def test_every_test_that_the_page_of_parity_names_passed_both_ways():
    stored = report.Results.from_json(json.loads(command.STORED.with_suffix(".json").read_text()), REASONS)
    usual = [found for (_, way), found in stored.ours.items() if way == MODELS]
    named = re.findall(r"h:(test_\w+::test_\w+)", (ROOT / "docs" / "parity.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    for name in named:
        ended = [
            o.result for found in (*stored.plain.values(), *usual) for t, o in found.items() if t.split("[")[0] == name
        ]
        assert {*ended} == {PASSED}, name


def test_reasons_are_sentences():
    assert [test for test, reason in REASONS.items() if not reason.endswith(".") or "::" not in test] == []


# --- this package in the host's place ---------------------------------------------------------------------------------
def test_a_command_of_yolo_runs_as_one_of_yolo_attn(monkeypatch):
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda words, check: ran.append((words, check)))
    plugin.run_our_command("yolo train model=a.pt --imgsz= 160")
    assert ran == [(["yolo-attn", "train", "model=a.pt", "--imgsz=", "160"], True)]
    with pytest.raises(ValueError, match="pip"):
        plugin.run_our_command("pip list")


def test_model_classes_and_trainers_are_replaced(monkeypatch):
    from ultralytics.models.yolo import detect

    for name in plugin.MODELS:
        monkeypatch.setattr(ultralytics, name, getattr(ultralytics, name))
    plugin.replace_models()
    assert ultralytics.YOLO is ya.YOLO
    trainer = detect.DetectionTrainer
    with pytest.MonkeyPatch.context() as patch:
        for task in ("detect", "segment", "classify", "pose", "obb", "semantic", "depth"):
            module = getattr(ultralytics.models.yolo, task)
            for name in [name for name in dir(module) if name.endswith("Trainer")]:
                patch.setattr(module, name, getattr(module, name))
        plugin.replace_trainers()
        assert detect.DetectionTrainer is not trainer
        assert issubclass(detect.DetectionTrainer, trainer)
    assert detect.DetectionTrainer is trainer


# --- the host's tests -------------------------------------------------------------------------------------------------
def test_only_tests_are_unpacked(tmp_path):
    for name in ("host-1/tests/test_cli.py", "host-1/ultralytics/tests/x.py", "host-1/setup.cfg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "host-1", arcname="host-1")
    source.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").rglob("*.*")] == ["test_cli.py"]
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "host-1" / "setup.cfg", arcname="host-1/setup.cfg")
    with pytest.raises(ya.YoloAttnError, match="no tests"):
        source.unpack(tmp_path / "b.tar.gz", tmp_path)


def test_a_release_that_the_index_lacks_is_an_error_of_one_line(monkeypatch, tmp_path, capsys):
    def refuse(*words):
        raise ya.YoloAttnError("pip download: no such release")

    monkeypatch.setattr(source, "pip", refuse)
    monkeypatch.setattr("instruments.host_suite.command.environment", lambda work: Path(sys.executable))
    assert command.host_suite(["--work", str(tmp_path), "--only", "test_cli"]) == 2
    assert capsys.readouterr().err == "host_suite: pip download: no such release\n"


def test_the_environment_has_what_exports_need():
    assert {"onnx", "onnxruntime", "openvino", "ncnn"} <= {r.split(">")[0].split("<")[0] for r in exports()}
    assert not [r for r in exports() if r.startswith(("torch", "pytest", "ray"))]


def test_the_commands_run_in_the_environment(tmp_path):
    write_commands(sys.executable, tmp_path)
    done = subprocess.run([tmp_path / "yolo-attn", "--version"], env=variables(), capture_output=True, text=True)
    assert done.stdout == f"yolo-attn {ya.__version__}\n", done.stderr
    assert "ultralytics.cfg import entrypoint" in (tmp_path / "yolo").read_text()


# --- clients ----------------------------------------------------------------------------------------------------------
def test_clients_must_find_the_same_and_something():
    assert clients.verdict("sahi", [[np.float32(1)]], [[1.0]])["result"] == "equal"
    assert clients.verdict("sahi", [], [])["result"] == "found nothing"
    assert clients.verdict("sahi", ["person", 1.0], ["0", 1.0])["result"].startswith("expected ['person'")


# --- a handful of the host's tests ------------------------------------------------------------------------------------
@pytest.mark.campaign
def test_a_handful_of_the_hosts_tests_ends_the_same_both_ways(tmp_path):
    try:
        tests = source.fetch_tests(tmp_path)
    except ya.YoloAttnError as error:
        pytest.skip(f"the source distribution of Ultralytics cannot be had: {error}")
    stand_ins = standins.StandIns(tmp_path, None, "ELA", [])
    stand_ins.make()
    chosen = "test_model_methods or test_predict_classes_with_max_det or test_predict_txt or test_special_modes"
    suite = Suite(tmp_path, tests, stand_ins, Path(sys.executable), keyword=chosen)
    plain, ours = {}, {}
    for file in ("test_python", "test_cli"):
        plain.update(suite.outcomes(Run(file, PLAIN)))
        ours.update(suite.outcomes(Run(file, MODELS)))
    assert len(plain) == 7
    assert {outcome.result for outcome in plain.values()} == {PASSED}
    assert [str(difference) for difference in unexplained(compare(plain, ours), REASONS)] == []
    assert os.listdir(tmp_path / "runs")
