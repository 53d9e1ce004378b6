"""The parser of this package's own verbs and flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from yolo_attn import __version__
from yolo_attn.bench import command as bench_command
from yolo_attn.cli import verbs as own
from yolo_attn.cli.examples import EXAMPLES, HOST_EXAMPLES, PROGRAM, beginning
from yolo_attn.errors import YoloAttnError
from yolo_attn.export import command as export_command
from yolo_attn.host import words as host_words
from yolo_attn.show import command as show_command
from yolo_attn.subset import command as subset_command

VERBS = (
    "blocks",
    "insert",
    "adopt",
    "subset",
    "compare",
    "bench",
    "show",
    "demo",
    "pack",
    "report",
    "env",
    "completion",
)
OWN_FLAGS = ("-h", "--help", "--version")


def own_parser() -> argparse.ArgumentParser:
    """Return the parser of this package's own verbs and flags."""
    parser = Parser(
        prog="yolo-attn",
        epilog=f"{_commands_of_ultralytics()} Anywhere in a command, --import FILE imports a Python file (or a module, "
        "by name) with blocks of your own; it may be repeated.",
    )
    parser.summary = "attention blocks for Ultralytics YOLO: insert them, keep every weight, compare honestly"
    parser.examples = PROGRAM
    parser.add_argument("--version", action="version", version=f"yolo-attn {__version__}")
    parser.set_defaults(run=lambda *_: (parser.format_help().rstrip(), 0))
    _add_verbs(parser.add_subparsers(title="commands", metavar="COMMAND"))
    return parser


def verb_parsers() -> Mapping[str, Parser]:
    """Return the parser of every verb."""
    verbs = Parser(prog="yolo-attn").add_subparsers()
    _add_verbs(verbs)
    return verbs.choices


def help_of(mode: str) -> str:
    """Return the help of a mode of Ultralytics, such as ``train``."""
    summary, *examples = HOST_EXAMPLES.get(mode, (f"{mode}, as Ultralytics does it",))
    flags = "--no-check exports without comparing, --json prints what was found.\n" if mode == "export" else ""
    return (
        f"{beginning(summary, examples)}usage: yolo-attn {mode} key=value ...\n\n"
        f"It takes every key of `yolo {mode}`, in any order; `yolo-attn cfg` lists them.\n{flags}"
        "`yolo-attn --help` lists all commands, `yolo help` is Ultralytics' own help."
    )


def _add_verbs(verbs: Any) -> None:
    blocks = _verb(verbs, "blocks", own.blocks, "list the blocks, their hyper-parameters and other names")
    blocks.add_argument("--json", action="store_true", help="print JSON")
    blocks.add_argument("--markdown", action="store_true", help="print a Markdown table, with papers and map shapes")

    insert = _verb(verbs, "insert", own.insert, "insert blocks into a model YAML")
    insert.epilog = "Words such as init=identity or reduction=8 are hyper-parameters of the blocks."
    insert.add_argument("base", help="model YAML or checkpoint, e.g. yolo11n.yaml or best.pt")
    insert.add_argument("--block", required=True, action="append", help="name of the block, e.g. ELA; may be repeated")
    insert.add_argument(
        "--at",
        action="append",
        help="neck:P3,P4 | neck:all | backbone:P5 | sppf | pre-detect | after:4 | before:9, several with ';' (default: "
        "neck:P3,P4,P5); once for all blocks, or once for each",
    )
    insert.add_argument(
        "--inside", help="put the block inside these host blocks: C3k2 | C3k2@outer | SPPF@concat | C2f,SPPF"
    )
    insert.add_argument("-o", "--output", help="model YAML to write, e.g. yolo11-mine.yaml")
    insert.add_argument(
        "--json", action="store_true", help="print JSON: new rows, changed rows, and where each row is now"
    )

    adopt = _verb(verbs, "adopt", own.adopt, "rewrite a model YAML of a tutorial, fork or paper in our form")
    adopt.add_argument("model", metavar="FORK.yaml", help="the model YAML")
    adopt.add_argument("-o", "--output", help="model YAML to write, e.g. yolo11-mine.yaml (default: print it)")
    adopt.add_argument(
        "--shift", action="store_true", help="correct every 'from' that was not counted up behind inserted rows"
    )
    adopt.add_argument("--init", help="identity | paper: how every block starts (default: as written)")
    adopt.add_argument("--force", action="store_true", help="replace the output if it exists")

    summary = "write a detection set, or a representative part of it, for YOLO"
    subset_command.add_flags(_verb(verbs, "subset", subset_command.run, summary))

    compare = _verb(verbs, "compare", own.compare, "train models with one recipe and test their differences")
    compare.add_argument(
        "models",
        nargs="+",
        help="model YAMLs, the baseline first; identity:MODEL and plain:MODEL are controls; or one matrix file; with "
        "--finished checkpoints",
    )
    compare.add_argument(
        "--finished",
        action="store_true",
        help="train nothing: compare checkpoints (a.pt b.pt; several seeds of one: ela=a0.pt,a1.pt) or COCO "
        "predictions (a.json)",
    )
    compare.add_argument("--data", help="data YAML")
    compare.add_argument("--weights", help="checkpoint every model starts from, e.g. yolo11n.pt (default: none)")
    compare.add_argument("--seeds", help="e.g. 0,1,2 (the default)")
    compare.add_argument("--controls", help="add controls of every arm with attention: identity, plain, or both with ,")
    compare.add_argument("--executor", default="serial", help="serial | pool | ray (default: %(default)s)")
    compare.add_argument("--per-gpu", type=int, default=1, metavar="K", help="runs at a time on each GPU, or the CPU")
    compare.add_argument("--threads", type=int, help="threads of each run on the CPU (default: Ultralytics' choice)")
    compare.add_argument(
        "-o", "--output", help=f"folder for the results (default: {own.TRAINED}; with --finished {own.FINISHED})"
    )
    compare.add_argument(
        "--speed-seconds", type=float, default=20.0, help="timing, per batch size and precision; 0: none (default: 20)"
    )
    compare.add_argument("--only", metavar="K/N", help="carry out one of N parts of the runs, e.g. 1/3")
    compare.add_argument("--json", action="store_true", help="print JSON instead of the report")

    summary = "time the blocks against tutorial code, timm and the lower bound"
    bench_command.add_flags(_verb(verbs, "bench", bench_command.run, summary))

    summary = "draw the attention maps of a trained model over your images"
    show_command.add_flags(_verb(verbs, "show", show_command.run, summary))

    demo = _verb(verbs, "demo", own.demo, "train and compare two models on drawn scenes; needs no data")
    demo.add_argument("-o", "--output", default="runs/demo", help="folder for data and results (default: %(default)s)")
    demo.add_argument("--fast", action="store_true", help="train too briefly to learn: a smoke test")

    summary = "export a model as files that load without yolo-attn installed"
    export_command.add_pack_flags(_verb(verbs, "pack", export_command.run_pack, summary))

    report = _verb(verbs, "report", own.report, "write the report of a comparison again from its results")
    report.add_argument("folders", metavar="folder", nargs="+", help="the comparison's folder; several are merged")
    report.add_argument("-o", "--output", help=f"folder for what is merged (default: {own.MERGED})")
    report.add_argument("--speed-from", metavar="FOLDER", help="which folder the speed is taken from (default: first)")
    report.add_argument("--replicates", type=int, default=1000, help="draws for the intervals (default: %(default)s)")
    report.add_argument("--ap", default="ultralytics", help="ultralytics | coco (default: %(default)s)")
    report.add_argument("--latex", action="store_true", help="also write table.tex, the table for a paper")
    report.add_argument("--json", action="store_true", help="print JSON instead of the report")

    env = _verb(verbs, "env", own.env, "print versions, hardware, and whether fused kernels are used")
    env.add_argument("--json", action="store_true", help="print JSON")

    completion = _verb(verbs, "completion", own.completion, "print a script that completes commands in bash or zsh")
    completion.add_argument("shell", help="bash | zsh")


def _commands_of_ultralytics() -> str:
    """Return the help on Ultralytics' commands; nothing where it is missing, so that ``--version`` works there too."""
    try:
        modes, others = host_words.modes(), host_words.special_commands()
    except ModuleNotFoundError:
        return ""
    return (
        f"Everything else is a command of Ultralytics and takes what `yolo` takes, in any order: "
        f"yolo-attn {'|'.join(modes)} key=value ..., and {', '.join(others)}. "
        "export then runs the file and compares it with PyTorch (--no-check, --json). `yolo help` has Ultralytics' own "
        "help, `yolo-attn cfg` every key."
    )


class Parser(argparse.ArgumentParser):
    """A parser whose help begins with what the command does and examples, and whose errors are one line."""

    summary = ""
    examples: Sequence[str] = ()

    def format_help(self) -> str:
        """Return what the command does, its examples, usage and options."""
        return beginning(self.summary, self.examples) + super().format_help()

    def error(self, message: str):
        """Raise an error for wrong words."""
        raise YoloAttnError(f"{self.prog.removeprefix('yolo-attn ')}: {message}")


def _verb(verbs: Any, name: str, run: Callable[..., tuple[str, int]], text: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text)
    verb.summary, verb.examples = text, EXAMPLES[name]
    verb.set_defaults(run=run)
    return verb
