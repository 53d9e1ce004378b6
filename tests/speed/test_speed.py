"""Summary of times, and the process that measures them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import yolo_attn as ya
from yolo_attn.host.yolo import training_arguments
from yolo_attn.report.results import LeftOut
from yolo_attn.speed import interleaved, passes, raw, spec
from yolo_attn.speed import run as speed_run
from yolo_attn.speed.raw import read_raw
from yolo_attn.speed.spec import SpeedSpec, read_spec, write_spec
from yolo_attn.speed.summary import effective_number, median_interval, summarize
from yolo_attn.train import yolo
from yolo_attn.util import jsonl


# --- what the times mean ----------------------------------------------------------------------------------------------
def records_of(times, batch=1, baseline="base", memory=None):
    """Raw lines as a measurement of these milliseconds per arm would leave them."""
    names = list(times)
    return [
        {"kind": "header", "memory_format": "contiguous_format", "environment": {},
         "spec": {"key": "k", "device": "cpu", "imgsz": 64, "baseline": baseline, "models": {}}},
        {"kind": "left out", "precision": "fp16", "batch": None, "why": "no CUDA"},
        {"kind": "measurement", "batch": batch, "precision": "fp32", "peak_memory_mb": memory or dict.fromkeys(names)},
        *({"kind": "round", "batch": batch, "precision": "fp32", "round": i,
           "milliseconds": dict(zip(names, map(float, row), strict=True))}
          for i, row in enumerate(zip(*times.values(), strict=True))),
    ]  # fmt: skip


def raw_of(records):
    return raw.RawSpeed.of(map(raw._from_json, records))


def measured(times, **kwargs):
    return summarize(raw_of(records_of(times, **kwargs))).measurements[0]


def noise(rng, shape, correlation=0.0, size=0.05):
    """Heavy-tailed noise that remembers, with now and then a spike upwards: what a shared machine does to a time."""
    fresh = rng.standard_t(3, size=(shape[0], shape[1] + 50))
    for i in range(1, fresh.shape[1]):
        fresh[:, i] += correlation * fresh[:, i - 1]
    spikes = np.where(rng.random(shape) < 0.05, rng.exponential(1, shape), 0)
    return size * fresh[:, 50:] * np.sqrt(1 - correlation**2) + spikes


def test_by_hand():
    found = measured({"base": [10, 20, 10, 40, 10], "arm": [20, 30, 20, 44, 15]}, batch=4, memory={"base": 1, "arm": 2})
    arm = found.arms["arm"]
    assert (found.batch, found.precision, found.rounds) == (4, "fp32", 5)
    assert arm.median_ms == 20
    assert arm.images_per_second == pytest.approx(4 / 0.020)
    assert arm.ratio == 1.5  # of 2, 1.5, 2, 1.1, 1.5
    assert (arm.ratio_low, arm.ratio_high) == (1.1, 2.0)  # 5 rounds: no narrower than all there is
    assert arm.p5_ms == pytest.approx(15 + 0.2 * 5)
    assert arm.p95_ms == pytest.approx(30 + 0.8 * 14)
    assert arm.peak_memory_mb == 2
    base = found.arms["base"]
    assert (base.ratio, base.ratio_low, base.ratio_high) == (1, 1, 1)


def test_each_batch_and_precision_stands_for_itself_and_what_was_left_out_is_said():
    one = records_of({"base": [10, 10, 10], "arm": [20, 20, 20]})
    eight = records_of({"base": [50, 50, 50], "arm": [60, 60, 60]}, batch=8)
    found = summarize(raw_of([*one, *eight[2:]]))
    assert [(m.batch, m.arms["arm"].ratio) for m in found.measurements] == [(1, 2.0), (8, 1.2)]
    assert found.left_out == (LeftOut(batch=None, precision="fp16", why="no CUDA"),)
    assert (found.baseline, found.device, found.imgsz) == ("base", "cpu", 64)


def test_a_machine_twice_as_slow_from_halfway_moves_no_ratio():
    rng = np.random.default_rng(0)
    base, arm = 10 + rng.random(60), 12 + rng.random(60)
    slow = np.where(np.arange(60) < 30, 1, 2)
    steady, moved = measured({"base": base, "arm": arm}), measured({"base": base * slow, "arm": arm * slow})
    for name in ("ratio", "ratio_low", "ratio_high"):
        assert getattr(moved.arms["arm"], name) == pytest.approx(getattr(steady.arms["arm"], name), rel=1e-12)
    assert not steady.unstable
    assert moved.unstable
    assert moved.drift == pytest.approx(2, abs=0.15)


def test_a_spike_in_one_arm_is_no_catastrophe():
    rng = np.random.default_rng(1)
    base, arm = 10 + rng.random(40), 12 + rng.random(40)
    calm = measured({"base": base, "arm": arm}).arms["arm"]
    arm[[7, 8, 30]] *= 100
    spiky = measured({"base": base, "arm": arm}).arms["arm"]
    assert spiky.ratio == pytest.approx(calm.ratio, rel=0.02)
    assert spiky.ratio_high < calm.ratio_high * 1.02


def test_unstable_is_what_spreads_or_drifts():
    assert not measured({"base": [10.0] * 60}).unstable
    assert not measured({"base": [10.0] * 59 + [90]}).unstable  # one spike
    assert measured({"base": [10.0, 10, 16] * 20}).unstable
    assert measured({"base": np.linspace(10, 12, 60)}).unstable
    assert measured({"base": np.linspace(12, 10, 60)}).unstable


@pytest.mark.parametrize("rounds", [20, 50, 100])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_interval_covers_the_true_ratio_in_about_95_of_100(rounds, correlation):
    """The machine drifts by a half, both arms' noise remembers and spikes; the true ratio is 1.1."""
    rng = np.random.default_rng(rounds)
    drift = np.linspace(1, 1.5, rounds)
    base, arm = (t * drift * np.exp(noise(rng, (2000, rounds), correlation)) for t in (10, 11))
    low, high = median_interval(arm / base)
    assert 0.93 <= np.mean((low <= 1.1) & (high >= 1.1)) <= 0.98


def test_the_interval_is_the_sign_test_s_where_times_are_independent():
    """Of 1000 values it reaches from about the 469th to the 532nd (binomial, one half)."""
    values = np.random.default_rng(2).permutation(1000)[None] + 1.0
    low, high = median_interval(values)
    assert low == pytest.approx(469, abs=4)
    assert high == pytest.approx(532, abs=4)


def test_values_that_follow_each_other_count_for_fewer():
    rng = np.random.default_rng(3)
    for correlation in (0.0, 0.5, 0.8):
        expected = (1 - correlation) / (1 + correlation)
        series = np.zeros((50, 2050))
        for i in range(1, 2050):
            series[:, i] = correlation * series[:, i - 1] + rng.standard_normal(50)
        assert np.median(effective_number(series[:, 50:])) / 2000 == pytest.approx(expected, rel=0.12)
    alternating = np.tile([1.0, 2.0], (1, 50))
    assert effective_number(alternating) == pytest.approx(100)  # never more than there are


def test_the_summary_needs_no_torch():
    code = "import sys; from yolo_attn.speed import raw, spec, summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- the process ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check points")
    for name in ("yolo11n", "yolo11n-ela"):
        torch.save({"model": ya.YOLO(f"{name}.yaml").model, "train_args": {}}, folder / f"{name}.pt")
    return {name: str(folder / f"{name}.pt") for name in ("yolo11n", "yolo11n-ela")}


def spec_for(checkpoints, **changes):
    return SpeedSpec(
        **{"key": "k1", "models": checkpoints, "baseline": "yolo11n", "imgsz": 32, "batches": [1, 2],
           "rounds": 3, **changes}
    )  # fmt: skip


def run(folder):
    command = [sys.executable, "-m", "yolo_attn.speed.run", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_real_measurement(checkpoints, tmp_path):
    write_spec(tmp_path, spec_for(checkpoints))
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "speed: batch 2, fp32, 2 models" in done.stderr
    kinds = ["header", *(["measurement"] + ["round"] * 3) * 2, "left out", "took", "complete"]
    assert [r["kind"] for r in jsonl.read(tmp_path / raw.RAW)] == kinds
    measured = read_raw(tmp_path, "k1")
    assert measured.header.spec == read_spec(tmp_path)
    assert measured.header.environment["torch"] == torch.__version__.split("+")[0]
    found = summarize(measured)
    assert found.seconds == jsonl.read(tmp_path / raw.RAW)[-2]["seconds"]
    assert found.seconds > 0
    assert found.left_out[0].why == "half precision is measured on CUDA only, this is cpu"
    assert [(m.batch, m.rounds) for m in found.measurements] == [(1, 3), (2, 3)]
    for measurement in found.measurements:
        for arm in measurement.arms.values():
            assert 0 < arm.p5_ms <= arm.median_ms <= arm.p95_ms
            assert arm.ratio_low <= arm.ratio <= arm.ratio_high
            assert arm.peak_memory_mb is None


def test_anything_but_a_whole_measurement_of_this_key_counts_for_nothing(tmp_path):
    lines = [json.dumps(r) for r in records_of({"base": [10, 11]})]
    whole = [*lines, json.dumps(jsonl.closing_line(len(lines)))]

    def read(some):
        (tmp_path / raw.RAW).write_text("\n".join(some) + "\n")
        return read_raw(tmp_path, "k")

    assert read_raw(tmp_path, "k") is None
    assert read(whole) == raw_of(map(json.loads, lines))
    assert read_raw(tmp_path, "another") is None
    assert read(lines) is None
    assert read([*lines, whole[-1][:12]]) is None
    assert read([*lines[:-1], whole[-1]]) is None
    assert read([]) is None
    for damaged in ('{"kind": "lap"}', '{"kind": "round", "batch": 1}', '{"kind": "measurement", "batch": "one"}'):
        assert read([*lines, damaged, json.dumps(jsonl.closing_line(len(lines) + 1))]) is None
    for damaged in (lines[1:], [line.replace('{"base":', '{"other":') for line in lines[:3]], ["{}", *lines[1:]]):
        assert read([*damaged, json.dumps(jsonl.closing_line(len(damaged)))]) is None


@pytest.mark.slow
def test_a_measurement_cut_short_is_begun_again(checkpoints, tmp_path, monkeypatch):
    write_spec(tmp_path, spec_for(checkpoints, batches=[1]))

    def die(*_, **__):
        yield {"yolo11n": 1.0, "yolo11n-ela": 2.0}
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(interleaved, "interleaved", die)
        with pytest.raises(KeyboardInterrupt):
            speed_run.measure(tmp_path)
    cut = (tmp_path / raw.RAW).read_text()
    assert cut.splitlines()[-1].startswith('{"kind": "round"')
    assert read_raw(tmp_path, "k1") is None
    speed_run.measure(tmp_path)
    assert [r.round for r in read_raw(tmp_path, "k1").rounds] == [0, 1, 2]


def test_a_batch_that_does_not_fit_is_halved_and_said(checkpoints, tmp_path, monkeypatch):
    def peak(model, images):
        if len(images) > 5:
            raise torch.cuda.OutOfMemoryError
        return 1.5 * len(images)

    monkeypatch.setattr(passes, "peak_memory_mb", peak)
    write_spec(tmp_path, spec_for(checkpoints, batches=[8, 4, 2], precisions=["fp32"], rounds=1))
    speed_run.measure(tmp_path)
    found = summarize(read_raw(tmp_path, "k1"))
    assert [m.batch for m in found.measurements] == [4, 2]
    assert found.measurements[0].arms["yolo11n-ela"].peak_memory_mb == 6
    assert [(o.batch, o.why) for o in found.left_out] == [(8, "does not fit into the device's memory")]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"baseline": "yolo12n"}, "unknown baseline 'yolo12n'. Did you mean 'yolo11n'"),
        ({"models": {"yolo11n": "gone.pt"}}, "no checkpoint of 'yolo11n' at"),
        ({"precisions": ["fp61"]}, "Did you mean 'fp16'"),
        ({"batches": [0]}, r"batches=\[0\]"),
        ({"batches": 8}, "batches=8"),
        ({"rounds": 0}, "rounds=0"),
        ({"device": "cuda:99"}, "unknown device 'cuda:99'"),
    ],
)
def test_a_wrong_spec_is_refused_before_anything_is_written(changes, says, checkpoints, tmp_path):
    write_spec(tmp_path, spec_for(checkpoints, **changes))
    with pytest.raises(ya.YoloAttnError, match=says):
        speed_run.measure(tmp_path)
    assert not (tmp_path / raw.RAW).exists()


@pytest.mark.slow
def test_a_spec_that_is_missing_or_not_one(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("yolo-attn: ")
    assert "there is no speed_spec.json in it" in done.stderr
    for text, says in (
        ("{", "is not JSON"),
        ('{"keys": 1}', "Its keys are key, models"),
        ("[]", "is not a speed spec"),
    ):
        (tmp_path / spec.SPEC).write_text(text)
        with pytest.raises(ya.YoloAttnError, match=says):
            read_spec(tmp_path)


def test_models_run_in_the_layout_ultralytics_runs_them_in(checkpoints):
    if "channels_last" not in training_arguments():
        pytest.skip("this Ultralytics has no choice of layout yet")
    opened = ya.YOLO(checkpoints["yolo11n"])
    opened.predict(np.zeros((32, 32, 3), np.uint8), imgsz=32, device="cpu", verbose=False)
    theirs = layouts(opened.predictor.model.model)
    assert layouts(passes.for_inference(yolo.open_model(Path(checkpoints["yolo11n"])), "cpu", "fp32")) == theirs


def layouts(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: weight.stride() for name, weight in model.named_parameters() if weight.dim() == 4}


# --- on a GPU ---------------------------------------------------------------------------------------------------------
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@gpu
def test_both_precisions_and_their_memory_on_a_gpu(checkpoints, tmp_path):
    write_spec(tmp_path, spec_for(checkpoints, device="cuda:0", batches="auto", rounds=25, imgsz=320))
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    found = summarize(read_raw(tmp_path, "k1"))
    assert [(m.precision, m.batch) for m in found.measurements] == [
        ("fp32", 1), ("fp32", 32), ("fp16", 1), ("fp16", 32)
    ]  # fmt: skip
    assert found.left_out == ()
    assert "gpu" in found.environment
    memory = [m.arms["yolo11n"].peak_memory_mb for m in found.measurements]
    assert memory[0] < memory[1]
    assert memory[3] < memory[1]
    assert memory[0] > 2.6 * 4  # megabytes of weights alone


@pytest.mark.gpu
@gpu
def test_peak_memory_on_a_gpu_is_weights_images_and_activations():
    """A chain of two: while the second layer runs, its input and output are there."""
    model = nn.Sequential(nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2)).cuda()
    model.register_buffer("weight", torch.zeros(1_000_000, device="cuda"))
    images = passes.random_images(4, 256, "cuda:0", "fp32")
    expected = (4 * 1_000_000 + images.nbytes * (1 + 4 + 16)) / 1e6
    assert passes.peak_memory_mb(model, images) == pytest.approx(expected, rel=0.02)


@pytest.mark.gpu
@gpu
def test_a_batch_too_large_for_a_gpu_is_halved(checkpoints, tmp_path):
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        write_spec(
            tmp_path, spec_for(checkpoints, device="cuda:0", batches=[256], precisions=["fp32"], imgsz=640, rounds=1)
        )
        speed_run.measure(tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    found = summarize(read_raw(tmp_path, "k1"))
    assert [o.batch for o in found.left_out] == [256]
    assert 0 < found.measurements[0].batch < 256


@pytest.mark.gpu
@gpu
def test_a_gpu_is_waited_for():
    """Twenty large products take far longer than launching them."""
    x = torch.rand(4096, 4096, device="cuda")
    many, few = (lambda n=n: [x @ x for _ in range(n)] for n in (20, 1))
    taken = list(
        interleaved.interleaved({"many": many, "few": few}, rounds=10, synchronize=passes.synchronizer("cuda:0"))
    )
    assert np.median([t["many"] / t["few"] for t in taken]) > 10
