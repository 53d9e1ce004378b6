"""Output in encodings that lack characters, and to readers that have gone."""

import json
import os
import subprocess
import sys

import pytest
import torch

import yolo_attn as ya
from yolo_attn.cli.parser import VERBS
from yolo_attn.util.printing import any_text, as_ascii

SIGNS = "− – × ± Δ ≥ → é 車 ✅ ⚠️"
ENCODINGS = {"ascii": "ascii", "windows": "cp1252", "greek": "cp1253"}


def python(code, *words, encoding, **kwargs):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, env=environment, **kwargs)


SEVERAL = (
    "import sys, json; from yolo_attn.cli import main; codes = [main(w) for w in json.loads(sys.argv[1])]; print(codes)"
)


def test_signs_become_others_that_read_alike():
    assert as_ascii(SIGNS) == "- - x +- d >= -> e ? ok ?"
    assert as_ascii("plain") == "plain"


@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_every_stream_takes_any_text(encoding):
    code = (
        "import sys; from yolo_attn.util.printing import any_text\n"
        "with any_text(): print(sys.argv[1]); print(sys.argv[1], file=sys.stderr)\n"
        "print(sys.stdout.errors, sys.stderr.errors)"
    )
    done = python(code, SIGNS, encoding=encoding)
    assert done.returncode == 0, done.stderr
    said, errors = done.stdout.decode(encoding).splitlines()
    assert as_ascii(said) == as_ascii(SIGNS)
    assert ("±" in said) == (encoding != "ascii")
    assert as_ascii(done.stderr.decode(encoding).strip()) == as_ascii(SIGNS)
    assert errors == "strict backslashreplace"


@pytest.mark.skipif(os.name == "nt", reason="names of files are text there")
def test_a_file_s_name_that_is_no_text_is_printed_as_it_is():
    name = b"/tmp/caf\xe9"
    for encoding in ("ascii", "utf-8"):
        code = "import sys; from yolo_attn.util.printing import any_text\nwith any_text(): print(sys.argv[1])"
        done = python(code, os.fsdecode(name), encoding=encoding)
        assert done.stdout == name + b"\n", done.stderr


def test_streams_of_another_kind_are_left_alone(capsys):
    with any_text():
        print(SIGNS)
    assert capsys.readouterr().out == SIGNS + "\n"


@pytest.mark.slow
def test_every_cheap_verb_prints_in_ascii(comparing, tmp_path):
    comparing(tmp_path / "out")
    out, model = str(tmp_path / "out"), "yolo11n-ela.yaml"
    commands = {
        "blocks": ["blocks", "--markdown"],
        "insert": ["insert", "yolo11n.yaml", "--block", "ELA", "--at", "sppf"],
        "adopt": ["adopt", model],
        "pack": ["pack", "none.pt", "-o", out],
        "report": ["report", out, "--replicates", "20", "--ap", "coco"],
        "subset": ["subset", "--coco", "−none", "-o", out],
        "compare": ["compare", "−none.yaml", "--data", "−none.yaml"],
        "show": ["show", "−none.pt"],
        "bench": ["bench", "−"],
        "demo": ["demo", "−"],
        "env": ["env"],
        "completion": ["completion", "zsh"],
    }
    works = {"blocks", "insert", "adopt", "report", "env", "completion"}
    assert set(commands) == set(VERBS)
    done = python(SEVERAL, json.dumps(list(commands.values())), encoding="ascii")
    assert done.returncode == 0, done.stderr.decode()
    codes = dict(zip(commands, json.loads(done.stdout.splitlines()[-1]), strict=True))
    assert codes == {name: 0 if name in works else 2 for name in commands}
    said = done.stdout.decode("ascii")
    assert "+-" in said
    assert "Traceback" not in done.stderr.decode("ascii")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["show", "bench", "pack"])
def test_a_verb_that_computes_prints_in_ascii(verb, tiny_models, scenes, tmp_path):
    out, image = str(tmp_path / "out"), str(next((scenes.parent / "images" / "val").iterdir()))
    torch.save({"model": ya.YOLO(tiny_models[1]).model, "train_args": {}}, tmp_path / "best.pt")
    bench = "--blocks SE --shape 1x8x4x4 --pass forward --against floor --seconds 0.05 --device cpu -o"
    words = {
        "show": [tiny_models[1], image, "-o", out, "--device", "cpu", "--imgsz", "64", "--no-cam"],
        "bench": [*bench.split(), out],
        "pack": [str(tmp_path / "best.pt"), "-o", out, "--imgsz", "64"],
    }[verb]
    code = "import sys; from yolo_attn.cli import main; sys.exit(main(sys.argv[1:]))"
    done = python(code, verb, *words, encoding="ascii")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode("ascii").strip()
    assert "Traceback" not in done.stderr.decode("ascii")


@pytest.mark.parametrize("words", [["blocks", "--markdown"], ["--help"], pytest.param(["cfg"], marks=pytest.mark.slow)])
def test_a_reader_that_has_gone_ends_a_command_quietly(words):
    command = [sys.executable, "-m", "yolo_attn", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait() in (0, 141)
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_reader_of_the_progress_that_has_gone_ends_a_command_quietly(scenes, tmp_path):
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "yolo_attn", "subset", "--yolo", str(scenes), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    assert process.wait() == 141
    assert not (tmp_path / "out").exists()
