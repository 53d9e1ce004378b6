"""Executors carry out every run, with as many at a time as allowed, and restart killed ones."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from yolo_attn.compare import executors, run_folder
from yolo_attn.compare.executors import LocalPool
from yolo_attn.compare.progress import Progress
from yolo_attn.errors import YoloAttnError

COUNT_A_TRY = "from pathlib import Path; tries = Path('tries'); n = len(tries.read_text()) if tries.exists() else 0; tries.write_text('x' * (n + 1));"  # noqa: E501


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Make runs of small programs; each begins with a variable ``n``, how often it was begun before."""
    began = []

    def start(folder, device=None, warm=None):
        began.append((folder.name, device))
        program = COUNT_A_TRY + (folder / "program.py").read_text()
        with (folder / run_folder.LOG).open("ab") as log:
            return subprocess.Popen([sys.executable, "-c", program], cwd=folder, stdout=log, stderr=log)

    monkeypatch.setattr(executors, "start", start)

    def make(*programs):
        folders = [tmp_path / f"run-{k}" for k in range(len(programs))]
        for folder, program in zip(folders, programs, strict=True):
            folder.mkdir()
            (folder / "program.py").write_text(program)
        return folders

    make.began = began
    return make


def carry_out(pool, folders):
    at_once = [0]
    outcomes = dict(pool.carry_out(folders, lambda running: at_once.append(len(running))))
    return outcomes, max(at_once)


def tell_peak(megabytes):
    """A program's line that says how much memory its training takes."""
    said = json.dumps({"peak_reserved_mb": megabytes})
    return f"import os; os.makedirs('train', exist_ok=True); open('train/progress.json', 'w').write('{said}');"


def test_one_after_the_other_in_order(begin):
    folders = begin("pass", "pass", "pass")
    outcomes, at_once = carry_out(LocalPool(["cpu"]), folders)
    assert outcomes == dict.fromkeys(folders)
    assert at_once == 1
    assert begin.began == [("run-0", "cpu"), ("run-1", "cpu"), ("run-2", "cpu")]


def test_as_many_at_a_time_as_allowed_on_each_device(begin, monkeypatch):
    monkeypatch.setattr(executors, "_free_mb", lambda device: 1e6)
    folders = begin(*[tell_peak(100) + "import time; time.sleep(1)"] * 6)
    outcomes, at_once = carry_out(LocalPool(["0", "1"], per_device=2), folders)
    assert list(outcomes.values()) == [None] * 6
    assert at_once == 4
    assert sorted(d for _, d in begin.began[:2]) == ["0", "1"]


def test_nothing_begins_where_memory_is_short(begin, monkeypatch):
    monkeypatch.setattr(executors, "_free_mb", lambda device: 5000.0)
    folders = begin(*[tell_peak(4900) + "import time; time.sleep(0.6)"] * 3)
    assert carry_out(LocalPool(["0"], per_device=3), folders)[1] == 1


def with_estimates(monkeypatch, megabytes, cores=8):
    monkeypatch.setattr(executors._Job, "estimate_mb", lambda job: megabytes)
    monkeypatch.setattr(executors, "_cores", lambda: cores)
    monkeypatch.setattr(executors, "_POLL_SECONDS", 0.02)


def test_starts_overlap_as_far_as_memory_is_expected_to_do(begin, monkeypatch):
    with_estimates(monkeypatch, 1000)
    monkeypatch.setattr(executors, "_free_mb", lambda device: 3500.0)  # none has taken its part yet
    folders = begin(*["import time; time.sleep(0.8)"] * 5)
    assert carry_out(LocalPool(["0"], per_device=5), folders)[1] == 3


def test_at_most_one_run_per_core_starts_at_a_time(begin, monkeypatch):
    with_estimates(monkeypatch, 10, cores=2)
    monkeypatch.setattr(executors, "_free_mb", lambda device: 1e6)
    folders = begin(*["import time; time.sleep(0.6)"] * 4)
    assert carry_out(LocalPool(["0"], per_device=4), folders)[1] == 2


def test_estimates_are_corrected_by_what_runs_took(begin, monkeypatch):
    """A run took four times its estimate, so that a third one has no room beside two."""
    with_estimates(monkeypatch, 1000)
    folders = begin(*[tell_peak(4000) + "import time; time.sleep(0.8)"] * 4)
    pool = LocalPool(["0"], per_device=4)
    monkeypatch.setattr(executors, "_free_mb", lambda device: 4300.0 if pool._correction else 2200.0)
    assert carry_out(pool, folders)[1] == 2
    assert pool._correction == 4


@pytest.mark.slow
def test_runs_without_memory_after_an_underestimate_end_alone(begin, monkeypatch):
    """All began at once, the first one alone, and found no memory; nothing is lost."""
    with_estimates(monkeypatch, 1)
    monkeypatch.setattr(executors, "_free_mb", lambda device: 1e6)
    folders = begin(*["import time; time.sleep(0.8); n < 1 and exit('torch: CUDA out of memory')"] * 3)
    outcomes, at_once = carry_out(LocalPool(["0"], per_device=3), folders)
    assert (list(outcomes.values()), at_once) == ([None] * 3, 3)


@pytest.mark.parametrize(("device", "alone"), [("cpu", True), pytest.param("0", False, marks=pytest.mark.slow)])
def test_a_run_killed_beside_others_on_the_cpu_may_have_lacked_memory(device, alone, begin, monkeypatch):
    with_estimates(monkeypatch, 1)
    monkeypatch.setattr(executors, "_free_mb", lambda device: 1e6)
    folders = begin("import time; time.sleep(2)", "import os, time; time.sleep(0.5); n < 1 and os.kill(os.getpid(), 9)")
    beside = []
    pool = LocalPool([device], per_device=2)
    outcomes = dict(pool.carry_out(folders, lambda running: beside.append((len(begin.began), len(running)))))
    assert list(outcomes.values()) == [None, None]
    assert max(running for began, running in beside if began == 3) == (1 if alone else 2)


def test_a_failure_is_told_stored_and_stops_nothing(begin):
    folders = begin("print('it rains'); raise SystemExit(3)", "pass")
    outcomes, _ = carry_out(LocalPool(["cpu"]), folders)
    assert outcomes[folders[0]].startswith("exit 3; it rains")
    assert outcomes[folders[1]] is None
    assert run_folder.read_failure(folders[0]) == outcomes[folders[0]]
    assert len(begin.began) == 2


@pytest.mark.parametrize(("kills", "ends"), [(1, None), (2, None), (3, "killed by SIGKILL"), (9, "killed by SIGKILL")])
def test_what_was_killed_begins_again_but_not_for_ever(kills, ends, begin):
    folders = begin(f"import os; n < {kills} and os.kill(os.getpid(), 9)")
    for outcome in (
        lambda: carry_out(LocalPool(["cpu"]), folders)[0][folders[0]],
        lambda: executors.run_to_end(folders[0]),
    ):
        (folders[0] / "tries").unlink(missing_ok=True)
        reason = outcome()
        assert (reason is None) if ends is None else reason.startswith(ends)
        assert len((folders[0] / "tries").read_text()) == min(kills + 1, executors.TRIES)


def test_a_run_without_memory_beside_others_is_tried_on_its_own(begin, monkeypatch):
    monkeypatch.setattr(executors, "_free_mb", lambda device: 1e6)
    slow = tell_peak(10) + "import time; time.sleep(1.5)"
    greedy = tell_peak(10) + "import time; time.sleep(0.5); n < 1 and exit('torch: CUDA out of memory')"
    folders = begin(slow, greedy)
    outcomes, _ = carry_out(LocalPool(["0"], per_device=2), folders)
    assert list(outcomes.values()) == [None, None]
    assert [name for name, _ in begin.began] == ["run-0", "run-1", "run-1"]


def test_a_run_without_memory_on_its_own_has_failed(begin):
    outcomes, _ = carry_out(LocalPool(["0"]), begin("exit('torch: CUDA out of memory')"))
    assert "out of memory" in next(iter(outcomes.values()))


@pytest.fixture
def interruptible():
    """Let SIGINT interrupt this process, also where it was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_runs(begin, interruptible, monkeypatch):
    folders = begin("import time; time.sleep(60)")
    pids = []
    start = executors.start

    def noted(*args):
        process = start(*args)
        pids.append(process)
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        return process

    monkeypatch.setattr(executors, "start", noted)
    with pytest.raises(KeyboardInterrupt):
        carry_out(LocalPool(["cpu"]), folders)
    assert pids[0].poll() is not None


def test_a_run_ends_with_the_process_that_started_it(tmp_path):
    program = "from yolo_attn.util.processes import stop_with_parent; stop_with_parent(0.05); import time; print(1, flush=True); time.sleep(60)"  # noqa: E501
    starter = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {program!r}]); print(p.pid, flush=True); p.wait()"  # noqa: E501
    parent = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.stdout.readline()
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    for _ in range(600):
        time.sleep(0.05)
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        if not state or state.startswith("Z"):
            return
    pytest.fail("the run outlived its starter")


@pytest.mark.parametrize("number", [0, -1])
def test_no_runs_at_a_time_are_refused(number):
    with pytest.raises(YoloAttnError, match=f"--per-gpu {number}"):
        LocalPool(["cpu"], number)


def test_a_run_sees_its_gpu_alone(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(executors.subprocess, "Popen", lambda *a, env, **k: seen.update(env))
    for visible, device, wanted in ((None, "1", "1"), ("4,5", "1", "5"), (None, "cpu", "")):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        executors.start(tmp_path, device)
        assert seen["CUDA_VISIBLE_DEVICES"] == wanted


# --- progress ---------------------------------------------------------------------------------------------------------
def test_progress_counts_and_estimates(tmp_path):
    now, said = [0.0], []
    progress = Progress(total=6, done=1, slots=2, log=said.append, clock=lambda: now[0])
    progress.live = False
    a, b = (tmp_path / f"yolo11n-seed{k}-abc" for k in (0, 1))
    progress.tick([a, b])
    assert progress.seconds_left([a, b]) is None
    now[0] = 100.0
    progress.ended(a, None)
    assert progress.seconds_left([b]) == pytest.approx((4 * 100 - 100) / 2)
    progress.ended(b, "exit 1; why")
    assert said == [
        "done: yolo11n-seed0",
        "2 of 6 runs done; 4 left; about 3 min to go",
        "failed: yolo11n-seed1: exit 1; why",
        "2 of 6 runs done; 1 failed; 3 left; about 2 min to go",
    ]


def test_progress_knows_epochs_before_a_run_has_ended(tmp_path):
    now, said = [0.0], []
    progress = Progress(total=2, done=0, slots=1, log=said.append, clock=lambda: now[0])
    progress.live = False
    folder = tmp_path / "yolo11n-ela-seed0-abc"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "progress.json").write_text(json.dumps({"epoch": 1, "epochs": 4, "epoch_seconds": [30.0]}))
    progress.tick([folder])
    assert said == []
    now[0] = 61.0
    progress.tick([folder])
    assert said == ["0 of 2 runs done; running yolo11n-ela-seed0 (epoch 2/4); 1 left; about 3 min to go"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"epoch": 1, "epo', b"[1]", b"null", b"{}", b'{"epoch": 1}'])
def test_progress_survives_a_file_that_is_damaged(tmp_path, content):
    folder = tmp_path / "yolo11n-seed0-0"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "progress.json").write_bytes(content)
    progress = Progress(4, 0, 2, lambda line: None)
    progress.tick([folder])
    assert progress.line([folder]) == "0 of 4 runs done; running yolo11n-seed0; 3 left"
    assert executors._Job(folder).peak_mb() is None


def test_progress_draws_one_line_on_a_terminal(tmp_path, capsys):
    now = [0.0]
    progress = Progress(total=2, done=0, slots=1, log=pytest.fail, clock=lambda: now[0])
    progress.live = True
    now[0] = 2.0
    progress.tick([tmp_path / "yolo11n-seed0-abc"])
    drawn = capsys.readouterr().err
    assert drawn.startswith("\r")
    assert "\n" not in drawn
    assert "running yolo11n-seed0" in drawn
