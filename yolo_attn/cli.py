"""Command line ``yolo-attn``: all verbs of ``yolo``, with attention blocks registered, and the verbs of this package.

A user's mistake is one line on stderr and exit code 2; anything else that goes wrong keeps its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolo_attn import __version__
from yolo_attn.bench import command as bench_command
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.export import command as export_command
from yolo_attn.host.explain import modules_of
from yolo_attn.show import command as show_command
from yolo_attn.subset import command as subset_command
from yolo_attn.util.words import integers, key_values, log_to_stderr, missing, refuse

HOST_VERBS = ("train", "val", "predict", "export", "track", "benchmark")
_HOST_TASKS = ("detect", "segment", "pose", "obb", "classify", "semantic", "depth")
_HOST_SAYS = ("Dataset '", "Invalid ", "No valid images found", "final batch=")
_HOST_CHECKS = ("ultralytics.cfg", "ultralytics.utils.checks", "ultralytics.data.utils", "ultralytics.data.build")
_HOST_READS = ("ultralytics.cfg", "ultralytics.utils")  # where it has not got beyond the words it was given
_HOST_EXPORTS = (
    "ultralytics.engine.exporter",
    "ultralytics.utils.export",
)  # modules that raise for unsupported formats
_WRONG_FILES = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
_NETWORK = ("socket", "urllib.error", "requests.exceptions")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after ``yolo-attn``; those of this process by default.

    Returns:
        The exit code: 0, 1 where runs of a comparison failed, 2 after a user's mistake.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        text, code = _run(words)
        if text:
            _print(text)
        return code
    except KeyboardInterrupt:
        again = "; the same command continues where this one stopped" if words[:1] == ["compare"] else ""
        print(f"\nyolo-attn: stopped{again}", file=sys.stderr)
        return 130
    except Exception as error:
        if not _is_user_error(error):
            raise
        print(f"yolo-attn: {_one_line(error)}", file=sys.stderr)
        return 2


def _run(words: list[str]) -> tuple[str, int]:
    """Run a command; return its output and exit code."""
    if words and words[0] in (*HOST_VERBS, *_HOST_TASKS):
        return _host(words)
    if words and not words[0].startswith("-") and words[0] not in _VERBS:
        raise YoloAttnError(one_of("command", words[0], [*HOST_VERBS, *_VERBS]))
    arguments, trailing = _parser().parse_known_args(words)
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout, which is for results
        return arguments.run(arguments, trailing)


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # who reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- verbs ------------------------------------------------------------------------------------------------------------
def _host(words: list[str]) -> tuple[str, int]:
    if export_command.is_export(words):
        return export_command.run(words)
    from yolo_attn.train.yolo import run_host_command

    run_host_command(words)
    return "", 0


def _blocks(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    refuse(trailing)
    from yolo_attn.models.block_table import as_json, as_markdown, as_text

    return (as_json if arguments.json else as_markdown if arguments.markdown else as_text)(), 0


def _insert(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
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


def _compare(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    from yolo_attn.compare.driver import compare
    from yolo_attn.compare.plan import Plan, read_plan

    arms = [word for word in arguments.models if "=" not in word]
    settings = key_values([word for word in [*arguments.models, *trailing] if word not in arms])
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
        overrides={**stored.get("overrides", {}), **settings},
    )
    failed = compare(
        plan,
        arguments.output,
        log=log_to_stderr("compare"),
        executor=arguments.executor,
        per_device=arguments.per_gpu,
        speed_seconds=arguments.speed_seconds,
    )
    for reason in failed:
        print(f"yolo-attn: run failed: {reason}", file=sys.stderr)
    return _stored_report(arguments.output, arguments.json), 1 if failed else 0


def _report(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    refuse(trailing)
    from yolo_attn.compare import results

    results.write(arguments.folder, log=log_to_stderr("report"), replicates=arguments.replicates, ap=arguments.ap)
    return _stored_report(arguments.folder, arguments.json), 0


def _demo(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
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


# --- the parser -------------------------------------------------------------------------------------------------------
def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="yolo-attn",
        description="Attention blocks for Ultralytics YOLO: insert them, keep every weight, compare honestly.",
        epilog=f"yolo-attn {'|'.join(HOST_VERBS)} ... key=value take exactly what `yolo` takes. "
        "export then runs the file and compares it with PyTorch (--no-check, --json).",
    )
    parser.add_argument("--version", action="version", version=f"yolo-attn {__version__}")
    parser.set_defaults(run=lambda *_: (parser.format_help().rstrip(), 0))
    verbs = parser.add_subparsers(title="commands", metavar="")

    blocks = _verb(verbs, "blocks", _blocks, "list the blocks, their hyper-parameters and other names")
    blocks.add_argument("--json", action="store_true", help="print JSON")
    blocks.add_argument("--markdown", action="store_true", help="print a Markdown table, with papers and map shapes")

    insert = _verb(
        verbs, "insert", _insert, "insert blocks into a model YAML; trailing key=value words are hyper-parameters"
    )
    insert.add_argument("base", help="model YAML or checkpoint, e.g. yolo11n.yaml or best.pt")
    insert.add_argument("--block", required=True, action="append", help="name of the block, e.g. ELA; may be repeated")
    insert.add_argument(
        "--at",
        action="append",
        help="neck:P3,P4 | neck:all | backbone:P5 | sppf | pre-detect | after:4 | before:9, several with ';' (default: "
        "neck:P3,P4,P5); once for all blocks, or once for each",
    )
    insert.add_argument("--inside", help="put the block inside these host blocks: C3k2 | C3k2@outer | C2f,SPPF")
    insert.add_argument("-o", "--output", help="model YAML to write, e.g. yolo11-mine.yaml")
    insert.add_argument(
        "--json", action="store_true", help="print JSON: new rows, changed rows, and where each row is now"
    )

    summary = "write a detection set, or a representative subset of it, as a YOLO set"
    subset_command.add_flags(_verb(verbs, "subset", subset_command.run, summary))

    compare = _verb(verbs, "compare", _compare, "train models with one recipe and test their differences")
    compare.add_argument(
        "models",
        nargs="+",
        help="model YAMLs, the baseline first; identity:MODEL and plain:MODEL are controls; or one matrix file",
    )
    compare.add_argument("--data", help="data YAML")
    compare.add_argument("--weights", help="checkpoint every model starts from, e.g. yolo11n.pt (default: none)")
    compare.add_argument("--seeds", help="e.g. 0,1,2 (the default)")
    compare.add_argument("--controls", help="add controls of every arm with attention: identity, plain, or both with ,")
    compare.add_argument("--executor", default="serial", help="serial | pool | ray (default: %(default)s)")
    compare.add_argument("--per-gpu", type=int, default=1, metavar="K", help="runs at a time on each GPU, or the CPU")
    compare.add_argument("--threads", type=int, help="threads of each run on the CPU (default: Ultralytics' choice)")
    compare.add_argument("-o", "--output", default="runs/compare", help="folder for the results (default: %(default)s)")
    compare.add_argument(
        "--speed-seconds", type=float, default=20.0, help="timing, per batch size and precision; 0: none (default: 20)"
    )
    compare.add_argument("--json", action="store_true", help="print JSON instead of the report")

    summary = "time the blocks against tutorial code, timm's blocks and the lower bound"
    bench_command.add_flags(_verb(verbs, "bench", bench_command.run, summary))

    summary = "draw the attention maps of a trained model over your images"
    show_command.add_flags(_verb(verbs, "show", show_command.run, summary))

    demo = _verb(verbs, "demo", _demo, "train and compare two models on drawn scenes; needs no data and no network")
    demo.add_argument("-o", "--output", default="runs/demo", help="folder for data and results (default: %(default)s)")
    demo.add_argument("--fast", action="store_true", help="train too briefly to learn: a smoke test")

    summary = "export a model as files that load without yolo-attn installed"
    export_command.add_pack_flags(_verb(verbs, "pack", export_command.run_pack, summary))

    report = _verb(verbs, "report", _report, "write the report of a comparison again from its stored results")
    report.add_argument("folder", help="the comparison's folder")
    report.add_argument("--replicates", type=int, default=1000, help="draws for the intervals (default: %(default)s)")
    report.add_argument("--ap", default="ultralytics", help="ultralytics | coco (default: %(default)s)")
    report.add_argument("--json", action="store_true", help="print JSON instead of the report")
    return parser


_VERBS = ("blocks", "insert", "subset", "compare", "bench", "show", "demo", "pack", "report")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise YoloAttnError(f"{self.prog.removeprefix('yolo-attn ')}: {message}")


def _verb(verbs: Any, name: str, run: Callable[..., tuple[str, int]], text: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(run=run)
    return verb


# --- errors -----------------------------------------------------------------------------------------------------------
def _is_user_error(error: Exception) -> bool:
    """Tell whether an error is a user's mistake: by its type, or raised where Ultralytics checks its arguments."""
    if os.environ.get("YOLO_ATTN_DEBUG"):
        return False
    if isinstance(error, (YoloAttnError, *_WRONG_FILES)):
        return True
    if isinstance(error, OSError) and (error.errno in (errno.ENOSPC, errno.EDQUOT) or _is_network_error(error)):
        return True
    modules = modules_of(error)
    host = [m for m in modules if m.startswith("ultralytics.")]
    checked = modules[-1].startswith(_HOST_CHECKS) or (bool(host) and all(m.startswith(_HOST_READS) for m in host))
    checked |= modules[-1].startswith(_HOST_EXPORTS) and isinstance(error, (AssertionError, ValueError))
    return checked or str(error).startswith(_HOST_SAYS) or "not a loadable checkpoint" in str(error)


def _is_network_error(error: OSError) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__ in _NETWORK


def _one_line(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m|^ERROR \W+", "", str(error)).strip()
    text = text if isinstance(error, YoloAttnError) else text.split("\n")[0]
    return " ".join(text.split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
