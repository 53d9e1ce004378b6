"""Run statements that use Ultralytics alone, without or with ``import yolo_attn`` before, and write what each gives.

``python -m support.host_statements OUT.json [--import=first|last] [--all-models]``, with ``tests`` on the path, writes
the value of every statement, or the type and text of its error, and what Ultralytics logged meanwhile. ``--all-models``
builds every stock model at every scale instead of one of each family.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import gc
import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import random
import re
import signal
import sys
import threading
import types
import warnings
from pathlib import Path

if "--import=first" in sys.argv:
    import yolo_attn

import numpy as np
import torch
import ultralytics
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import CBAM, Conv
from ultralytics.utils import LOGGER, SETTINGS

from support.model_cases import MODELS, NAMES, STOCK

for seed in (random.seed, np.random.seed, torch.manual_seed):
    seed(0)
if "--import=last" in sys.argv:
    import yolo_attn  # noqa: F401
STATEMENTS = {}
ONE_OF_EACH = (
    "yolov5n yolov6n yolov8n-p2 yolov8n-seg yolov8n-world yolov9t yolov10n yolo11n yolo11n-pose yolo11n-cls "
    "yolo12n yolo26n yolo26n-obb"
)


class Mine(nn.Module):
    """A class of one's own."""

    def __init__(self, *args):
        super().__init__()
        self.given = args

    def forward(self, x):
        return x


class MyAct(nn.ReLU):
    pass


def statement(function):
    STATEMENTS[function.__name__] = function
    return function


def also(name, function):
    STATEMENTS[name] = function


def digest(model):
    """Return a checksum of a model's tensors, and of the kinds, numbers and sources of its rows."""
    found = hashlib.md5(usedforsecurity=False)
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if not tensor.is_meta:
            found.update(tensor.numpy().tobytes())
    rows = getattr(model, "model", model)
    return [found.hexdigest(), [[m.i, m.f, m.type, m.np, type(m).__name__] for m in rows]]


def outcome(function):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.levelname} {record.getMessage()}")
    LOGGER.addHandler(handler)
    default = Conv.default_act
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = {"value": function()}
    except BaseException as error:
        found = {
            "error": [f"{type(error).__module__}.{type(error).__qualname__}", str(error), list(map(str, error.args))]
        }
        found["cause"] = type(error.__cause__).__name__
    LOGGER.removeHandler(handler)
    found["log"] = lines
    found["warnings"] = [str(w.message) for w in warned]
    found["default_act"] = repr(Conv.default_act)
    Conv.default_act = default
    return json.loads(re.sub(r"0x[0-9a-f]+", "0x", json.dumps(found, default=repr).replace(os.getcwd(), "FOLDER")))


# --- the process ------------------------------------------------------------------------------------------------------
also("random numbers", lambda: [random.random(), np.random.rand(), torch.rand(1).item()])
also("sys.path", lambda: sys.path)
also("meta path", lambda: [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path])
also("path hooks", lambda: [getattr(f, "__qualname__", "") for f in sys.path_hooks])
also("environment", lambda: dict(os.environ))
also("filters of warnings", lambda: [repr(f) for f in warnings.filters])
also("signals", lambda: [repr(signal.getsignal(s)) for s in sorted(signal.valid_signals())])
also(
    "hooks",
    lambda: [
        repr(h) for h in (sys.excepthook, threading.excepthook, sys.displayhook, sys.unraisablehook, sys.breakpointhook)
    ],
)
also("streams", lambda: [type(s).__name__ for s in (sys.stdout, sys.stderr, sys.stdin)])
also(
    "log",
    lambda: [
        logging.root.level,
        len(logging.root.handlers),
        LOGGER.level,
        len(LOGGER.handlers),
        LOGGER.propagate,
        logging.raiseExceptions,
    ],
)
also("loggers", lambda: sorted(n for n in logging.root.manager.loggerDict if not n.startswith("yolo_attn")))
also(
    "torch",
    lambda: [
        str(torch.get_default_dtype()),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        str(torch.get_default_device()),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.backends.cuda.matmul.allow_tf32,
        torch.is_anomaly_enabled(),
        repr(torch._tensor_str.PRINT_OPTS),
    ],
)
also("numpy", lambda: [np.geterr(), np.get_printoptions()])
also(
    "interpreter",
    lambda: [
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        gc.get_threshold(),
        atexit._ncallbacks(),
        multiprocessing.get_start_method(allow_none=True),
        threading.active_count(),
        os.getcwd(),
        sys.flags.optimize,
    ],
)
also("builtins", lambda: sorted(vars(__import__("builtins"))))
also("modules", lambda: sorted(n for n in sys.modules if n.partition(".")[0] not in ("yolo_attn", "support")))
also("settings", lambda: dict(SETTINGS))
also("copyreg", lambda: sorted(map(repr, __import__("copyreg").dispatch_table)))


@statement
def functions_of_the_host():
    """Every function and class of Ultralytics and torch: where its code is, and its signature's names."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] not in ("ultralytics", "torch", "torchvision"):
            continue
        for key, held in list(vars(module).items()) if isinstance(module, types.ModuleType) else ():
            if isinstance(held, type) and held.__module__ == name:
                found.update(
                    {f"{name}.{key}.{k}": where(v) for k, v in vars(held).items() if isinstance(v, types.FunctionType)}
                )
                found[f"{name}.{key}"] = [c.__qualname__ for c in held.__mro__]
            elif isinstance(held, types.FunctionType):
                found[f"{name}.{key}"] = where(held)
            else:
                found[f"{name}.{key}"] = type(held).__name__
    return found


def where(function):
    return [function.__code__.co_filename, function.__qualname__, function.__module__]


@statement
def safe_globals():
    return sorted(
        f"{c.__module__}.{c.__qualname__}" for c in torch.serialization.get_safe_globals() if isinstance(c, type)
    )


# --- models -----------------------------------------------------------------------------------------------------------
def built(name):
    torch.manual_seed(7)
    model = tasks.yaml_model_load(name)
    layers, saved = tasks.parse_model(copy.deepcopy(model), ch=3, verbose=True)
    return [digest(layers), saved, model, tasks.guess_model_task(model), torch.rand(1).item()]


def stock_names():
    root = Path(ultralytics.__file__).parent / "cfg" / "models"
    if "--all-models" not in sys.argv:
        yield from (f"{name}.yaml" for name in ONE_OF_EACH.split())
        return
    for file in sorted(root.rglob("*.yaml")):
        scales = yaml.safe_load(file.read_text()).get("scales") or [""]
        family = re.match(r"(yolo(?:e-)?v?\d+)(.*)", file.name)
        yield from (f"{family[1]}{s}{family[2]}" if family and len(scales) > 1 else file.name for s in scales)


for stock in dict.fromkeys(stock_names()):
    also(f"stock {stock}", functools.partial(built, stock))


@statement
def a_detector():
    torch.manual_seed(1)
    model = YOLO("yolo11n.yaml")
    result = model.model.eval()(torch.ones(1, 3, 64, 64))[0]
    fused = model.model.fuse(verbose=False)(torch.ones(1, 3, 64, 64))[0]
    return [digest(model.model), result.sum().item(), fused.sum().item(), model.task, str(model.model.yaml)]


@statement
def detectors_of_other_classes():
    torch.manual_seed(1)
    makers = {"yolo11n-seg.yaml": tasks.SegmentationModel, "yolo11n-cls.yaml": tasks.ClassificationModel}
    return [digest(make(name, verbose=False)) for name, make in makers.items()]


@statement
def weights_from_row_to_row():
    source, target = (
        tasks.DetectionModel({**STOCK}, verbose=False),
        tasks.DetectionModel({**STOCK, "nc": 4}, verbose=False),
    )
    target.load(source)
    target.load({"model": source}, verbose=False)
    target.load(weights=source, verbose=True)
    return digest(target)[1]


for number, given in enumerate([(), ({},), (None,), ({"ema": 1},), (3,), (nn.Linear(1, 1),), (1, 2, 3)]):
    also(f"load of {number}", lambda given=given: tasks.DetectionModel({**STOCK}, verbose=False).load(*given))
    also(
        f"fuse of {number}",
        lambda given=given: type(tasks.DetectionModel({**STOCK}, verbose=False).fuse(*given)).__name__,
    )
    also(f"constructor of {number}", lambda given=given: type(tasks.DetectionModel(*given)).__name__)
    also(f"classifier of {number}", lambda given=given: type(tasks.ClassificationModel(*given)).__name__)
    also(f"parse_model of {number}", lambda given=given: tasks.parse_model(*given))
    also(f"yaml_model_load of {number}", lambda given=given: tasks.yaml_model_load(*given))


for name, model in MODELS.items():
    also(f"model: {name}", lambda model=model: digest(tasks.DetectionModel(copy.deepcopy(model), verbose=True)))
    also(f"parse: {name}", lambda model=model: digest(tasks.parse_model(copy.deepcopy(model), 3, False)[0]))
    if name in ("plain", "activation", "an unknown row", "nothing"):
        also(f"parse by name: {name}", lambda model=model: digest(tasks.parse_model(d=copy.deepcopy(model), ch=3)[0]))
    also(f"task: {name}", lambda model=model: tasks.guess_model_task(copy.deepcopy(model)))

CONTENTS = {
    **{f"model {name}": yaml.safe_dump(model) for name, model in MODELS.items()},
    "a word": "just a word", "a list": "[1, 2]", "empty": "", "a number": "5", "no yaml": "a: [1, 2", "null": "null",
    "a tab": "a:\n\t- b", "a date": "2020-01-01", "many documents": "a: 1\n---\nb: 2", "bytes": "nc: \x01",
    "a tag": "!!python/object:os.system {}", "an anchor": "a: &x 1\nb: *x",
}  # fmt: skip
for number, (name, content) in enumerate(CONTENTS.items()):
    file = f"content{number}.yaml"
    Path(file).write_text(content)
    also(f"yaml_model_load: {name}", lambda file=file: tasks.yaml_model_load(file))
    if not name.startswith("model ") or number % 6 == 0:  # the models themselves are built above
        also(f"YOLO: {name}", lambda file=file: digest(YOLO(file).model))
Path("raw.yaml").write_bytes(b"\xff\xfe\x00nc")
Path("2nd-try").mkdir(exist_ok=True)
for name in ("yolo11-mine.yaml", "2nd-try/yolo11-mine.yaml", "mine.yml", "yolov9.yaml", "yolov8-p6.yaml"):
    Path(name).write_text(yaml.safe_dump({**STOCK, "scales": {"n": [1, 1, 64], "s": [1, 2, 64]}}))
for name in [*NAMES, "", " ", "a b.yaml", "x" * 300 + ".yaml", "nul\0.yaml"]:
    also(f"yaml named {name[:40]!r}", lambda name=name: tasks.yaml_model_load(name))
    also(f"path named {name[:40]!r}", lambda name=name: tasks.yaml_model_load(Path(name)))
    also(f"scale of {name[:40]!r}", lambda name=name: tasks.guess_model_scale(name))
    also(f"task of {name[:40]!r}", lambda name=name: tasks.guess_model_task(name))
    also(f"YOLO named {name[:40]!r}", lambda name=name: digest(YOLO(name).model) if Path(name).suffix == ".yaml" else 0)


# --- checkpoints ------------------------------------------------------------------------------------------------------
def checkpoints():
    torch.manual_seed(3)
    model = tasks.DetectionModel({**STOCK}, verbose=False)
    stranger = copy.deepcopy(model)
    stranger.extra = Mine(1)
    held = {"model": model, "train_args": {"imgsz": 32}}
    torch.save(held, "plain.pt")
    torch.save({**held, "model": stranger}, "stranger.pt")
    torch.save({**held, "extra": Mine(1)}, "extra.pt")
    torch.save(model.state_dict(), "state.pt")
    torch.save({"model": model.state_dict()}, "state of a model.pt")
    torch.save({}, "empty.pt")
    torch.save([1, 2], "list.pt")
    torch.save(model, "whole.pt")
    torch.jit.trace(nn.Conv2d(3, 1, 1), torch.rand(1, 3, 4, 4)).save("script.pt")
    Path("broken.pt").write_bytes(b"nothing of the kind")
    Path("zero.pt").write_bytes(b"")
    Path("cut.pt").write_bytes(Path("plain.pt").read_bytes()[:2000])
    return sorted(str(p) for p in Path().glob("*.pt"))


FILES = [*checkpoints(), "2nd-try", "content0.yaml"]
for file in FILES:
    also(f"YOLO of {file}", lambda file=file: digest(YOLO(file).model))
    also(f"load_checkpoint of {file}", lambda file=file: digest(tasks.load_checkpoint(file)[0]))
    for only in (True, False, None):
        also(
            f"torch_safe_load of {file} {only}",
            lambda file=file, only=only: sorted(tasks.torch_safe_load(file, safe_only=only)[0]),
        )
    also(f"torch.load of {file}", lambda file=file: type(torch.load(file, weights_only=True)).__name__)


@statement
def a_pickled_model():
    again = pickle.loads(pickle.dumps(tasks.DetectionModel({**STOCK}, verbose=False)))
    return digest(again)[1]


@statement
def pickled_functions():
    functions = (
        tasks.parse_model,
        tasks.yaml_model_load,
        tasks.DetectionModel.__init__,
        tasks.BaseModel.load,
        tasks.BaseModel.fuse,
    )
    return [pickle.loads(pickle.dumps(f)) is f for f in functions[:2]] + [repr(f).split(" at ")[0] for f in functions]


@statement
def names_that_modules_share():
    import ultralytics.engine.model as engine
    import ultralytics.nn as package

    return [package.parse_model is tasks.parse_model, engine.yaml_model_load is tasks.yaml_model_load, tasks.SAFE_LOAD]


def main():
    tasks.Mine, tasks.MyAct, tasks.BoughtCBAM = Mine, MyAct, CBAM
    tasks.made, tasks.part = lambda *args: Mine(*args), functools.partial(Mine, 7)
    with contextlib.redirect_stdout(sys.stderr):
        found = {name: outcome(function) for name, function in STATEMENTS.items()}
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
