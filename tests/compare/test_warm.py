"""Runs that are forked from a process which has imported what they need are as runs in fresh processes."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from support.fake_runs import plan_for

from yolo_attn.compare import executors, run_folder, warm
from yolo_attn.compare.executors import LocalPool
from yolo_attn.compare.plan import arms_of, specs_of
from yolo_attn.compare.warm import ForkedRun, Warm
from yolo_attn.host.data import prepare_data

pytestmark = pytest.mark.skipif(not warm.is_wanted(), reason="this system starts every run afresh")

MODULE = """
import os, sys, pathlib
WARM = None
def prepare():
    global WARM
    WARM = os.getpid()
    {prepare}
def main(folder):
    exec((folder / "program.py").read_text(), {{"WARM": WARM, "folder": folder}})
if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
"""
TELL = "import os; print(WARM, os.getpid(), os.getppid(), os.getsid(0));"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes the module of runs, which carry out the program in their folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(executors, "_RUN", "stand_in")

    def write(prepare="pass"):
        (tmp_path / "stand_in.py").write_text(MODULE.format(prepare=prepare))

    write()
    return write


@pytest.fixture
def begin(module, tmp_path):
    """Start one program after the other from one warm process; all have ended afterwards."""
    process = Warm("stand_in")
    runs = []

    def start(program, device=None):
        folder = tmp_path / f"run-{len(runs)}"
        folder.mkdir()
        (folder / "program.py").write_text(program)
        runs.append(executors.start(folder, device, process))
        runs[-1].folder = folder
        return runs[-1]

    start.warm = process
    yield start
    executors.stop(runs)
    process.close()
    _wait(lambda: not any(_lives(run.pid) for run in runs))


def said(run):
    return (run.folder / run_folder.LOG).read_text()


def test_each_has_a_process_and_a_session_of_its_own(begin):
    told = []
    for run in [begin(TELL) for _ in range(2)]:
        assert run.wait() == 0
        told.append([int(word) for word in said(run).split()])
    for run, (server, own, parent, session) in zip((0, 1), told, strict=True):
        assert (parent, session) == (server, own), run
    assert told[0][0] == told[1][0] == begin.warm._process.pid
    assert len({own for _, own, *_ in told}) == 2


def test_environment_and_streams_are_those_of_a_fresh_process(begin, module, monkeypatch):
    monkeypatch.setenv("A_WORD", "é")
    program = (
        "import os, sys, json; print(json.dumps([dict(os.environ), sys.argv[1:] and 0, sys.stdin.read(), "
        "sys.stdout.encoding, sys.stdout.errors, sys.stdout.isatty()])); print('\\udcff', file=sys.stderr)"
    )
    forked = begin(program, device="cpu")
    assert forked.wait() == 0
    fresh = executors._start_module("stand_in", forked.folder, "cpu")
    assert fresh.wait() == 0
    told = [json.loads(line) for line in said(forked).splitlines() if line.startswith("[")]
    assert said(forked).count("\\udcff") == 2
    parents = [environment.pop("YOLO_ATTN_PARENT") for environment, *_ in told]
    assert parents == [str(begin.warm._process.pid), str(os.getpid())]
    for environment, *_ in told:
        environment.pop("_", None)
    assert told[0] == [*told[1][:1], *told[0][1:2], *told[1][2:]]
    assert told[0][0]["CUDA_VISIBLE_DEVICES"] == ""


def test_environments_differ_by_run(begin):
    devices = ["0", "1", "cpu"]
    runs = [begin("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", device=device) for device in devices]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert [said(run).strip() for run in runs] == ["0", "1", ""]


ENDS = {
    "raise SystemExit(3)": 3,
    "print('it rains'); 1 / 0": 1,
    "import os; os.kill(os.getpid(), 9)": -9,
    "import ctypes; ctypes.string_at(0)": -signal.SIGSEGV,
    "import atexit; atexit.register(print, 'the end')": 0,
}


def test_ends_are_told_as_those_of_a_fresh_process(begin):
    for program, code in ENDS.items():
        run = begin(program)
        assert (run.wait(), run.poll(), run.returncode) == (code, code, code), program
        told = _last_line(run)
        assert executors._start_module("stand_in", run.folder, None).wait() == code, program
        assert told == _last_line(run), program


def _last_line(run):
    return "".join(said(run).splitlines()[-1:])


def test_stopped_by_terminate_by_kill_and_after_a_deadline(begin):
    sleep = "import time; time.sleep(60)"
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);" + sleep
    polite, killed, stubborn = begin(sleep), begin(sleep), begin(deaf)
    with pytest.raises(subprocess.TimeoutExpired):
        polite.wait(0.1)
    polite.terminate()
    killed.kill()
    assert (polite.wait(5), killed.wait(5)) == (-15, -9)
    while "deaf" not in said(stubborn):
        time.sleep(0.02)
    executors.stop([stubborn], 0.2)
    assert stubborn.returncode == -9
    polite.terminate()  # has ended: nothing is signalled


def test_a_run_may_have_children_as_the_workers_of_a_loader(begin):
    program = (
        "import multiprocessing as mp, os;"
        "pool = mp.get_context('fork').Pool(2); print(pool.map(abs, [-1, -2])); pool.terminate()"
    )
    run = begin(program)
    assert run.wait() == 0, said(run)
    assert said(run) == "[1, 2]\n"


def test_a_users_file_is_imported_by_the_run_alone(begin, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import os; print('imported in', os.getpid())")
    monkeypatch.setenv("YOLO_ATTN_IMPORT", str(tmp_path / "mine.py"))
    for run in (begin("pass"), begin("pass")):
        assert run.wait() == 0
        assert said(run) == f"imported in {run.pid}\n"


BEGAN_CUDA = "from types import SimpleNamespace as N; sys.modules['torch'] = N(cuda=N(_is_in_bad_fork=lambda: True))"
BEGAN_A_THREAD = "import threading, time; threading.Thread(target=time.sleep, args=[60], daemon=True).start()"


@pytest.mark.parametrize("prepare", [BEGAN_CUDA, BEGAN_A_THREAD], ids=["CUDA", "a thread"])
def test_where_the_imports_began_cuda_or_a_thread_a_run_is_fresh(prepare, module, begin):
    module(prepare)
    run = begin("import sys, os; print(WARM, 'torch' in sys.modules, os.getpid()); raise SystemExit(4)")
    assert run.wait() == 4
    assert said(run) == f"None False {run.pid}\n"


def test_a_module_that_cannot_be_prepared_starts_afresh_and_says_why(module, begin):
    module("raise ImportError('no such library')")
    run = begin("print(WARM)")
    assert isinstance(run, subprocess.Popen)
    assert (run.wait(), said(run)) == (0, "None\n")


def test_a_warm_process_that_dies_takes_runs_along_which_start_afresh(begin):
    run = begin("import time; time.sleep(60)")
    begin.warm._process.kill()
    assert run.wait(5) == -9
    again = begin("print(WARM)")
    assert isinstance(again, subprocess.Popen)
    assert again.wait() == 0


def test_switched_off(module, tmp_path, monkeypatch):
    monkeypatch.setenv(warm.SWITCH, "0")
    (tmp_path / "program.py").write_text("print(WARM)")
    run = executors.start(tmp_path, "cpu", Warm("stand_in"))
    assert isinstance(run, subprocess.Popen)
    assert (run.wait(), (tmp_path / run_folder.LOG).read_text()) == (0, "None\n")


# --- in a pool --------------------------------------------------------------------------------------------------------
@pytest.fixture
def pool(module, tmp_path):
    def carry_out(*programs, per_device=1):
        folders = [tmp_path / f"run-{k}" for k in range(len(programs))]
        for folder, program in zip(folders, programs, strict=True):
            folder.mkdir()
            (folder / "program.py").write_text(program)
        return dict(LocalPool(["cpu"], per_device).carry_out(folders, lambda running: None)), folders

    return carry_out


def test_a_run_that_dies_takes_nobody_with_it_and_is_tried_again(pool, monkeypatch):
    monkeypatch.setattr(executors, "_free_mb", lambda device: 1e6)
    once = "import os; file = folder / 'tried'; new = not file.exists(); file.touch(); new and os.kill(os.getpid(), 9)"
    outcomes, folders = pool(once, TELL + "raise SystemExit(3)", TELL, per_device=3)
    assert outcomes[folders[0]] is None
    assert outcomes[folders[1]].startswith("exit 3; ")
    assert outcomes[folders[2]] is None
    servers = {(folder / run_folder.LOG).read_text().split()[0] for folder in folders[1:]}
    assert len(servers) == 1
    assert not psutil.pid_exists(int(servers.pop()))


def test_a_single_run_is_not_forked(pool):
    assert (pool(TELL)[1][0] / run_folder.LOG).read_text().startswith("None")


DRIVER = """
import sys
from pathlib import Path
from yolo_attn.compare import executors
executors._RUN = "stand_in"
folders = [Path(word) for word in sys.argv[1:]]
executors._free_mb = lambda device: 1e6
try:
    for _ in executors.LocalPool(["cpu"], 2).carry_out(folders, lambda running: None):
        pass
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_its_driver(number, module, tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        (folder / "program.py").write_text(TELL + "import sys, time; sys.stdout.flush(); time.sleep(60)")
    program = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{DRIVER}"
    driver = subprocess.Popen([sys.executable, "-c", program, *map(str, folders)], stdout=subprocess.PIPE, text=True)
    logs = [folder / run_folder.LOG for folder in folders]
    _wait(lambda: all(log.exists() and log.read_text().count(" ") == 3 for log in logs))
    pids = {int(word) for log in logs for word in log.read_text().split()[:2]}
    assert len(pids) == 3
    driver.send_signal(number)
    assert (driver.communicate()[0] == "interrupted\n") == (number == signal.SIGINT)
    _wait(lambda: not any(_lives(pid) for pid in pids))


def _wait(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def _lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- real runs --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_imports_ask_nothing_of_cuda_draw_nothing_and_begin_no_thread():
    """In a process of its own: every function of ``torch.cuda`` raises, and a fork sees a parent with one thread."""
    program = """
import os, torch
def refuse(*_, **__): raise AssertionError("CUDA was asked")
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, refuse)
before = torch.get_rng_state()
from yolo_attn.compare import run
run.prepare()
assert torch.equal(before, torch.get_rng_state())
from yolo_attn.compare.warm import _must_be_fresh
if not (pid := os.fork()):
    os._exit(_must_be_fresh())
assert os.waitpid(pid, 0)[1] == 0, "a fork of it would not be safe"
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=_with_threads(os.environ)
    )
    assert done.returncode == 0, done.stderr


def _with_threads(environment):
    """Return an environment in which libraries begin as many threads as they like."""
    return {key: value for key, value in environment.items() if not key.endswith("_NUM_THREADS")}


@pytest.mark.slow
def test_forked_runs_give_the_bytes_of_fresh_ones(scenes, tiny_models, tmp_path, monkeypatch):
    """With two threads for each run, and runs beside each other."""
    plan = plan_for(scenes, arms=tiny_models, seeds=(0,), threads=2)
    specs = specs_of(plan, arms_of(plan))
    prepare_data(specs[0].data, specs[0].overrides, "detect")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    started = []
    start = executors.start
    monkeypatch.setattr(executors, "start", lambda *given: started.append(start(*given)) or started[-1])
    for switch in ("1", "0"):
        monkeypatch.setenv(warm.SWITCH, switch)
        folders = [run_folder.prepare(spec, tmp_path / switch) for spec in specs]
        assert set(dict(LocalPool(["cpu"], 2).carry_out(folders, lambda running: None)).values()) == {None}
    assert [type(run) for run in started] == [ForkedRun] * 2 + [subprocess.Popen] * 2
    for spec in specs:
        forked, fresh = (tmp_path / switch / spec.folder_name for switch in ("1", "0"))
        memory = [json.loads((folder / run_folder.RESULT).read_text())["peak_memory_mb"] for folder in (forked, fresh)]
        assert memory[0] == pytest.approx(memory[1], rel=0.08), "libraries are read by the parent"
        for name in (run_folder.MATCHES, run_folder.COCO_MATCHES):
            assert (forked / name).read_bytes() == (fresh / name).read_bytes(), (spec.folder_name, name)
        one, other = (
            torch.load(folder / run_folder.CHECKPOINT, weights_only=False)["model"].state_dict()
            for folder in (forked, fresh)
        )
        assert [key for key, value in one.items() if not torch.equal(value, other[key])] == [], spec.folder_name
