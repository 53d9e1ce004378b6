"""Run a case and return its outcome: worked, refused by an error of this package, or failed.

A case fails if it raises anything but :class:`YoloAttnError`, an output is not finite, or the command line prints more
than one error line. Errors of models without attention are Ultralytics' own.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from robustness.inserts import Call
from yolo_attn import YOLO, cli, insert
from yolo_attn.errors import YoloAttnError
from yolo_attn.host.gated import Gated
from yolo_attn.host.registry import is_attention
from yolo_attn.models.insert import Insertion

WORKED, REFUSED, HOST_ERROR = "worked", "refused", "Ultralytics' own"
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class FailedError(AssertionError):
    """A case failed; hypothesis shrinks it to a smaller one with the same failure."""


class HostError(Exception):
    """A model cannot run on this image, with or without attention."""


def try_model(case: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    """Open a model from a file and run it; return the outcome and the reason of a refusal."""
    name, model = case
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_text(yaml.safe_dump(model, sort_keys=False), encoding="utf-8")
        return _outcome(lambda: _run(YOLO(str(file)).model))


def try_insert(call: Call) -> tuple[str, str]:
    """Insert, and where the base was a model dict, run the result."""
    return _outcome(lambda: _check_insertion(insert(call.base, call.block, call.at, call.inside, **call.hyper)))


def _check_insertion(made: Insertion) -> None:
    old, new = list(made.row_map), list(made.row_map.values())
    if new != sorted(set(new)) or old != list(range(len(old))) or set(new) & set(made.new_rows):
        raise FailedError(f"rows are out of order: {made.row_map}, new {made.new_rows}")
    with tempfile.TemporaryDirectory() as folder:
        scale = made.base.get("scale") or ""
        file = made.save(Path(folder, f"yolo11{scale}-made.yaml"))
        read = yaml.safe_load(file.read_text(encoding="utf-8"))
        rows = [*read["backbone"], *read["head"]]
        if len(rows) != len(new) + len(made.new_rows):
            raise FailedError(f"{len(rows)} rows were written")
        if "yaml_file" not in made.base:
            _run(YOLO(str(file)).model)


def _run(model: torch.nn.Module) -> None:
    with torch.no_grad():
        try:
            held = [model.eval()(IMAGE)]
        except Exception as error:
            if _fails_without_attention(model):
                raise HostError(str(error)) from error
            raise
    while held:
        part = held.pop()
        if isinstance(part, torch.Tensor) and not torch.isfinite(part).all():
            raise FailedError("the output is not finite")
        held += part if isinstance(part, (list, tuple)) else part.values() if isinstance(part, dict) else []


def _fails_without_attention(model: torch.nn.Module) -> bool:
    """Return whether the image is too small for the model without attention: a kernel larger than its map."""
    rows = model.model
    for i, row in enumerate(rows):
        if is_attention(row):
            stand_in = torch.nn.Identity()
            stand_in.i, stand_in.f, stand_in.type = row.i, row.f, row.type
            rows[i] = stand_in
    for module in [m for m in rows.modules() if isinstance(m, Gated)]:
        module.attention = torch.nn.Identity()
    try:
        model(IMAGE)
    except Exception:
        return True
    return False


def _outcome(do: Callable[[], None]) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            do()
        except YoloAttnError as error:
            if "\n" in str(error):
                raise FailedError(f"the message has several lines: {error}") from error
            return REFUSED, kind_of(str(error))
        except HostError as error:
            return HOST_ERROR, kind_of(str(error))
    return WORKED, ""


def kind_of(message: str) -> str:
    """Return a message without its values, so that similar refusals are counted together."""
    message = re.sub(r"^row \d+ (\[.*?\]|[^:]*): (?=[^\]]*$)", "row: ", message)
    return re.sub(r"'[^']*'|\"[^\"]*\"|\[.*\]|\{.*\}|-?\d[\d.e+]*", "_", message)[:80]


def refusal_of(do: Callable[[], object]) -> str | None:
    """Call a function; return the message if this package refuses it."""
    try:
        do()
    except YoloAttnError as error:
        return str(error)
    return None


# --- the command line -------------------------------------------------------------------------------------------------
def try_command(words: list[str]) -> tuple[str, str]:
    """Run a command line in this process and folder, with training and timing disabled."""
    said, wrote = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(said), contextlib.redirect_stdout(wrote):
        warnings.simplefilter("ignore")
        try:
            code = cli.main(words)
        except SystemExit as left:
            code = left.code
    lines = [line for line in said.getvalue().splitlines() if line.startswith("yolo-attn: ")]
    if "Traceback" in said.getvalue():
        raise FailedError(f"a traceback was printed: {said.getvalue()}")
    if code == 2:
        if len(lines) != 1:
            raise FailedError(f"exit 2 with {len(lines)} lines: {said.getvalue()}")
        return REFUSED, kind_of(lines[0].removeprefix("yolo-attn: "))
    if code not in (0, 1, None):
        raise FailedError(f"exit {code}")
    return WORKED, ""


@contextlib.contextmanager
def without_work(folder: Path) -> Iterator[None]:
    """Run in ``folder`` without a network; replace training, timing, export and drawing by nothing."""
    from support.fake_runs import FakeExecutor
    from ultralytics.engine.model import Model

    here = os.getcwd()
    with contextlib.ExitStack() as stack:
        for name in ("train", "val", "predict", "export", "track", "benchmark"):
            stack.enter_context(mock.patch.object(Model, name, return_value=None))
        stack.enter_context(mock.patch("yolo_attn.compare.executors.LocalPool.carry_out", FakeExecutor().carry_out))
        stack.enter_context(mock.patch("yolo_attn.compare.driver._measure_speed"))
        stack.enter_context(mock.patch("yolo_attn.report.plots.draw", return_value={}))
        stack.enter_context(mock.patch("yolo_attn.bench.run.records", return_value=()))
        stack.enter_context(mock.patch("yolo_attn.demo.run.run_demo", return_value=""))
        stack.enter_context(mock.patch.object(socket.socket, "connect", _no_network))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def _no_network(*_: Any) -> None:
    raise OSError(101, "Network is unreachable")
