"""Returned gates equal those that the model computes, for reference algebra and hand-made weights."""

import numpy as np
import pytest
import torch
import yaml
from support.attention_example import Broken, Known, Silent, save
from support.users_blocks import known
from ultralytics.utils import ASSETS

import yolo_attn as ya
from yolo_attn.errors import YoloAttnError
from yolo_attn.gates.find import find_locations
from yolo_attn.host.gated import blocks_inside
from yolo_attn.show.look import GateWatcher, read_image

SIZE = 96


@pytest.fixture(scope="module")
def image():
    return read_image(ASSETS / "zidane.jpg")


@pytest.fixture(scope="module")
def looked(everything, image):
    return GateWatcher(everything).predict(image, imgsz=SIZE)


@pytest.fixture(scope="module")
def inputs(everything, looked):
    """Every block's input, by running the rows one after another, without hooks or Ultralytics' predictor."""
    rows, kept, found = ya.YOLO(everything).model.eval().model, [], {}
    x = looked.tensor
    with torch.no_grad():
        for row in list(rows)[:-1]:
            if row.f != -1:
                x = kept[row.f] if isinstance(row.f, int) else [x if f == -1 else kept[f] for f in row.f]
            found[type(row).__name__] = row, x
            x = row(x)
            kept.append(x)
    return found


def gates(looked, block):
    return {g.kind: g for b in looked.blocks if b.location.block == block for g in b.gates}


@pytest.mark.parametrize("name", ya.ATTENTION_BLOCKS)
def test_every_block_gives_what_its_attention_returns(name, looked, inputs):
    block, x = inputs[ya.ATTENTION_BLOCKS[name].__name__]
    with torch.no_grad():
        maps = block.attention(x)
    shown = [b for b in looked.blocks if b.location.block == name]
    assert len(shown) == 1
    assert shown[0].size == tuple(x.shape[2:])
    assert shown[0].where == "neck P4, stride 16"
    for gate, truth in zip(shown[0].gates, maps if isinstance(maps, tuple) else (maps,), strict=False):
        assert np.ptp(gate.values) > 1e-3, f"{name}: a constant {gate.kind} shows nothing"
        size = max(1.0, float(truth[0].abs().max())) if gate.kind == "factors" else 1.0  # they have no range
        np.testing.assert_allclose(gate.values.reshape(truth[0].shape), truth[0], atol=2e-3 * size)  # fused or not


def test_channel_and_spatial_gates_are_their_equations(looked, inputs):
    """Plain algebra on the inputs, without the blocks' code; identity blocks gate with twice the sigmoid."""
    block, x = inputs["SE"]
    hidden = torch.relu(x.mean((2, 3)) @ block.squeeze.weight.T)
    truth = 2 * torch.sigmoid(hidden @ block.excite.weight.T)[0]
    np.testing.assert_allclose(gates(looked, "SE")["channel"].values.ravel(), truth.detach(), atol=2e-3)
    block, x = inputs["SSE"]
    truth = 2 * torch.sigmoid(torch.einsum("nchw,c->nhw", x, block.conv.weight.flatten()))
    np.testing.assert_allclose(gates(looked, "sSE")["spatial"].values, truth.detach(), atol=2e-3)


def test_strips_have_a_product_and_weights_sum_to_one(looked):
    for name in ("CA", "ELA"):
        found = gates(looked, name)
        np.testing.assert_allclose(found["product"].values, found["rows"].values * found["columns"].values)
        assert found["product"].top == 4
    for name in ("GC", "SNL"):
        assert gates(looked, name)["weights"].values.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(gates(looked, "NL")["pairs"].values.sum(1), 1, atol=1e-5)
    assert len(gates(looked, "SGE")["groups"].values) == 8
    assert {g.top for g in gates(looked, "scSE").values()} == {1.0}  # added up, they stay in (0, 1)


def test_identity_blocks_stood_at_one(looked):
    for block in looked.blocks:
        for gate in block.gates:
            assert gate.fresh is not None, block.location
            assert gate.fresh.shape == gate.values.shape
            if (
                gate.kind not in ("kernels", "weights", "pairs")
                and not ya.ATTENTION_BLOCKS[block.location.block](64, init="identity").blends
            ):
                np.testing.assert_array_equal(
                    gate.fresh, 0.5 if block.location.block == "scSE" else 1.0, block.location.block
                )


def test_an_untrained_model_is_as_at_init(image):
    watched = GateWatcher("yolo11n-cbam.yaml")
    looked = watched.predict(image, imgsz=SIZE)
    assert [b.location.label for b in looked.blocks] == ["row 17: CBAM", "row 21: CBAM", "row 25: CBAM"]
    assert [b.where for b in looked.blocks] == ["neck P3, stride 8", "neck P4, stride 16", "neck P5, stride 32"]
    for gate in (g for b in looked.blocks for g in b.gates):
        np.testing.assert_array_equal(gate.values, gate.fresh)
    again = GateWatcher("yolo11n-cbam.yaml").predict(image, imgsz=SIZE)
    assert torch.equal(
        watched.unwatched.model[0].conv.weight, GateWatcher("yolo11n-cbam.yaml").unwatched.model[0].conv.weight
    )
    assert [g.values.shape for b in again.blocks for g in b.gates] == [
        g.values.shape for b in looked.blocks for g in b.gates
    ]


def test_looking_changes_neither_model_nor_prediction(everything, image):
    plain = ya.YOLO(everything).predict(image, imgsz=SIZE, conf=1e-4, verbose=False)[0].boxes.data
    watched = GateWatcher(everything)
    first = watched.predict(image, imgsz=SIZE, conf=1e-4).result.boxes.data
    second = watched.predict(image, imgsz=SIZE, conf=1e-4).result.boxes.data
    assert len(plain)
    torch.testing.assert_close(first, plain)
    torch.testing.assert_close(second, plain)


def test_blocks_inside_hosts_are_found():
    model = ya.YOLO("yolo11n-ca-inside.yaml").model
    locations = find_locations(model, ya.ATTENTION_BLOCKS)
    assert len(locations) == len(blocks_inside(model)) > 8
    assert {at.host for at in locations.values()} == {"C3k2@inner"}
    assert next(iter(locations.values())).label == "row 2: C3k2_CA@inner, m.0.cv2"
    (at,) = find_locations(ya.YOLO("yolo11n-lska-sppf.yaml").model, ya.ATTENTION_BLOCKS).values()
    assert at.label == "row 9: SPPF_LSKA@concat, cv2"
    made = ya.insert("yolo11n.yaml", "SE", inside="C3k2@outer", at="neck:P3")
    assert [row[2] for row in made.yaml["head"] if "SE" in str(row[2])] == ["C3k2_SE@outer"]


def test_repeated_rows_and_outer_places_are_labelled(tmp_path, image):
    text = ya.insert("yolov8n.yaml", "SE", inside="C2f@outer", at="neck:P3").yaml
    text["head"].insert(len(text["head"]) - 1, [-1, 6, "ECA", []])
    text["head"][-1][0] = [15, 18, 22]
    path = tmp_path / "yolov8n-twice.yaml"  # 6 repeats are 2 at this scale
    path.write_text(yaml.safe_dump({k: v for k, v in text.items() if k not in ("scale", "yaml_file")}))
    labels = [b.location.label for b in GateWatcher(path).predict(image, imgsz=SIZE).blocks]
    assert labels == ["row 15: C2f_SE@outer", "row 22: ECA", "row 22: ECA"]


# --- a user's blocks --------------------------------------------------------------------------------------------------
@pytest.fixture
def users_blocks():
    with known(Known, Silent, Broken):
        yield


def test_a_users_block_is_returned_exactly(users_blocks, tmp_path, image):
    made = ya.insert("yolo11n.yaml", [("Known", "neck:P4"), ("Silent", "neck:P4"), ("Broken", "neck:P4")])
    path = save(ya.YOLO(made.save(tmp_path / "yolo11n-own.yaml")).model, tmp_path / "own.pt")
    known, silent, broken = GateWatcher(path).predict(image, imgsz=SIZE).blocks
    channel, spatial = known.gates
    np.testing.assert_allclose(channel.values.ravel(), np.arange(1, known.channels + 1) / (known.channels + 1))
    truth = np.full((1, *known.size), 0.25)
    truth[0, 1, 2] = 1
    np.testing.assert_array_equal(spatial.values, truth)
    assert not channel.declared
    assert silent.note == "Silent has no attention(x) that could be drawn"
    assert broken.note == "Broken.attention(x) failed: RuntimeError: not today"
    assert not silent.gates
    assert not broken.gates


# --- mistakes ---------------------------------------------------------------------------------------------------------
def test_what_cannot_be_looked_at_is_said(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").write_text("")
    with pytest.raises(YoloAttnError, match="no image at"):
        read_image(tmp_path / "none.jpg")
    for name in ("text.jpg", "empty.jpg"):
        with pytest.raises(YoloAttnError, match="cannot be read as an image"):
            read_image(tmp_path / name)
    with pytest.raises(YoloAttnError, match="is a model for 'semantic'; drawn are those for detect"):
        GateWatcher("yolo26n-sem.yaml")
