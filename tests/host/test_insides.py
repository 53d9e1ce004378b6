"""Only ``host/`` and files named ``host.py`` use internals of Ultralytics, found by reading the code.

Insides are: submodules of ``ultralytics``, private names of its classes, attributes that its classes set on themselves,
private methods to override, and the stack frames of an error.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import yolo_attn as ya

PACKAGE = Path(ya.__file__).parent
HOST = Path(importlib.util.find_spec("ultralytics").submodule_search_locations[0])
FOLDERS = ("engine", "models", "data", "nn")
FRAMES = {"f_locals", "f_globals", "f_back", "tb_frame", "walk_tb", "walk_stack", "currentframe", "_getframe"}
BY_NAME = {"getattr", "hasattr", "setattr", "delattr"}


# --- what the installed Ultralytics keeps to itself -------------------------------------------------------------------
def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def host_classes() -> Iterator[ast.ClassDef]:
    files = [file for folder in FOLDERS for file in (HOST / folder).rglob("*.py")]
    for file in [*files, HOST / "utils" / "torch_utils.py"]:
        yield from (n for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.ClassDef))


def own_attributes(cls: ast.ClassDef) -> set[str]:
    """Return what a class sets on itself, in its body or by ``self.name = ...``."""
    stores = [n for n in ast.walk(cls) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)]
    of_self = {n.attr for n in stores if isinstance(n.value, ast.Name) and n.value.id in ("self", "cls")}
    return of_self | {t.id for n in cls.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}


def methods(cls: ast.ClassDef) -> set[str]:
    return {n.name for n in cls.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}


TORCH_NAMES = {*dir(nn.BatchNorm2d(1)), "data"}
CLASSES = list(host_classes())
PRIVATE = {name for cls in CLASSES for name in methods(cls) | own_attributes(cls) if is_private(name)}
ATTRIBUTES = {name for cls in CLASSES for name in own_attributes(cls)} - TORCH_NAMES


# --- what a file does with it -----------------------------------------------------------------------------------------
def touches(source: str) -> list[str]:
    """Return each use of internals of Ultralytics as ``line: name``."""
    tree = ast.parse(source)
    theirs = names_from_the_host(tree)
    own = {name for n in ast.walk(tree) if isinstance(n, ast.ClassDef) for name in own_attributes(n)}
    made_here = objects_of_own_classes(tree)
    found = [(node, what) for node in ast.walk(tree) for what in touches_of(node, theirs, own, made_here)]
    return [f"{node.lineno}: {what}" for node, what in sorted(found, key=lambda pair: pair[0].lineno)]


def objects_of_own_classes(tree: ast.AST) -> set[str]:
    """Return the ``self.name`` that a file assigns only instances of its own classes, none of them the host's.

    A class counts as the file's own if its bases are classes of the file, of torch or of the blocks.
    """
    may_derive = names_imported(tree, ("torch", "yolo_attn.blocks"))
    for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        if all(root_of(base) in may_derive for base in cls.bases):
            may_derive.add(cls.name)
    values: dict[str, list[ast.AST]] = {}
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.Assign)):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and is_of_self(target):
                values.setdefault(ast.unparse(target), []).append(node.value)
    classes = may_derive & {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    return {
        name
        for name, assigned in values.items()
        if all(isinstance(v, ast.Call) and isinstance(v.func, ast.Name) and v.func.id in classes for v in assigned)
    }


def names_from_the_host(tree: ast.AST) -> set[str]:
    return names_imported(tree, ("ultralytics",))


def names_imported(tree: ast.AST, modules: tuple[str, ...]) -> set[str]:
    """Return the names that a file imports from modules or what is below them."""
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    return {
        alias.asname or alias.name.partition(".")[0]
        for node in imports
        for alias in node.names
        if f"{getattr(node, 'module', None) or alias.name}.".startswith(tuple(f"{module}." for module in modules))
    }


def touches_of(node: ast.AST, theirs: set[str], own: set[str], made_here: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"imports {a.name}" for a in node.names if a.name.startswith("ultralytics."))
    elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ultralytics":
        if node.module != "ultralytics":
            yield f"imports from {node.module}"
        yield from (f"imports {a.name}" for a in node.names if is_private(a.name))
    elif isinstance(node, ast.ClassDef):
        yield from (f"{node.name} defines {name}" for name in sorted(methods(node) & PRIVATE))
    elif isinstance(node, ast.Attribute):
        yield from touches_of_attribute(node, theirs, own, made_here)
    elif isinstance(node, ast.Call):
        yield from touches_of_call(node, theirs)
    elif isinstance(node, ast.Name) and node.id in FRAMES:
        yield f"reads stack frames by {node.id}"
    elif isinstance(node, ast.alias) and node.name in FRAMES:
        yield f"reads stack frames by {node.name}"


def touches_of_attribute(node: ast.Attribute, theirs: set[str], own: set[str], made_here: set[str]) -> Iterator[str]:
    written = ast.unparse(node)
    if node.attr in FRAMES:
        yield f"reads stack frames by {written}"
    elif node.attr in PRIVATE:
        yield f"uses {written}"
    elif not isinstance(node.ctx, ast.Load):
        of_the_host = root_of(node) in theirs
        of_ours = is_of_self(node) or ast.unparse(node.value) in made_here
        if of_the_host or (node.attr in ATTRIBUTES - own and not of_ours):
            yield f"sets {written}"


def touches_of_call(node: ast.Call, theirs: set[str]) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if name in BY_NAME:
        words = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
        yield from (f"uses '{word}' by {name}" for word in words if word in PRIVATE)
    if name in ("setattr", "delattr", "patched") and node.args and root_of(node.args[0]) in theirs:
        yield f"sets attributes by {ast.unparse(node)}"


def root_of(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def is_of_self(node: ast.Attribute) -> bool:
    """Tell whether it reads ``self.name``; ``self.other.name`` is another object's."""
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


# --- the rule ---------------------------------------------------------------------------------------------------------
def may_touch(file: Path) -> bool:
    return file.name == "host.py" or file.is_relative_to(PACKAGE / "host")


def test_only_host_files_touch_ultralytics():
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if not may_touch(file)]
    assert len(files) > 100
    culprits = [
        f"{file.relative_to(PACKAGE)}:{touch}" for file in files for touch in touches(file.read_text(encoding="utf-8"))
    ]
    assert not culprits, "\n".join(culprits)


def test_the_names_are_those_of_the_installed_release():
    assert {"_setup_train", "_build_train_pipeline", "_load", "_smart_load", "_process_batch"} <= PRIVATE
    assert {"criterion", "updates", "shape", "buffer", "im_hw0"} <= ATTRIBUTES
    assert not {"weight", "bias", "training"} & ATTRIBUTES


def test_host_files_do_touch_it():
    """Host files do use internals, so the rule is not vacuous."""
    touching = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if may_touch(file) and touches(file.read_text(encoding="utf-8"))
    }
    assert {"host/trainer.py", "host/explain.py", "host/data.py", "compare/host.py", "export/host.py"} <= touching


MADE = "\nclass B:\n    def f(self):\n        self.a = A(); self.a.shape = 1"
"""A class that sets an attribute of an ``A`` that it made."""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("from ultralytics.nn import tasks", "1: imports from ultralytics.nn"),
        ("import ultralytics.cfg", "1: imports ultralytics.cfg"),
        ("from ultralytics import _private", "1: imports _private"),
        ("import ultralytics\nultralytics.YOLO = None", "2: sets ultralytics.YOLO"),
        ("import ultralytics as host\ndel host.YOLO", "2: sets host.YOLO"),
        ("from ultralytics import YOLO\nYOLO.task_map.fget = 1", "2: sets YOLO.task_map.fget"),
        ("import ultralytics\nsetattr(ultralytics, 'YOLO', 1)", "2: sets attributes by setattr"),
        ("import ultralytics\nwith patched(ultralytics, YOLO=1): pass", "2: sets attributes by patched"),
        ("def close(trainer):\n    trainer._close_dataloader_mosaic()", "2: uses trainer._close_dataloader_mosaic"),
        ("class Mixin:\n    def _setup_train(self): pass", "1: Mixin defines _setup_train"),
        ("hasattr(model, '_smart_load')", "1: uses '_smart_load' by hasattr"),
        ("model.model[-1].shape = None", "1: sets model.model[-1].shape"),
        ("class A:\n    def f(self):\n        self.ema.updates += 1", "3: sets self.ema.updates"),
        ("from ultralytics import YOLO\nclass A(YOLO): pass" + MADE, "5: sets self.a.shape"),
        ("from yolo_attn.host import Model\nclass A(Model): pass" + MADE, "5: sets self.a.shape"),
        ("class A: pass" + MADE + "\n    def g(self, a):\n        self.a = a", "4: sets self.a.shape"),
        ("def f(dataset):\n    dataset.im_hw0 = []", "2: sets dataset.im_hw0"),
        ("import traceback\ntraceback.walk_tb(e.__traceback__)", "2: reads stack frames by traceback.walk_tb"),
        ("from traceback import walk_tb", "1: reads stack frames by walk_tb"),
        ("frame.f_locals['i']", "1: reads stack frames by frame.f_locals"),
        ("sys._getframe()", "1: reads stack frames by sys._getframe"),
    ],
)
def test_a_touch_is_found(source, says):
    assert [touch for touch in touches(source) if touch.startswith(says)], touches(source)


@pytest.mark.parametrize(
    "source",
    [
        "import ultralytics\nultralytics.YOLO('yolo11n.pt').train(data='coco8.yaml')",
        "class Mixin:\n    def train(self):\n        self.stop = self._note()\n    def _note(self): pass",
        "class A:\n    shape = 1\ndef f(a):\n    a.shape = 2",
        "class A: pass" + MADE,
        "from yolo_attn.blocks.se import SE\nclass A(SE): pass" + MADE,
        "conv.weight = norm.bias",
    ],
)
def test_what_the_host_offers_and_our_own_is_no_touch(source):
    assert touches(source) == []
