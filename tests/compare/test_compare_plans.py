"""Plans of comparisons, and their errors before any training: arms, seeds, settings, data."""

import json

import pytest
import yaml
from support.fake_runs import ARMS, TINY, plan_for, records, results

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.compare import driver
from yolo_attn.compare.plan import Plan, arms_of, read_plan, specs_of
from yolo_attn.compare.results import write
from yolo_attn.evaluate.ap import average_precision, mean_average_precision


def test_every_arm_gets_every_seed_and_the_same_recipe(scenes):
    specs = specs_of(plan_for(scenes))
    assert [(s.arm, s.seed) for s in specs] == [("yolo11n", 0), ("yolo11n-ela", 0), ("yolo11n", 1), ("yolo11n-ela", 1)]
    assert len({json.dumps(s.protocol, sort_keys=True) for s in specs}) == 1
    assert specs[0].overrides["optimizer"] == "SGD"
    assert len({s.key for s in specs}) == 4


@pytest.mark.slow
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
    from yolo_attn.host.model_files import write_model

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
        ("arms: [yolo11n.yaml]\noverrides: {device: cpu}", "device is a key next to overrides, not in them"),
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
    from yolo_attn.host.model_files import cfg_dir

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
        ({"seeds": (0, 10**20)}, "seed 100000000000000000000: give whole numbers from 0 to 4294967295"),
        ({"seeds": (-1,)}, "seed -1: give whole numbers from 0"),
        ({"arms": ("yolo11n.yaml", {"model": "yolo11n-ela.yaml", "name": "yolo11n"})}, "two arms are called yolo11n"),
        ({"arms": ("yolo11n.yaml", "yolo11n-elaa.yaml")}, "yolo11n-elaa.yaml"),
        ({"arms": ("yolo11n.yaml", "plain:yolo11n.yaml")}, "without attention rows has no plain control"),
        ({"arms": ("yolo11n.yaml", {"model": "yolo11n.yaml", "inzert": "ELA"})}, "Did you mean 'insert'"),
        ({"arms": ("yolo11n.yaml", {"name": "x"})}, "names no model"),
        ({"arms": ("yolo11n-cls.yaml",)}, "a model for 'classify'"),
        ({"controls": ("identiti",)}, "Did you mean 'identity'"),
        ({"weights": "none.pt"}, "no weights at 'none.pt'"),
        ({"data": "coco8"}, "not a data YAML"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "7"}, "there is no GPU 7"),
        ({"overrides": {"device": "cpu"}}, "sets 'device' itself"),
        ({"overrides": {"split": "test"}}, "sets 'split' itself"),
        ({"arms": ("yolo11n.yaml", "yolo11n-seg.yaml")}, "models for different tasks"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_written(changes, says, scenes, tmp_path):
    with pytest.raises(ya.YoloAttnError, match=says):
        driver.compare(plan_for(scenes, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("executor", "says"), [("rai", "Did you mean 'ray'"), ("", "unknown executor")])
def test_a_wrong_executor_is_refused(executor, says, scenes, tmp_path):
    with pytest.raises(ya.YoloAttnError, match=says):
        driver.compare(plan_for(scenes), tmp_path / "out", executor=executor)


def test_the_order_of_the_seeds_does_not_mix_them_up(scenes, faked, tmp_path):
    driver.compare(plan_for(scenes, seeds=(2, 0, 1)), tmp_path)
    for arm in results(tmp_path)["arms"]:
        own = [float(mean_average_precision(average_precision(records(arm["name"], s)[0]))[0]) for s in arm["seeds"]]
        assert arm["metrics"]["mAP50-95"]["by_seed"] == pytest.approx(own, abs=1e-14)


def test_one_seed_gives_no_verdict(scenes, faked, tmp_path):
    driver.compare(plan_for(scenes, seeds=(3,)), tmp_path)
    assert results(tmp_path)["arms"][1]["difference"]["mAP50-95"]["verdict"] is None
    assert "not tested, with one seed" in (tmp_path / "report.md").read_text()


def test_no_model_is_named(scenes, capsys):
    assert cli.main(["compare", "epochs=3", "--data", str(scenes)]) == 2
    assert "no model is named" in capsys.readouterr().err


def test_old_times_are_not_shown_beside_new_runs(scenes, faked, tmp_path):
    plan = plan_for(scenes)
    driver.compare(plan, tmp_path)
    (tmp_path / "speed").mkdir()
    lines = [{"kind": "header", "spec": {"key": "another", "imgsz": 32, "device": "cpu", "baseline": "x"}}]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, {"kind": "complete", "lines": 1}])
    (tmp_path / "speed" / "speed.jsonl").write_text(text)
    assert write(tmp_path, replicates=20).speed is None


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
        driver.compare(plan_for(spoiled(val=None)), tmp_path / "out")


def test_an_image_that_cannot_be_read_is_named(spoiled, tmp_path):
    image = sorted((tmp_path / "set" / "images" / "train").iterdir())[0]
    image.unlink()
    image.write_bytes(b"not an image")
    with pytest.raises(ya.YoloAttnError, match=f"1 train images cannot be read.*{image.name}"):
        driver.compare(plan_for(spoiled()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_set_without_objects_is_refused(spoiled, tmp_path):
    for label in (tmp_path / "set" / "labels" / "val").iterdir():
        label.write_text("")
    with pytest.raises(ya.YoloAttnError, match="not one object in its val labels"):
        driver.compare(plan_for(spoiled()), tmp_path / "out")


def test_a_part_of_the_images_and_a_set_that_could_be_downloaded(spoiled, faked, tmp_path):
    data = spoiled(download="https://example.com/a.zip")
    (tmp_path / "set" / "images" / "train" / ".hidden.jpg").write_bytes(b"not an image")
    plan = plan_for(data, overrides={**TINY, "fraction": 0.5})
    assert driver.compare(plan, tmp_path / "out") == []


def test_what_lies_in_the_set_decides_the_key(spoiled, tmp_path):
    def key():
        return specs_of(plan_for(spoiled(), arms=ARMS[:1]))[0].key

    before = key()
    label = sorted((tmp_path / "set" / "labels" / "train").iterdir())[0]
    label.write_text(label.read_text() + "0 0.5 0.5 0.1 0.1\n")
    assert key() != before


@pytest.mark.slow
def test_one_init_for_the_attention_of_every_arm(scenes, base_weights, caplog):
    arms = ["yolo11n.yaml", {"model": "yolo11n.yaml", "insert": "SE"}, "yolo11n-ela.yaml"]
    plain = specs_of(plan_for(scenes, arms=arms, weights=str(base_weights)))
    assert "yolo11n-se: the new blocks of row 17, 21, 25 change what the weights have learned" in caplog.text
    caplog.clear()
    chosen = specs_of(plan_for(scenes, arms=arms, weights=str(base_weights), init="identity", controls=["identity"]))
    assert "change what the weights have learned" not in caplog.text
    assert "yolo11n-se: init=identity: rows 17, 21, 25 (SE) start as y = x" in caplog.text
    rows = {s.arm: [row[3] for row in s.model["head"] if row[2] in ("SE", "ELA")] for s in chosen}
    assert rows["yolo11n-se"] == rows["yolo11n-ela"] == [[{"init": "identity"}]] * 3
    keys = [{s.arm: s.key for s in specs} for specs in (plain, chosen)]
    assert [keys[0][arm] == keys[1][arm] for arm in keys[0]] == [True, False, True]


@pytest.mark.parametrize(
    ("arms", "init", "said"),
    [
        (["yolo11n.yaml", "yolov8n.yaml"], "identity", "none of the models has any"),
        (["yolo11n.yaml", "yolo11n-ela.yaml"], "zero", "unknown init 'zero'"),
    ],
)
def test_an_init_that_cannot_be(scenes, arms, init, said):
    with pytest.raises(ya.YoloAttnError, match=said):
        arms_of(plan_for(scenes, arms=arms, init=init))
