"""Command line: results on stdout; an error is one line with exit code 2, and leaves no files."""

import json
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from support.paths import ROOT
from support.tiers import sampled

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.host import words as host_words
from yolo_attn.host.gated import blocks_inside
from yolo_attn.host.registry import SHIPPED_ALIASES, is_attention

INSERT = "insert yolo11n.yaml --block ELA"


def run(*words):
    """Run the command in a separate process."""
    return subprocess.run([sys.executable, "-m", "yolo_attn.cli", *map(str, words)], capture_output=True, text=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a space in its name."""
    folder = tmp_path / "my 2nd-try"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_help_names_every_verb_and_version_the_version():
    done = run("--help")
    assert done.returncode == 0, done.stderr
    for verb in (*host_words.modes(), *cli.VERBS):
        assert verb in done.stdout
    done = run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"yolo-attn {ya.__version__}")


@pytest.mark.slow
def test_env_names_versions_hardware_and_the_kernels():
    done = run("env")
    assert done.returncode == 0, done.stderr
    found = dict(line.split(maxsplit=1) for line in done.stdout.replace("fused kernels", "fused-kernels").splitlines())
    assert found["torch"] == version("torch")
    assert {"cpu", "cores", "python", "ultralytics", "yolo-attn", "platform", "fused-kernels"} <= set(found)
    assert json.loads(run("env", "--json").stdout)["yolo_attn"] == found["yolo-attn"]


def test_blocks_lists_every_block_and_alias(capsys):
    assert cli.main(["blocks"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["blocks", "--json"]) == 0
    table = {b["name"]: b for b in json.loads(capsys.readouterr().out)}
    for name, aliases in SHIPPED_ALIASES.items():
        assert set(aliases) <= set(table[name]["aliases"])
        assert table[name]["link"].startswith("https://")
        assert len(table[name]["paper"]) > 20
        assert all(word in text for word in (name, *aliases))
    assert (table["SE"]["parameters"], table["ELA"]["parameters"], table["SGE"]["parameters"]) == (8192, 2304, 16)
    assert table["CA"]["map"] == "(N, C, H, 1), (N, C, 1, W)"


@pytest.mark.contract("commands")
def test_insert_writes_a_model_that_builds(here, capsys):
    words = "insert yolo11n.yaml --block GC --at neck:P4 -o yolo11-gc.yaml fusion=mul"
    assert cli.main(words.split()) == 0
    said = capsys.readouterr()
    assert "[-1, 1, GC, [{fusion: mul}]]" in said.out
    assert "with init=identity they start as y = x" in said.err
    assert ya.YOLO("yolo11s-gc.yaml").model.model[20].fusion == "mul"


@pytest.mark.contract("commands")
def test_insert_several_blocks_and_inside_others(here, capsys):
    words = f"{INSERT} --at neck:P3 --block SE --at sppf;pre-detect -o yolo11-two.yaml init=identity"
    assert cli.main(words.split()) == 0
    said = capsys.readouterr()
    assert "+  10  [-1, 1, SE, [{init: identity}]]" in said.out
    assert "note:" not in said.err
    assert [type(m).__name__ for m in ya.YOLO("yolo11n-two.yaml").model.model if is_attention(m)] == [
        *("SE", "ELA", "SE", "SE", "SE")
    ]
    assert cli.main(f"{INSERT} --at sppf --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["new_rows"] == [{"row": 10, "is": [-1, 1, "ELA", []]}]
    words = "insert yolo11n-two.yaml --block CA --inside C3k2@outer --at neck -o yolo11n-in.yaml"
    assert cli.main(words.split()) == 0
    assert "C3k2_CA@outer" in capsys.readouterr().out
    assert len(blocks_inside(ya.YOLO("yolo11n-in.yaml").model)) == 4


@pytest.mark.slow
@pytest.mark.contract("commands")
def test_train_val_predict_and_export_take_what_yolo_takes(here, scenes, caplog):
    torch.save({"model": ya.YOLO("yolo11n.yaml").model, "train_args": {}}, "base.pt")
    data, project = f"data={scenes}", f"project={here / 'out'}"
    settings = [
        "epochs=1",
        "imgsz=32",
        "batch=8",
        "plots=False",
        "val=False",
        "optimizer=SGD",
        "name=run",
        "pretrained=base.pt",
    ]
    assert cli.main(["train", "model=yolo11n-ela.yaml", data, project, *settings]) == 0
    assert "3 new attention rows" in caplog.text
    best = here / "out" / "run" / "weights" / "best.pt"
    assert cli.main(["val", f"model={best}", data, "imgsz=32", "plots=False", project]) == 0
    image = next((scenes.parent / "images" / "val").glob("*.jpg"))
    assert cli.main(["predict", f"model={best}", f"source={image}", "imgsz=32", project]) == 0
    assert cli.main(["export", f"model={best}", "format=torchscript", "imgsz=32"]) == 0
    assert best.with_suffix(".torchscript").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tarin"], "unknown command 'tarin'. Did you mean 'train'?"),
        (["demo", "--fst"], "'--fst' is not understood"),
        (["train", "model=yolo11n-elaa.yaml", "data=DATA"], "Did you mean 'yolo11-ela.yaml'"),
        (["train", "model=wrong-block.yaml", "data=DATA"], "unknown block 'ELAA'. Did you mean 'ELA'?"),
        (["train", "model=wrong-word.yaml", "data=DATA"], "unknown hyper-parameter 'varient'. Did you mean 'variant'?"),
        (["train", "model=wrong-variant.yaml", "data=DATA"], "variant='Q' is not one of 'T', 'B', 'S', 'L'"),
        (["train", "model=wrong-width.yaml", "data=DATA"], "SGE for 64 channels"),
        (["train", "model=wrong-from.yaml", "data=DATA"], "'from' 99 does not exist"),
        (["train", "model=yolo11n-ela.yaml", "data=DATA", "epochz=3"], "'epochz' is not a valid YOLO argument"),
        (["train", "model=yolo11n-ela.yaml", "data=DATA", "epochs=many"], "'epochs=many' is of invalid type"),
        (["train", "model=yolo11n-ela.yaml", "data=none.yaml"], "data 'none.yaml' cannot be used"),
        (["train", "model=yolo11n-ela.yaml", "data=no-images.yaml"], "data 'no-images.yaml' cannot be used"),
        (["train", "model=yolo11n-ela.yaml", "data=DATA", "pretrained=other.pt"], "another architecture or scale"),
        (["train", "model=yolo11n-ela.yaml", "data=DATA", "pretrained=cut.pt"], "weights 'cut.pt' cannot be read"),
        (["train", "model=yolo11n-ela.yaml", "data=DATA", "pretrained=none.pt"], "no weights at 'none.pt'"),
        (["train", "model=yolo11n-ela.yaml", "data=DATA", "project=HERE/a-file"], "a-file"),
        (["val", "model=cut.pt", "data=DATA"], "cut.pt"),
        (["predict", "model=none.pt"], "none.pt"),
        (["export", "model=base.pt", "format=paper"], "Invalid export format='paper'"),
        (["insert", "yolo11n.yaml", "--block", "ELA", "--at", "neck:P7"], "neck has no P7"),
        (["insert", "yolo11n.yaml"], "--block"),
        (f"{INSERT} --block SE --block CA --at sppf --at neck:P3".split(), "3 --block and 2 --at"),
        (f"{INSERT} --inside C3k".split(), "unknown host block 'C3k'. Did you mean 'C3k2'"),
        (f"{INSERT} --at before:99".split(), "rows 0 to 23 can have a block before them"),
        (f"{INSERT} -o yolo11s-x.yaml".split(), "the base is of scale 'n'"),
        (["insert", "yolo12n.yaml", "--block", "ELA", "--at", "sppf"], "no SPPF row; it has backbone:"),
        (["insert", "yolo11n-cls.yaml", "--block", "ELA"], "this model has no neck; it has backbone:"),
        (["insert", "none.pt", "--block", "ELA"], "no weights at 'none.pt'"),
        (["insert", "a-file", "--block", "ELA"], "'a-file' is neither a model YAML"),
        (["insert", "yolo11n.yaml", "--block", "ELA", "L"], "'L' is not understood here"),
        (["insert", "yolo11n.yaml", "--block", "ELA", "-o", "a-file/x.yaml"], "a-file"),
        (["subset", "--coco", "none", "-o", "out"], "none"),
        (["compare", "yolo11n.yaml", "yolo11n-ela.yaml"], "--data is missing"),
        (["compare", "yolo11n.yaml", "yolo11n-ela.yaml", "--data", "DATA", "--seeds", "a,b"], "--seeds a,b"),
        (["compare", "yolo11n.yaml", "yolo11n-ela.yaml", "--data", "DATA", "epocs=3"], "Did you mean 'epochs'?"),
        (
            ["compare", "yolo11n.yaml", "yolo11n-ela.yaml", "--data", "DATA", "seed=3"],
            "a comparison sets 'seed' itself",
        ),
        (["compare", "yolo11n.yaml", "wrong-block.yaml", "--data", "DATA"], "unknown block 'ELAA'"),
        (["compare", "no-images.yaml", "--data", "DATA"], "no list 'arms'"),
        (["report", "."], "holds no comparison"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_exit_2(words, says, here, scenes, wrong_files, capsys):
    before = sorted(here.rglob("*"))
    assert cli.main([w.replace("DATA", str(scenes)).replace("HERE", str(here)) for w in words]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert len(message) == 1, message
    assert says in message[0]
    assert "Traceback" not in message[0]
    assert sorted(here.rglob("*")) == before, "something was left behind"


@pytest.fixture
def wrong_files(here):
    """Write the files for the mistakes above."""
    good = (ROOT / "cfg" / "models" / "yolo11-ela.yaml").read_text()
    row = "ELA, [{init: identity}]"
    for name, wrong in {
        "block": "ELAA, []",
        "word": "ELA, [{varient: L}]",
        "variant": "ELA, [Q]",
        "width": "SGE, [7]",
    }.items():
        (here / f"wrong-{name}.yaml").write_text(good.replace(row, wrong))
    (here / "wrong-from.yaml").write_text(good.replace("[17, 21, 25]", "[17, 21, 99]"))
    (here / "no-images.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: car}\n")
    (here / "a-file").write_text("")
    torch.save({"model": ya.YOLO("yolov8n.yaml").model, "train_args": {}}, here / "other.pt")
    torch.save({"model": ya.YOLO("yolo11n.yaml").model, "train_args": {}}, here / "base.pt")
    whole = (here / "other.pt").read_bytes()
    (here / "cut.pt").write_bytes(whole[: len(whole) // 3])


@pytest.mark.contract("commands")
def test_in_a_process_of_its_own_a_mistake_is_exit_2_without_a_traceback(here):
    done = run("train", "model=yolo11n-elaa.yaml", "data=none.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


MISTAKES = {
    "blocks": "--foo",
    "completion": "bsh",
    "env": "--foo",
    "adopt": "nosuch.yaml",
    "insert": "yolo11n.yaml --block ELAA",
    "subset": "--coco none -o out",
    "compare": "yolo11n.yaml --sedes 0",
    "bench": "--blcks SE",
    "show": "yolo11n.yaml",
    "demo": "--fst",
    "pack": "none.pt",
    "report": ".",
    **dict.fromkeys(host_words.modes(), "model=none.pt"),
}
VERBS = sampled(MISTAKES, ["blocks", "insert", "subset"], "slow")  # the others import torch


def test_every_verb_has_a_mistake_to_try():
    assert set(MISTAKES) == {*host_words.modes(), *cli.VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_in_a_process_of_its_own(verb, here):
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("\n") > 3
    assert "Traceback" not in done.stderr
    done = run(verb, *MISTAKES[verb].split())
    assert done.returncode == 2, done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("yolo-attn: ")]) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(here.iterdir())


def test_a_defect_keeps_its_traceback(monkeypatch):
    def broken(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr("yolo_attn.models.block_table.as_text", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(["blocks"])


@pytest.mark.slow
def test_the_tools_are_the_commands():
    for tool in ("train", "compare", "make_subset", "insert", "benchmark", "visualize"):
        text = (ROOT / "tools" / f"{tool}.py").read_text()
        assert len(text.splitlines()) <= 15
        done = subprocess.run(
            [sys.executable, ROOT / "tools" / f"{tool}.py", "nonsense"], capture_output=True, text=True
        )
        assert done.returncode == 2, f"{tool}: {done.stderr}"
        assert "Traceback" not in done.stderr, tool


def test_the_table_of_the_documentation_is_what_the_command_prints(capsys):
    assert cli.main(["blocks", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() in (ROOT / "docs" / "blocks.md").read_text()


def test_the_readmes_table_agrees_with_the_command(capsys):
    assert cli.main(["blocks", "--json"]) == 0
    blocks = json.loads(capsys.readouterr().out)
    listed = re.findall(r"\[`(\w+)`\]\((\S+)\) ([\d,]*\d)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {name: (link, count) for name, link, count in listed} == {
        block["name"]: (block["link"], f"{block['parameters']:,}") for block in blocks
    }


def test_a_reader_that_has_seen_enough_is_no_error():
    process = subprocess.Popen([sys.executable, "-m", "yolo_attn.cli", "blocks"], stdout=-1, stderr=-1)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    process.stderr.close()
