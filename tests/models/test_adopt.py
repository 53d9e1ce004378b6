"""Foreign model YAMLs in this package's form: the same model, with its rows said, and sources corrected on demand."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from instruments import adopted
from instruments.public_rows import CASES, REFUSED, SCALES
from support.paths import FIXTURES
from support.tiers import sampled
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host.model import load_model_dict
from yolo_attn.host.model_files import host_model_files, shipped_models
from yolo_attn.host.wiring import rewired_rows, stock_model, unread_rows
from yolo_attn.models.graph import rows_of

FORKS = sorted((FIXTURES / "public_style").rglob("*.yaml"))
BUILT = [file for file in FORKS if "BiFPN" not in file.stem and "yolo12" not in file.stem]
"""Files that build as they were written; of the others one needs classes, and one joins maps of two sizes."""


def written(tmp_path, rows, head=None, **settings):
    """Write a model whose rows read the one before, behind two of 256 and 512 channels."""
    backbone = [[-1, 1, "Conv", [256, 3, 2]], [-1, 1, "Conv", [512, 3, 2]], *rows]
    file = tmp_path / "fork.yaml"
    head = head or [[[0, len(backbone) - 1], 1, "Detect", ["nc"]]]
    file.write_text(yaml.safe_dump({"nc": 3, **settings, "backbone": backbone, "head": head}, sort_keys=False))
    return file


def built(file, scale="n"):
    """Build a model YAML at a scale, as Ultralytics does."""
    model = yaml.safe_load(Path(file).read_text())
    torch.manual_seed(0)
    return tasks.DetectionModel({**model, "scale": scale if "scales" in model else ""}, verbose=False).eval()


def by_hand(block, after, base="yolov8n.yaml", args=()):
    """Return the rows of a stock model with a block behind rows of it, and no source counted up."""
    model = load_model_dict(base)
    split, rows = len(model["backbone"]), []
    for i, row in enumerate(rows_of(model)):
        rows.append(row)
        split += i < len(model["backbone"]) and i in after
        rows += [[-1, 1, block, list(args)]] * (i in after)
    return {**model, "backbone": rows[:split], "head": rows[split:]}


@pytest.mark.parametrize("file", sampled(BUILT, lambda file: "yolov5" in file.stem, "slow"), ids=lambda f: f.stem)
def test_the_adopted_file_is_the_same_model(file, tmp_path):
    old = built(file)
    ya.adopt(file, tmp_path / "mine.yaml")
    new = built(tmp_path / "mine.yaml")
    assert {k: v.shape for k, v in old.state_dict().items()} == {k: v.shape for k, v in new.state_dict().items()}
    new.load_state_dict(old.state_dict())
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(old(x)[0], new(x)[0])


@pytest.mark.parametrize("file", sampled(FORKS, lambda f: "SEAtt" in f.stem or "BiFPN" in f.stem, "slow"), ids=str)
def test_adopting_an_adopted_file_changes_nothing(file, tmp_path):
    first = ya.adopt(file, tmp_path / "mine.yaml", shift=True)
    assert ya.adopt(tmp_path / "mine.yaml", shift=True).text == first.text


MEANT = [case for case in CASES if case.block != REFUSED]


@pytest.mark.parametrize("case", sampled(MEANT, lambda case: case.name in ("CBAM", "SEAttention"), "slow"), ids=str)
def test_rows_are_rewritten_as_they_are_meant(case, tmp_path):
    conv = [[-1, 1, "Conv", [case.written, 1]], [-1, 1, case.name, list(case.args)]]
    made = ya.adopt(written(tmp_path, conv, scales=SCALES))
    source, repeats, name, args = made.yaml["backbone"][-1]
    assert (source, repeats, name, made.error) == (-1, 1, case.block, "")
    assert args == ([case.hyper] if case.hyper else [])


NOTHING = [case for case in CASES if case.block == REFUSED]


@pytest.mark.parametrize("case", sampled(NOTHING, lambda case: case.name == "CBAM", "slow"), ids=str)
def test_rows_that_mean_nothing_stay_with_their_error(case, tmp_path):
    conv = [[-1, 1, "Conv", [case.written, 1]], [-1, 1, case.name, list(case.args)]]
    file = written(tmp_path, conv, scales=SCALES)
    made = ya.adopt(file)
    assert made.yaml["backbone"][-1] == [-1, 1, case.name, case.args]
    with pytest.raises(ya.YoloAttnError) as error:
        built(file)
    assert made.error == made.faults[3] == str(error.value)
    assert case.error in made.text.split("backbone:")[1]


STOCK = host_model_files()


@pytest.mark.parametrize("file", sampled(STOCK, lambda f: f.stem in ("yolo11", "yolov5"), "slow"), ids=lambda f: f.stem)
@pytest.mark.parametrize("shift", [False, True])
def test_a_stock_model_adopts_to_itself(file, shift):
    made = ya.adopt(file, shift=shift)
    assert made.text == file.read_text(encoding="utf-8")
    assert (made.remarks, made.attention, made.nearest) == ({}, (), "")


SHIPPED = list(shipped_models().values())


@pytest.mark.parametrize(
    "file", sampled(SHIPPED, lambda f: f.stem == "yolo11-lska-sppf", "campaign"), ids=lambda f: f.stem
)
def test_a_ready_model_is_nearest_to_itself(file):
    assert ya.adopt(file.name).nearest.startswith(f"{file.name} has ")
    assert ya.adopt(file.name).nearest.endswith("; here at the same places")


# --- sources ----------------------------------------------------------------------------------------------------------
def shifted(model, tmp_path):
    file = tmp_path / "fork.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in model.items() if k not in ("scale", "yaml_file")}))
    return ya.adopt(file, shift=True)


AFTER = [("yolov8n.yaml", (9,)), ("yolov8n.yaml", (15, 18, 21)), ("yolo11n.yaml", (22,)), ("yolo11n.yaml", (10,))]
AFTER += [
    ("yolov5n.yaml", (4, 6, 9)),
    ("yolov10n.yaml", (8, 10)),
    ("yolo26n.yaml", (2, 16)),
    ("yolov8n-p2.yaml", (9, 18)),
]
AFTER += [("yolov8n-seg.yaml", (15,)), ("rtdetr-l.yaml", (11, 16)), ("yolov9c.yaml", (15, 18))]


@pytest.mark.parametrize(("base", "after"), sampled(AFTER, lambda given: given[0] == "yolov8n.yaml", "slow"))
def test_sources_are_corrected_to_those_of_the_stock_model(base, after, tmp_path):
    model = by_hand("SE", after, base)
    made = shifted(model, tmp_path)
    assert (made.error, made.left) == ("", {})
    assert rewired_rows(made.yaml) == []
    assert not [row for row in unread_rows(made.yaml) if row.attention]
    assert stock_model(made.yaml) is not None
    assert set(made.reindexed) == {
        i for i, (a, b) in enumerate(zip(rows_of(model), rows_of(made.yaml), strict=True)) if a[0] != b[0]
    }


@pytest.mark.parametrize("after", [(15, 18, 21), (21,)])
def test_a_shifted_neck_is_what_insert_makes(after, tmp_path):
    made = shifted(by_hand("SE", after), tmp_path)
    inserted = ya.insert("yolov8n.yaml", "SE", at=f"after:{','.join(map(str, after))}").yaml
    assert [row[2:] for row in rows_of(made.yaml)] == [row[2:] for row in rows_of(inserted)]
    sources = [[f if f >= 0 else i + f for f in _listed(row[0])] for i, row in enumerate(rows_of(made.yaml))]
    assert sources == [[f if f >= 0 else i + f for f in _listed(r[0])] for i, r in enumerate(rows_of(inserted))]


def _listed(given):
    return given if isinstance(given, list) else [given]


def test_without_shift_it_is_said_what_shift_would_do(tmp_path):
    file = tmp_path / "fork.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in by_hand("SE", (15, 18, 21)).items() if k != "scale"}))
    made = ya.adopt(file)
    assert (made.shiftable, made.reindexed) == ((25,), {})
    assert "--shift (in Python: shift=True) would correct the sources of row 25" in str(made)
    assert "probably [16, 20, 24], not [15, 18, 21]: --shift corrects it" in made.text
    assert made.nearest.startswith("with --shift, yolov8-se.yaml")
    assert rows_of(made.yaml)[25][0] == [15, 18, 21]


def test_a_source_chosen_for_another_reason_is_left_alone(tmp_path):
    model = by_hand("SE", (15, 18, 21))
    model["head"][-1][0] = [16, 20, 13]
    made = shifted(model, tmp_path)
    assert rows_of(made.yaml)[25][0] == [16, 20, 13]
    assert "It is left alone" in made.left[25]
    assert "It is left alone" in made.text


def test_a_model_like_no_stock_model_is_left_alone(tmp_path):
    model = by_hand("SE", (15,))
    model["head"].insert(1, [-1, 1, "Conv", [128, 1]])
    made = shifted(model, tmp_path)
    assert [row[0] for row in rows_of(made.yaml)] == [row[0] for row in rows_of(model)]
    assert not made.reindexed


def test_a_row_beside_the_attention_is_said(tmp_path):
    made = shifted(by_hand("SE", (4, 6)), tmp_path)
    assert "reads row 4, not row 5, SE behind it" in " ".join(made.remarks[16])


# --- what is missing --------------------------------------------------------------------------------------------------
MISSING = {
    ("C2f_DCNv3", -1, (512, True)): "probably a block like C2f with something else inside",
    ("BiFPN_Concat2", (0, 1), (256,)): "probably a module that joins several maps",
    ("GSConv", -1, (512, 3, 2)): "probably a convolution",
    ("TurboAttention", -1, (512,)): "probably an attention block that is not supported here",
    ("DySample", -1, (2, "lp")): "probably a module that makes maps larger",
    ("SEAtention", -1, (512,)): "the nearest name here is SEAttention",
    ("Enigma", -1, ()): "of a purpose that its name does not tell",
}


@pytest.mark.parametrize("row", MISSING, ids=lambda row: row[0])
def test_a_class_that_is_not_here_is_named(row, tmp_path):
    name, source, args = row
    source = list(source) if isinstance(source, tuple) else source
    made = ya.adopt(
        written(tmp_path, [[-1, 1, "SEAttention", [512, 8]], [source, 1, name, list(args)]]), tmp_path / "m.yaml"
    )
    assert MISSING[row] in str(made.missing[0])
    assert made.error == f"1 class is not here: {name}"
    assert made.yaml["backbone"][2] == [-1, 1, "SE", [{"reduction": 8}]]
    assert made.yaml["backbone"][3] == [source, 1, name, list(args)]
    assert "# Cannot be built yet: 1 class is not here" in (tmp_path / "m.yaml").read_text()


def test_a_missing_head_is_one(tmp_path):
    made = ya.adopt(written(tmp_path, [[-1, 1, "CBAM", [512, 7]]], head=[[[0, 2], 1, "Detect_AFPN", ["nc"]]]))
    assert str(made.missing[0]).startswith("Detect_AFPN (row 3) is not here: probably a head")
    assert made.yaml["backbone"][2] == [-1, 1, "CBAM", [{"kernel_size": 7}]]


def test_arguments_behind_a_missing_class_are_not_guessed(tmp_path):
    rows = [[-1, 1, "Enigma", []], [-1, 1, "ECA", [1024, 5]]]
    made = ya.adopt(written(tmp_path, rows))
    assert made.yaml["backbone"][3] == rows[1]
    assert "cannot be told before the missing classes are here" in made.text


@pytest.mark.slow
# --- the rest ---------------------------------------------------------------------------------------------------------
def test_init_is_written_into_every_row(tmp_path):
    made = ya.adopt(FIXTURES / "public_style" / "yolo11-SPPF_LSKA.yaml", init="identity")
    held = [rows_of(made.yaml)[i] for i in made.attention]
    assert [row[3][-1]["init"] for row in held] == ["identity"] * 5
    assert "at first change what they give" not in made.text
    assert "at first change what they give" in ya.adopt(FIXTURES / "public_style" / "yolo11-SPPF_LSKA.yaml").text


def test_settings_of_other_dialects(tmp_path):
    made = ya.adopt(FIXTURES / "public_style" / "forks" / "yolov5s-CBAM.yaml")
    assert (made.yaml["depth_multiple"], made.yaml["width_multiple"]) == (0.33, 0.5)
    assert "anchors" not in made.yaml
    assert made.anchors == (26,)
    made = ya.adopt(written(tmp_path, [[-1, 1, "SE", []]], ch=1, scales=SCALES, depth_multiple=0.5))
    assert made.yaml["channels"] == 1
    assert not {"ch", "depth_multiple"} & set(made.yaml)


def test_what_cannot_be_adopted(tmp_path):
    file = written(tmp_path, [[-1, 1, "SE", []]])
    for given, says in (
        ("none.yaml", "no model YAML 'none.yaml'"),
        ("best.pt", "is not a model YAML"),
        (5, "is not a"),
    ):
        with pytest.raises(ya.YoloAttnError, match=says):
            ya.adopt(given)
    with pytest.raises(ya.YoloAttnError, match=r"unknown init 'identiy'. Did you mean 'identity'"):
        ya.adopt(file, init="identiy")
    with pytest.raises(ya.YoloAttnError, match="is the file to adopt"):
        ya.adopt(file, file, force=True)
    with pytest.raises(ya.YoloAttnError, match="'from' 9 does not exist"):
        ya.adopt(written(tmp_path, [[9, 1, "SE", []]]))


def test_a_file_that_exists_is_kept(tmp_path):
    file, there = written(tmp_path, [[-1, 1, "SE", []]]), tmp_path / "there.yaml"
    there.write_text("mine")
    with pytest.raises(ya.YoloAttnError, match="exists; --force"):
        ya.adopt(file, there)
    assert there.read_text() == "mine"
    ya.adopt(file, there, force=True)
    assert there.read_text() != "mine"


@pytest.mark.slow
def test_the_page_of_adopted_models_is_up_to_date():
    assert adopted.PAGE.read_text(encoding="utf-8") == adopted.page(), "run python tools/show_adopted.py"


def run(*words, cwd):
    return subprocess.run([sys.executable, "-m", "yolo_attn", *words], capture_output=True, text=True, cwd=cwd)


@pytest.mark.slow
def test_the_command(tmp_path):
    done = run("adopt", str(FORKS[0]), "-o", "mine.yaml", "--init", "identity", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "wrote mine.yaml"
    assert (tmp_path / "mine.yaml").read_text().startswith(f"# Adopted from {FORKS[0].name} by yolo-attn ")
    again = run("adopt", str(FORKS[0]), "-o", "mine.yaml", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    bifpn = FIXTURES / "public_style" / "forks" / "yolov8-BiFPN.yaml"
    done = run("adopt", str(bifpn), "-o", "bifpn.yaml", cwd=tmp_path)
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last == "wrote bifpn.yaml; cannot be built yet: 2 classes are not here: C2f_DCNv3, BiFPN_Concat2"


def test_the_nearest_file_is_named(tmp_path):
    (tmp_path / "fork.yaml").write_text("nc: 80\n")
    with pytest.raises(ya.YoloAttnError, match=r"no model YAML '.*frk.yaml'.* Did you mean '.*fork.yaml'\?"):
        ya.adopt(tmp_path / "frk.yaml")
