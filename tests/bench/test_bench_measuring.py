"""Measuring of the bench: memory, floors, inputs, compiled and captured forms, the list of cases, the time budget."""

from __future__ import annotations

import contextlib
import math
import types

import pytest
import torch
from support.bench_modules import SMALL, Made
from support.block_cases import ADAPTED
from torch.optim.optimizer import register_optimizer_step_pre_hook

from yolo_attn.bench import arms, compiling, floor, models, run
from yolo_attn.bench.budget import Budget
from yolo_attn.bench.cases import MEMORY_BOUND_BYTES, PASSES, SHAPES, Case, ModelCase, Request, cases_of, parse_shape
from yolo_attn.bench.command import request_of
from yolo_attn.bench.tutorial import TUTORIALS
from yolo_attn.bench.tutorial.first_ring import TutorialNL
from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.host.devices import torch_device
from yolo_attn.speed import interleaved

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(ADAPTED, "ignore:NL:UserWarning"),
]


def case(block="SE", pass_="forward", shape=SMALL, compiled=False, **changes):
    return Case(block, shape, changes.get("dtype", "fp32"), changes.get("layout", "contiguous"), pass_, compiled)


def request(**changes):
    """Return a small request that does not need timm, which may not be installed."""
    small = {"blocks": ("SE",), "shapes": (SMALL,), "device": "cpu", "dtypes": ("fp32",), "seconds": 0.01}
    return Request(**{**small, "against": ("tutorial",), **changes})


# --- what is called ---------------------------------------------------------------------------------------------------
def test_inputs_take_turns_and_gradients_are_reset():
    seen = []

    def note(module, x):
        assert x.grad is None
        assert module.weight.grad is None
        seen.append(x.data_ptr())
        return x * module.weight

    inputs = arms.make_inputs(case(pass_="training"), "cpu", buffers=3)
    module = Made(note)
    step = arms.function_of(module, [module.weight], inputs, "training")
    for _ in range(6):
        step()
    assert seen[:3] == seen[3:] == [x.data_ptr() for x in inputs.xs]
    assert len(set(seen)) == 3


def test_forward_runs_without_gradients_and_in_evaluation_mode():
    def note(module, x):
        assert torch.is_inference_mode_enabled()
        return x

    arms.function_of(Made(note), [], arms.make_inputs(case(), "cpu"), "forward")()
    for implementation in ("ours", "tutorial"):
        assert not arms.make_module(case("CA"), implementation, "cpu").training
        assert arms.make_module(case("CA", "training"), implementation, "cpu").training


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_every_block_and_its_tutorial_run_in_every_precision_and_layout(dtype, layout):
    for block, cls in ATTENTION_BLOCKS.items():
        forms = {"ours", "tutorial"} if cls in TUTORIALS else {"ours"}
        for pass_ in PASSES:
            one = case(block, pass_, (2, 16, 13, 17), dtype=dtype, layout=layout)
            built = arms.build(one, "cpu", ("floor", "tutorial"), {})
            assert set(built.functions) == {"floor", *forms}, (block, built.left_out)
            assert set(built.left_out) == {"tutorial"} - forms
            assert set(built.memory) == (forms if pass_ == "training" else set())


def test_inputs_are_of_the_precision_and_layout_asked_for():
    (x,), (upstream,) = arms.make_inputs(case(pass_="training", dtype="bf16", layout="channels_last"), "cpu")
    assert x.dtype == upstream.dtype == torch.bfloat16
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert upstream.is_contiguous(memory_format=torch.channels_last)
    assert x.requires_grad
    assert not upstream.requires_grad


def test_so_many_buffers_that_the_cache_cannot_hold_them(monkeypatch):
    """A cache of 50 MB: maps of 26 MB take turns in fives, and there is an end for small ones."""
    properties = types.SimpleNamespace(L2_cache_size=50e6)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert arms._buffers(26_000_000, "cuda:0") == 5
    assert arms._buffers(60_000_000, "cuda:0") == 3
    assert arms._buffers(1000, "cuda:0") == 128


def test_whole_matrices_are_left_out_on_the_cpu_beyond_a_limit(monkeypatch):
    large = case("NL", "training", (8, 64, 80, 80))
    tutorial = TutorialNL(ATTENTION_BLOCKS["NL"](64))
    assert "holds 4.9 GiB of pairwise weights" in arms.why_too_large(large, tutorial, "cpu")  # 4 x 8 x 6400^2 x 4 bytes
    assert arms.why_too_large(large, tutorial, "cuda:0") is None
    assert arms.why_too_large(large, ATTENTION_BLOCKS["NL"](64), "cpu") is None
    monkeypatch.setattr(arms, "LARGEST_ON_CPU", 1)
    built = arms.build(case("NL"), "cpu", ("tutorial",), {})
    assert list(built.functions) == ["ours"]
    assert "pairwise weights" in built.left_out["tutorial"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"), "does not fit into memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), "does not fit into memory"),
        (RuntimeError("no kernel\n for Half"), "RuntimeError: no kernel for Half"),
    ],
)
def test_what_fails_is_left_out_with_its_reason_and_the_rest_goes_on(error, why, monkeypatch):
    real = arms.make_module

    def broken(case, implementation, device):
        def fail(*_):
            raise error

        return Made(fail) if implementation == "tutorial" else real(case, implementation, device)

    monkeypatch.setattr(arms, "make_module", broken)
    built = arms.build(case(), "cpu", ("floor", "tutorial"), {})
    assert set(built.functions) == {"floor", "ours"}
    assert built.left_out == {"tutorial": why}


def test_a_captured_graph_runs_all_inputs_at_once_and_counts_for_each(monkeypatch):
    """The time of a replay is divided by the number of inputs."""
    built = arms.Arms("cpu", {"ours": lambda: None, "ours graph": lambda: None}, {"ours graph": 5})
    monkeypatch.setattr(run.arms, "build", lambda *_: built)
    monkeypatch.setattr(run.interleaved, "interleaved", lambda *_, **__: [{"ours": 2.0, "ours graph": 5.0}])
    times = [r["milliseconds"] for r in run.records(request(passes=("forward",))) if r["kind"] == "round"]
    assert times == [{"ours": 2.0, "ours graph": 1.0}]


# --- compiling --------------------------------------------------------------------------------------------------------
def test_compiling_ends_in_time_and_says_what_did_not(monkeypatch):
    monkeypatch.setattr(compiling, "_start", _nothing)
    jobs = [compiling.Job(case(compiled=True), name) for name in ("ours", "tutorial")]
    with compiling.fresh_cache():
        outcomes = compiling.compile_all(jobs, "cpu", seconds=0.01, processes=1)
    assert outcomes == dict.fromkeys(jobs, (None, compiling.NOT_IN_TIME))
    assert compiling.compile_all([], "cpu", 1, 1) == {}


def _nothing(*_):
    pass


def test_what_was_not_compiled_is_not_compiled_where_the_times_are_taken():
    built = arms.build(case(compiled=True), "cpu", ("tutorial",), {"ours": "why", "tutorial": "also why"})
    assert built.left_out == {"ours compiled": "why", "tutorial compiled": "also why"}
    assert set(built.functions) == {"ours", "tutorial"}


@pytest.mark.slow
def test_compiled_forms_are_there_beside_the_eager_ones():
    one = request(modes=("eager", "compile"))
    records = list(run.records(one))
    assert not [r for r in records if r["kind"] == "left out"]
    groups = [r for r in records if r["kind"] == "group"]
    assert all(set(g["compile_s"]) == {"ours compiled", "tutorial compiled"} for g in groups)
    named = {"ours", "tutorial", "ours compiled", "tutorial compiled"}
    assert all(set(r["milliseconds"]) == named for r in records if r["kind"] == "round")


# --- the list ---------------------------------------------------------------------------------------------------------
def test_the_list_is_every_combination_once():
    asked = request(
        blocks=("SE", "CA"), dtypes=("fp32", "bf16"), layouts=("contiguous", "channels_last"), models=("a.yaml",)
    )
    cases = cases_of(asked)
    assert len(cases) == len(set(cases)) == 2 * 2 * 2 * 2 + 2 * 2
    assert cases[-1] == ModelCase("a.yaml", "bf16", "training", 4)


def test_the_suite_begins_with_what_is_worth_most():
    shapes = tuple(map(parse_shape, SHAPES))
    suite = request(blocks=tuple(ATTENTION_BLOCKS), shapes=shapes, models=("a.yaml", "b.yaml"), suite=True)
    cases = cases_of(suite)
    assert list(dict.fromkeys(map(stage, cases))) == [
        ("fp32", "contiguous", True),
        "a.yaml",
        ("fp32", "channels_last", False),
        ("bf16", "contiguous", False),
        "b.yaml",
    ]
    assert len(cases) == 3 * len(ATTENTION_BLOCKS) * len(SHAPES) * len(PASSES) + 2 * len(PASSES)
    assert {c.batch for c in cases if isinstance(c, ModelCase)} == {1, 4}


def stage(case):
    return case.model if isinstance(case, ModelCase) else (case.dtype, case.layout, case.compiled)


def test_the_suite_on_a_gpu_begins_with_the_fused_forms_in_both_regimes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    asked = request_of({"suite": True, "device": "0"})
    assert asked.with_form
    assert set(asked.with_form) == {name for name, block in ATTENTION_BLOCKS.items() if block.fused}
    assert asked.cuda_graphs
    assert "fused" in asked.against
    assert {s[0] for s in asked.shapes} == {16, 32}
    assert {s[1:] for s in asked.shapes} == {
        (64, 80, 80), (128, 40, 40), (256, 20, 20), (256, 80, 80), (512, 40, 40), (512, 20, 20),
    }  # fmt: skip
    cases = cases_of(asked)
    assert len(cases) == len(set(cases))
    first = cases[: 2 * 2 * len(asked.with_form)]
    assert {c.block for c in first} == set(asked.with_form)
    assert all(c.compiled for c in first)
    bytes_of_maps = {math.prod(c.shape) * 2 for c in first}
    assert min(bytes_of_maps) < MEMORY_BOUND_BYTES <= max(bytes_of_maps)
    models = cases[len(first) :][:4]
    assert [(c.model, c.pass_, c.batch, c.graph) for c in models] == [
        ("yolo11n.yaml", "forward", 1, False),
        ("yolo11n.yaml", "forward", 1, True),
        ("yolo11n.yaml", "training", 16, False),
        ("yolo11n.yaml", "training", 64, False),
    ]
    assert {c.block for c in cases if isinstance(c, Case)} == set(ATTENTION_BLOCKS)


def test_the_fused_arm_is_asked_for_on_a_gpu_only():
    assert "fused" not in request_of({"device": "cpu"}).against
    assert request_of({"device": "cpu", "against": "fused"}).against == ("fused",)


def test_devices_by_the_names_people_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    named = {None: "cuda:0", "cuda": "cuda:0", "0": "cuda:0", "1": "cuda:1", "cuda:1": "cuda:1", "cpu": "cpu"}
    assert {text: torch_device(text) for text in named} == named
    with pytest.raises(ValueError, match="unknown device '2'"):
        torch_device("2")


# --- the time ---------------------------------------------------------------------------------------------------------
class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_budget_expects_what_was_seen():
    clock = Clock()
    budget = Budget(10, clock)
    assert budget.allows("a", expected=9)
    assert not budget.allows("a", expected=11)
    with budget.spending("a"):
        clock.now += 6
    assert not budget.allows("a", expected=1)
    assert budget.allows("b", expected=1)
    clock.now += 5
    assert budget.left == 0
    assert not budget.allows("b", expected=0)


def test_the_time_is_kept_and_what_does_not_fit_is_said(monkeypatch):
    """Every group takes 10 s of a fake clock, and there are 35: three are measured."""
    clock = Clock()

    def taking_long(functions, **_):
        clock.now += 10
        yield dict.fromkeys(functions, 1.0)

    monkeypatch.setattr(run.interleaved, "interleaved", taking_long)
    monkeypatch.setattr(floor, "cheapest_sum_of_products", lambda *_: floor.SUMS_OF_PRODUCTS["multiply and sum"])
    asked = request(blocks=("SE", "CA", "ECA", "ELA"), passes=("forward",), seconds=9)
    records = list(run.records(asked, budget=Budget(35, clock)))
    assert [r["block"] for r in records if r["kind"] == "group"] == ["SE", "CA", "ECA"]
    assert [(r["block"], r["why"]) for r in records if r["kind"] == "left out"] == [("ELA", run.NO_TIME)]
    assert clock.now <= 35


def test_a_group_whose_first_calls_take_too_long_is_left_out(monkeypatch):
    built = arms.Arms("cpu", {"ours": lambda: None}, first_call_s={"ours": 5.0})
    monkeypatch.setattr(run.arms, "build", lambda *_: built)
    records = list(run.records(request(passes=("forward",)), budget=Budget(44, Clock())))
    assert [r["why"] for r in records if r["kind"] == "left out"] == [run.NO_TIME]


def test_a_model_that_fails_costs_nobody_else_the_result(monkeypatch):
    def broken(*_):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(run.models, "build", broken)
    monkeypatch.setattr(run.models, "write_models", lambda *_: {})
    records = list(run.records(request(models=("yolo11n.yaml",), passes=("forward",))))
    assert [r["of"] for r in records if r["kind"] == "group"] == ["block"]
    assert [r["why"] for r in records if r["kind"] == "left out"] == ["RuntimeError: no such kernel"]


# --- stopwatches ------------------------------------------------------------------------------------------------------
def test_another_stopwatch_can_take_the_times():
    def stopwatch(function, calls):
        for _ in range(calls):
            function()
        return 7.0 * calls

    called = []
    taken = list(
        interleaved.interleaved({"a": lambda: called.append(1)}, rounds=2, warmup_rounds=1, stopwatch=stopwatch)
    )
    assert taken == [{"a": 7.0}] * 2
    assert len(called) == 3


def test_events_are_recorded_around_all_calls_once_the_device_is_idle(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            log.append("record")

        def synchronize(self):
            log.append("wait for event")

        def elapsed_time(self, end):
            return 12.5

    stream = types.SimpleNamespace(synchronize=lambda: log.append("wait for stream"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert interleaved.cuda_events("cuda:0")(lambda: log.append("call"), 3) == 12.5
    assert log == ["wait for stream", "record", "call", "call", "call", "record", "wait for event"]


# --- whole models -----------------------------------------------------------------------------------------------------
def test_models_with_a_control_and_a_training_step_that_learns(tmp_path):
    files = models.write_models("yolo11n.yaml", ["SE"], tmp_path)
    assert list(files) == ["base", "identity control", "SE"]
    latency, _ = models.build(ModelCase("yolo11n.yaml", "fp32", "forward", 1), files, 64, "cpu")
    outputs = {name: function() for name, function in latency.items()}
    assert set(outputs) == set(files)
    training, _ = models.build(ModelCase("yolo11n.yaml", "fp32", "training", 2), {"SE": files["SE"]}, 64, "cpu")
    with recorded_steps() as steps:
        training["SE"]()
    assert steps == [True]


@contextlib.contextmanager
def recorded_steps():
    """Record for every optimizer step whether all trainable parameters had gradients."""
    steps = []

    def note(optimizer, *_):
        steps.append(all(p.grad is not None for group in optimizer.param_groups for p in group["params"]))

    handle = register_optimizer_step_pre_hook(note)
    yield steps
    handle.remove()


def test_models_in_precisions_they_are_not_timed_in():
    assert "in fp32" in models.unavailable_reason(ModelCase("a", "bf16", "forward", 1), "cuda:0")
    assert "CUDA only" in models.unavailable_reason(ModelCase("a", "fp16", "forward", 1), "cpu")
    assert "CUDA only" in models.unavailable_reason(ModelCase("a", "fp32", "forward", 1, graph=True), "cpu")
    assert models.unavailable_reason(ModelCase("a", "fp16", "training", 1), "cuda:0") is None


# --- on a GPU ---------------------------------------------------------------------------------------------------------
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@gpu
def test_a_bench_on_a_gpu_with_everything():
    asked = request(
        blocks=("SGE", "CBAM"), against=("floor", "tutorial", "fused"), shapes=((4, 64, 40, 40),),
        device="cuda:0", dtypes=("fp16",),
        layouts=("contiguous", "channels_last"), modes=("eager", "compile"), cuda_graphs=True,
        models=("yolo11n.yaml",), imgsz=320, batch=2, seconds=0.2,
    )  # fmt: skip
    records = list(run.records(asked))
    assert not [r for r in records if r["kind"] == "left out"]
    names = {name for r in records if r["kind"] == "round" for name in r["milliseconds"]}
    assert names >= {"ours", "tutorial", "ours compiled", "tutorial compiled", "ours graph", "tutorial graph", "base"}
    assert names >= {"ours fused", "ours fused compiled", "ours fused graph", "SGE fused"}
    told = [r for r in records if r["kind"] == "group" and r["of"] == "block"]
    assert all(r["host_us"]["ours"] > 0 and r["launches"]["ours"] >= 1 for r in told)
    trained = [r for r in records if r["kind"] == "group" and r.get("pass") == "training" and r["of"] == "block"]
    assert all(r["memory"]["ours"]["peak_maps"] > 1 for r in trained)
    assert all(0.001 < r["floor_ms"] < 1 for r in trained)


@pytest.mark.gpu
@gpu
def test_the_copy_rate_of_a_gpu_is_that_of_its_memory():
    rates = floor.copy_rates("cuda:0")
    assert 5e10 < rates["median"] <= rates["best"] < 2e13
