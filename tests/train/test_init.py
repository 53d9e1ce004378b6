"""``init=`` chooses how attention without weights starts, whatever the model YAML states."""

import subprocess
import sys

import pytest
import torch
import yaml
from support.tiny_training import RECIPE, tiny_yaml

import yolo_attn as ya
from yolo_attn.blocks.base import Init
from yolo_attn.host.model import load_model_dict
from yolo_attn.models.row_init import with_init
from yolo_attn.util.words import INITS

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def foreign(tmp_path):
    """Return a yolo11 as a tutorial writes it: rows without names, a host block with attention inside."""
    made = ya.insert("yolo11n.yaml", [("CBAM", "neck:P3,P4"), ("SE", "neck:P5")])
    text = yaml.safe_load(made.save(tmp_path / "yolo11n-mine.yaml").read_text())
    rows = [row for row in text["head"] if row[2] in ("CBAM", "SE")]
    for row, arguments in zip(rows, ([256, 7], [512, 7], [1024, {"init": "paper"}]), strict=True):
        row[3] = arguments
    text["backbone"][2][2] = "C3k2_EMA"
    file = tmp_path / "yolo11n-foreign.yaml"
    file.write_text(yaml.safe_dump(text))
    return file


def output(model):
    with torch.no_grad():
        return model.model.eval()(IMAGE)[0]


def stated(model):
    """Return the ``init`` of every block of a model."""
    return {m.init for m in model.model.modules() if hasattr(m, "init") and hasattr(m, "maps")}


def test_the_words_are_those_of_the_blocks():
    assert list(INITS) == list(Init.__args__)


def test_the_base_is_the_start_by_value(foreign, base_weights):
    base = output(ya.YOLO(base_weights))
    assert torch.equal(output(ya.YOLO(foreign).load(base_weights, init="identity")), base)
    assert not torch.equal(output(ya.YOLO(foreign).load(base_weights)), base)
    before = ya.YOLO(foreign).load(base_weights)
    before.set_init("identity")  # after the weights
    assert torch.equal(output(before), base)
    assert stated(before) == {"identity"}


def test_what_is_said(foreign, base_weights, caplog):
    ya.YOLO(foreign).load(base_weights)
    assert "the new blocks of row 2, 17, 21, 25 change what the weights have learned" in caplog.text
    assert "with init=identity, here or in the YAML, they start as y = x" in caplog.text
    caplog.clear()
    ya.YOLO(foreign).load(base_weights, init="identity")
    said = "init=identity: rows 2, 17, 21, 25 (EMA, CBAM, SE) start as y = x; this replaces the init that row 25 states"
    assert said in caplog.text
    assert "change what the weights have learned" not in caplog.text


def test_only_the_rows_of_blocks_change(foreign):
    model = load_model_dict(foreign)
    chosen = with_init(model, "identity")
    assert (chosen.changed, chosen.replaced) == ((2, 17, 21, 25), (25,))
    assert chosen.model["head"][6][3] == [{"kernel_size": 7, "init": "identity"}]
    assert chosen.model["backbone"][2][3][-1] == {"init": "identity"}
    assert with_init(chosen.model, "identity").changed == ()
    assert with_init(chosen.model, "paper").changed == (2, 17, 21, 25)


@pytest.mark.slow
def test_trained_attention_that_comes_with_weights_keeps_its_start(foreign, base_weights, scenes, tmp_path):
    """The gate of another start has another range: the same weights would compute something else."""
    ya.YOLO(foreign).load(base_weights).save(tmp_path / "trained.pt")
    model = ya.YOLO(foreign)
    before = output(model)
    with pytest.raises(ya.YoloAttnError, match=r"trained.pt' brings trained attention .* \(its row 2, 17, 21, 25\)"):
        model.load(tmp_path / "trained.pt", init="identity")
    assert torch.equal(output(model), before)
    assert stated(model) == {"paper"}
    with pytest.raises(ya.YoloAttnError, match="brings trained attention"):
        ya.YOLO(foreign).train(data=str(scenes), pretrained=str(tmp_path / "trained.pt"), init="identity")
    assert stated(ya.YOLO(foreign).load(tmp_path / "trained.pt", init="paper")) == {"paper"}


def test_base_weights_do_not_make_trained_attention_new(foreign, base_weights, tmp_path):
    ya.YOLO(foreign).load(base_weights).save(tmp_path / "trained.pt")
    model = ya.YOLO(tmp_path / "trained.pt").load(base_weights)
    with pytest.raises(ya.YoloAttnError, match="has trained attention that started otherwise"):
        model.set_init("identity")


def test_rows_inserted_later_are_not_noted(foreign, base_weights):
    model = ya.YOLO(foreign).load(base_weights, init="identity").model.yaml
    assert model["init"] == "identity"
    assert "init" not in ya.insert(model, "ELA", at="sppf").yaml


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("identiy", "unknown init 'identiy'.*identity"),
        (1, "unknown init"),
        ("identity", "init=identity is for attention"),
    ],
)
def test_what_cannot_be(given, said):
    with pytest.raises(ya.YoloAttnError, match=said):
        ya.YOLO("yolo11n.yaml").load("yolo11n.pt", init=given)


def command(*words):
    return subprocess.run([sys.executable, "-m", "yolo_attn", *map(str, words)], capture_output=True, text=True)


def train(model, scenes, folder, *words):
    settings = [f"{k}={v}" for k, v in {**RECIPE, "epochs": 2, "verbose": True}.items()]
    return command("train", f"model={model}", f"data={scenes}", f"project={folder}", "name=run", *settings, *words)


@pytest.mark.slow
def test_the_command(scenes, tmp_path):
    model = tiny_yaml(tmp_path)
    ran = train(model, scenes, tmp_path, "init=identity")
    assert ran.returncode == 0, ran.stderr
    assert "init=identity: rows 3, 4, 7 (ELA) start as y = x" in ran.stdout + ran.stderr
    last = tmp_path / "run" / "weights" / "last.pt"
    written = (tmp_path / "run" / "args.yaml").read_text()
    assert written.startswith("# init=identity was given too")
    assert "init" not in yaml.safe_load(written)
    trained = ya.YOLO(last)
    assert stated(trained) == {"identity"}
    trained.set_init("identity")  # as it is
    with pytest.raises(ya.YoloAttnError, match="has trained attention that started otherwise"):
        trained.set_init("paper")
    again = train(last, scenes, tmp_path, "init=paper")
    assert (again.returncode, len(again.stderr.strip().splitlines())) == (2, 1)
    longer = train(model, scenes, tmp_path, f"pretrained={last}", "name=longer", "init=identity", "epochs=1")
    assert longer.returncode == 0, longer.stderr
    assert "change what the weights have learned" not in longer.stdout + longer.stderr


@pytest.mark.slow
def test_weights_and_a_second_training(scenes, tmp_path):
    model = tiny_yaml(tmp_path)
    settings = {**RECIPE, "data": str(scenes), "project": str(tmp_path), "epochs": 1}
    first = ya.YOLO(model)
    first.train(**settings, init="identity")
    assert stated(first) == {"identity"}
    with pytest.raises(ya.YoloAttnError, match="trained attention"):
        first.train(**settings, init="paper")
    loaded = ya.YOLO(model).load(tmp_path / "train" / "weights" / "last.pt")  # attention comes with the weights
    with pytest.raises(ya.YoloAttnError, match="trained attention"):
        loaded.train(**settings, init="identity")


@pytest.mark.slow
def test_a_training_that_was_stopped_resumes(scenes, tmp_path):
    def stop(trainer):
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model = ya.YOLO(tiny_yaml(tmp_path))
    model.add_callback("on_fit_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        model.train(**RECIPE, data=str(scenes), project=str(tmp_path), name="run", init="identity")
    last = tmp_path / "run" / "weights" / "last.pt"
    with pytest.raises(ya.YoloAttnError, match="trained attention"):
        ya.YOLO(last).train(resume=True, init="paper")
    again = ya.YOLO(last)
    again.train(resume=True, init="identity")
    assert stated(again) == {"identity"}
    assert (tmp_path / "run" / "args.yaml").read_text().count("# init=identity") == 1


@pytest.mark.slow
def test_a_command_with_weights_says_once_what_changes(scenes, tmp_path):
    model = tiny_yaml(tmp_path)
    text = yaml.safe_load(model.read_text())
    text["backbone"][3:5] = [["-1", 1, "Conv", [8, 1]], [-1, 1, "C2f", [8, True]]]
    text["backbone"][3][0], text["head"][0] = -1, [-1, 1, "Conv", [8, 1]]
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(text))
    ya.YOLO(tmp_path / "base.yaml").save(tmp_path / "base.pt")
    ran = train(model, scenes, tmp_path, f"pretrained={tmp_path / 'base.pt'}", "epochs=1")
    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout + ran.stderr).count("change what the weights have learned") == 1


@pytest.mark.parametrize("mode", ["val", "predict", "export"])
def test_other_commands_refuse_it(mode):
    ran = command(mode, "model=yolo11n-se.yaml", "init=identity")
    assert (ran.returncode, len(ran.stderr.strip().splitlines())) == (2, 1)
    assert "init=identity is for train and tune" in ran.stderr


def test_a_wrong_value_in_a_command():
    ran = command("train", "model=yolo11n-se.yaml", "data=nothing.yaml", "init=zero")
    assert (ran.returncode, ran.stderr.strip()) == (2, "yolo-attn: unknown init 'zero'. Allowed: paper, identity")
