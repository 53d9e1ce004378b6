"""Completion in real shells: what a TAB makes of a line, typed into a terminal."""

import os
import pty
import re
import shutil
import subprocess
import sys

import pytest

from yolo_attn import cli
from yolo_attn.bench import cases
from yolo_attn.cli import completion
from yolo_attn.cli.parser import verb_parsers
from yolo_attn.compare.driver import EXECUTORS
from yolo_attn.host import words as host_words

COMPLETED = {  # what is typed, and what a TAB makes of it; ^ is where the cursor is then
    "yolo-attn comple": "yolo-attn completion ^",
    "yolo-attn trai": "yolo-attn train ^",
    "yolo-attn settin": "yolo-attn settings ^",
    "yolo-attn --vers": "yolo-attn --version ^",
    "yolo-attn --import ow": "yolo-attn --import own.py ^",
    "yolo-attn --import own.py trai": "yolo-attn --import own.py train ^",
    "yolo-attn insert --blo": "yolo-attn insert --block ^",
    "yolo-attn insert --block Trip": "yolo-attn insert --block Triplet ^",
    "yolo-attn insert --block=Trip": "yolo-attn insert --block=Triplet ^",
    "yolo-attn insert yolo11n.yaml --block SE --at pre": "yolo-attn insert yolo11n.yaml --block SE --at pre-detect ^",
    "yolo-attn insert yolo11n.yaml --block SE --at neck:a": "yolo-attn insert yolo11n.yaml --block SE --at neck:all ^",
    "yolo-attn insert yolo11n.yaml --block SE --at be": "yolo-attn insert yolo11n.yaml --block SE --at before:^",
    "yolo-attn insert yolo11n.yaml channel_s": "yolo-attn insert yolo11n.yaml channel_sigmoid=^",
    "yolo-attn insert yolo11n.yaml init=id": "yolo-attn insert yolo11n.yaml init=identity ^",
    "yolo-attn insert min": "yolo-attn insert mine.yaml ^",
    "yolo-attn insert yolo11n-mlc": "yolo-attn insert yolo11n-mlca.yaml ^",
    "yolo-attn insert my": "yolo-attn insert my\\ data/^",
    "yolo-attn insert my\\ data/bes": "yolo-attn insert my\\ data/best.pt ^",
    "yolo-attn bench --blocks SE,Trip": "yolo-attn bench --blocks SE,Triplet^",
    "yolo-attn bench --blocks=SE,Trip": "yolo-attn bench --blocks=SE,Triplet^",
    "yolo-attn bench --dtype fp32,bf": "yolo-attn bench --dtype fp32,bf16^",
    "yolo-attn compare yolo11n.yaml yolo26m-ela-b": "yolo-attn compare yolo11n.yaml yolo26m-ela-backbone.yaml ^",
    "yolo-attn compare yolo11n.yaml identity:yolo26m-mlc": (
        "yolo-attn compare yolo11n.yaml identity:yolo26m-mlca.yaml ^"
    ),
    "yolo-attn compare yolo11n.yaml --exec": "yolo-attn compare yolo11n.yaml --executor ^",
    "yolo-attn compare yolo11n.yaml --executor po": "yolo-attn compare yolo11n.yaml --executor pool ^",
    "yolo-attn compare yolo11n.yaml --data coco8-se": "yolo-attn compare yolo11n.yaml --data coco8-seg.yaml ^",
    "yolo-attn compare yolo11n.yaml epoc": "yolo-attn compare yolo11n.yaml epochs=^",
    "yolo-attn subset --coco none --ids a.ids.txt som": "yolo-attn subset --coco none --ids a.ids.txt some.ids.txt ^",
    "yolo-attn report --replicates 20 my": "yolo-attn report --replicates 20 my\\ data/^",
    "yolo-attn train epoc": "yolo-attn train epochs=^",
    "yolo-attn train model=yolo11n-mlc": "yolo-attn train model=yolo11n-mlca.yaml ^",
    "yolo-attn train model=my": "yolo-attn train model=my\\ data/^",
    "yolo-attn train model=mine.yaml optimizer=AdamW cos_lr=T": (
        "yolo-attn train model=mine.yaml optimizer=AdamW cos_lr=True ^"
    ),
    "yolo-attn model=mine.yaml optimizer=Mu": "yolo-attn model=mine.yaml optimizer=MuSGD ^",
    "yolo-attn export model=best.pt format=tor": "yolo-attn export model=best.pt format=torchscript ^",
    "yolo-attn export --no": "yolo-attn export --no-check ^",
    "yolo-attn completion z": "yolo-attn completion zsh ^",
    "yolo-attn nonsense --fo": "yolo-attn nonsense --fo^",
}
FILES = ("mine.yaml", "other.txt", "some.ids.txt", "own.py", "my data/best.pt", "my data/notes.txt")
START = {
    "bash": "PS1='$ '; say() {{ printf '<%s>\\n' \"$*\"; }}; bind 'set bell-style none'; eval \"$(cat {script})\"",
    "zsh": "PS1='%% '; say() {{ print -r -- \"<$*>\" }}; autoload -Uz compinit; compinit -D -u; source {script}",
}
COMMAND = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


@pytest.fixture(params=completion.SHELLS)
def shell(request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def script(shell, tmp_path):
    """The script that the command prints for a shell."""
    done = subprocess.run(
        [sys.executable, "-m", "yolo_attn", "completion", shell], capture_output=True, text=True, check=True
    )
    file = tmp_path / f"completion.{shell}"
    file.write_text(done.stdout)
    return file


def typed(shell, script, lines, folder):
    """Type lines, each with a TAB, into a shell on a terminal; return them as they are then, the cursor as ^."""
    folder.mkdir()
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    keys = [START[shell].format(script=script), *(f"{line}\t^'\x01say '" for line in lines), "exit"]
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.environ.update(TERM="dumb", HISTFILE="/dev/null")
        os.execvp(COMMAND[shell][0], COMMAND[shell])
    os.write(terminal, ("\r".join(keys) + "\r").encode())
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # the shell has left
        pass
    os.waitpid(process, 0)
    found = re.findall(r"^<(yolo-attn.*)>\r$", shown.decode(), re.MULTILINE)
    assert len(found) == len(lines), shown.decode()
    return dict(zip(lines, found, strict=True))


def test_a_tab_completes_the_line(shell, script, tmp_path):
    found = typed(shell, script, COMPLETED, tmp_path / "here")
    if shell == "zsh":  # it adds a comma that the next space takes away again
        found = {line: made.replace(",^", "^") for line, made in found.items()}
    assert found == COMPLETED


def test_what_is_offered_in_bash_and_how_fast(tmp_path):
    """Several candidates at once, and no program is started to find them."""
    file = tmp_path / "script"
    file.write_text(completion.script("bash"))
    offered = f"""
        source {file}
        PATH=
        offered() {{ COMP_LINE=$1 COMP_POINT=${{#1}}; _yolo_attn; echo "${{COMPREPLY[*]}}"; }}
        TIMEFORMAT=%R
        offered 'yolo-attn bench --pass '
        offered 'yolo-attn bench --mode '
        offered 'yolo-attn compare --controls plain,'
        offered 'yolo-attn val val=T task=d'
        offered 'yolo-attn train model=yolo11n'
        COMP_WORDBREAKS=' '
        offered 'yolo-attn insert --block C'
        offered 'yolo-attn train task=se'
        time for i in 1 2 3 4 5 6 7 8 9 10; do offered 'yolo-attn train model=yolo11n-'; done > /dev/null
        :
    """
    done = subprocess.run([shutil.which("bash"), "-c", offered], capture_output=True, text=True, cwd=tmp_path)
    passes, modes, controls, typo, models, blocks, tasks, *_ = done.stdout.splitlines()
    assert passes.split() == list(cases.PASSES)
    assert modes.split() == list(cases.MODES)
    assert controls.split() == ["plain,identity"]
    assert typo.split() == ["detect", "depth"]
    assert {"yolo11n.yaml", "yolo11n-"} <= set(models.split())
    assert {"CA", "CAA", "CBAM", "CPCA"} <= set(blocks.split())
    assert tasks.split() == ["task=segment", "task=semantic"]
    seconds = float(done.stderr.splitlines()[-1])
    assert seconds / 10 < 0.3, "of one TAB"


# --- what is offered is what is allowed -------------------------------------------------------------------------------
NUMBERS_AND_NAMES = {
    "bench": {"--shape", "--imgsz", "--batch", "--threads", "--seconds", "--minutes"},
    "compare": {"--seeds", "--per-gpu", "--threads", "--speed-seconds", "--only"},
    "pack": {"--imgsz"},
    "report": {"--replicates"},
    "show": {"--rows", "--channels", "--imgsz", "--conf"},
    "subset": {"--images", "--val-images", "--seed", "--min-boxes", "--background", "--classes"},
}


def test_nothing_is_known_of_numbers_only():
    unknown = {}
    for verb, parser in verb_parsers().items():
        for action in parser._actions:
            if action.option_strings and action.nargs != 0 and completion.value_of(verb, action) == completion.UNKNOWN:
                unknown.setdefault(verb, set()).add(action.option_strings[-1])
    assert unknown == NUMBERS_AND_NAMES


def test_values_keys_and_verbs_exist():
    verbs = verb_parsers()
    assert tuple(verbs) == cli.VERBS
    flags = {flag for parser in verbs.values() for action in parser._actions for flag in action.option_strings}
    assert {flag.split()[-1] for flag in completion.VALUES} <= {*flags, "--import"}
    assert {name.split()[0] for name in completion.WORDS} <= set(verbs)
    assert set(completion.KEYS) <= {*host_words.arguments(), "init"}
    assert completion.VALUES["--executor"].split() == list(EXECUTORS)
    tables = completion.table()
    for text in tables.values():
        assert {word[1:] for word in text.split() if word.startswith("@") and ":" not in word} - {"any", "folder"} <= {
            *tables
        }


def test_ready_models_are_offered_at_every_scale():
    offered = set(completion.table()["models"].split())
    assert {
        "yolo11n-ela.yaml",
        "yolo26x-se-backbone.yaml",
        "yolov8m.yaml",
        "yolo11s-seg.yaml",
        "rtdetr-l.yaml",
    } <= offered


def test_an_unknown_shell_is_answered_with_those_there_are(capsys):
    assert cli.main(["completion", "bsh"]) == 2
    assert "unknown shell 'bsh'. Did you mean 'bash'? Allowed: bash, zsh" in capsys.readouterr().err
