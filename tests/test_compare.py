"""A comparison: the same recipe for every arm, raw results first, a rerun does only what is missing."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from fake_runs import FakeExecutor, records, results

import yolo_attn as ya
from yolo_attn import cli, compare, runs, summary
from yolo_attn.average_precision import average_precision, mean_average_precision
from yolo_attn.matrix import Plan, arms_of, read_plan, specs_of

ARMS = ("yolo11n.yaml", "yolo11n-ela.yaml")
TINY = {"epochs": 2, "imgsz": 32, "batch": 8, "amp": False}


def plan_for(scenes, **changes):
    return Plan(**{"arms": ARMS, "data": str(scenes), "weights": None, "seeds": (0, 1), "overrides": TINY, **changes})


@pytest.fixture
def faked(monkeypatch):
    """Let no run be trained and nothing be timed; returns the executor that makes the results up."""
    fake = FakeExecutor()
    monkeypatch.setattr(compare, "_executor", lambda *_: fake)
    monkeypatch.setattr(compare, "_measure_speed", lambda *_: None)
    return fake


# --- a real one, small ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def finished(scenes, tiny_models, tmp_path_factory):
    """A comparison that was really run, with a control, each run in a process of its own, two at a time."""
    out = tmp_path_factory.mktemp("a comparison")
    plan = plan_for(scenes, arms=tiny_models, controls=("identity",), threads=1)
    assert compare.compare(plan, out, per_device=2, speed_seconds=0.1) == []
    return plan, out


def weights_of(out):
    return {
        folder.name: torch.load(folder / runs.CHECKPOINT, weights_only=False)["model"].state_dict()
        for folder in sorted((out / "runs").iterdir())
    }


def differing(a, b):
    """Names of runs that are not equal to the last bit: weights, records and metrics."""
    weights_a, weights_b = weights_of(a), weights_of(b)
    assert list(weights_a) == list(weights_b)
    found = {n for n, w in weights_a.items() if any(not torch.equal(v, weights_b[n][k]) for k, v in w.items())}
    for name in weights_a:
        one, other = (summary.Matches.load(out / "runs" / name / runs.MATCHES) for out in (a, b))
        if not (np.array_equal(one.confidence, other.confidence) and np.array_equal(one.correct, other.correct)):
            found.add(name)
    return sorted(found)


def test_what_a_comparison_stores(finished):
    _, out = finished
    found = results(out)
    base, ela, _ = found["arms"]
    assert [a["name"] for a in found["arms"]] == ["tiny", "tiny-ela", "tiny-ela-identity"]
    assert [a["kind"] for a in found["arms"]] == ["baseline", "attention", "identity control"]
    assert ela["parameters"] - base["parameters"] == 9 * 128
    assert found["runs"] == {"planned": 6, "complete": 6, "failed": []}
    assert len(found["speed"]["measurements"]) == 2
    for file in ("report.md", "report.html", "results.csv", "plots/differences.png"):
        assert (out / file).stat().st_size > 0, file
    leftovers = [f.name for f in (out / "runs").rglob("*") if f.name in ("state.pt", "failure.json", "train")]
    assert leftovers == []
    assert {f.parent.name.rpartition("-seed")[0] for f in (out / "runs").rglob("gates.csv")} == {"tiny-ela"}


def test_the_point_estimate_is_ultralytics_own_map(finished):
    _, out = finished
    stored = summary.read(out)
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


def test_seeds_see_other_batches_and_arms_the_same(finished):
    stored = summary.read(finished[1])
    seen = {(r["arm"], r["seed"]): r["first_batches"] for r in stored.results.values()}
    assert len(seen) == 6
    assert len(set(seen.values())) == 2
    assert {seen[a, 0] for a in ("tiny", "tiny-ela", "tiny-ela-identity")}.isdisjoint({seen["tiny", 1]})


def test_a_rerun_does_nothing_and_says_the_same(finished, monkeypatch):
    plan, out = finished
    before = (out / "report.md").read_text()
    monkeypatch.setattr(compare.LocalPool, "carry_out", lambda *_: pytest.fail("a run was carried out again"))
    said = []
    assert compare.compare(plan, out, say=said.append, speed_seconds=0.1) == []
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
    wait_for(lambda: processes_of(tmp_path))
    os.kill(processes_of(tmp_path)[0].pid, signal.SIGKILL)
    assert driver.wait() == 0, (tmp_path / "driver.log").read_text()
    assert differing(finished[1], tmp_path / "out") == []


def test_ray_gives_the_same_also_when_a_worker_dies(finished, begin, tmp_path):
    pytest.importorskip("ray", reason="needs Ray: pip install 'yolo-attn[ray]'")
    driver = begin("--executor", "ray")
    wait_for(lambda: processes_of(tmp_path))
    worker = processes_of(tmp_path)[0].parent()
    assert "ray" in worker.name()
    worker.kill()
    assert driver.wait() == 0, (tmp_path / "driver.log").read_text()
    assert differing(finished[1], tmp_path / "out") == []
    assert results(tmp_path / "out")["arms"][1]["metrics"] == results(finished[1])["arms"][1]["metrics"]


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def processes_of(folder):
    import psutil

    lines = {p: p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])}
    return [p for p, words in lines.items() if "yolo_attn.run_one" in words and str(folder) in words[-1]]


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


# --- faked runs -------------------------------------------------------------------------------------------------------
def test_differences_intervals_and_power_are_reported(scenes, faked, tmp_path):
    compare.compare(plan_for(scenes, seeds=(0, 1, 2), controls=("identity",)), tmp_path)
    found = results(tmp_path)
    base, ela, identity = found["arms"]
    own = [float(mean_average_precision(average_precision(records("yolo11n-ela", s)[0]))[0]) for s in (0, 1, 2)]
    assert ela["metrics"]["mAP50-95"]["by_seed"] == pytest.approx(own, abs=1e-14)
    difference = ela["difference"]["mAP50-95"]
    assert difference["estimate"] == pytest.approx(np.mean(np.subtract(own, base["metrics"]["mAP50-95"]["by_seed"])))
    assert difference["low"] < difference["estimate"] < difference["high"]
    assert difference["p_holm"] >= difference["p"]
    assert identity["difference"]["mAP50-95"]["verdict"] == "not significant"
    assert identity["difference"]["mAP50-95"]["low"] == identity["difference"]["mAP50-95"]["high"] == 0
    assert found["metrics"] == ["mAP50-95", "AP50", "AP75", "APs", "APm", "APl"]
    assert found["data"]["classes_without_targets"] == list(ya.engine.check_data(scenes)["names"].values())[3:]
    assert "3 seeds" in found["power"]
    assert (ela["curve"]["quantity"], ela["curve"]["epochs"]) == ("mAP50-95", [1, 2, 3])
    np.testing.assert_allclose(ela["curve"]["by_seed"], [[0.1, 0.2, 0.3], [0.11, 0.21, 0.31], [0.12, 0.22, 0.32]])


def test_coco_s_own_ap_where_asked(scenes, faked, tmp_path, capsys):
    compare.compare(plan_for(scenes), tmp_path)
    ours = results(tmp_path)["arms"][0]["metrics"]
    assert cli.main(["report", str(tmp_path), "--ap", "coco", "--replicates", "20"]) == 0
    coco = results(tmp_path)
    assert coco["protocol"]["ap"] == "coco"
    assert coco["bootstrap"]["replicates"] == 20
    for metric, by in coco["arms"][0]["metrics"].items():
        assert by["mean"] == pytest.approx(ours[metric]["mean"], abs=0.05), metric
        assert by["mean"] != ours[metric]["mean"], metric
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path), "--ap", "cocoo"]) == 2
    assert "Did you mean 'coco'" in capsys.readouterr().err


def test_a_failed_run_is_reported_and_stops_nothing(scenes, faked, tmp_path, capsys):
    faked.failing = ["yolo11n-ca"]
    words = ["compare", "yolo11n.yaml", "yolo11n-ca.yaml", "yolo11n-ela.yaml", "--data", str(scenes), "--seeds", "0"]
    assert cli.main([*words, "-o", str(tmp_path), "epochs=1", "imgsz=32"]) == 1
    said = capsys.readouterr()
    assert "run failed: yolo11n-ca, seed 0: exit 1; out of luck" in said.err
    assert "out of luck" in said.out
    found = results(tmp_path)
    assert found["runs"]["complete"] == 2
    assert [f["arm"] for f in found["runs"]["failed"]] == ["yolo11n-ca"]
    assert found["arms"][2]["difference"]["mAP50-95"]["seeds_counted"] is False

    faked.failing, faked.done = [], []
    assert cli.main([*words, "-o", str(tmp_path), "epochs=1", "imgsz=32"]) == 0
    assert faked.done == ["yolo11n-ca-0"]
    assert results(tmp_path)["runs"]["failed"] == []


def test_a_comparison_of_which_every_run_fails_says_so(scenes, faked, tmp_path, capsys):
    faked.failing = ["yolo11n", "yolo11n-ela"]
    assert len(compare.compare(plan_for(scenes), tmp_path)) == 4
    assert "no run is complete" in (tmp_path / "report.md").read_text()


def test_half_written_results_are_done_again(scenes, faked, tmp_path):
    plan = plan_for(scenes)
    compare.compare(plan, tmp_path)
    folders = sorted((tmp_path / "runs").iterdir())
    (folders[0] / runs.RESULT).write_text('{"key": "')
    (folders[1] / runs.MATCHES).unlink()
    other = json.loads((folders[2] / runs.RESULT).read_text())
    (folders[2] / runs.RESULT).write_text(json.dumps({**other, "key": "another"}))
    faked.done = []
    compare.compare(plan, tmp_path)
    assert sorted(faked.done) == sorted(runs.read_spec(f).arm + f"-{runs.read_spec(f).seed}" for f in folders[:3])


def test_results_that_do_not_belong_together_are_refused(scenes, faked, tmp_path, capsys):
    compare.compare(plan_for(scenes), tmp_path)
    folder = next((tmp_path / "runs").glob("yolo11n-ela-seed1-*"))
    spec, result = (json.loads((folder / name).read_text()) for name in (runs.SPEC, runs.RESULT))

    def told(new_spec=None, new_result=None):
        changed = runs.RunSpec(**{**spec, **(new_spec or {})})
        target = folder.parent / changed.folder_name
        folder.rename(target)
        runs.write_json(target / runs.SPEC, {**spec, **(new_spec or {})})
        runs.write_json(target / runs.RESULT, {**result, "key": changed.key, **(new_result or {})})
        plan = json.loads((tmp_path / "plan.json").read_text())
        runs.write_json(tmp_path / "plan.json", {**plan, "runs": [*plan["runs"][:-1], target.name]})
        code = cli.main(["report", str(tmp_path)])
        target.rename(folder)
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert code == 2, said
        return said

    assert "different versions cannot be compared" in told({"versions": {**spec["versions"], "torch": "1.0"}})
    assert "different data_checksum cannot be compared" in told({"data_checksum": "other"})
    assert "different overrides cannot be compared" in told({"overrides": {**spec["overrides"], "lr0": 5}})
    environment = {**result["environment"], "ultralytics": "8.0.0"}
    assert "was run with ultralytics 8.0.0" in told(None, {"environment": environment})


def test_caveats_follow_from_the_runs(scenes, faked, tmp_path):
    faked.changes = {"first_batches": "always the same"}
    compare.compare(plan_for(scenes), tmp_path)
    file = next((tmp_path / "runs").glob("yolo11n-seed1-*")) / runs.RESULT
    file.write_text(file.read_text().replace("2.0,", "3.0,"))
    summary.write(tmp_path, replicates=20)
    said = "\n".join(results(tmp_path)["caveats"])
    assert "Two seeds gave the same first batches" in said
    assert "2 seeds are too few" in said
    assert "3 of 6 classes do not count" in said
    assert "epoch 2 of yolo11n alone took from 2.0 to 3.0 s" in said


def test_a_damaged_record_is_named(scenes, faked, tmp_path, capsys):
    compare.compare(plan_for(scenes), tmp_path)
    file = next((tmp_path / "runs").glob("yolo11n-ela-seed1-*")) / runs.MATCHES
    file.write_bytes(file.read_bytes()[:200])
    assert cli.main(["report", str(tmp_path)]) == 2
    assert str(file) in capsys.readouterr().err


def test_two_comparisons_in_one_folder_are_refused(scenes, faked, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / "compare.lock"), pytest.raises(ya.YoloAttnError, match="another comparison is at work"):
        compare.compare(plan_for(scenes), tmp_path)


# --- plans ------------------------------------------------------------------------------------------------------------
def test_every_arm_gets_every_seed_and_the_same_recipe(scenes):
    specs = specs_of(plan_for(scenes))
    assert [(s.arm, s.seed) for s in specs] == [("yolo11n", 0), ("yolo11n-ela", 0), ("yolo11n", 1), ("yolo11n-ela", 1)]
    assert len({json.dumps(s.protocol, sort_keys=True) for s in specs}) == 1
    assert specs[0].overrides["optimizer"] == "SGD"
    assert len({s.key for s in specs}) == 4


def test_the_key_changes_with_what_decides_and_not_with_where_it_lies(scenes, base_weights, tmp_path):
    def key(**changes):
        return specs_of(plan_for(scenes, **changes))[1].key

    again = tmp_path / "elsewhere.pt"
    again.write_bytes(base_weights.read_bytes())
    assert key(weights=str(base_weights)) == key(weights=str(again)) != key()
    assert key(overrides={**TINY, "epochs": 3}) != key()
    assert key(threads=7) != key()
    mine = tmp_path / "yolo11-ela.yaml"
    ya.insert("yolo11n.yaml", "ELA", init="identity").save(mine)
    same = key(arms=("yolo11n.yaml", str(tmp_path / "yolo11n-ela.yaml")))
    mine.write_text(mine.read_text().replace("init: identity", "init: paper"))
    assert key(arms=("yolo11n.yaml", str(tmp_path / "yolo11n-ela.yaml"))) != same


def test_the_ways_to_name_an_arm(scenes):
    arms = arms_of(
        plan_for(
            scenes,
            arms=[
                "yolo11n.yaml",
                "plain:yolo11n-se.yaml",
                {"model": "yolo11n-ca.yaml", "name": "coordinate"},
                {"model": "yolo11n.yaml", "insert": "ELA", "at": "backbone:P4", "hyper": {"variant": "L"}},
                {"model": "yolo11n-ca.yaml", "control": "identity", "name": "nothing"},
            ],
        )
    )
    names = ["yolo11n", "yolo11n-se-plain", "coordinate", "yolo11n-ela", "nothing"]
    assert [a.name for a in arms] == names
    assert [a.kind for a in arms] == ["baseline", "plain control", "attention", "attention", "identity control"]
    specs_of(plan_for(scenes, arms=["yolo11n.yaml", {"model": "yolo11n.yaml", "insert": "ELA"}]), arms)  # all build
    row = next(r for r in arms[3].model["backbone"] if r[2] == "ELA")
    assert row[3] == [{"variant": "L"}]
    assert arms[3].model["scale"] == "n"


def test_an_arm_has_its_scale_under_any_name(scenes, tmp_path):
    """The name of an arm may suggest another scale than its model's, or none."""
    from yolo_attn.model_files import write_model

    wide = ya.YOLO("yolo11s-ca.yaml").model
    for name in ("coordinate", "yolo11n-wide", "yolo11x"):
        arm = arms_of(plan_for(scenes, arms=["yolo11n.yaml", {"model": "yolo11s-ca.yaml", "name": name}]))[1]
        assert arm.name == name
        built = ya.YOLO(str(write_model(arm.model, tmp_path))).model
        assert [p.shape for p in built.parameters()] == [p.shape for p in wide.parameters()], name


def test_controls_are_added_once_for_equal_models(scenes):
    plan = plan_for(
        scenes, arms=("yolo11n.yaml", "yolo11n-ela.yaml", "yolo11n-ca.yaml"), controls=("identity", "plain")
    )
    names = [a.name for a in arms_of(plan)][3:]
    assert names == ["yolo11n-ela-identity", "yolo11n-ela-plain", "yolo11n-ca-plain"]


def test_a_comparison_file(scenes, faked, tmp_path, capsys):
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"base: yolo11n.yaml\narms: [yolo11n-se.yaml]\nseeds: [5]\ndata: {scenes}\ndevice: cpu\ncontrols: [plain]\n"
        f"overrides: {{epochs: 7, lr0: 0.5}}\n"
    )
    assert cli.main(["compare", str(file), "-o", str(tmp_path / "out"), "epochs=9", "imgsz=32"]) == 0
    overrides = results(tmp_path / "out")["protocol"]["overrides"]
    assert (overrides["epochs"], overrides["lr0"], overrides["imgsz"]) == (9, 0.5, 32)
    assert faked.done == ["yolo11n-5", "yolo11n-se-5", "yolo11n-se-plain-5"]
    assert "yolo11n-se" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("arms: [yolo11n.yaml]\nsedes: [5]", "Did you mean 'seeds'"),
        ("arms: [yolo11n.yaml]\nseeds: 3", "seeds=3"),
        ("arms: [yolo11n.yaml]\nseeds: [one]", r"seeds=\['one'\]"),
        ("arms: [yolo11n.yaml]\noverrides: [epochs]", "overrides"),
        ("arms: [yolo11n.yaml]\ncontrols: plain", "controls"),
        ("arms: [yolo11n.yaml]\noverrides: {device: cpu}", "device stands beside overrides"),
        ("arms: []", "no list 'arms'"),
        ("arms: [yolo11n.yaml", "is not YAML"),
        ("- 1", "is not a comparison"),
    ],
)
def test_a_wrong_comparison_file_says_what_is_wrong(content, says, tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(content)
    with pytest.raises(ya.YoloAttnError, match=says):
        read_plan(file)


def test_settings_may_follow_the_models_at_once(scenes, faked, tmp_path):
    words = ["compare", "yolo11n.yaml", "yolo11n-se.yaml", "epochs=9", "imgsz=32", "--data", str(scenes)]
    assert cli.main([*words, "--seeds", "0", "-o", str(tmp_path / "out"), "batch=4"]) == 0
    overrides = results(tmp_path / "out")["protocol"]["overrides"]
    assert (overrides["batch"], overrides["epochs"], overrides["imgsz"]) == (4, 9, 32)


def test_shipped_comparison_files_are_right(scenes):
    from yolo_attn.model_files import cfg_dir

    for file in (cfg_dir() / "compare").glob("*.yaml"):
        assert len(specs_of(Plan(**{**read_plan(file), "data": str(scenes)}))) >= 6, file


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overrides": {"optimizer": "auto"}}, "optimizer=auto"),
        ({"overrides": {"project": "x"}}, "sets 'project' itself"),
        ({"overrides": {"epochz": 3}}, "Did you mean 'epochs'"),
        ({"overrides": {"batch": -1}}, "batch=-1 picks a size by memory"),
        ({"seeds": (1, 1)}, "each seed once"),
        ({"seeds": ()}, "each seed once"),
        ({"arms": ("yolo11n.yaml", {"model": "yolo11n-ela.yaml", "name": "yolo11n"})}, "two arms are called yolo11n"),
        ({"arms": ("yolo11n.yaml", "yolo11n-elaa.yaml")}, "yolo11n-elaa.yaml"),
        ({"arms": ("yolo11n.yaml", "plain:yolo11n.yaml")}, "without attention rows has no plain control"),
        ({"arms": ("yolo11n.yaml", {"model": "yolo11n.yaml", "inzert": "ELA"})}, "Did you mean 'insert'"),
        ({"arms": ("yolo11n.yaml", {"name": "x"})}, "names no model"),
        ({"arms": ("yolo11n-cls.yaml",)}, "a model for 'classify'"),
        ({"controls": ("identiti",)}, "Did you mean 'identity'"),
        ({"weights": "none.pt"}, "no weights at 'none.pt'"),
        ({"data": "coco8"}, "not a data YAML"),
        ({"device": "gpu"}, "device=gpu is not understood"),
        ({"device": "7"}, "there is no GPU 7"),
        ({"overrides": {"device": "cpu"}}, "sets 'device' itself"),
        ({"overrides": {"split": "test"}}, "sets 'split' itself"),
        ({"arms": ("yolo11n.yaml", "yolo11n-seg.yaml")}, "models for different tasks"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_written(changes, says, scenes, tmp_path):
    with pytest.raises(ya.YoloAttnError, match=says):
        compare.compare(plan_for(scenes, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("executor", "says"), [("rai", "Did you mean 'ray'"), ("", "unknown executor")])
def test_a_wrong_executor_is_refused(executor, says, scenes, tmp_path):
    with pytest.raises(ya.YoloAttnError, match=says):
        compare.compare(plan_for(scenes), tmp_path / "out", executor=executor)


def test_the_order_of_the_seeds_does_not_mix_them_up(scenes, faked, tmp_path):
    compare.compare(plan_for(scenes, seeds=(2, 0, 1)), tmp_path)
    for arm in results(tmp_path)["arms"]:
        own = [float(mean_average_precision(average_precision(records(arm["name"], s)[0]))[0]) for s in arm["seeds"]]
        assert arm["metrics"]["mAP50-95"]["by_seed"] == pytest.approx(own, abs=1e-14)


def test_one_seed_gives_no_verdict(scenes, faked, tmp_path):
    compare.compare(plan_for(scenes, seeds=(3,)), tmp_path)
    assert results(tmp_path)["arms"][1]["difference"]["mAP50-95"]["verdict"] is None
    assert "not tested, with one seed" in (tmp_path / "report.md").read_text()


def test_no_model_is_named(scenes, capsys):
    assert cli.main(["compare", "epochs=3", "--data", str(scenes)]) == 2
    assert "no model is named" in capsys.readouterr().err


def test_old_times_are_not_shown_beside_new_runs(scenes, faked, tmp_path):
    plan = plan_for(scenes)
    compare.compare(plan, tmp_path)
    (tmp_path / "speed").mkdir()
    lines = [{"kind": "header", "spec": {"key": "another", "imgsz": 32, "device": "cpu", "baseline": "x"}}]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, {"kind": "complete", "lines": 1}])
    (tmp_path / "speed" / "speed.jsonl").write_text(text)
    assert summary.write(tmp_path, replicates=20)["speed"] is None


# --- data -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def spoiled(scenes, tmp_path):
    """A copy of the set, and what to change in it."""
    import shutil

    shutil.copytree(scenes.parent, tmp_path / "set")
    file = tmp_path / "set" / "data.yaml"
    content = {**yaml.safe_load(scenes.read_text()), "path": str(tmp_path / "set")}

    def write(**changes):
        file.write_text(yaml.safe_dump({k: v for k, v in {**content, **changes}.items() if v is not None}))
        return file

    write()
    return write


def test_data_without_val_is_refused(spoiled, tmp_path):
    with pytest.raises(ya.YoloAttnError, match="'val:' key missing"):
        compare.compare(plan_for(spoiled(val=None)), tmp_path / "out")


def test_an_image_that_cannot_be_read_is_named(spoiled, tmp_path):
    image = sorted((tmp_path / "set" / "images" / "train").iterdir())[0]
    image.unlink()
    image.write_bytes(b"not an image")
    with pytest.raises(ya.YoloAttnError, match=f"1 train images cannot be read.*{image.name}"):
        compare.compare(plan_for(spoiled()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_set_without_objects_is_refused(spoiled, tmp_path):
    for label in (tmp_path / "set" / "labels" / "val").iterdir():
        label.write_text("")
    with pytest.raises(ya.YoloAttnError, match="not one object in its val labels"):
        compare.compare(plan_for(spoiled()), tmp_path / "out")


def test_a_part_of_the_images_and_a_set_that_could_be_downloaded(spoiled, faked, tmp_path):
    data = spoiled(download="https://example.com/a.zip")
    (tmp_path / "set" / "images" / "train" / ".hidden.jpg").write_bytes(b"not an image")
    plan = plan_for(data, overrides={**TINY, "fraction": 0.5})
    assert compare.compare(plan, tmp_path / "out") == []


def test_what_lies_in_the_set_decides_the_key(spoiled, tmp_path):
    def key():
        return specs_of(plan_for(spoiled(), arms=ARMS[:1]))[0].key

    before = key()
    label = sorted((tmp_path / "set" / "labels" / "train").iterdir())[0]
    label.write_text(label.read_text() + "0 0.5 0.5 0.1 0.1\n")
    assert key() != before
