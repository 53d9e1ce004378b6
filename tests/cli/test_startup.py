"""Startup without heavy imports: lists and errors need neither torch nor Ultralytics."""

import json
import resource
import subprocess
import sys

import pytest
import torch
from instruments import block_facts
from support.tiers import sampled
from torch import nn

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.host import registry
from yolo_attn.models import block_table

SHOWN = ["--help", "--version", "", "blocks", "blocks --json", "blocks --markdown", "insert --help"]
MISTAKES = [
    "blcks",
    "blocks --foo",
    "insert yolo11n.yaml --blok ELA",
    "insert yolo11n.yaml --block ELAA",
    "insert yolo11n.yaml --block ELABlok",
    "insert yolo11n.yaml --block SE --block ELA varient=L",
    "insert yolo11n.yaml --block ELA varient",
    "compare yolo11n.yaml yolo11n-ela.yaml",
    "compare yolo11n.yaml --sedes 0",
    "report nosuchdir",
    "subset --coco nosuchdir -o out",
    "demo --fst",
    "show nosuchdir/best.pt nosuch.jpg",
    "show model.onnx README.md",
    "show yolo11n.yaml",
]
FEW_MISTAKES = ["insert yolo11n.yaml --block ELAA", "compare yolo11n.yaml --sedes 0"]
PROBE = """
import sys
from yolo_attn.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as left:
    code = left.code
print(code, *[m for m in ("torch", "ultralytics", "cv2", "matplotlib") if m in sys.modules], file=sys.stderr)
"""


def probe(words):
    """Run a command; return the exit code, the heavy modules it imported, and its stderr."""
    done = subprocess.run([sys.executable, "-c", PROBE, *words.split()], capture_output=True, text=True)
    *said, last = done.stderr.splitlines()
    return last, said


@pytest.mark.parametrize("words", sampled(SHOWN, ["blocks"]))
def test_what_is_shown_needs_no_torch(words):
    assert probe(words) == ("0", [])


@pytest.mark.parametrize("words", sampled(MISTAKES, FEW_MISTAKES))
def test_a_mistake_is_answered_without_torch(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = probe(words)
    assert code == "2"
    assert len(said) == 1
    assert said[0].startswith("yolo-attn: ")


def computing(*words):
    """Return the CPU seconds of a process, independent of other load."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("words", sampled(SHOWN[:2] + SHOWN[3:6], ["--version"]))
def test_what_is_shown_takes_less_than_half_a_second_more_than_python_itself(words):
    assert computing("-m", "yolo_attn.cli", *words.split()) < computing("-c", "pass") + 0.5


# --- the stored facts -------------------------------------------------------------------------------------------------
def test_the_stored_facts_are_what_the_classes_say(tmp_path):
    fresh = block_facts.write_facts(tmp_path / "facts.json").read_text()
    assert registry.STORED.read_text() == fresh, "run `python tools/update_generated.py`"


class Doubles(nn.Module):
    """A user's block.

    Paper: none, although there could be one.
    """

    def __init__(self, channels: int, factor: float = 2.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), factor))

    def attention(self, x):
        return self.weight.expand(len(x), -1, 1, 1)

    def forward(self, x):
        return x * self.weight


def test_a_users_block_is_described_as_it_is(capsys):
    shipped = block_table.describe_blocks()
    ya.register(Doubles, aliases=["TimesTwo"])
    capsys.readouterr()  # Ultralytics may have said something on being imported
    try:
        assert cli.main(["blocks", "--json"]) == 0
        *others, own = json.loads(capsys.readouterr().out)
        assert cli.main(["blocks"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].split() == ["Doubles", "256", "factor=2.0", "TimesTwo"]
        block_table.check_spelling(["TimesTwo"], {"anything": 1})  # left to the class, which may take it
    finally:
        ya.unregister("Doubles")
    assert (own["name"], own["map"], own["parameters"]) == ("Doubles", "(N, C, 1, 1)", 256)
    assert others == [{**block, "aliases": list(block["aliases"])} for block in shipped]


def test_a_users_block_in_a_shipped_ones_place_is_not_described_as_that(monkeypatch):
    monkeypatch.setitem(registry._blocks, "ELA", ya.registered() and Doubles)
    assert [b["hyper_parameters"] for b in block_table.describe_blocks() if b["name"] == "ELA"] == ["factor=2.0"]


@pytest.mark.parametrize("name", ya.ATTENTION_BLOCKS)
def test_right_spelling_is_let_through(name):
    facts = next(b for b in json.loads(registry.STORED.read_text()) if b["name"] == name)
    block_table.check_spelling([name, *registry.aliases_of(name)], dict.fromkeys(facts["hyper_parameters"]))


def test_the_version_and_the_blocks_are_told_without_ultralytics():
    """A wheel may be looked at before what it needs is installed."""
    hide = "import sys; sys.modules['ultralytics'] = None; from yolo_attn.cli import main; "
    for words in (["--version"], ["--help"], ["blocks", "--json"]):
        code = f"{hide}sys.exit(main({words!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.slow
def test_the_blocks_do_not_import_the_compiler():
    code = "import sys, torch, yolo_attn.blocks; print('torch._dynamo' in sys.modules, 'triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr
