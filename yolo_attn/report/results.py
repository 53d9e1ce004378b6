"""Results of a comparison: the content of ``results.json``, which the reports are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.evaluate.comparison import Metric
from yolo_attn.evaluate.differences import ClassDifference, Difference
from yolo_attn.util import typed_json
from yolo_attn.util.typed_json import OMIT

RESULTS = "results.json"


# --- accuracy ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Curve:
    """Learning curve of one arm.

    Attributes:
        quantity: ``mAP50-95``, or ``training loss`` where no epoch was validated.
        epochs: Epochs, counted from 1.
        by_seed: Values by seed and epoch; a run that ended early has fewer. Shape ``(S, epochs)``.
    """

    quantity: str
    epochs: tuple[int, ...]
    by_seed: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """Results of one arm (model) over its seeds.

    Attributes:
        name: Name of the model.
        kind: Its role: ``baseline``, ``attention``, ``identity control``, ``plain control`` or ``model``.
        seeds: Seeds of its complete runs.
        parameters: Number of parameters.
        gflops: GFLOPs of one forward pass on one image.
        epoch_seconds: Duration of the fastest training epoch, in seconds.
        peak_memory_mb: Peak training memory, in MB.
        curve: Learning curve.
        metrics: Values by metric; empty without a complete run.
        difference: Difference to the baseline by metric; empty for the baseline itself.
        per_class: Difference in mAP50-95 to the baseline by class.
    """

    name: str
    kind: str
    seeds: tuple[int, ...]
    parameters: int | None = field(default=None, metadata=OMIT)
    gflops: float | None = field(default=None, metadata=OMIT)
    epoch_seconds: float | None = field(default=None, metadata=OMIT)
    peak_memory_mb: float | None = field(default=None, metadata=OMIT)
    curve: Curve | None = field(default=None, metadata=OMIT)
    metrics: Mapping[str, Metric] = field(default_factory=dict, metadata=OMIT)
    difference: Mapping[str, Difference] = field(default_factory=dict, metadata=OMIT)
    per_class: tuple[ClassDifference, ...] = field(default=(), metadata=OMIT)

    @property
    def is_complete(self) -> bool:
        """Whether at least one run is complete."""
        return bool(self.seeds and self.metrics)

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over seeds."""
        return self.metrics[metric].mean if metric in self.metrics else None

    def verdict(self, metric: str) -> str | None:
        """Return the verdict on the difference in a metric; ``None`` where it was not tested."""
        return self.difference[metric].verdict if metric in self.difference else None


# --- speed ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Timing:
    """Speed of one arm at one batch size and precision.

    Attributes:
        median_ms: Median time of a forward pass, in milliseconds.
        p5_ms: 5th percentile.
        p95_ms: 95th percentile.
        images_per_second: Throughput.
        ratio: Time divided by the baseline's, median over rounds.
        ratio_low: Lower end of its 95 % interval.
        ratio_high: Upper end.
        peak_memory_mb: Peak memory of a forward pass, in MB; ``None`` where it is not known.
    """

    median_ms: float
    p5_ms: float
    p95_ms: float
    images_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    peak_memory_mb: float | None

    @property
    def verdict(self) -> str | None:
        """``slower`` or ``faster`` than the baseline where the interval of the ratio excludes 1, else ``None``."""
        return "slower" if self.ratio_low > 1 else "faster" if self.ratio_high < 1 else None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Speed of all arms at one batch size and precision.

    Attributes:
        batch: Images per forward pass.
        precision: ``fp32`` or ``fp16``.
        rounds: Number of times each arm was timed.
        unstable: Whether ``spread`` or ``drift`` is too large for the times to be reliable.
        spread: 95th percentile of the baseline's times over the 5th.
        drift: Median of the last third of the baseline's times over that of the first.
        arms: Timings by arm.
    """

    batch: int
    precision: str
    rounds: int
    unstable: bool
    spread: float
    drift: float
    arms: Mapping[str, Timing]

    @property
    def setting(self) -> str:
        """Batch size and precision, e.g. ``batch 1, fp32``."""
        return f"batch {self.batch}, {self.precision}"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A batch size or precision that was not measured, and why."""

    batch: int | None
    precision: str
    why: str


@dataclass(frozen=True, kw_only=True)
class SpeedResult:
    """Speed of the models of a comparison.

    Attributes:
        device: Torch device, e.g. ``cuda:0``.
        imgsz: Side of the images, in pixels.
        baseline: Name of the arm whose times the ratios are relative to.
        memory_format: Memory format of models and images, e.g. ``channels_last``.
        environment: Hardware and versions, as :func:`yolo_attn.util.env.environment` returns them.
        measurements: One per batch size and precision.
        left_out: What was not measured.
        seconds: Duration of the measurement, if stored.
    """

    device: str
    imgsz: int
    baseline: str
    memory_format: str
    environment: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    left_out: tuple[LeftOut, ...]
    seconds: float | None = field(default=None, metadata=OMIT)


# --- the whole comparison ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed run and the reason."""

    arm: str
    seed: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder of a run, relative to the comparison's, and the seconds that the run took, by part, if stored."""

    arm: str
    seed: int
    folder: str
    seconds: Mapping[str, float] | None = field(default=None, metadata=OMIT)


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Number of planned and of complete runs, the failed ones, and the folders of all."""

    planned: int
    complete: int
    failed: tuple[Failure, ...] = ()
    folders: tuple[RunFolder, ...] = field(default=(), metadata=OMIT)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Training and evaluation that all arms share.

    Attributes:
        data: File name of the data YAML.
        data_checksum: Checksum of the images' names and sizes, and of the labels.
        weights: File name of the pretrained checkpoint; ``None`` for training from scratch.
        weights_checksum: Checksum of that file.
        overrides: Training arguments.
        seeds: Planned seeds.
        judged: Which checkpoint was evaluated.
        ap: Definition of average precision: ``ultralytics`` or ``coco``.
        init: How the attention of all arms started: ``paper`` or ``identity``; ``None`` for as each model YAML states.
        images_checksum: Checksum of the images' contents; ``None`` where it was not recorded.
        trained: Whether the arms were trained for the comparison; otherwise ``overrides`` are arguments of validation.
    """

    data: str
    data_checksum: str
    weights: str | None
    weights_checksum: str | None
    overrides: Mapping[str, Any]
    seeds: tuple[int, ...]
    judged: str
    ap: str | None = None
    init: str | None = None
    images_checksum: str | None = field(default=None, metadata=OMIT)
    trained: bool = field(default=True, metadata=OMIT)


@dataclass(frozen=True, kw_only=True)
class ValidationSet:
    """Size of the validation set: images, targets (labelled objects), classes, and the names of classes without any."""

    images: int
    targets: int
    classes: int
    classes_without_targets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Settings of the bootstrap.

    Attributes:
        replicates: Number of resampled image sets.
        level: Level of the intervals, e.g. 0.95.
        seed: Seed of the resampling.
        method: Description of intervals and tests.
    """

    replicates: int
    level: float
    seed: int
    method: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results of a comparison.

    Attributes:
        title: Title of the report.
        baseline: Name of the arm that the others are compared with.
        runs: Progress of the comparison.
        protocol: How the arms were trained and evaluated; ``None`` before the first run.
        environment: Hardware and versions of the first complete run.
        commit: Commit of this package in that run.
        data: The validation set; ``None`` while the baseline has no complete run.
        arms: All arms, in the order of the plan.
        speed: Speed of the trained models; ``None`` if it was not measured.
        metrics: Names of the metrics, the primary one first.
        bootstrap: Settings of the bootstrap.
        power: Sentence on the smallest difference that the comparison can detect.
        note: Sentence that is said first, and in every plot, such as that nothing could be learnt.
        scope: Sentence on what the verdicts are about, which the report begins with; ``None`` for all trainings of the
            models.
        caveats: Sentences on limits of the comparison, most serious first.

    Raises:
        YoloAttnError: If the baseline is not among the arms.
    """

    title: str
    baseline: str
    runs: Runs
    protocol: Protocol | None
    environment: Mapping[str, Any]
    commit: str | None
    data: ValidationSet | None
    arms: tuple[ArmResult, ...]
    speed: SpeedResult | None
    metrics: tuple[str, ...] = field(default=(), metadata=OMIT)
    bootstrap: Bootstrap | None = field(default=None, metadata=OMIT)
    power: str | None = field(default=None, metadata=OMIT)
    note: str | None = field(default=None, metadata=OMIT)
    scope: str | None = field(default=None, metadata=OMIT)
    caveats: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if self.baseline not in names:
            raise YoloAttnError(one_of("baseline", self.baseline, names))

    @classmethod
    def from_json(cls, content: object) -> Results:
        """Build results from the parsed content of a ``results.json``.

        Raises:
            YoloAttnError: If a part is missing or has the wrong type.
        """
        return typed_json.from_json(cls, content)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``results.json``."""
        content: dict[str, Any] = typed_json.to_json(self)
        for arm in content["arms"]:
            if rows := arm.get("per_class"):
                arm["per_class"] = [{"class": row["name"], **row} for row in rows]
        return content

    @property
    def baseline_arm(self) -> ArmResult:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.name == self.baseline)

    @property
    def compared(self) -> list[ArmResult]:
        """All arms but the baseline."""
        return [arm for arm in self.arms if arm.name != self.baseline]

    @property
    def primary(self) -> str:
        """Name of the metric that decides."""
        return self.metrics[0] if self.metrics else "mAP50-95"

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All measurements of speed."""
        return self.speed.measurements if self.speed else ()

    @property
    def main_measurement(self) -> Measurement | None:
        """The measurement of speed reported with mAP: smallest batch, fp32 if available."""
        return min(self.measurements, key=lambda m: (m.batch, m.precision != "fp32"), default=None)

    def timing(self, arm: ArmResult) -> Timing | None:
        """Return an arm's timing in the main measurement."""
        return self.main_measurement.arms.get(arm.name) if self.main_measurement else None

    def paired_seeds(self, arm: ArmResult) -> list[int]:
        """Return the seeds an arm shares with the baseline, in the arm's order."""
        return [seed for seed in arm.seeds if seed in self.baseline_arm.seeds]


def read_results(folder: str | Path) -> Results:
    """Read a comparison's ``results.json``.

    Raises:
        YoloAttnError: If the file is missing or damaged.
    """
    file = Path(folder, RESULTS)
    try:
        return Results.from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise YoloAttnError(f"'{folder}' has no {RESULTS}") from error
    except (ValueError, YoloAttnError) as error:
        raise YoloAttnError(f"'{file}' is damaged: {error}") from error
