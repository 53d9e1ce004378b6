"""The folder of a comparison: its plan, the runs that are stored in it, and which of them are complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_attn.compare import contents, run_folder
from yolo_attn.compare.stored import stored_run
from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.matches import Matches
from yolo_attn.util.files import plain_name

PLAN, RUNS, SPEED = "plan.json", "runs", "speed"
FINISHED = "finished"
"""Key of the plan of a comparison of finished trainings, which were not trained here."""
_AGAIN = "the comparison's own command writes it again"

Log = Callable[[str], None]


@dataclass(frozen=True)
class Stored:
    """Content of a comparison's folder.

    Attributes:
        out: The folder.
        plan: Content of ``plan.json``.
        specs: Spec of each run.
        results: Result of each complete run.
        damaged: Damage of each run whose files cannot be used.
    """

    out: Path
    plan: Mapping[str, Any]
    specs: Mapping[str, run_folder.RunSpec]
    results: Mapping[str, Mapping[str, Any]]
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def baseline(self) -> str:
        """Name of the baseline."""
        return str(self.plan["arms"][0]["name"])

    @property
    def finished(self) -> bool:
        """Whether the runs are finished trainings that were only evaluated."""
        return bool(self.plan.get(FINISHED))

    @property
    def classes(self) -> dict[int, str]:
        """Names of the classes."""
        return {int(cls): name for cls, name in self.plan["classes"].items()}

    def of(self, arm: str) -> list[Mapping[str, Any]]:
        """Return the results of an arm's complete runs, sorted by seed."""
        return sorted((r for r in self.results.values() if r["arm"] == arm), key=lambda r: r["seed"])

    def matches(self, result: Mapping[str, Any]) -> Matches:
        """Load the matches of a complete run."""
        folder = next(name for name, r in self.results.items() if r is result)
        matches: Matches = Matches.load(self.out / RUNS / folder / run_folder.MATCHES)
        return matches


def read(out: str | Path, records: str = run_folder.MATCHES) -> Stored:
    """Read the stored runs of a comparison; those with damaged files are not complete.

    Args:
        out: The comparison's folder.
        records: Name of the file of each run that is needed beside its matches.

    Raises:
        YoloAttnError: If the folder holds no comparison, or its runs cannot be compared.
    """
    out = Path(out)
    plan = _read_plan(out)
    specs: dict[str, run_folder.RunSpec] = {}
    results: dict[str, dict[str, Any]] = {}
    damaged: dict[str, str] = {}
    for name in plan["runs"]:
        if not (out / RUNS / name / run_folder.SPEC).is_file():
            continue
        try:
            specs[name] = run_folder.read_spec(out / RUNS / name)
        except YoloAttnError:
            damaged[name] = f"{run_folder.SPEC} is damaged or of another run"
            continue
        files = (run_folder.MATCHES, *((records, run_folder.OLD_BOXES) if records != run_folder.MATCHES else ()))
        result, damage = stored_run(specs[name], out / RUNS, files)
        if result is not None:
            results[name] = result
        elif damage is not None:
            damaged[name] = damage
    contents.check_same_data({name: (out, specs[name]) for name in results})
    run_folder.check_comparable({name: specs[name] for name in results})
    _check_environments(specs, results)
    return Stored(out, plan, specs, results, damaged)


def _read_plan(out: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise YoloAttnError(f"'{out}' holds no comparison: there is no {PLAN} in it") from error
    except ValueError as error:
        raise YoloAttnError(f"'{out / PLAN}' is damaged: {error}; {_AGAIN}") from error
    _check_plan(plan, out / PLAN)
    return plan


def _check_plan(plan: Any, file: Path) -> None:
    """Check that a plan is complete and that the names of its runs are plain folder names."""
    try:
        arms = [(arm["name"], arm["kind"]) for arm in plan["arms"]]
        seeds = [int(seed) for seed in plan["seeds"]]
        classes = {int(cls): str(name) for cls, name in plan["classes"].items()}
        for name in plan["runs"]:
            plain_name("run", name)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise YoloAttnError(f"'{file}' is damaged: {error}; {_AGAIN}") from error
    if not (arms and seeds and classes):
        raise YoloAttnError(f"'{file}' is damaged: it names no arms, seeds or classes; {_AGAIN}")


def _check_environments(specs: Mapping[str, run_folder.RunSpec], results: Mapping[str, Mapping[str, Any]]) -> None:
    for name, result in results.items():
        for package, wanted in specs[name].versions.items():
            found = result["environment"].get(package.replace("-", "_"))
            if found != wanted:
                raise YoloAttnError(f"{name} was run with {package} {found}, its comparison is of {wanted}")


def changed_data(out: Path, now: run_folder.RunSpec) -> str | None:
    """Return how the data of a run differs from that of the runs in a folder's plan; ``None`` where it does not."""
    try:
        runs = _read_plan(out)["runs"]
        before = next(run_folder.read_spec(out / RUNS / run) for run in runs if (out / RUNS / run).is_dir())
    except (OSError, YoloAttnError, StopIteration):
        return None
    return contents.differences((out, before), (out, now))


def missing(stored: Stored) -> list[str]:
    """Return the planned runs that are neither complete nor failed."""
    absent = [name for name in stored.plan["runs"] if name not in stored.results]
    found = [run_folder.arm_and_seed(n) for n in absent if not run_folder.read_failure(stored.out / RUNS / n)]
    return [f"{arm}, seed {seed}" for arm, seed in found]


def timed_runs(specs: Sequence[run_folder.RunSpec], complete: Container[str]) -> dict[str, run_folder.RunSpec]:
    """Return the first complete run of each arm, whose model is timed; of predictions there is none."""
    first: dict[str, run_folder.RunSpec] = {}
    for spec in specs:
        if spec.folder_name in complete and not spec.is_predictions:
            first.setdefault(spec.arm, spec)
    return first


def speed_key(timed: Iterable[run_folder.RunSpec]) -> str:
    """Return the key of the speed measurement of these runs' models: a checksum of their specs."""
    return run_folder.checksum(" ".join(sorted(spec.key for spec in timed)).encode())[:10]


def timing_key(stored: Stored) -> str:
    """Return the key of the measurement of speed that belongs to the runs; of merged runs, that of one part."""
    if key := stored.plan.get("speed_key"):
        return str(key)
    return speed_key(timed_runs(list(stored.specs.values()), stored.results).values())
