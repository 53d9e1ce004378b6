"""Caveats of a comparison: sentences on what limits its results, derived from the results and the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from yolo_attn.report.results import Results

RunResults = Mapping[str, Mapping[str, Any]]

IDENTITY_CONTROL = "identity control"
ENOUGH_SEEDS, FEW_TARGETS, STEADY, WORSE = 3, 10, 1.25, 0.95


def caveats(results: Results, runs: RunResults) -> list[str]:
    """Return every caveat that applies, most serious first.

    Args:
        results: Results of the comparison.
        runs: Stored results of the complete runs, by folder.
    """
    checks = (
        _baseline,
        _nothing_found,
        _same_batches,
        _controls,
        _recovered,
        _seeds,
        _training,
        _data,
        _times,
        _hardware,
        _commits,
    )
    return [sentence for check in checks for sentence in check(results, runs)]


def shared_caveats(results: Results, runs: RunResults) -> Iterator[str]:
    """Yield the caveats that apply to finished trainings as well."""
    for check in (_baseline, _nothing_found, _data, _commits):
        yield from check(results, runs)


def _baseline(results: Results, runs: RunResults) -> Iterator[str]:
    if runs and not results.baseline_arm.is_complete:
        yield f"The baseline {results.baseline} has no complete run: the other models are shown, but not compared."


def _nothing_found(results: Results, runs: RunResults) -> Iterator[str]:
    """Name the models that found nothing right, whose differences mean nothing."""
    metric = results.primary
    complete = [arm for arm in results.arms if metric in arm.metrics]
    nothing = [arm.name for arm in complete if not any(arm.metrics[metric].by_seed)]
    if not nothing:
        return
    counts = [r.get("detections") for r in runs.values() if r["arm"] in nothing]
    why = "there is not one detection" if not any(counts) and None not in counts else "no detection is right"
    who = "every model" if len(nothing) == len(complete) else ", ".join(nothing)
    yield f"{metric} of {who} is 0 in all runs: {why}, so nothing is known of how such models differ."


def _same_batches(results: Results, runs: RunResults) -> Iterator[str]:
    """Compare checksums of the first batches: they must be equal for all arms of a seed and differ between seeds."""
    by_seed: dict[int, dict[str, str]] = {}
    for result in runs.values():
        by_seed.setdefault(result["seed"], {})[result["arm"]] = result["first_batches"]
    for seed, seen in sorted(by_seed.items()):
        if len(set(seen.values())) > 1:
            yield f"Seed {seed} did not give all models the same first batches, so their runs are not paired by seed."
    firsts = [next(iter(seen.values())) for seen in by_seed.values()]
    if len(set(firsts)) < len(firsts):
        yield (
            "Two seeds gave the same first batches: the seed does not reach the data loader, so the seeds are not "
            "independent."
        )


def _controls(results: Results, runs: RunResults) -> Iterator[str]:
    for arm in results.arms:
        found = arm.difference.get("mAP50-95")
        if arm.kind != IDENTITY_CONTROL or found is None:
            continue
        if found.low > 0 or found.high < 0:
            yield (
                f"{arm.name} computes the same as the baseline, but its interval excludes 0: something other than the "
                "models differs between the runs."
            )
        elif any(found.by_seed):
            yield (
                f"{arm.name} computes the same as the baseline, but differs from it by {found.estimate:+.4f}: "
                "this much is due to non-deterministic computation."
            )


def _recovered(results: Results, runs: RunResults) -> Iterator[str]:
    for result in runs.values():
        if epochs := ", ".join(map(str, result.get("recovered", ()))):
            yield (
                f"{result['arm']}, seed {result['seed']}: the loss was not finite in epoch {epochs}, and Ultralytics "
                "resumed from the checkpoint before; this run deviates from the recipe."
            )


def _seeds(results: Results, runs: RunResults) -> Iterator[str]:
    seeds = min((len(arm.seeds) for arm in results.arms if arm.seeds), default=0)
    if seeds == 1:
        yield "One seed: the intervals hold for these trained weights only, not for other trainings."
    elif 1 < seeds < ENOUGH_SEEDS:
        yield (
            f"{seeds} seeds say little about the spread between trainings: differences that are there are seldom "
            "found, and a failed training is hardly told from a bad model."
        )


def _training(results: Results, runs: RunResults) -> Iterator[str]:
    curve = results.baseline_arm.curve
    if curve and curve.quantity == "mAP50-95" and len(curve.epochs) > 2:
        by_seed = [[value for value in values if value is not None] for values in curve.by_seed]
        if all(values[-1] < WORSE * max(values) for values in by_seed):
            yield "The baseline was better before its last epoch, with every seed: the training is too long or intense."
        elif all(values[-1] == max(values) and _still_rising(values) for values in by_seed):
            yield "The baseline still improves at its last epoch: a longer training may rank the models differently."


def _still_rising(values: list[float]) -> bool:
    return values[-1] - values[-2] > 0.2 * (values[-1] - values[0]) > 0


def _times(results: Results, runs: RunResults) -> Iterator[str]:
    """Compare the times of the same epoch between the runs of an arm, which differ only by other load."""
    for arm in results.arms:
        by_run = [r["epoch_seconds"] for r in runs.values() if r["arm"] == arm.name]
        for epoch, seconds in enumerate(zip(*by_run, strict=False), 1):
            if max(seconds) > STEADY * min(seconds):
                yield (
                    f"Training times do not reflect the models: epoch {epoch} of {arm.name} took from "
                    f"{min(seconds):.1f} to {max(seconds):.1f} s, as other work ran on the machine."
                )
                return


def _data(results: Results, runs: RunResults) -> Iterator[str]:
    data = results.data
    if data is None:
        return
    if absent := data.classes_without_targets:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        yield (
            f"{len(absent)} of {data.classes} classes have no object in the validation images and do not count: "
            f"{shown}."
        )
    classes = next((arm.per_class for arm in results.arms if arm.per_class), ())
    if few := [c for c in classes if c.targets < FEW_TARGETS]:
        alone = sum(c.images == 1 for c in few)
        yield (
            f"{len(few)} of the {len(classes)} classes that count have fewer than {FEW_TARGETS} objects in the "
            "validation images, but mAP weights all classes equally. The intervals of mAP allow for how much such "
            "classes vary from image to image"
            + (f"; the {alone} that are in a single image have no interval of their own." if alone else ".")
        )


def _hardware(results: Results, runs: RunResults) -> Iterator[str]:
    names = {r["environment"].get("gpu") or r["environment"]["cpu"] for r in runs.values()}
    if len(names) > 1:
        yield f"The runs were trained on different hardware ({', '.join(sorted(names))})."


def _commits(results: Results, runs: RunResults) -> Iterator[str]:
    commits = {r["environment"].get("commit", "") for r in runs.values()}
    if len(commits) > 1:
        yield f"The runs are of different commits of this package ({', '.join(sorted(commits))})."
