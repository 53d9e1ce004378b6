"""A comparison: the same recipe for every arm, raw results first, a rerun does only what is missing."""

import json
from pathlib import Path

import pytest

import yolo_attn as ya
from yolo_attn import cli, compare, report, runs
from yolo_attn.compare import Plan, specs_of

ARMS = ("yolo11n.yaml", "yolo11n-ela.yaml")
TINY = {"epochs": 1, "imgsz": 32, "batch": 8, "amp": False}


@pytest.fixture(scope="module")
def finished(scenes, base_weights, tmp_path_factory):
    """A comparison that was really run, two arms and one seed, each run in a process of its own."""
    out = tmp_path_factory.mktemp("a comparison")
    plan = Plan(arms=ARMS, data=str(scenes), weights=str(base_weights), seeds=(3,), overrides=TINY)
    assert compare.compare(plan, out) == []
    return plan, out


def fake_run(folder: Path) -> str | None:
    """What a run leaves, without training: mAP50 tells arm and seed apart; the arm called 'fails' fails."""
    spec = runs.read_spec(folder)
    if "ca" in spec.arm:
        return "exit 1; out of luck"
    score = 0.5 + spec.seed / 10 + 0.01 * ("ela" in spec.arm)
    result = {
        "key": spec.key, "arm": spec.arm, "seed": spec.seed, "metrics": {"mAP50": score, "mAP50-95": score / 2},
        "epochs": [], "imgsz": 32, "train_seconds": 1.0, "parameters": 2_600_000, "gflops": 6.5,
        "checkpoint": "last.pt",
        "environment": {"device": "cpu", "cpu": "some CPU", "cores": 2, "threads": 2, "python": "3", "torch": "2",
                        "ultralytics": "8", "yolo_attn": "0"},
    }  # fmt: skip
    runs.write_json(folder / runs.RESULT, result)
    return None


@pytest.fixture
def faked(monkeypatch):
    """Count the runs, do none of them."""
    done = []

    def run(folder):
        done.append(folder.name)
        return fake_run(folder)

    monkeypatch.setattr(compare, "_run", run)
    monkeypatch.setattr(compare, "_measure_latency", lambda *_: None)
    return done


def plan_for(scenes, **changes):
    return Plan(**{"arms": ARMS, "data": str(scenes), "weights": None, "seeds": (0, 1), "overrides": TINY, **changes})


# --- a real one -------------------------------------------------------------------------------------------------------
def test_what_a_comparison_stores(finished):
    _, out = finished
    table = (out / "report.md").read_text()
    summary = json.loads((out / "report.json").read_text())
    assert [a["model"] for a in summary["arms"]] == ["yolo11n", "yolo11n-ela"]
    base, ela = summary["arms"]
    assert ela["parameters"] - base["parameters"] == 9 * (64 + 128 + 256)
    assert ela["gflops"] > base["gflops"] > 0
    for arm in (base, ela):
        assert 0 <= arm["mAP50-95"]["mean"] <= arm["mAP50"]["mean"] <= 1
        assert arm["latency_ms"]["p5"] <= arm["latency_ms"]["median"] <= arm["latency_ms"]["p95"]
        assert f"| {arm['model']} | {arm['parameters'] / 1e6:.3f} |" in table
    for word in ("seeds 3", "base n.pt", "optimizer=SGD", "not shown to be more than noise", "torch"):
        assert word in table


def test_the_weights_reached_their_rows_and_the_log_says_so(finished):
    _, out = finished
    log = next((out / "runs").glob("yolo11n-ela-*/log.txt")).read_text()
    assert "3 new attention rows" in log


def test_a_rerun_does_nothing_and_says_the_same(finished, monkeypatch):
    plan, out = finished
    before = (out / "report.md").read_text()
    monkeypatch.setattr(compare, "_run", lambda folder: pytest.fail(f"{folder.name} was run again"))
    said = []
    assert compare.compare(plan, out, say=said.append) == []
    assert said == ["2 runs, 2 of them complete"]
    assert (out / "report.md").read_text() == before


def test_report_from_the_stored_results_alone(finished, capsys):
    _, out = finished
    before = (out / "report.md").read_text()
    (out / "report.md").unlink()
    assert cli.main(["report", str(out)]) == 0
    assert capsys.readouterr().out == before
    assert cli.main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "report.json").read_text())


# --- faked runs -------------------------------------------------------------------------------------------------------
def test_every_arm_gets_every_seed_and_the_same_recipe(scenes):
    specs = specs_of(plan_for(scenes))
    assert [(s.arm, s.seed) for s in specs] == [("yolo11n", 0), ("yolo11n-ela", 0), ("yolo11n", 1), ("yolo11n-ela", 1)]
    assert len({json.dumps(s.overrides, sort_keys=True) for s in specs}) == 1
    assert specs[0].overrides["optimizer"] == "SGD"
    assert len({s.key for s in specs}) == 4


def test_the_key_changes_with_what_decides_and_not_with_where_it_lies(scenes, base_weights, tmp_path):
    def key(**changes):
        return specs_of(plan_for(scenes, **changes))[1].key

    again = tmp_path / "elsewhere.pt"
    again.write_bytes(base_weights.read_bytes())
    assert key(weights=str(base_weights)) == key(weights=str(again)) != key()
    assert key(overrides={**TINY, "epochs": 2}) != key()
    mine = tmp_path / "yolo11-ela.yaml"
    ya.insert("yolo11n.yaml", "ELA", init="identity").save(mine)
    same = key(arms=("yolo11n.yaml", str(tmp_path / "yolo11n-ela.yaml")))
    mine.write_text(mine.read_text().replace("init: identity", "init: paper"))
    assert key(arms=("yolo11n.yaml", str(tmp_path / "yolo11n-ela.yaml"))) != same


def test_half_written_results_are_done_again(scenes, faked, tmp_path):
    plan = plan_for(scenes)
    compare.compare(plan, tmp_path)
    folders = sorted((tmp_path / "runs").iterdir())
    (folders[0] / runs.RESULT).write_text('{"key": "')
    (folders[1] / runs.RESULT).unlink()
    other = json.loads((folders[2] / runs.RESULT).read_text())
    (folders[2] / runs.RESULT).write_text(json.dumps({**other, "key": "another"}))
    (folders[0] / "left-over.txt").write_text("")
    faked.clear()
    compare.compare(plan, tmp_path)
    assert sorted(faked) == [f.name for f in folders[:3]]
    assert not (folders[0] / "left-over.txt").exists()


def test_means_over_seeds(scenes, faked, tmp_path):
    compare.compare(plan_for(scenes, seeds=(0, 1, 2)), tmp_path)
    base, ela = report.summarize(tmp_path)["arms"]
    assert base["mAP50"] == {"by_seed": [0.5, 0.6, 0.7], "mean": pytest.approx(0.6)}
    assert ela["mAP50-95"]["mean"] == pytest.approx(0.305)
    assert "| 0.5000 0.6000 0.7000 | 0.6000 |" in (tmp_path / "report.md").read_text()


def test_a_failed_run_is_reported_and_stops_nothing(scenes, faked, tmp_path, capsys):
    words = ["compare", "yolo11n.yaml", "yolo11n-ca.yaml", "yolo11n-ela.yaml", "--data", str(scenes), "--seeds", "0"]
    assert cli.main([*words, "-o", str(tmp_path), "epochs=1", "imgsz=32"]) == 1
    said = capsys.readouterr()
    assert "run failed: yolo11n-ca, seed 0: exit 1; out of luck" in said.err
    assert "| yolo11n-ca | no complete run |" in said.out
    assert "| yolo11n-ela | 2.600 |" in said.out
    assert "2 of 3 runs complete" in said.out


def test_a_run_that_dies_leaves_its_reason(scenes, tmp_path):
    spec = specs_of(plan_for(scenes, arms=ARMS[:1], seeds=(0,)))[0]
    folder = runs.start(spec, tmp_path)
    (folder / runs.SPEC).write_text((folder / runs.SPEC).read_text().replace('"Conv"', '"Convv"'))
    reason = compare._run(folder)
    assert reason.startswith("exit 2; yolo-attn: row 0")
    assert "Did you mean 'Conv'" in reason
    assert runs.read_result(spec, tmp_path) is None


def test_a_comparison_file(scenes, faked, tmp_path, capsys):
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"arms: [yolo11n.yaml, yolo11n-se.yaml]\nseeds: [5]\ndata: {scenes}\noverrides: {{epochs: 7, lr0: 0.5}}\n"
    )
    assert cli.main(["compare", str(file), "-o", str(tmp_path / "out"), "epochs=9", "imgsz=32"]) == 0
    assert "epochs=9, imgsz=32, lr0=0.5, optimizer=SGD" in capsys.readouterr().out
    assert [name.split("-seed")[0] for name in faked] == ["yolo11n", "yolo11n-se"]
    file.write_text("arms: [yolo11n.yaml]\nsedes: [5]\n")
    with pytest.raises(ya.YoloAttnError, match="Did you mean 'seeds'"):
        compare.read_plan(file)
    for wrong in ("seeds: 3", "seeds: [one]", "overrides: [epochs]"):
        file.write_text(f"arms: [yolo11n.yaml]\n{wrong}\n")
        with pytest.raises(ya.YoloAttnError, match=wrong.split(":")[0]):
            compare.read_plan(file)


def test_settings_may_follow_the_models_at_once(scenes, faked, tmp_path, capsys):
    words = ["compare", "yolo11n.yaml", "yolo11n-se.yaml", "epochs=9", "imgsz=32", "--data", str(scenes)]
    assert cli.main([*words, "--seeds", "0", "-o", str(tmp_path / "out"), "batch=4"]) == 0
    assert "batch=4, epochs=9, imgsz=32" in capsys.readouterr().out
    assert len(faked) == 2


def test_shipped_comparison_files_are_right(scenes):
    from yolo_attn.model_files import cfg_dir

    for file in (cfg_dir() / "compare").glob("*.yaml"):
        assert len(specs_of(Plan(**{**compare.read_plan(file), "data": str(scenes)}))) >= 6, file


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overrides": {"optimizer": "auto"}}, "optimizer=auto"),
        ({"overrides": {"project": "x"}}, "sets 'project' itself"),
        ({"seeds": (1, 1)}, "each seed once"),
        ({"seeds": ()}, "each seed once"),
        ({"arms": ("yolo11n.yaml", "elsewhere/yolo11n.yaml")}, "two arms are called yolo11n"),
        ({"weights": "none.pt"}, "no weights at 'none.pt'"),
        ({"data": "coco8"}, "not a data YAML"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_written(changes, says, scenes, tmp_path):
    with pytest.raises(ya.YoloAttnError, match=says):
        compare.compare(plan_for(scenes, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()
