"""Comparisons of simulated runs: one recipe for every arm, raw results stored first, a rerun completes missing runs."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from support.fake_runs import plan_for, records, results

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.compare import caveats, driver, run_folder
from yolo_attn.compare.results import write
from yolo_attn.evaluate.ap import average_precision, mean_average_precision
from yolo_attn.evaluate.differences import ClassDifference
from yolo_attn.host.data import check_data


def test_differences_intervals_and_power_are_reported(scenes, faked, tmp_path):
    driver.compare(plan_for(scenes, seeds=(0, 1, 2), controls=("identity",)), tmp_path)
    found = results(tmp_path)
    base, ela, identity = found["arms"]
    own = [float(mean_average_precision(average_precision(records("yolo11n-ela", s)[0]))[0]) for s in (0, 1, 2)]
    assert ela["metrics"]["mAP50-95"]["by_seed"] == pytest.approx(own, abs=1e-14)
    difference = ela["difference"]["mAP50-95"]
    assert difference["estimate"] == pytest.approx(np.mean(np.subtract(own, base["metrics"]["mAP50-95"]["by_seed"])))
    assert difference["low"] < difference["estimate"] < difference["high"]
    assert difference["p_holm"] == difference["p"]  # the identity control is no part of the adjustment
    assert identity["difference"]["mAP50-95"]["verdict"] is None
    assert identity["difference"]["mAP50-95"]["low"] == identity["difference"]["mAP50-95"]["high"] == 0
    assert found["metrics"] == ["mAP50-95", "AP50", "AP75", "APs", "APm", "APl"]
    assert found["data"]["classes_without_targets"] == list(check_data(scenes)["names"].values())[2:]
    assert "3 seeds" in found["power"]
    assert (ela["curve"]["quantity"], ela["curve"]["epochs"]) == ("mAP50-95", [1, 2, 3])
    np.testing.assert_allclose(ela["curve"]["by_seed"], [[0.1, 0.2, 0.3], [0.11, 0.21, 0.31], [0.12, 0.22, 0.32]])


def test_results_without_their_runs_are_not_replaced_by_an_empty_report(scenes, faked, tmp_path, capsys):
    driver.compare(plan_for(scenes), tmp_path)
    shutil.rmtree(tmp_path / "runs")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "not the runs themselves" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_coco_s_own_ap_where_asked(scenes, faked, tmp_path, capsys):
    driver.compare(plan_for(scenes), tmp_path)
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
    assert len(driver.compare(plan_for(scenes), tmp_path)) == 4
    assert "no run is complete" in (tmp_path / "report.md").read_text()


def test_results_that_do_not_belong_together_are_refused(scenes, faked, tmp_path, capsys):
    driver.compare(plan_for(scenes), tmp_path)
    folder = next((tmp_path / "runs").glob("yolo11n-ela-seed1-*"))
    spec, result = (json.loads((folder / name).read_text()) for name in (run_folder.SPEC, run_folder.RESULT))

    def told(new_spec=None, new_result=None):
        changed = run_folder.RunSpec(**{**spec, **(new_spec or {})})
        target = folder.parent / changed.folder_name
        folder.rename(target)
        run_folder.write_json(target / run_folder.SPEC, {**spec, **(new_spec or {})})
        run_folder.write_json(target / run_folder.RESULT, {**result, "key": changed.key, **(new_result or {})})
        plan = json.loads((tmp_path / "plan.json").read_text())
        run_folder.write_json(tmp_path / "plan.json", {**plan, "runs": [*plan["runs"][:-1], target.name]})
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
    driver.compare(plan_for(scenes), tmp_path)
    file = next((tmp_path / "runs").glob("yolo11n-seed1-*")) / run_folder.RESULT
    file.write_text(file.read_text().replace("2.0,", "3.0,"))
    write(tmp_path, replicates=20)
    said = "\n".join(results(tmp_path)["caveats"])
    assert "Two seeds gave the same first batches" in said
    assert "2 seeds say little about the spread" in said
    assert "1 of 3 classes have no object in the validation images and do not count" in said
    assert "epoch 2 of yolo11n took from 2.0 to 3.0 s" in said


def test_rare_classes_are_said_with_what_their_intervals_know():
    def said(*classes):
        per_class = [ClassDifference(f"class {i}", n, images, 0.3, 0.0, None, None) for i, (n, images) in classes]
        data = SimpleNamespace(classes_without_targets=())
        results = SimpleNamespace(data=data, arms=[SimpleNamespace(per_class=()), SimpleNamespace(per_class=per_class)])
        return list(caveats._data(results, {}))

    assert said((0, (50, 20)), (1, (10, 1))) == []
    (one,) = said((0, (50, 20)), (1, (9, 4)))
    assert one.startswith("1 of the 2 classes that count have fewer than 10 objects in the validation images")
    assert one.endswith("The intervals of mAP allow for how much such classes vary from image to image.")
    (two,) = said((0, (50, 20)), (1, (9, 1)), (2, (1, 1)))
    assert two.endswith("image to image; the 2 that are in a single image have no interval of their own.")


def test_two_comparisons_in_one_folder_are_refused(scenes, faked, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / "compare.lock"), pytest.raises(ya.YoloAttnError, match="another comparison is at work"):
        driver.compare(plan_for(scenes), tmp_path)


def test_a_complete_run_keeps_its_curves(tmp_path):
    (tmp_path / run_folder.TRAINING).mkdir()
    (tmp_path / run_folder.TRAINING / "results.csv").write_text("epoch,time\n")
    run_folder.finish(tmp_path, {"key": "k"})
    assert (tmp_path / "results.csv").read_text() == "epoch,time\n"
    assert not (tmp_path / run_folder.TRAINING).exists()
