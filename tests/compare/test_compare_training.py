"""Small comparisons with real training: their stored files, and a killed one ends like an uninterrupted one."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from support.fake_runs import TINY, plan_for, results

from yolo_attn import cli
from yolo_attn.compare import driver as compare
from yolo_attn.compare import run_folder
from yolo_attn.compare.folder import read
from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.matches import Matches

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(scenes, tiny_models, tmp_path_factory):
    """A completed comparison with a control, whose runs were trained two at a time."""
    out = tmp_path_factory.mktemp("a comparison")
    plan = plan_for(scenes, arms=tiny_models, controls=("identity",), threads=1)
    try:
        assert compare.compare(plan, out, per_device=2, speed_seconds=0.1) == []
    except YoloAttnError as error:
        if "no per-image matches" not in str(error):
            raise
        assert not (out / "runs").exists(), "refused after training"
        pytest.skip(str(error))  # by an older Ultralytics
    return plan, out


def weights_of(out):
    return {
        folder.name: torch.load(folder / run_folder.CHECKPOINT, weights_only=False)["model"].state_dict()
        for folder in sorted((out / "runs").iterdir())
    }


def differing(a, b):
    """Return the names of runs that are not bit-identical: weights, records and metrics."""
    weights_a, weights_b = weights_of(a), weights_of(b)
    assert list(weights_a) == list(weights_b)
    found = {n for n, w in weights_a.items() if any(not torch.equal(v, weights_b[n][k]) for k, v in w.items())}
    for name in weights_a:
        one, other = (Matches.load(out / "runs" / name / run_folder.MATCHES) for out in (a, b))
        if not (np.array_equal(one.confidence, other.confidence) and np.array_equal(one.correct, other.correct)):
            found.add(name)
    return sorted(found)


@pytest.mark.contract("compares")
def test_what_a_comparison_stores(finished):
    _, out = finished
    found = results(out)
    base, ela, _ = found["arms"]
    assert [a["name"] for a in found["arms"]] == ["tiny", "tiny-ela", "tiny-ela-identity"]
    assert [a["kind"] for a in found["arms"]] == ["baseline", "attention", "identity control"]
    assert ela["parameters"] - base["parameters"] == 9 * 128
    folders = [run["folder"] for run in found["runs"].pop("folders")]
    assert found["runs"] == {"planned": 6, "complete": 6, "failed": []}
    assert sorted(folders) == sorted(f"runs/{folder.name}" for folder in (out / "runs").iterdir())
    assert len(found["speed"]["measurements"]) == 2
    for file in ("report.md", "report.html", "results.csv", "plots/differences.png"):
        assert (out / file).stat().st_size > 0, file
    leftovers = [f.name for f in (out / "runs").rglob("*") if f.name in ("state.pt", "failure.json", "train")]
    assert leftovers == []
    assert {f.parent.name.rpartition("-seed")[0] for f in (out / "runs").rglob("gates.csv")} == {"tiny-ela"}


def test_the_point_estimate_is_ultralytics_own_map(finished):
    _, out = finished
    stored = read(out)
    for arm in results(out)["arms"]:
        own = [r["metrics"]["mAP50-95"] for r in stored.of(arm["name"])]
        assert arm["metrics"]["mAP50-95"]["by_seed"] == pytest.approx(own, abs=1e-14), arm["name"]


def test_identity_rows_change_nothing(finished):
    _, out = finished
    weights = {name.rpartition("-")[0]: list(w.values()) for name, w in weights_of(out).items()}
    for seed in (0, 1):
        base, control = weights[f"tiny-seed{seed}"], weights[f"tiny-ela-identity-seed{seed}"]
        assert all(torch.equal(a, b) for a, b in zip(base, control, strict=True))
    assert results(out)["arms"][2]["difference"]["mAP50-95"]["by_seed"] == [0.0, 0.0]


@pytest.mark.contract("compares")
def test_seeds_see_other_batches_and_arms_the_same(finished):
    stored = read(finished[1])
    seen = {(r["arm"], r["seed"]): r["first_batches"] for r in stored.results.values()}
    assert len(seen) == 6
    assert len(set(seen.values())) == 2
    assert {seen[a, 0] for a in ("tiny", "tiny-ela", "tiny-ela-identity")}.isdisjoint({seen["tiny", 1]})


def test_a_rerun_does_nothing_and_says_the_same(finished, monkeypatch):
    plan, out = finished
    before = (out / "report.md").read_text()
    monkeypatch.setattr(compare.LocalPool, "carry_out", lambda *_: pytest.fail("a run was carried out again"))
    said = []
    assert compare.compare(plan, out, log=said.append, speed_seconds=0.1) == []
    assert said[0] == "6 runs, 6 of them complete"
    assert (out / "report.md").read_text() == before


def test_report_from_the_stored_results_alone(finished, capsys):
    _, out = finished
    before = {name: (out / name).read_bytes() for name in ("report.md", "report.html", "results.csv", "results.json")}
    for name in before:
        (out / name).unlink()
    assert cli.main(["report", str(out)]) == 0
    printed = capsys.readouterr().out
    assert all(line in before["report.md"].decode() for line in printed.splitlines()[:-1])
    assert printed.rstrip().endswith(str(out / "report.html"))
    assert {name: (out / name).read_bytes() for name in before} == before
    assert cli.main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == results(out)


@pytest.fixture
def begin(scenes, tiny_models, tmp_path):
    """Start the comparison of ``finished`` again, in another folder, as a process."""

    def start(*flags):
        words = [*tiny_models, "--controls", "identity", "--data", str(scenes), "--seeds", "0,1", "--threads", "1"]
        words += ["-o", str(tmp_path / "out"), "--speed-seconds", "0", *flags, *(f"{k}={v}" for k, v in TINY.items())]
        with (tmp_path / "driver.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "yolo_attn.cli", "compare", *words], stdout=log, stderr=log)

    return start


def test_a_killed_comparison_ends_as_an_undisturbed_one(finished, begin, tmp_path):
    """Kill the driver twice and a run once, wherever they are just then."""
    for runs_begun in (1, 3):
        driver = begin()
        wait_for(lambda n=runs_begun: len(list((tmp_path / "out" / "runs").glob("*/log.txt"))) >= n)
        driver.kill()
        driver.wait()
        wait_for(lambda: not processes_of(tmp_path))  # the runs end with their driver
    driver = begin()
    wait_for(lambda: processes_of(tmp_path))[0].kill()
    assert driver.wait() == 0, (tmp_path / "driver.log").read_text()
    assert differing(finished[1], tmp_path / "out") == []


def test_ray_gives_the_same_also_when_a_worker_dies(finished, begin, tmp_path):
    pytest.importorskip("ray", reason="needs Ray: pip install 'yolo-attn[ray]'")
    driver = begin("--executor", "ray")
    (run, *_) = wait_for(lambda: processes_of(tmp_path))
    named_ray = [p for p in (run, *run.parents()) if "".join(p.cmdline()).startswith("ray::")]
    named_ray[-1].kill()  # a run that has just been forked has the name of its worker
    assert driver.wait() == 0, (tmp_path / "driver.log").read_text()
    assert differing(finished[1], tmp_path / "out") == []
    assert results(tmp_path / "out")["arms"][1]["metrics"] == results(finished[1])["arms"][1]["metrics"]


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def processes_of(folder):
    """Return the processes of runs in a folder, which write to their logs."""
    import psutil

    files = {p: [file.path for file in p.info["open_files"] or []] for p in psutil.process_iter(["open_files"])}
    return [p for p, paths in files.items() if any(str(folder) in f and f.endswith("/log.txt") for f in paths)]


@pytest.mark.gpu
def test_several_at_a_time_on_a_gpu_and_resumed(scenes, tiny_models, tmp_path, monkeypatch):
    """Two runs at a time, one of them killed; speed in both precisions; memory known."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    plan = plan_for(scenes, arms=tiny_models, controls=("identity",), device="0", overrides={**TINY, "amp": True})
    killed = []
    has_room = compare.LocalPool._has_room

    def kill_one(self, device, beside, job, running):
        if beside and beside[0].peak_mb() is not None and not killed:
            killed.append(beside[0].process.kill())
        return has_room(self, device, beside, job, running)

    monkeypatch.setattr(compare.LocalPool, "_has_room", kill_one)
    assert compare.compare(plan, tmp_path, per_device=2, speed_seconds=1) == []
    found = results(tmp_path)
    assert found["environment"]["gpu"]
    assert all(arm["peak_memory_mb"] > 1 for arm in found["arms"])
    assert {(m["batch"], m["precision"]) for m in found["speed"]["measurements"]} >= {(1, "fp32"), (1, "fp16")}
