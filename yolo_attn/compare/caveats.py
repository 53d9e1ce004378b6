"""What a reader of a comparison has to keep in mind: sentences that follow from its summary and its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ENOUGH_SEEDS, FEW_TARGETS, STEADY, WORSE = 3, 10, 1.25, 0.95


def caveats(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return every caveat that applies, most serious first.

    Args:
        summary: What :func:`yolo_attn.compare.results.summarize` has collected.
        results: The complete runs' results, by folder.
    """
    checks = (_same_batches, _controls, _recovered, _seeds, _training, _data, _times, _hardware)
    return [sentence for check in checks for sentence in check(summary, results)]


def _same_batches(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Compare the checksums of the first batches: arms of one seed have to see the same, seeds have to differ."""
    by_seed: dict[int, dict[str, str]] = {}
    for result in results.values():
        by_seed.setdefault(result["seed"], {})[result["arm"]] = result["first_batches"]
    for seed, seen in sorted(by_seed.items()):
        if len(set(seen.values())) > 1:
            yield f"Seed {seed} did not give all models the same first batches, so their runs are not paired by seed."
    firsts = [next(iter(seen.values())) for seen in by_seed.values()]
    if len(set(firsts)) < len(firsts):
        yield "Two seeds gave the same first batches: the seeds do not reach the data loader, and count for fewer."


def _controls(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for arm in summary["arms"]:
        found = (arm.get("difference") or {}).get("mAP50-95")
        if arm["kind"] != "identity control" or not found:
            continue
        if found["low"] > 0 or found["high"] < 0:
            yield (
                f"{arm['name']} computes what the baseline computes, yet its interval does not contain 0: something "
                "other than the models differs between the runs."
            )
        elif any(found["by_seed"]):
            yield (
                f"{arm['name']} computes what the baseline computes, and differs from it by {found['estimate']:+.4f} "
                "here: so much comes from computation that is not repeatable alone."
            )


def _recovered(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for result in results.values():
        if epochs := ", ".join(map(str, result.get("recovered", ()))):
            yield (
                f"{result['arm']}, seed {result['seed']}: the loss was not finite in epoch {epochs}, and Ultralytics "
                "went back to the checkpoint before; this run is not of the recipe alone."
            )


def _seeds(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    seeds = min((len(arm["seeds"]) for arm in summary["arms"] if arm["seeds"]), default=0)
    if seeds == 1:
        yield "One seed: the intervals speak of these trained weights only, not of what another training would give."
    elif 1 < seeds < ENOUGH_SEEDS:
        yield f"{seeds} seeds are too few to know the spread between trainings; the intervals are very wide for that."


def _training(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    curve = next((a["curve"] for a in summary["arms"] if a["kind"] == "baseline" and a.get("curve")), None)
    if curve and curve["quantity"] == "mAP50-95" and len(curve["epochs"]) > 2:
        if all(values[-1] < WORSE * max(values) for values in curve["by_seed"]):
            yield "The baseline was better before its last epoch, with every seed: the recipe is too long or too hard."
        elif all(values[-1] == max(values) and _still_rising(values) for values in curve["by_seed"]):
            yield "The baseline still improves at its last epoch: a longer training may order the models differently."


def _still_rising(values: list[float]) -> bool:
    return values[-1] - values[-2] > 0.2 * (values[-1] - values[0]) > 0


def _times(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Compare the same epoch of an arm's runs: they are alike but for what else the machine did."""
    for arm in summary["arms"]:
        by_run = [r["epoch_seconds"] for r in results.values() if r["arm"] == arm["name"]]
        for epoch, seconds in enumerate(zip(*by_run, strict=False), 1):
            if max(seconds) > STEADY * min(seconds):
                yield (
                    f"Training times are no measure of the models here: epoch {epoch} of {arm['name']} alone took from "
                    f"{min(seconds):.1f} to {max(seconds):.1f} s, by what else the machine had to do."
                )
                return


def _data(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    data = summary.get("data")
    if not data:
        return
    if absent := data["classes_without_targets"]:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        yield f"{len(absent)} of {data['classes']} classes do not count, without an object in the images: {shown}."
    classes = next((arm["per_class"] for arm in summary["arms"] if arm.get("per_class")), [])
    if few := [c for c in classes if c["targets"] < FEW_TARGETS]:
        yield (
            f"{len(few)} of the {len(classes)} classes that count have fewer than {FEW_TARGETS} objects in the "
            "validation images; mAP gives each of them the weight of any other."
        )


def _hardware(summary: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    names = {r["environment"].get("gpu") or r["environment"]["cpu"] for r in results.values()}
    if len(names) > 1:
        yield f"The runs were trained on different hardware ({', '.join(sorted(names))})."
    commits = {r["environment"].get("commit", "") for r in results.values()}
    if len(commits) > 1:
        yield f"The runs are of different commits of this package ({', '.join(sorted(commits))})."
