"""A checkpoint whose class cannot be imported is refused in one line, and nothing is looked for on the network."""

import sys

import pytest
import torch
from torch import nn

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.errors import YoloAttnError


@pytest.fixture
def checkpoint(tmp_path, monkeypatch, tiny_models):
    """A checkpoint of a tiny model with a layer of a module that is no longer there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.utils.checks.check_requirements", lambda *_, **__: pytest.fail("installs"))
    monkeypatch.setattr("ultralytics.nn.tasks.check_requirements", lambda *_, **__: pytest.fail("installs"))
    model = ya.YOLO(tiny_models[0]).model
    module = type(sys)("gone_blocks")
    module.Layer = type("Layer", (nn.Identity,), {"__module__": "gone_blocks"})
    monkeypatch.setitem(sys.modules, "gone_blocks", module)
    model.model[0].act = module.Layer()
    torch.save({"model": model, "train_args": {}}, "gone.pt")
    return module


def opened(how):
    if how == "load":
        return ya.YOLO("yolo11n.yaml").load("gone.pt")
    return ya.YOLO("gone.pt")


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("how", ["open", "load"])
def test_a_module_that_is_missing(how, restricted, checkpoint, monkeypatch):
    monkeypatch.delitem(sys.modules, "gone_blocks")
    monkeypatch.setattr("ultralytics.nn.tasks.SAFE_LOAD", restricted, raising=False)
    with pytest.raises(ModuleNotFoundError) as error:
        opened(how)
    assert isinstance(error.value, YoloAttnError)
    assert str(error.value) == (
        "'gone.pt' needs the class gone_blocks.Layer, which cannot be imported here: give the file that defines it "
        "with --import FILE (in Python: import it before opening)"
    )


@pytest.mark.parametrize("how", ["open", "load"])
def test_a_class_that_is_missing_in_its_module(how, checkpoint):
    del checkpoint.Layer
    with pytest.raises(AttributeError) as error:
        opened(how)
    assert isinstance(error.value, YoloAttnError)
    assert "'gone.pt' needs the class gone_blocks.Layer" in str(error.value)


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("how", ["open", "load"])
def test_a_class_of_a_fork_of_ultralytics(how, restricted, checkpoint, monkeypatch):
    from ultralytics.nn.modules import block

    fork = type("ForkedSE", (nn.Identity,), {"__module__": block.__name__})
    with monkeypatch.context() as there:
        there.setattr(block, "ForkedSE", fork, raising=False)
        model = ya.YOLO("yolo11n.yaml").model
        model.model[0].act = fork()
        torch.save({"model": model, "train_args": {}}, "gone.pt")
    monkeypatch.setattr("ultralytics.nn.tasks.SAFE_LOAD", restricted, raising=False)
    with pytest.raises(TypeError if restricted else AttributeError) as error:
        opened(how)
    assert isinstance(error.value, YoloAttnError)
    assert str(error.value) == (
        "'gone.pt' needs the class ultralytics.nn.modules.block.ForkedSE, which the installed Ultralytics does not "
        "have: it is of another release, or of a fork. Open it there and save model.model.state_dict(), which "
        "ya.transfer_weights takes"
    )
    assert cli.main(["predict", "model=gone.pt", "source=x.jpg"]) == 2


def test_a_class_of_the_script_itself(checkpoint, monkeypatch):
    with monkeypatch.context() as script:
        own = type("Own", (nn.Identity,), {"__module__": "__main__"})
        script.setattr(sys.modules["__main__"], "Own", own, raising=False)
        torch.save({"model": own()}, "own.pt")
    with pytest.raises(YoloAttnError, match="needs the class Own of the script that saved it"):
        ya.YOLO("own.pt")


def test_every_verb_says_it(checkpoint, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "gone_blocks")
    for words in (
        "predict model=gone.pt source=.",
        "insert gone.pt --block SE",
        "pack gone.pt -o out",
        "export model=gone.pt",
    ):
        assert cli.main(words.split()) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn:")]
        assert "gone_blocks.Layer" in line
        assert "--import FILE" in line
