"""State what a comparison of finished trainings is about, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolo_attn.compare.caveats import RunResults, shared_caveats
from yolo_attn.evaluate.differences import SIGNIFICANT, Difference
from yolo_attn.report.results import ArmResult, Results

ONE_EACH = (
    "One training each: nothing is known of other seeds. Verdicts are about these trained models on other images of "
    "this kind, not about their architectures."
)
SEVERAL = (
    "The seeds are checkpoints chosen by whoever gave them: verdicts hold for other trainings of these models only if "
    "the checkpoints of each were trained alike and none was picked for its result."
)
MOST_SHOWN = 6
HIGH_SCORE = 0.01


def scope(seeds: Sequence[int]) -> str:
    """Return what the verdicts are about."""
    return SEVERAL if len(seeds) > 1 else ONE_EACH


# --- verdicts ---------------------------------------------------------------------------------------------------------
def judged(results: Results) -> Results:
    """Return the results with verdicts on the trained models themselves, where there is one training of each."""
    if results.scope != ONE_EACH:
        return results
    return replace(results, arms=tuple(map(_judged_arm, results.arms)), power=None)


def _judged_arm(arm: ArmResult) -> ArmResult:
    return replace(arm, difference={metric: _judged(found) for metric, found in arm.difference.items()})


def _judged(found: Difference) -> Difference:
    if found.p_holm >= SIGNIFICANT:
        return replace(found, verdict="not significant")
    return replace(found, verdict="better" if found.estimate > 0 else "worse")


# --- caveats ----------------------------------------------------------------------------------------------------------
def caveats(results: Results, runs: RunResults) -> list[str]:
    """Return every caveat that applies, most serious first.

    Args:
        results: Results of the comparison.
        runs: Stored results of the complete runs, by folder.
    """
    checks = (_same_weights, _trained_otherwise, _chosen, _on_training_images, _predictions, shared_caveats)
    return [sentence for check in checks for sentence in check(results, runs)]


def _same_weights(results: Results, runs: RunResults) -> Iterator[str]:
    by_weights: dict[str, list[str]] = {}
    for run in runs.values():
        if run.get("weights_checksum"):
            by_weights.setdefault(run["weights_checksum"], []).append(_name(run, results))
    for names in by_weights.values():
        if len(names) > 1:
            yield f"{' and '.join(names)} are the same weights, or predictions: their difference is 0 by itself."


def _trained_otherwise(results: Results, runs: RunResults) -> Iterator[str]:
    """Say in one sentence which arguments of the trainings differ between the models."""
    stated: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs.values():
        stated.setdefault(run["arm"], []).append(run.get("train_args") or {})
    known = {arm: args for arm, args in stated.items() if all(args)}
    keys = list(dict.fromkeys(key for args in known.values() for each in args for key in each))
    differing = [text for key in keys if (text := _differing(key, known))]
    if differing:
        more = f" and {len(differing) - MOST_SHOWN} more" if len(differing) > MOST_SHOWN else ""
        yield (
            f"The models were not trained alike: {'; '.join(differing[:MOST_SHOWN])}{more}. A difference may come from "
            "that instead of the architecture."
        )
    if unknown := [arm for arm in stated if arm not in known]:
        yield f"How {_listed(unknown)} {_were(unknown)} trained is not stored in the files."


def _differing(key: str, known: Mapping[str, list[Mapping[str, Any]]]) -> str | None:
    """Return the values of an argument by arm if they differ; arms that do not state it are left out."""
    values = {arm: sorted({str(each[key]) for each in args if key in each}) for arm, args in known.items()}
    values = {arm: held for arm, held in values.items() if held}
    if len({tuple(held) for held in values.values()}) < 2:
        return None
    groups: dict[str, list[str]] = {}
    for arm, held in values.items():
        groups.setdefault(", ".join(held), []).append(arm)
    return f"{key} {', '.join(f'{value} ({_listed(arms, 3)})' for value, arms in groups.items())}"


def _chosen(results: Results, runs: RunResults) -> Iterator[str]:
    best = list(dict.fromkeys(run["arm"] for run in runs.values() if Path(run.get("file", "")).stem == "best"))
    if best:
        yield (
            f"{_listed(best)} {_were(best)} chosen among all epochs (best.pt), probably on these validation images: "
            "values are too high by that choice, and not by the same amount for every model."
        )


def _on_training_images(results: Results, runs: RunResults) -> Iterator[str]:
    if results.protocol and results.protocol.overrides.get("split") == "train":
        yield "The models were evaluated on training images: this says nothing about images they have not seen."


def _predictions(results: Results, runs: RunResults) -> Iterator[str]:
    held = [run for run in runs.values() if run.get("predictions")]
    if not held:
        return
    names = list(dict.fromkeys(run["arm"] for run in held))
    yield (
        f"Of {_listed(names)} there are only predictions: number of parameters and speed are unknown, and the images "
        "may have been of another size."
    )
    for run in held:
        found, name = run["predictions"], _name(run, results)
        yield f"{name}: category ids were read as {found['category_ids']} ({found['why']})."
        if found["lowest_score"] and found["lowest_score"] > HIGH_SCORE:
            yield (
                f"{name} has no prediction with a score below {found['lowest_score']:.3g}: the end of its "
                "precision-recall curve is missing, so its AP is too low."
            )
        if found["images_without"]:
            yield f"{name} has no prediction for {found['images_without']} of {found['images']} images."


def _name(run: Mapping[str, Any], results: Results) -> str:
    return f"{run['arm']}, seed {run['seed']}" if results.scope == SEVERAL else str(run["arm"])


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _were(names: list[str]) -> str:
    return "were" if len(names) > 1 else "was"
