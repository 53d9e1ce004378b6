"""The code of a documentation page: its commands and Python blocks in order, and cheap forms of them.

``python -m support.guide STEPS`` runs a list of steps in the working directory, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

CHEAP = {"epochs": "1", "imgsz": "32", "batch": "4", "plots": "False", "amp": "False", "device": "cpu"}
"""Arguments of every training, in place of those of the page."""


@dataclass(frozen=True)
class Step:
    """A command or a Python block of a page: as it is written, and the words or lines that are run."""

    written: str
    words: tuple[str, ...] = ()
    python: str = ""


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Return language and content of each code block that is to be run or read by a program, in order.

    A block without a language shows output, unless it begins with a command.
    """
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(kind or "bash", code) for kind, code in found if kind or re.match(r"(yolo-attn|python|pip) ", code)]


def steps_of(text: str) -> list[Step]:
    """Return the commands and Python blocks of a page in order; a Python block has the imports of those before it."""
    found, imports = [], ""
    for kind, code in code_blocks(text):
        if kind == "python":
            found.append(Step(code.splitlines()[0] if len(code.splitlines()) == 1 else code, python=imports + code))
            imports += "".join(f"{line}\n" for line in code.splitlines() if re.match(r"(import|from) ", line))
        elif kind == "bash":
            for line in code.replace("\\\n", " ").splitlines():
                if words := tuple(shlex.split(line, comments=True)):
                    found.append(Step(shlex.join(words), words))
    return found


def cheap(step: Step) -> Step:
    """Return a step that trains for one epoch on small images, and compares with one seed."""
    if step.python:
        return Step(step.written, python=_cheap_python(step.python))
    words = list(step.words)
    if words[:2] == ["yolo-attn", "train"]:
        words = [*(w for w in words if w.partition("=")[0] not in CHEAP), *(f"{k}={v}" for k, v in CHEAP.items())]
    elif words[:2] == ["yolo-attn", "compare"]:
        words = _cheap_comparison(words)
    return Step(step.written, tuple(words))


def _cheap_python(code: str) -> str:
    code = re.sub(r", epochs=\d+", "", code)
    code = code.replace('settings={"imgsz": 640}', 'settings={"imgsz": 32}, speed_seconds=0')
    given = ", ".join(f"{k}={v!r}" if k == "device" else f"{k}={v}" for k, v in CHEAP.items())
    return code.replace(".train(", f".train({given}, ")


def _cheap_comparison(words: list[str]) -> list[str]:
    finished = "--finished" in words
    if "--seeds" in words:
        at = words.index("--seeds")
        del words[at : at + 2]
    words = [word for word in words if word.partition("=")[0] not in CHEAP]
    settings = {"imgsz": "32"} if finished else {k: CHEAP[k] for k in ("epochs", "imgsz", "batch", "device")}
    seeds = [] if finished else ["--seeds", "0"]
    return [*words, *seeds, "--threads", "1", "--speed-seconds", "0", *(f"{k}={v}" for k, v in settings.items())]


def run(step: Step) -> int:
    """Run a step in this process and return its exit code."""
    if step.python:
        Path("block.py").write_text(step.python)
        runpy.run_path("block.py", run_name="__main__")
        return 0
    if step.words[0] == "cp":
        shutil.copy(*step.words[1:])
        return 0
    from yolo_attn import cli

    assert step.words[0] == "yolo-attn", step.words
    return cli.main(list(step.words[1:]))


def _run_in_fork(step: Step, log: Path) -> tuple[int, float]:
    """Run a step in a fork; return its exit code and CPU seconds."""
    if child := os.fork():
        _, status, used = os.wait4(child, 0)
        return os.waitstatus_to_exitcode(status), round(used.ru_utime + used.ru_stime, 1)
    code = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        code = run(step)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(steps: Path) -> None:
    """Run the steps of a file until one fails; print a line of JSON for each."""
    import torch
    from ultralytics.utils import SETTINGS

    import yolo_attn.train.yolo  # noqa: F401 - imported once, for all steps

    torch.set_num_threads(1)
    SETTINGS.update({"runs_dir": str(Path("runs").absolute())})
    for number, given in enumerate(json.loads(steps.read_text())):
        log = Path(f"step-{number}.txt")
        code, seconds = _run_in_fork(Step(**given), log)
        print(json.dumps({"written": given["written"], "code": code, "cpu": seconds}), flush=True)
        if code:
            sys.exit(log.read_text()[-3000:])


def write_steps(steps: list[Step], file: Path) -> None:
    """Write steps for ``main``."""
    file.write_text(json.dumps([asdict(step) for step in steps]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
