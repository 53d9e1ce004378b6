"""Prove on stock models that insertion changes nothing: build, transfer strictly, compare outputs with the base's.

Weights and batch statistics are random, so that equal outputs are no coincidence.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from instruments.random_models import randomize_norms
from yolo_attn.host.model import host_model_names, load_model_dict
from yolo_attn.host.registry import registered
from yolo_attn.models.graph import Graph
from yolo_attn.models.insert import insert
from yolo_attn.util.markdown import table

SITES = ("backbone", "neck", "sppf", "pre-detect", "inner", "outer")
FEW_BLOCKS = ("SE", "CA", "ELA")
ALL_BLOCKS_ON = ("yolov5", "yolov8", "yolo11", "yolo12", "yolo26")
SCALES = ("n", "x")


@dataclass(frozen=True)
class Case:
    """One block at one site of one model.

    Attributes:
        model: Name of the stock model YAML, with the scale.
        site: One of ``SITES``.
        block: YAML name of the block.
        result: ``ok``, ``no such site``, ``host cannot build``, or what went wrong.
        blocks: How many blocks were inserted.
        transferred: Share of the base's parameters that were transferred.
        difference: Largest absolute difference of any output to the base's in evaluation mode.
        difference_train: The same in training mode, with batch statistics.
    """

    model: str
    site: str
    block: str
    result: str
    blocks: int = 0
    transferred: float = 0.0
    difference: float = float("nan")
    difference_train: float = float("nan")


def check(
    names: Iterable[str] = (),
    log: Callable[[str], None] = lambda line: None,
    save_to: str | Path | None = None,
    scales: Sequence[str] = SCALES,
    blocks: Sequence[str] = (),
) -> list[Case]:
    """Check stock models at several scales, sites and blocks.

    Args:
        names: File names of stock model YAMLs without scale; all of the installed Ultralytics by default.
        log: Receives a line of progress per model.
        save_to: CSV file that gets each case as it comes.
        scales: Scales of each model that has several.
        blocks: Blocks to insert; by default all into the usual models, and a few into the others.

    Returns:
        One case per model, scale, site and block.
    """
    cases: list[Case] = []
    for name in names or host_model_names():
        chosen = blocks or (list(registered()) if Path(name).stem in ALL_BLOCKS_ON else list(FEW_BLOCKS))
        for model in _at_scales(name, scales):
            done = list(_check_model(model, chosen))
            cases += done
            failed = [c for c in done if c.result not in ("ok", "no such site", "host cannot build")]
            log(f"{model}: {sum(c.result == 'ok' for c in done)} ok, {len(failed)} failed")
            if save_to:
                write_csv(cases, save_to)
    return cases


def _at_scales(name: str, wanted: Sequence[str]) -> Iterator[str]:
    """Yield a stock YAML's name at the scales to check: ``yoloe-v8-seg.yaml`` -> ``yoloe-v8n-seg.yaml``, ..."""
    scales = list(load_model_dict(name).get("scales") or [])
    if len(scales) < 2:
        yield name
    else:
        yield from (re.sub(r"^(yolo(?:e-)?v?\d+)", rf"\g<1>{scale}", name) for scale in wanted)


def _check_model(name: str, blocks: Sequence[str]) -> Iterator[Case]:
    import torch

    from yolo_attn.train.yolo import YOLO

    torch.manual_seed(0)
    try:
        base: Any = YOLO(name).model
    except OSError:  # it wants a file from the network
        yield from (Case(name, site, block, "host cannot build") for site in SITES for block in blocks)
        return
    size = 2 * int(max(32, float(max(getattr(base, "stride", torch.tensor([32.0]))))))
    image = torch.rand(2, 3, size, size)
    randomize_norms(base)
    expected = _outputs(base, image)
    if not _shows_changes(base, image, expected):
        yield from (Case(name, site, block, "outputs show no changes") for site in SITES for block in blocks)
        return
    places = _places(name, base)
    for site in SITES:
        for block in blocks:
            if site not in places:
                yield Case(name, site, block, "no such site")
                continue
            try:
                yield _check_case(name, site, block, places[site], base, image, expected)
            except Exception as error:
                yield Case(name, site, block, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _check_case(
    name: str, site: str, block: str, place: dict[str, str], base: Any, image: Any, expected: tuple[Any, Any]
) -> Case:
    from yolo_attn.train.yolo import YOLO
    from yolo_attn.weights.transfer import transfer_weights

    made = insert(name, block, init="identity", **place)
    with tempfile.TemporaryDirectory() as scratch:
        model: Any = YOLO(str(made.save(Path(scratch) / name))).model
    report = transfer_weights(model, base, strict=True)
    if hasattr(base, "txt_feats"):  # the classes in words, which are no weights
        model.txt_feats = base.txt_feats
    base_rows = [r for r in report.rows if not r.attention]
    differences = [_difference(a, b) for a, b in zip(_outputs(model, image), expected, strict=True)]
    return Case(
        name,
        site,
        block,
        "ok" if max(differences) == 0 else "outputs differ",
        blocks=len(made.new_rows) or len(made.inside),
        transferred=sum(r.loaded for r in base_rows) / sum(p.numel() for p in base.parameters()),
        difference=differences[0],
        difference_train=differences[1],
    )


def _places(name: str, base: Any) -> dict[str, dict[str, str]]:
    """Return how ``insert`` is told each site that a model has."""
    from yolo_attn.host.gated import host_class, residual_branches
    from yolo_attn.host.row_names import NOT_ONE_MAP

    graph = Graph(load_model_dict(name))
    places = {site: {"at": f"{site}:all"} for site in ("backbone", "neck") if graph.roles[site]}
    places |= {"sppf": {"at": "sppf"}} if graph.pooling else {}
    places |= {"pre-detect": {"at": "pre-detect"}}
    rows = [(i, row[0] if type(row).__name__ == "Sequential" else row) for i, row in enumerate(base.model)][:-1]
    blocks = [(i, row) for i, row in rows if graph.strides[i] and host_class(row).__module__.endswith(".block")]
    convolutions = [(i, row) for i, row in rows if graph.host_name(i) == "Conv"]
    inner = [i for i, row in blocks if residual_branches(row)]
    outer = [i for i, row in blocks or convolutions if graph.host_name(i) not in NOT_ONE_MAP]
    for site, chosen in (("inner", inner), ("outer", outer)):
        if chosen:
            hosts = dict.fromkeys(graph.host_name(i) for i in chosen)
            places[site] = {"inside": f"{','.join(hosts)}@{site}", "at": f"after:{','.join(map(str, chosen))}"}
    return places


def _shows_changes(model: Any, image: Any, expected: tuple[Any, Any]) -> bool:
    """Tell whether another image gives other outputs in both modes; where not, equal outputs would prove nothing."""
    differences = [_difference(a, b) for a, b in zip(_outputs(model, image.flip(3)), expected, strict=True)]
    return all(0 < d < float("inf") for d in differences)


def _outputs(model: Any, image: Any) -> tuple[Any, Any]:
    """Return a model's outputs in evaluation and in training mode, leaving its batch statistics as they were."""
    import torch

    norms = {k: v.clone() for k, v in model.state_dict().items() if "running" in k or "num_batches" in k}
    with torch.no_grad():
        torch.manual_seed(1)
        evaluated = model.eval()(image)
        torch.manual_seed(1)
        trained = model.train()(image)
    model.load_state_dict(norms, strict=False)
    return evaluated, trained


def _difference(mine: Any, theirs: Any) -> float:
    """Return the largest absolute difference between two outputs of any structure; infinite where structures differ."""
    import torch

    if isinstance(theirs, torch.Tensor):
        same = isinstance(mine, torch.Tensor) and mine.shape == theirs.shape
        if not same or not torch.equal(mine.isfinite(), theirs.isfinite()):
            return float("inf")
        gap = (mine.float() - theirs.float()).abs().nan_to_num(0.0)
        return float(gap.max()) if gap.numel() else 0.0
    if isinstance(theirs, dict):
        return max((_difference(mine[k], v) for k, v in theirs.items()), default=0.0)
    if isinstance(theirs, (list, tuple)):
        return max((_difference(a, b) for a, b in zip(mine, theirs, strict=True)), default=0.0)
    return 0.0 if type(mine) is type(theirs) else float("inf")


# --- tables -----------------------------------------------------------------------------------------------------------
def write_csv(cases: Sequence[Case], path: str | Path) -> None:
    """Write the cases, one line each."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Case)])
        writer.writeheader()
        writer.writerows(asdict(case) for case in cases)


def read_csv(path: str | Path) -> list[Case]:
    """Return the cases that :func:`write_csv` wrote."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [
            Case(
                **{name: row[name] for name in ("model", "site", "block", "result")},
                blocks=int(row["blocks"]),
                **{name: float(row[name]) for name in ("transferred", "difference", "difference_train")},
            )
            for row in csv.DictReader(file)
        ]


def to_markdown(cases: Sequence[Case]) -> str:
    """Return a table of a row per model and a column per site, and the counts.

    A cell holds the numbers of successful and of all cases, the smallest share of transferred parameters, and the
    largest difference in either mode.
    """
    tried = [c for c in cases if c.result not in ("no such site", "host cannot build")]
    failed = [c for c in tried if c.result != "ok"]
    unbuilt = sorted({c.model for c in cases if c.result == "host cannot build"})
    lines = [
        f"{len(tried)} combinations of {len({c.model for c in tried})} models, {len({c.site for c in tried})} sites "
        f"and {len({c.block for c in tried})} blocks; {len(failed)} failed.",
        f"Not buildable by Ultralytics itself here: {', '.join(unbuilt) or 'none'}.",
        "",
    ]
    rows = [
        [model, *(_cell([c for c in tried if c.model == model and c.site == site]) for site in SITES)]
        for model in dict.fromkeys(c.model for c in tried)
    ]
    lines += [*table(["model", *SITES], rows), "", *(f"- {c.model}, {c.block}, {c.site}: {c.result}" for c in failed)]
    return "\n".join(lines).rstrip()


def _cell(cases: Sequence[Case]) -> str:
    if not cases:
        return "-"
    good = [c for c in cases if c.result == "ok"]
    text = f"{len(good)}/{len(cases)}"
    if good:
        text += f", {min(c.transferred for c in good):.4%}"[: -len("0000%")].rstrip(".") + " %"
        text += f", {max(max(c.difference, c.difference_train) for c in good):g}"
    return text


def _words(text: str) -> list[str]:
    return text.split(",")


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/check_insertion.py``: check stock models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("save_to", nargs="?", metavar="cases.csv", help="file for the cases, as they come")
    parser.add_argument("names", nargs="*", metavar="MODEL.yaml", help="stock model YAMLs; all by default")
    parser.add_argument("--blocks", type=_words, default=(), help="e.g. EMA,GAM; by default all")
    parser.add_argument("--scales", type=_words, default=SCALES, help="of models that have several, e.g. n")
    parser.add_argument("--show", action="store_true", help="check nothing, print the table of the CSV")
    given = parser.parse_args(words)
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
        cases = (
            read_csv(given.save_to)
            if given.show
            else check(given.names, print, given.save_to, given.scales, given.blocks)
        )
    print(to_markdown(cases))
