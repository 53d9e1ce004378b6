"""Attention inside host blocks: gated outputs, unchanged rest of the model, copies and pickling."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from support.host_rows import row
from support.tiers import sampled
from support.users_blocks import known
from torch import nn
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host.gated import RESIDUAL_BRANCHES, Gated, blocks_inside, host_class, residual_branches
from yolo_attn.host.model import load_model_dict

pytestmark = pytest.mark.usefixtures("one_thread")

WITH_BRANCHES = {
    "Bottleneck": (2, [64]),
    "GhostBottleneck": (1, [64, 3, 1]),
    "BottleneckCSP": (2, [64]),
    "C1": (2, [64]),
    "C2": (2, [64, True]),
    "C2f": (2, [64, True]),
    "C2fCIB": (2, [64, True, True]),
    "C2fPSA": (2, [64]),
    "C2PSA": (2, [64]),
    "C3": (2, [64]),
    "C3Ghost": (2, [64]),
    "C3k2": (2, [64, False, 0.5, True]),
    "C3x": (2, [64]),
    "A2C2f": (2, [64, True, 1]),
    "PSA": (1, [64]),
    "RepC3": (2, [64]),
    "RepNCSPELAN4": (1, [64, 64, 32, 2]),
    "HGBlock": (2, [32, 64, 3, False, True]),
    "ResNetLayer": (1, [64, 16, 1, False, 2]),
}
WITHOUT = {
    "Conv": (2, [64, 3, 1]),
    "DWConv": (1, [64, 3, 1]),
    "GhostConv": (1, [64, 3, 1]),
    "Focus": (1, [64]),
    "SPP": (1, [64]),
    "SPPF": (1, [64, 5]),
    "SPPELAN": (1, [64, 32]),
    "ELAN1": (1, [64, 64, 32]),
    "ADown": (1, [64]),
    "AConv": (1, [64]),
    "SCDown": (1, [64, 3, 2]),
    "C3TR": (1, [64]),
    "AIFI": (1, [128, 4]),
}
WITH_CONCATENATION = {"SPP": 128, "SPPF": 128, "SPPELAN": 128}  # channels before the convolution that merges the maps
HOSTS = {**WITH_BRANCHES, **WITHOUT}
X = torch.rand(2, 64, 8, 8, generator=torch.Generator().manual_seed(0))


class Nothing(nn.Module):
    """Gate that is 0 everywhere, so that its output is 0."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        assert x.shape[1] == self.channels
        return x * 0


@pytest.fixture(scope="module", autouse=True)
def nothing():
    with known(Nothing):
        yield


def with_weights_of(plain, gated):
    """Copy the tensors of the plain row to the gated row, under the same names."""
    with torch.no_grad():
        for norm in [m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]:
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    report = gated.load_state_dict(plain.state_dict(), strict=False)
    assert not report.unexpected_keys
    assert all("attention" in k.split(".") for k in report.missing_keys)
    return gated


def run(module, x=X, training=False):
    torch.manual_seed(0)
    with torch.no_grad():
        return module.train(training)(x)


# --- what is gated ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", HOSTS)
def test_a_shut_outer_gate_shuts_the_row(host):
    assert not run(row(f"{host}_Nothing@outer", *HOSTS[host])).any()
    assert run(row(host, *HOSTS[host])).any()


@pytest.mark.parametrize("host", WITH_BRANCHES)
def test_a_shut_inner_gate_leaves_the_shortcut(host):
    """Every residual block inside returns what its shortcut carries, as the branch adds nothing to it."""
    shortcuts = {
        "ResNetBlock": lambda unit, x: unit.shortcut(x).relu(),
        "RepC3": lambda unit, x: unit.cv3(unit.cv2(x)),
        "C1": lambda unit, x: unit.cv1(x),
        "BottleneckWithoutShortcut": lambda unit, x: x * 0,
        "PSA": lambda unit, x: unit.cv2(unit.cv1(x)),
    }
    built = row(f"{host}_Nothing@inner", *WITH_BRANCHES[host])
    seen = []

    def look(unit, inputs, output):
        name = type(unit).__name__ if getattr(unit, "add", True) else "BottleneckWithoutShortcut"
        expected = shortcuts.get(name, lambda unit, x: x)(unit, inputs[0])
        torch.testing.assert_close(output, expected, msg=f"{host}: {name}")
        seen.append(name)

    for unit in built.modules():
        if any(c.__name__ in RESIDUAL_BRANCHES for c in type(unit).__mro__):
            unit.register_forward_hook(look)
    run(built)
    assert seen, host


def test_inner_is_the_formula_of_a_gated_bottleneck():
    """y = x + SE(cv2(cv1(x))) written out, with trained-looking gates."""
    built = row("Bottleneck_SE@inner", 1, [64]).eval()
    se = built.cv2.attention
    with torch.no_grad():
        branch = built.cv2.act(built.cv2.bn(built.cv2.conv(built.cv1(X))))
        hidden = (branch.mean((2, 3)) @ se.squeeze.weight.T).relu()
        gate = torch.sigmoid(hidden @ se.excite.weight.T)[:, :, None, None]
        torch.testing.assert_close(built(X), X + branch * gate)


@pytest.mark.parametrize("host", WITHOUT)
def test_without_residual_branches_outer_is_the_place(host):
    built = row(f"{host}_SE", *WITHOUT[host])
    hosts = list(built) if type(built) is nn.Sequential else [built]
    assert all(isinstance(h, Gated) and h.attention.channels == 64 for h in hosts)
    with pytest.raises(ya.YoloAttnError, match=f"row 1 .*{host} has no residual branch inside, so only @outer"):
        row(f"{host}_SE@inner", *WITHOUT[host])


@pytest.mark.parametrize("host", WITH_CONCATENATION)
def test_a_concatenation_is_gated_before_the_convolution_that_merges_it(host):
    """The row is the host with zeros instead of the concatenated maps; its other tensors keep names and shapes."""
    built, plain = row(f"{host}_Nothing@concat", *HOSTS[host]), row(host, *HOSTS[host])
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    ((path, block),) = blocks_inside(built).items()
    merging = built.get_submodule(path.removesuffix(".attention"))
    assert block.channels == WITH_CONCATENATION[host]
    zeros = torch.zeros(2, block.channels, 8, 8)
    assert torch.equal(run(built), run(plain.get_submodule(path.removesuffix(".attention")), zeros))
    assert host_class(merging).__name__ == "Conv"


def test_concat_is_the_formula_of_a_gated_pyramid():
    """y = cv2(LSKA([p0, p1, p2, p3])), p0 = cv1(x) and p each the 5x5 maximum of the one before, written out."""
    built = row("SPPF_LSKA@concat", 1, [64, 5]).eval()
    lska = built.cv2.attention
    with torch.no_grad():
        maps = [built.cv1(X)]
        for _ in range(3):
            maps.append(nn.functional.max_pool2d(maps[-1], 5, stride=1, padding=2))
        joined = torch.cat(maps, 1)
        gated = joined * lska.proj(lska.dilated(lska.local(joined)))
        torch.testing.assert_close(built(X), built.cv2.act(built.cv2.bn(built.cv2.conv(gated))))


def test_sppf_with_lska_has_it_on_the_concatenation_and_other_blocks_on_the_output():
    """As public model YAMLs mean SPPF_LSKA; SPPF_CA and all others keep their place."""
    assert list(blocks_inside(row("SPPF_LSKA", 1, [64, 5]))) == ["cv2.attention"]
    assert list(blocks_inside(row("SPPF_LSKA@outer", 1, [64, 5]))) == ["attention"]
    assert list(blocks_inside(row("SPPF_LSKA", 1, [64, 5, {"place": "outer"}]))) == ["attention"]
    assert list(blocks_inside(row("SPPF_LSKA", 1, [64, 5, {"kernel_size": 7}]))) == ["cv2.attention"]
    others = [name for name, block in ya.ATTENTION_BLOCKS.items() if not block.places]
    assert len(others) == len(ya.ATTENTION_BLOCKS) - 1
    for name in ("CA", "SE", "ECA", "CBAM", "MSCA"):
        assert list(blocks_inside(row(f"SPPF_{name}", 1, [64, 5]))) == ["attention"], name


def test_a_shortcut_around_the_pooling_stays_ungated():
    shut = row("SPPF_Nothing@concat", 1, [64, 5, 3, True]).eval()
    without = row("SPPF_Nothing@concat", 1, [64, 5, 3, False]).eval()
    torch.testing.assert_close(run(shut), run(without) + X)


def test_with_residual_branches_inner_is_the_place():
    for host, given in WITH_BRANCHES.items():
        built = row(f"{host}_SE", *given)
        assert len(blocks_inside(built)) == len(residual_branches(row(host, *given))) > 0, host


# --- what stays -------------------------------------------------------------------------------------------------------
THREE = ("SE", "CBAM", "NL")  # a gate per channel, two gates one after the other, a sum
OTHERS = tuple(name for name in ya.ATTENTION_BLOCKS if name not in THREE)


@pytest.mark.parametrize(
    ("host", "blocks"),
    sampled(
        [(host, blocks) for host in HOSTS for blocks in (THREE, OTHERS)],
        lambda case: case[1] == THREE,
    ),
    ids=lambda given: given if isinstance(given, str) else f"{len(given)} blocks",
)
def test_identity_changes_nothing_for_any_block_and_place(host, blocks):
    """Bit for bit: evaluation, batch statistics, half precision, after fusing and in the host's export path."""
    repeats, args = HOSTS[host]
    places = {"inner": host in WITH_BRANCHES, "outer": True, "concat": host in WITH_CONCATENATION}
    for place in [place for place, has in places.items() if has]:
        for block in blocks:
            what = f"{host}_{block}@{place}"
            plain = row(host, repeats, args)
            gated = with_weights_of(plain, row(what, repeats, [*args, IDENTITY]))
            assert torch.equal(run(gated), run(plain)), what
            assert torch.equal(run(gated, training=True), run(plain, training=True)), f"{what} in training"
            if hasattr(plain, "forward_split"):
                assert torch.equal(gated.eval().forward_split(X), plain.eval().forward_split(X)), f"{what} split"
            for low in (torch.bfloat16, torch.float16):
                halves = [run(copy.deepcopy(m).to(low), X.to(low)) for m in (gated, plain)]
                assert torch.equal(*halves), f"{what} in {low}"
            fused = fuse(gated)
            assert torch.equal(run(fused), run(fuse(plain))), f"{what} fused"
            assert blocks_inside(fused), what


IDENTITY = {"init": "identity"}


def fuse(module):
    """Fuse as Ultralytics does, which works on a whole model."""
    model = tasks.BaseModel()
    model.model = nn.Sequential(copy.deepcopy(module).eval())
    return model.fuse(verbose=False).model[0]


@pytest.mark.parametrize("name", sampled(["yolo11", "yolo12", "yolov8", "yolov10b", "yolov5"], ["yolov8"]))
def test_the_parsers_rules_for_scales_hold(name):
    """Same tensors as stock at every scale: C3k2 turns to C3k at m, l, x; A2C2f gets a residual at l, x; and so on."""
    for scale in load_model_dict(f"{name}.yaml").get("scales") or ["b"]:
        stock = {**load_model_dict(f"{name}.yaml"), "scale": scale}
        hosts = {r[2] for r in stock["backbone"] + stock["head"]} & set(WITH_BRANCHES)
        gated = ya.insert(stock, "SE", inside=",".join(hosts)).yaml
        with torch.device("meta"):
            (ours, _), (theirs, _) = (tasks.parse_model(copy.deepcopy(m), 3, verbose=False) for m in (gated, stock))
        shapes = {k: v.shape for k, v in ours.state_dict().items() if "attention" not in k.split(".")}
        assert shapes == {k: v.shape for k, v in theirs.state_dict().items()}, f"{name} at {scale}"
        assert blocks_inside(ours), f"{name} at {scale}"


def test_the_head_keeps_its_kind():
    """The parser tells old heads from new ones by the hosts it meets, which it must still meet."""
    for name in ("yolo11n.yaml", "yolov8n.yaml"):
        host = "C3k2" if "11" in name else "C2f"
        gated, stock = (tasks.DetectionModel(m, verbose=False) for m in (ya.insert(name, "SE", inside=host).yaml, name))
        assert gated.model[-1].legacy == stock.model[-1].legacy
        assert type(gated.model[-1].cv3[0][0]) is type(stock.model[-1].cv3[0][0])


def test_parameters_are_counted_and_printed(monkeypatch):
    lines = []
    monkeypatch.setattr(tasks.LOGGER, "info", lines.append)
    model = tasks.DetectionModel(ya.insert("yolo11n.yaml", "ELA", inside="C3k2", variant="T").yaml, verbose=True)
    assert any("[ELA inside rows 2, 4, 6, 8, 13, 16, 19, 22]" in line for line in lines)
    assert [m.np for m in model.model] == [sum(p.numel() for p in m.parameters()) for m in model.model]
    assert len(model.model) == 24
    assert "C3k2(" in repr(model.model[2])
    assert "Conv_ELA(" in repr(model.model[2])


# --- what a model goes through ----------------------------------------------------------------------------------------
def test_pickling_and_copying_keep_the_gates():
    names = [f"{host}_CA@outer" for host in HOSTS] + [f"{host}_CA@concat" for host in WITH_CONCATENATION]
    for name in names:
        built = row(name, *HOSTS[host := name.partition("_")[0]]).eval()
        for other in (pickle.loads(pickle.dumps(built)), copy.deepcopy(built)):
            assert torch.equal(run(other), run(built)), host
            assert {type(m) for m in other.modules()} == {type(m) for m in built.modules()}, host


@pytest.mark.slow
def test_a_gated_class_is_found_by_its_name_in_another_process():
    cls = type(row("C2f_SE@outer", 1, [64]))
    code = f"import yolo_attn.inside as m; print(m.{cls.__name__}.__mro__[2].__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("C2f"), done.stderr
    assert cls.__module__ == "yolo_attn.inside"
    with pytest.raises(AttributeError):
        ya.inside.no_such_class  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["C3k2", "SPPF@concat"])
def test_a_checkpoint_opens_in_a_fresh_process_and_in_a_restricted_load(inside, tmp_path):
    model = ya.YOLO(ya.insert("yolo11n.yaml", "ELA", inside=inside).save(tmp_path / "yolo11n-inside.yaml")).model.eval()
    torch.save({"model": model, "train_args": {}}, tmp_path / "best.pt")
    image = torch.zeros(1, 3, 64, 64)
    torch.save(model(image)[0], tmp_path / "expected.pt")
    code = (
        "import torch; from ultralytics import YOLO; m = YOLO('best.pt').model.eval();"
        "assert torch.equal(m(torch.zeros(1, 3, 64, 64))[0], torch.load('expected.pt'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    restricted = "import yolo_attn\n" + code.replace("YOLO('best.pt').model", "YOLO('best.pt').model.float()")
    done = subprocess.run(
        [sys.executable, "-c", restricted],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**__import__("os").environ, "ULTRALYTICS_SAFE_LOAD": "1"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("init", ["paper", "identity"])
def test_every_parameter_inside_learns(init):
    built = row("C3k2_CBAM@inner", 2, [64, True, {"init": init}]).train()
    optimizer = torch.optim.SGD(built.parameters(), lr=0.1)
    before = {k: v.clone() for k, v in built.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        (built(X) - X.roll(1, 1)).square().mean().backward()
        optimizer.step()
    still = [k for k, v in built.named_parameters() if "attention" in k and torch.equal(v, before[k])]
    assert not still


def test_a_row_of_repeats_gates_each():
    built = row("Conv_ECA", 3, [64, 3, 1])
    assert len(blocks_inside(built)) == 3
    assert host_class(built[0]).__name__ == "Conv"


def test_the_place_may_stand_among_the_arguments():
    built = row("C2f_SE", 1, [64, True, {"reduction": 8, "place": "outer"}])
    assert isinstance(built, Gated)
    assert built.attention.squeeze.out_features == 8


def test_a_gated_class_is_sent_to_workers_by_name():
    """Ultralytics hands the model to the processes of a multi-GPU training by cloudpickle."""
    pytest.importorskip("cloudpickle")
    code = (
        "import cloudpickle, yolo_attn; from ultralytics.nn.modules.conv import Conv; "
        "from yolo_attn.host.gated import Gated, GatedInput, gated_class; "
        "sent = [cloudpickle.dumps(gated_class(Conv, mixin)) for mixin in (Gated, GatedInput)]; "
        "print(sent[0] != sent[1] and all(len(s) < 200 and b'yolo_attn.inside' in s for s in sent))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["True"], done.stdout + done.stderr
