"""Controls: identity rows, and plain convolutions with as many parameters as the attention they replace."""

import pytest
import torch

import yolo_attn as ya
from yolo_attn.controls import IdentityControl, PlainControl
from yolo_attn.host.model import load_model_dict
from yolo_attn.models.controls import KINDS, control_of


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("channels", [64, 80, 256])
def test_plain_controls_have_the_block_s_number_of_parameters(channels):
    for name in ya.ATTENTION_BLOCKS:
        wanted = parameters(ya.create_attention(name, channels))
        control = parameters(PlainControl(channels, like=name))
        assert control == 2 * channels or abs(control - wanted) <= channels / 2, (name, wanted, control)
        assert wanted < 2.5 * channels or control != 2 * channels, name


def test_the_hyper_parameters_count():
    assert parameters(PlainControl(256, "SE", {"reduction": 4})) == parameters(ya.create_attention("SE", 256, 4))
    with pytest.raises(ya.YoloAttnError, match="Did you mean 'reduction'"):
        PlainControl(256, "SE", {"reduktion": 4})


@pytest.mark.parametrize("cls", [IdentityControl, PlainControl])
def test_a_fresh_control_returns_its_input(cls):
    x = torch.rand(2, 64, 5, 7)
    assert torch.equal(cls(64)(x), x)


def test_a_plain_control_can_learn():
    control = PlainControl(64)
    (control(torch.rand(2, 64, 5, 7)) ** 2).sum().backward()
    assert control.expand.weight.grad.abs().sum() > 0


def test_paper_init_is_torch_s():
    assert PlainControl(64, init="paper").expand.weight.abs().sum() > 0


@pytest.mark.parametrize("model", ["yolo11n-ela.yaml", "yolov8n-ca.yaml", "yolo11n-se-inside.yaml", "yolo26n-eca.yaml"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_control_s_model_builds_and_keeps_every_other_row(model, kind):
    from ultralytics.nn.tasks import DetectionModel

    wanted = load_model_dict(model)
    made = control_of(wanted, kind)
    old, new = ([*d["backbone"], *d["head"]] for d in (wanted, made))
    assert len(old) == len(new)
    changed = [row for row, other in zip(old, new, strict=True) if row != other]
    assert all("ELA" in r[2] or "CA" in r[2] or "SE" in r[2] or "ECA" in r[2] for r in changed)
    assert [r[:2] for r in old] == [r[:2] for r in new]
    built = DetectionModel(made, verbose=False)
    kinds = {type(m).__name__ for m in built.modules()}
    assert {"identity": "IdentityControl", "plain": "PlainControl"}[kind] in kinds
    assert not kinds & set(ya.ATTENTION_BLOCKS)


def test_the_identity_control_has_the_base_s_parameters_and_weights(base_weights):
    made = control_of(load_model_dict("yolo11n-ela.yaml"), "identity")
    from ultralytics.nn.tasks import DetectionModel

    model, base = DetectionModel(made, verbose=False), ya.YOLO(str(base_weights)).model
    ya.transfer_weights(model, str(base_weights), strict=True)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.eval()(x)[0], base.eval()(x)[0])


def test_controls_are_no_blocks():
    assert not {"IdentityControl", "PlainControl"} & set(ya.registered())
    with pytest.raises(ya.YoloAttnError, match="control of comparisons"):
        ya.unregister("PlainControl")
