"""Damaged, exchanged and missing files of a comparison: noticed, said in the report, and made again."""

import functools
import json
import shutil

import numpy as np
import pytest
import torch
from support.fake_runs import FakeExecutor, complete, plan_for, results

from yolo_attn import cli
from yolo_attn.compare import driver, run_folder, stored
from yolo_attn.compare import results as compare_results
from yolo_attn.compare.folder import PLAN, read
from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.matches import Matches

RECORDS = (run_folder.MATCHES, run_folder.COCO_MATCHES)


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """Folder of a complete comparison of two models and two seeds, with stand-ins of checkpoints."""
    out = tmp_path_factory.mktemp("comparison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "executor_of", lambda *_: FakeExecutor())
        patch.setattr(driver, "_measure_speed", lambda *_: None)
        patch.setattr("yolo_attn.report.plots.draw", lambda _: {})
        driver.compare(plan_for(scenes), out)
    for folder in (out / "runs").iterdir():
        torch.save({"weights of": folder.name}, folder / run_folder.CHECKPOINT)
        complete(folder)
    return out


@pytest.fixture
def made(whole, faked, tmp_path, monkeypatch):
    """A copy of that comparison, with few bootstrap samples."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(compare_results, "write", functools.partial(compare_results.write, replicates=20))
    return tmp_path


def folder_of(made, run):
    return next((made / "runs").glob(f"{run}-*"))


def without_checksums(folder):
    """Make a result one of the time before there were checksums."""
    content = json.loads((folder / run_folder.RESULT).read_text())
    del content[run_folder.FILES]
    (folder / run_folder.RESULT).write_text(json.dumps(content))


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def change(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def exchange(file):
    other = next(f for f in file.parent.parent.iterdir() if f != file.parent)
    shutil.copy(other / file.name, file)


def empty(file):
    file.write_bytes(b"")


RUNS = ["yolo11n-0", "yolo11n-ela-0", "yolo11n-1", "yolo11n-ela-1"]
DAMAGES = {"yolo11n-1": cut, "yolo11n-ela-0": exchange, "yolo11n-ela-1": empty}


@pytest.mark.parametrize("name", [*RECORDS, run_folder.CHECKPOINT, run_folder.RESULT, run_folder.SPEC])
def test_a_damaged_file_is_noticed_and_made_again(made, scenes, faked, name):
    for run, damage in DAMAGES.items():
        damage(folder_of(made, run.replace("-0", "-seed0").replace("-1", "-seed1")) / name)
    if name not in (run_folder.RESULT, run_folder.SPEC):
        change(folder_of(made, "yolo11n-seed0") / name)
    found = read(made, run_folder.COCO_MATCHES).damaged
    if name == run_folder.CHECKPOINT:  # a report does not need it
        assert not found
    else:
        assert len(found) == (3 if name in (run_folder.RESULT, run_folder.SPEC) else 4)
        assert all(name in damage for damage in found.values())
    driver.compare(plan_for(scenes), made)
    runs = RUNS[1:] if name == run_folder.RESULT else [] if name == run_folder.SPEC else RUNS
    assert faked.done == runs
    after = results(made)["runs"]
    assert (after["planned"], after["complete"], after["failed"]) == (4, 4, [])


@pytest.mark.parametrize("name", [*RECORDS, run_folder.CHECKPOINT])
def test_results_without_checksums_are_still_taken(made, scenes, faked, name):
    for folder in (made / "runs").iterdir():
        without_checksums(folder)
    driver.compare(plan_for(scenes), made)
    assert faked.done == []
    for run, damage in (("yolo11n-seed0", cut), ("yolo11n-ela-seed1", empty)):
        damage(folder_of(made, run) / name)
    driver.compare(plan_for(scenes), made)
    assert faked.done == ["yolo11n-0", "yolo11n-ela-1"]


def test_boxes_of_older_comparisons_still_give_coco_s_ap(made):
    from support.fake_runs import records

    write = compare_results.write
    arms = write(made, ap="coco").arms
    for folder in (made / "runs").iterdir():
        without_checksums(folder)
        (folder / run_folder.COCO_MATCHES).unlink()
        arm, seed = run_folder.arm_and_seed(folder.name)
        records(arm, seed)[1].save(folder / run_folder.OLD_BOXES)
    assert write(made, ap="coco").arms == arms
    cut(folder_of(made, "yolo11n-seed1") / run_folder.OLD_BOXES)
    assert list(read(made, run_folder.COCO_MATCHES).damaged)


def test_matches_of_another_run_without_checksums_disagree_with_the_stored_map(made, scenes, faked):
    folder = folder_of(made, "yolo11n-ela-seed1")
    without_checksums(folder)
    shutil.copy(folder_of(made, "yolo11n-seed0") / run_folder.MATCHES, folder)
    assert "it gives an mAP50-95 of" in next(iter(read(made).damaged.values()))
    driver.compare(plan_for(scenes), made)
    assert faked.done == ["yolo11n-ela-1"]


def test_missing_files(made, scenes, faked):
    (folder_of(made, "yolo11n-seed0") / run_folder.CHECKPOINT).unlink()  # it may be given away, the records stay
    (folder_of(made, "yolo11n-seed1") / run_folder.MATCHES).unlink()
    (folder_of(made, "yolo11n-ela-seed0") / run_folder.COCO_MATCHES).unlink()
    (folder_of(made, "yolo11n-ela-seed1") / run_folder.RESULT).unlink()
    assert sorted(read(made).damaged.values()) == ["matches.npz is missing"]
    assert sorted(read(made, run_folder.COCO_MATCHES).damaged.values()) == [
        "coco_matches.npz is missing",
        "matches.npz is missing",
    ]
    driver.compare(plan_for(scenes), made)
    assert faked.done == RUNS[1:]


@pytest.mark.parametrize(
    "changes",
    [{"key": "another"}, {"arm": "yolo11s"}, {"epochs": 3}, {"environment": None}, {"metrics": [0.5]}, {"seed": "0"}],
)
def test_a_result_with_wrong_facts_is_damaged(made, changes):
    folder = folder_of(made, "yolo11n-ela-seed1")
    file = folder / run_folder.RESULT
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    assert list(read(made).damaged) == [folder.name]


def test_a_whole_checkpoint_of_damaged_records_is_not_trained_again(made):
    folder = folder_of(made, "yolo11n-seed0")
    spec = run_folder.read_spec(folder)
    assert stored.stored_run(spec, folder.parent).result == stored.trained_model(spec, folder.parent) is not None
    cut(folder / run_folder.MATCHES)
    assert stored.stored_run(spec, folder.parent).result is None
    assert stored.trained_model(spec, folder.parent)["epochs"]
    change(folder / run_folder.CHECKPOINT)
    assert stored.trained_model(spec, folder.parent) is None
    without_checksums(folder_of(made, "yolo11n-seed1"))  # which checkpoint it was is not known
    spec = run_folder.read_spec(folder_of(made, "yolo11n-seed1"))
    assert stored.trained_model(spec, folder.parent) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"arms": 1}', '{"runs": ["../x"]}', "null"])
def test_a_damaged_plan_is_named_and_written_again(made, scenes, faked, capsys, content):
    whole = (made / PLAN).read_text()
    (made / PLAN).write_text(content)
    with pytest.raises(YoloAttnError, match=r"plan.json' is damaged.*the comparison's own command writes it again"):
        read(made)
    (made / PLAN).write_text(json.dumps({**json.loads(whole), "classes": ["square"]}))
    with pytest.raises(YoloAttnError, match=r"plan.json' is damaged"):
        read(made)
    driver.compare(plan_for(scenes), made)
    assert (made / PLAN).read_text() == whole
    assert faked.done == []


def test_a_report_names_the_damaged_run_and_shows_the_others(made, capsys):
    cut(folder_of(made, "yolo11n-ela-seed1") / run_folder.MATCHES)
    capsys.readouterr()
    assert cli.main(["report", str(made), "--replicates", "20"]) == 0
    said = capsys.readouterr()
    assert "yolo11n-ela, seed 1: matches.npz is damaged" in said.out
    assert "the comparison's own command makes this run again" in said.out
    assert "cannot be used: matches.npz is damaged" in said.err
    found = results(made)
    assert found["runs"]["complete"] == 3
    assert found["arms"][1]["difference"]["mAP50-95"]["estimate"]


def test_runs_of_which_the_baseline_s_are_missing_are_shown(scenes, faked, tmp_path):
    faked.failing = ["yolo11n"]
    driver.compare(plan_for(scenes), tmp_path)
    found = results(tmp_path)
    assert len(found["arms"][1]["metrics"]["mAP50-95"]["by_seed"]) == 2
    assert "difference" not in found["arms"][1]
    assert found["data"]["images"] == 24
    assert "The baseline yolo11n has no complete run: the other models are shown, but not compared." in found["caveats"]
    assert [f["arm"] for f in found["runs"]["failed"]] == ["yolo11n", "yolo11n"]
    text = (tmp_path / "report.md").read_text()
    assert "nothing is known" not in text
    assert "No results yet" not in text
    assert f"{found['arms'][1]['metrics']['mAP50-95']['mean']:.4f}" in text


@pytest.mark.slow
def test_speed_that_failed_is_said_in_the_report(scenes, tmp_path, monkeypatch):
    """The checkpoints of the simulated runs are missing."""
    monkeypatch.setattr(driver, "executor_of", lambda *_: FakeExecutor())
    monkeypatch.setattr("yolo_attn.report.plots.draw", lambda _: {})
    monkeypatch.setattr(compare_results, "write", functools.partial(compare_results.write, replicates=20))
    driver.compare(plan_for(scenes, seeds=(0,)), tmp_path, speed_seconds=1)
    (said,) = (caveat for caveat in results(tmp_path)["caveats"] if "Speed" in caveat)
    assert said.startswith("Speed was not measured: exit 2; yolo-attn: no checkpoint of 'yolo11n'")
    raw = tmp_path / "speed" / "speed.jsonl"
    (tmp_path / "speed" / run_folder.FAILURE).unlink()
    raw.write_text("{}")
    compare_results.write(tmp_path)
    assert "speed/speed.jsonl are damaged or of other runs" in results(tmp_path)["caveats"][-1]
    shutil.rmtree(tmp_path / "speed")  # not asked for
    compare_results.write(tmp_path)
    assert not any("Speed" in caveat for caveat in results(tmp_path)["caveats"])


def test_models_that_find_nothing_are_named(made):
    def nothing_of(*runs, detections):
        for run in runs:
            folder = folder_of(made, run)
            matches = Matches.load(folder / run_folder.MATCHES)
            targets = {name: getattr(matches, name) for name in ("images", "target_image", "target_cls", "names")}
            empty = Matches(image=[], cls=[], confidence=[], correct=np.zeros((0, 10), bool), **targets)
            empty.save(folder / run_folder.MATCHES)
            result = json.loads((folder / run_folder.RESULT).read_text())
            run_folder.finish(folder, {**result, "detections": detections})
        compare_results.write(made)
        return results(made)

    found = nothing_of("yolo11n-ela-seed0", "yolo11n-ela-seed1", detections=3)
    assert any("mAP50-95 of yolo11n-ela is 0 in all runs: no detection is right" in said for said in found["caveats"])
    assert found["power"]
    found = nothing_of("yolo11n-seed0", "yolo11n-seed1", "yolo11n-ela-seed0", "yolo11n-ela-seed1", detections=0)
    assert "mAP50-95 of every model is 0 in all runs: there is not one detection" in found["caveats"][0]
    assert "power" not in found
