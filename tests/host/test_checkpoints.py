"""Checkpoints open across releases, folders and processes, and never run code without a warning."""

import os
import subprocess
import sys

import pytest
import torch
from support import tiny_model
from support.block_cases import IMPORT_PATHS
from support.paths import FIXTURES
from ultralytics import YOLO

import yolo_attn as ya
from yolo_attn import controls
from yolo_attn.host import checkpoints, gated
from yolo_attn.host.safe_load import restricted_loads
from yolo_attn.train.trainer import trainer_class

STORED = FIXTURES / "checkpoints"
RELEASES = sorted(p.name for p in STORED.iterdir() if p.is_dir())
NAMES = {"0.1.0": "SE ECA GC NL SNL CA CBAM cSE sSE scSE ELA SGE"}
NAMES["0.2.0"] = (
    f"{NAMES['0.1.0']} GCT SimAM GAM EMA Triplet SA MLCA SRM ESE BAM LSKA LSK CAA MSCA CPCA SCSA SEAM SK BRA"
)
HELD = {release: {ya.ATTENTION_BLOCKS[name] for name in NAMES[release].split()} for release in RELEASES}
"""The blocks that a release has."""
SAFE = {**os.environ, "ULTRALYTICS_SAFE_LOAD": "1"}

OPENS = """
import torch
from ultralytics import YOLO
model = YOLO({name!r}).model.float().eval()
with torch.no_grad():
    found = model(torch.load("image.pt"))[0]
torch.testing.assert_close(found, torch.load("expected.pt"), rtol=1e-4, atol=1e-3)
"""


class Stranger:
    """Class of neither Ultralytics nor this package in a checkpoint; unpickling it runs code."""

    ran = False

    def __reduce__(self):
        return Stranger.run, ()

    @staticmethod
    def run():
        Stranger.ran = True
        return {}


def python(code, folder, env=None):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=env)


def path_of(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


@pytest.fixture(scope="module")
def packed_off(tmp_path_factory):
    """A checkpoint with every block and its outputs, in a folder other than that of its training."""
    made = tiny_model.checkpoint(tmp_path_factory.mktemp("made here"))
    away = tmp_path_factory.mktemp("elsewhere") / "2nd-try moved"
    away.mkdir()
    torch.save(tiny_model.image(), away / "image.pt")
    with torch.no_grad():
        torch.save(torch.load(made, weights_only=False)["model"].float()(tiny_model.image())[0], away / "expected.pt")
    made.rename(away / "best.pt")
    for left in made.parent.iterdir():
        left.unlink()
    made.parent.rmdir()
    return away


# --- names that never change ------------------------------------------------------------------------------------------
def test_the_import_paths_of_blocks_are_those_in_users_checkpoints():
    assert {name: path_of(cls) for name, cls in ya.ATTENTION_BLOCKS.items()} == IMPORT_PATHS


def test_so_are_those_of_controls_gated_hosts_and_trainers():
    conv = type(YOLO("yolo11n.yaml").model.model[0])
    assert path_of(gated.gated_class(conv)) == "yolo_attn.inside.ultralytics__nn__modules__conv__Conv"
    assert path_of(controls.IdentityControl) == "yolo_attn.controls.IdentityControl"
    assert path_of(controls.PlainControl) == "yolo_attn.controls.PlainControl"
    trainer = YOLO("yolo11n.yaml").task_map["detect"]["trainer"]
    named = "yolo_attn.train.trainer.ultralytics__models__yolo__detect__train__DetectionTrainer"
    assert path_of(trainer_class(trainer)) == named


# --- checkpoints of earlier releases ----------------------------------------------------------------------------------
@pytest.mark.parametrize("release", RELEASES)
def test_blocks_of_a_release_open_and_give_what_they_gave(release):
    stored = torch.load(STORED / release / "blocks.pt", weights_only=False)
    held = {type(block) for block in stored["blocks"].values()}
    assert HELD[release] <= held <= set(ya.ATTENTION_BLOCKS.values())
    wrong = {}
    for name, block in stored["blocks"].items():
        with torch.no_grad():
            difference = (block(tiny_model.feature_map()) - stored["expected"][name]).abs().max()
        if not difference < 1e-5:
            wrong[name] = float(difference)
    assert not wrong


@pytest.mark.parametrize("release", RELEASES)
def test_a_model_of_a_release_opens_and_gives_what_it_gave(release):
    model = ya.YOLO(str(STORED / release / "model.pt")).model.float().eval()
    assert HELD[release] <= {type(m) for m in model.modules()}
    stored = torch.load(STORED / release / "model-expected.pt", weights_only=True)
    with torch.no_grad():
        found = model(tiny_model.image())[0]
        found_float64 = model.double()(tiny_model.image().double())[0]
    torch.testing.assert_close(found_float64, stored["expected_float64"], rtol=1e-9, atol=1e-8)
    # In float32 the stored boxes, up to 1938 pixels, are up to 0.021 from those in float64: processors round unlike.
    torch.testing.assert_close(found[:, :4], stored["expected"][:, :4], rtol=1e-4, atol=0.04)
    torch.testing.assert_close(found[:, 4:], stored["expected"][:, 4:], rtol=1e-4, atol=1e-3)


def test_todays_code_still_writes_what_the_fixtures_hold():
    """A parameter that was renamed would open from old files, as attributes do, and not load as a state dict."""
    stored = torch.load(STORED / RELEASES[-1] / "blocks.pt", weights_only=False)["blocks"]
    today = {name: {k: v.shape for k, v in block.state_dict().items()} for name, block in tiny_model.blocks().items()}
    held = {name: {k: v.shape for k, v in block.state_dict().items()} for name, block in stored.items()}
    assert held.items() <= today.items()


def test_the_fixtures_stay_small():
    for release, blocks in HELD.items():
        size = sum(file.stat().st_size for file in (STORED / release).iterdir())
        assert size / len(blocks) < 25_000, release


# --- elsewhere --------------------------------------------------------------------------------------------------------
@pytest.mark.contract("opens elsewhere")
def test_plain_ultralytics_opens_it_without_an_import_of_ours(packed_off):
    done = python(OPENS.format(name="best.pt"), packed_off)
    assert done.returncode == 0, done.stderr


@pytest.mark.contract("opens elsewhere")
@pytest.mark.slow
def test_a_restricted_load_needs_the_import_and_says_nothing_else_is_known(packed_off):
    if not able_to_restrict():
        pytest.skip("this Ultralytics or torch has no restricted loading")
    done = python("import yolo_attn\n" + OPENS.format(name="best.pt"), packed_off, SAFE)
    assert done.returncode == 0, done.stderr
    done = python(OPENS.format(name="best.pt"), packed_off, SAFE)
    assert "outside the supported Ultralytics checkpoint format" in done.stderr


@pytest.mark.slow
def test_the_command_opens_it_in_a_restricted_load(packed_off):
    code = f"import sys; from yolo_attn.cli import main; sys.exit(main({['insert', 'best.pt', '--block', 'SE', '--at', 'after:2']}))"  # noqa: E501
    done = python(code, packed_off, SAFE)
    assert done.returncode == 0, done.stderr


# --- full unpickling warns -------------------------------------------------------------------------------------------
def able_to_restrict():
    with restricted_loads() as able:
        return able


@pytest.fixture
def strange(tmp_path):
    file = tmp_path / "strange.pt"
    held = torch.load(tiny_model.checkpoint(tmp_path), weights_only=False)
    torch.save({**held, "extra": Stranger()}, file)
    Stranger.ran = False
    checkpoints._warn_of_full_load.cache_clear()
    return file


@pytest.mark.parametrize("opens", [checkpoints.open_source, lambda file: ya.YOLO(str(file))], ids=["source", "YOLO"])
def test_a_strangers_class_is_named_before_it_runs(opens, strange, capsys):
    if not able_to_restrict():
        pytest.skip("this Ultralytics or torch has no restricted loading")
    opens(strange)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"yolo-attn: {strange} is unpickled in full")
    assert "Stranger" in line
    assert "open only files you trust" in line
    assert Stranger.ran


def test_restricted_loads_never_run_it(strange, capsys, monkeypatch):
    if not able_to_restrict():
        pytest.skip("this Ultralytics or torch has no restricted loading")
    with restricted_loads(), pytest.raises(ya.YoloAttnError, match="outside the supported"):
        checkpoints.open_source(strange)
    assert not Stranger.ran


def test_a_checkpoint_of_known_classes_is_opened_without_unpickling_and_without_a_word(packed_off, capsys, monkeypatch):
    if not able_to_restrict():
        pytest.skip("this Ultralytics or torch has no restricted loading")
    modes = []
    load = torch.load

    def watched(*args, **kwargs):
        modes.append(kwargs.get("weights_only"))
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", watched)
    with restricted_loads():
        model = checkpoints.open_source(packed_off / "best.pt")
    restricted = model.state_dict()
    full = load(packed_off / "best.pt", weights_only=False)["model"].float().state_dict()
    assert restricted.keys() == full.keys()
    assert not [name for name in full if not torch.equal(full[name], restricted[name])]
    assert "unpickled" not in capsys.readouterr().err


def test_a_broken_file_is_one_error_and_no_warning(tmp_path, capsys):
    file = tmp_path / "broken.pt"
    file.write_bytes(b"not a checkpoint at all")
    with pytest.raises(ya.YoloAttnError, match="cannot be read"):
        checkpoints.open_source(file)
    assert "unpickled in full" not in capsys.readouterr().err
