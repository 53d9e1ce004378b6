"""Write the scripts with which bash and zsh complete the words of ``yolo-attn``.

A script is static: pressing a key starts no Python. It consists of a table, a part that both shells read, which finds
what the word at the cursor may be, and a part for the shell, which offers it. That a word may be is written in tokens:
the words themselves; ``@NAME``, the words of a table; ``@file:ENDING``, ``@folder`` and ``@any`` for files; ``.`` for a
value that nothing is known of. It begins with ``,`` where several are separated by commas, and with ``+`` where several
words follow an option.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from yolo_attn.bench import cases
from yolo_attn.cli.examples import HOST_EXAMPLES
from yolo_attn.cli.parser import verb_parsers
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host import registry
from yolo_attn.host import words as host_words
from yolo_attn.host.model_files import host_model_files, shipped_models
from yolo_attn.subset.choice import PRESETS, SAMPLINGS, SIZES
from yolo_attn.util.words import INITS

SHELLS = ("bash", "zsh")
SCALES = "nsmlx"
UNKNOWN = "."
YAML, WEIGHTS, MODEL, DATA = "@file:yaml", "@file:pt", "@models @file:yaml @file:pt", "@data @file:yaml"
DEVICES = "cpu 0"

VALUES = {
    "--at": "neck:all neck:P3 neck:P4 neck:P5 neck:P3,P4,P5 backbone:P3 backbone:P4 backbone:P5 sppf pre-detect after: "
    "before:",
    "--ap": "ultralytics coco",
    "--beside": MODEL,
    "--block": "@blocks",
    "--blocks": ", all @blocks",
    "--coco": "@folder @file:json",
    "--controls": ", identity plain",
    "--data": DATA,
    "--device": DEVICES,
    "--executor": "serial pool ray",
    "--from": "@folder",
    "--ids": "+ @folder @file:txt",
    "--images-dir": "@folder",
    "--import": "@file:py",
    "--init": " ".join(INITS),
    "--inside": ", C3k2 C2f C3 SPPF C3k2@inner C3k2@outer SPPF@concat",
    "--models": ", @models",
    "--output": "@folder",
    "--pass": f", {' '.join(cases.PASSES)}",
    "--preset": " ".join(PRESETS),
    "--sampling": " ".join(SAMPLINGS),
    "--sizes": f", {' '.join(SIZES)}",
    "--speed-from": "@folder",
    "--train-ids": "@file:txt",
    "--val-ids": "@file:txt",
    "--weights": "@weights @file:pt",
    "--yolo": YAML,
    "--dtype": f", {' '.join(cases.DTYPES)}",
    "--layout": f", {' '.join(cases.LAYOUTS)}",
    "--mode": f", {' '.join(cases.MODES)}",
    "--against": f", {' '.join(cases.AGAINST)}",
    **dict.fromkeys(("insert -o", "insert --output", "adopt -o", "adopt --output"), YAML),
}
"""Values of an option, of any verb or of one; where an option is not named, nothing is known of its value."""

WORDS = {
    "insert 0": MODEL,
    "insert words": "@hyper",
    "adopt 0": YAML,
    "compare words": f"{MODEL} @file:json identity: plain:",
    "show 0": MODEL,
    "show words": "@any",
    "pack 0": WEIGHTS,
    "report words": "@folder",
    "completion 0": " ".join(SHELLS),
}
"""Words of a verb that belong to no option: the first, or all others."""

KEYS = {
    "init": " ".join(INITS),
    "model": MODEL,
    "data": DATA,
    "pretrained": "@weights @file:pt True False",
    "resume": "@file:pt True False",
    "distill_model": WEIGHTS,
    "source": "@any",
    "project": "@folder",
    "device": DEVICES,
    "cfg": YAML,
    "freeze": "base base:10 10",
}
"""Values after ``key=``."""


def script(shell: str) -> str:
    """Return the script that completes the words of ``yolo-attn`` in a shell.

    Args:
        shell: ``bash`` or ``zsh``.

    Raises:
        YoloAttnError: If there is none for the shell.
    """
    if shell not in SHELLS:
        raise YoloAttnError(one_of("shell", shell, SHELLS))
    entries = "\n".join(
        f"        {shlex.quote(name)}) REPLY={shlex.quote(text)} ;;" for name, text in table().items() if text
    )
    both = _part("completion.sh").replace("@CASES@", entries).rstrip()
    return _part(f"completion.{shell}").replace("@TABLE@", both).rstrip()


def table() -> dict[str, str]:
    """Return every table of a script: names, and what may follow options and keys."""
    verbs = verb_parsers()
    found = {**_names(), **_host()}
    found["verbs"] = _lines({**{name: parser.summary for name, parser in verbs.items()}, **_commands()})
    for name, parser in verbs.items():
        for action in parser._actions:  # argparse has no public list of them
            for flag in action.option_strings if action.nargs != 0 else ():
                found[f"{name} {flag}"] = value_of(name, action)
        flags = {flag: _about(action) for action in parser._actions for flag in action.option_strings}
        found[f"{name}-options"] = _lines({**flags, "--import": "import a file with blocks of your own"})
    return {**found, **WORDS}


def value_of(verb: str, action: argparse.Action) -> str:
    """Return what may follow an option."""
    named = [VALUES.get(f"{verb} {flag}", VALUES.get(flag)) for flag in action.option_strings]
    return next((value for value in named if value), UNKNOWN)


def _about(action: argparse.Action) -> str:
    """Return the first words of an option's help."""
    return str(action.help or "").partition(" (default")[0].replace("%%", "%")


def _names() -> dict[str, str]:
    """Return the tables of blocks, hyper-parameters and models."""
    facts = json.loads(registry.STORED.read_text(encoding="utf-8"))
    hyper = {f"{name}=" for block in facts for name in block["hyper_parameters"]}
    families = {name.partition("-")[0] for name in shipped_models()}
    models = [*shipped_models(), *(file.name for file in host_model_files())]
    scaled = [name for model in models for name in _at_all_scales(model, families)]
    stems = {name if "-" not in name else name.partition("-")[0] + "-" for name in scaled}
    return {
        "blocks": _lines(block["name"] for block in facts),
        "hyper": _lines(hyper),
        "models": _lines(scaled),
        "stems": _lines(stems),
        "weights": _lines(f"{family}{scale}.pt" for family in families for scale in SCALES),
    }


def _host() -> dict[str, str]:
    """Return the tables of the arguments of Ultralytics."""
    arguments = host_words.arguments()
    about = {f"{key}=": text for key, (text, _) in arguments.items()} | {"init=": "how new attention starts"}
    values = {key: " ".join(values) for key, (_, values) in arguments.items()}
    values |= {"mode": " ".join(host_words.modes()), "task": " ".join(host_words.tasks()), **KEYS}
    general = {"--help": "show examples and options", "--import": "import a file with blocks of your own"}
    checked = {"--no-check": "do not compare with PyTorch", "--json": "print JSON"}
    return {
        "keys": _lines(about),
        "data": _lines(host_words.data_sets()),
        **{f"key {key}": value for key, value in values.items()},
        **{f"{mode} words": "@keys" for mode in host_words.modes()},
        "mode-options": _lines(general),
        "export-options": _lines({**general, **checked}),
        "any-options": _lines({**general, "--version": "print the version"}),
        "any --import": VALUES["--import"],
    }


def _commands() -> dict[str, str]:
    """Return the commands of Ultralytics, and what they do."""
    modes = {mode: HOST_EXAMPLES.get(mode, ("a mode of Ultralytics",))[0] for mode in host_words.modes()}
    return {**modes, **dict.fromkeys(host_words.special_commands(), "a command of Ultralytics")}


def _at_all_scales(model: str, families: Iterable[str]) -> list[str]:
    """Return the names of a model at every scale; of a family without attention YAMLs the name as it is."""
    family, dash, rest = model.removesuffix(".yaml").partition("-")
    return [f"{family}{scale}{dash}{rest}.yaml" for scale in SCALES] if family in families else [model]


def _lines(words: Iterable[str]) -> str:
    """Return the words of a table, one a line, behind each what it means if that is known."""
    if isinstance(words, Mapping):
        return "\n".join(f"{word}|{' '.join((text or '').split())}" for word, text in words.items())
    return "\n".join(sorted(set(words)))


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
