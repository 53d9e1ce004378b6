"""Carry out the verbs of this package that have no command file of their own."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.util.words import integers, key_values, log_to_stderr, missing, refuse

TRAINED, FINISHED, MERGED = "runs/compare", "runs/compare-finished", "runs/compare-merged"
"""Folders of comparisons, where none is given."""


def blocks(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """List the blocks."""
    refuse(trailing)
    from yolo_attn.models.block_table import as_json, as_markdown, as_text

    return (as_json if arguments.json else as_markdown if arguments.markdown else as_text)(), 0


def env(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Print what a bug report needs."""
    refuse(trailing)
    import torch

    from yolo_attn.blocks import fused
    from yolo_attn.util.env import environment

    found = environment("cuda:0" if torch.cuda.is_available() else "cpu")
    found |= {"platform": platform.platform(), "fused kernels": fused.describe()}
    if arguments.json:
        return json.dumps(found), 0
    width = max(map(len, found))
    return "\n".join(f"{name.replace('_', '-'):<{width}}  {value}" for name, value in found.items()), 0


def completion(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Print a script that completes commands."""
    refuse(trailing)
    from yolo_attn.cli.completion import script

    return script(arguments.shell), 0


def insert(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Insert blocks into a model."""
    from yolo_attn.models.block_table import check_spelling

    blocks, places = arguments.block, arguments.at or [None]
    if len(places) not in (1, len(blocks)):
        raise YoloAttnError(
            f"{len(blocks)} --block and {len(places)} --at: give one --at for all blocks or one for each"
        )
    places = places * len(blocks) if len(places) == 1 else places
    pairs = list(zip(blocks, places, strict=True))
    hyper = key_values(trailing)
    check_spelling(blocks, hyper)  # before torch is imported, which takes seconds
    from yolo_attn.models.insert import insert

    made = insert(arguments.base, pairs, inside=arguments.inside, **hyper)
    if "init" not in hyper:
        print(
            "note: the blocks start as in their papers, which changes what pretrained weights give; with init=identity "
            "they start as y = x",
            file=sys.stderr,
        )
    if arguments.output:
        print(f"wrote {made.save(arguments.output)}", file=sys.stderr)
    return (json.dumps(made.as_dict()) if arguments.json else str(made)), 0


def adopt(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Rewrite a foreign model YAML; the code is 1 if the model cannot be built yet."""
    refuse(trailing)
    from yolo_attn.models.adopt import adopt

    made = adopt(arguments.model, arguments.output, arguments.shift, arguments.init, arguments.force)
    if arguments.output:
        end = f"wrote {arguments.output}" + ("" if made.builds else f"; cannot be built yet: {made.error}")
        return f"{made}\n{end}", 0 if made.builds else 1
    print(made, file=sys.stderr)
    if not made.builds:
        print(f"cannot be built yet: {made.error}", file=sys.stderr)
    return made.text.rstrip(), 0 if made.builds else 1


def compare(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Compare models."""
    compared = _compare_finished if arguments.finished else _train_and_compare
    arguments.output = arguments.output or (FINISHED if arguments.finished else TRAINED)
    failed = compared(arguments, trailing)
    for reason in failed:
        print(f"yolo-attn: run failed: {reason}", file=sys.stderr)
    return _stored_report(arguments.output, arguments.json), 1 if failed else 0


def _train_and_compare(arguments: argparse.Namespace, trailing: list[str]) -> list[str]:
    from yolo_attn.compare.driver import compare
    from yolo_attn.compare.plan import Plan, read_plan

    arms = [word for word in arguments.models if "=" not in word]
    settings = key_values([word for word in [*arguments.models, *trailing] if word not in arms])
    if trained := next((arm for arm in arms if arm.endswith(".pt")), None):
        raise YoloAttnError(
            f"'{trained}' is a checkpoint: models to train are YAMLs, with --weights {trained} to start from it; "
            f"--finished compares checkpoints without training"
        )
    stored: dict[str, Any] = {}
    if len(arms) == 1 and not arms[0].startswith(("identity:", "plain:")):
        stored = read_plan(arms[0])
        arms = stored["arms"]
    plan = Plan(
        arms=arms,
        data=arguments.data or stored.get("data") or missing("--data"),
        weights=arguments.weights or stored.get("weights"),
        seeds=integers(arguments.seeds) if arguments.seeds else stored.get("seeds", (0, 1, 2)),
        controls=arguments.controls.split(",") if arguments.controls else stored.get("controls", ()),
        device=settings.pop("device", stored.get("device")),
        threads=arguments.threads or stored.get("threads"),
        register=stored.get("register", ()),
        init=settings.pop("init", stored.get("init")),
        overrides={**stored.get("overrides", {}), **settings},
    )
    return compare(
        plan,
        arguments.output,
        log=log_to_stderr("compare"),
        executor=arguments.executor,
        per_device=arguments.per_gpu,
        speed_seconds=arguments.speed_seconds,
        only=arguments.only,
    )


def _compare_finished(arguments: argparse.Namespace, trailing: list[str]) -> list[str]:
    from yolo_attn.compare.finished import compare_finished
    from yolo_attn.compare.finished_arms import is_arm

    for flag in ("weights", "seeds", "controls", "only"):
        if getattr(arguments, flag):
            raise YoloAttnError(f"--{flag} is for trainings; with --finished nothing is trained")
    words = [*arguments.models, *trailing]
    checkpoints = [word for word in words if is_arm(word)]
    settings = key_values([word for word in words if word not in checkpoints])
    return compare_finished(
        checkpoints,
        arguments.output,
        data=arguments.data,
        device=settings.pop("device", None),
        settings=settings,
        log=log_to_stderr("compare"),
        executor=arguments.executor,
        per_device=arguments.per_gpu,
        threads=arguments.threads,
        speed_seconds=arguments.speed_seconds,
    )


def report(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Write the report of a comparison again."""
    refuse(trailing)
    from yolo_attn.compare import results

    log, folder = log_to_stderr("report"), arguments.folders[0]
    if len(arguments.folders) > 1 or arguments.output:
        from yolo_attn.compare.merge import merge

        folder = arguments.output or MERGED
        merge(arguments.folders, folder, arguments.speed_from, log)
    elif arguments.speed_from:
        raise YoloAttnError("--speed-from is for several folders that are merged")
    found = results.write(folder, log=log, replicates=arguments.replicates, ap=arguments.ap)
    if arguments.latex:
        from yolo_attn.report.latex import TABLE, to_latex
        from yolo_attn.util.files import write_whole

        log(f"the table for a paper: {write_whole(Path(folder, TABLE), to_latex(found))}")
    return _stored_report(folder, arguments.json), 0


def demo(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Train and compare two models on drawn scenes."""
    refuse(trailing)
    from yolo_attn.demo.run import run_demo

    return run_demo(Path(arguments.output), fast=arguments.fast, log=log_to_stderr("demo")), 0


def _stored_report(folder: str, as_json: bool) -> str:
    """Return the results of a comparison: all as JSON, or the beginning of the report and the path of the rest."""
    from yolo_attn.report.results import RESULTS, read_results

    if as_json:
        return Path(folder, RESULTS).read_text(encoding="utf-8").rstrip()
    from yolo_attn.report.markdown import BRIEF, to_markdown

    return to_markdown(read_results(folder), sections=BRIEF) + f"\nThe whole report: {Path(folder, 'report.html')}"
