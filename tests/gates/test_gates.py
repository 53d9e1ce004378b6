"""Kinds of maps, and their statistics against numpy and hand-computed numbers."""

import json
import math

import numpy as np
import pytest

from yolo_attn.gates.gate import gates_of
from yolo_attn.gates.statistics import GateStatistics, are_weights, statistics_of

C, H, W = 4, 3, 5
RANDOM = np.random.default_rng(0)


def gate_of(values, top=1.0, fresh=None):
    values = np.asarray(values, np.float32)
    return gates_of([values], C, (H, W), [top], None if fresh is None else [np.asarray(fresh, np.float32)])[0]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((C, 1, 1), "channel"),
        ((C,), "channel"),
        ((C, H, 1), "rows"),
        ((C, 1, W), "columns"),
        ((1, H, W), "spatial"),
        ((H, W), "spatial"),
        ((2, H, W), "groups"),
        ((C, H, W), "full"),
        ((H * W, H * W), "pairs"),
        ((7, 2), "other"),
    ],
)
def test_what_a_map_is_shows_in_its_shape(shape, kind):
    gate = gate_of(RANDOM.random(shape))
    assert gate.kind == kind
    assert gate.name


def test_weights_are_told_from_a_gate_by_their_sum():
    weights = RANDOM.random((1, H, W))
    assert gate_of(weights / weights.sum(), None).kind == "weights"
    assert gate_of(weights).kind == "spatial"


def test_kinds_that_only_a_block_declares_have_shapes_and_grids_of_their_own():
    shapes = {"channel half": (C // 2, 1, 1), "full half": (C // 2, H, W), "cells": (C, 2, 2)}
    maps = [RANDOM.random(shape) for shape in shapes.values()]
    gates = gates_of(maps, C, (H, W), [1.0] * 3, kinds=list(shapes))
    assert {gate.kind: gate.values.shape for gate in gates} == shapes
    assert [gate.per_channel for gate in gates] == [True, False, False]
    assert gates[0].grids() is None
    for gate, values in zip(gates[1:], maps[1:], strict=True):
        np.testing.assert_array_equal(gate.grids(), values)


def test_row_and_column_gates_that_are_no_pair_are_repeated_over_the_map():
    columns, rows, spatial = RANDOM.random((C, 1, W)), RANDOM.random((C, H, 1)), RANDOM.random((1, H, W))
    gates = gates_of([columns, rows, spatial], C, (H, W), [1.0] * 3, kinds=["columns", "rows", "spatial"])
    assert [gate.kind for gate in gates] == ["columns", "rows", "spatial"]  # no product
    np.testing.assert_array_equal(gates[0].grids(), np.repeat(columns, H, 1))
    np.testing.assert_array_equal(gates[1].grids(), np.repeat(rows, W, 2))


def test_row_and_column_gates_have_a_product():
    rows, columns = RANDOM.random((C, H, 1)), RANDOM.random((C, 1, W))
    fresh = np.ones_like(rows), np.ones_like(columns)
    gates = gates_of([rows, columns], C, (H, W), [2.0, 2.0], fresh)
    assert [gate.kind for gate in gates] == ["rows", "columns", "product"]
    product = gates[2]
    assert product.top == 4
    assert product.neutral == 1
    for c in range(C):
        np.testing.assert_allclose(product.values[c], np.outer(rows[c, :, 0], columns[c, 0]))
    assert (product.fresh == 1).all()


@pytest.mark.parametrize(("largest", "top"), [(0.9, 1.0), (1.4, 2.0), (2.4, None)])
def test_where_no_range_is_declared_the_values_suggest_one(largest, top):
    values = np.linspace(0, largest, C)
    gate = gate_of(values, None)
    assert (gate.top, gate.declared) == (top, False)
    assert gate_of(values, 2.0).declared
    assert gate_of(values - 0.1, None).top is None


def test_statistics_are_numpys():
    values = RANDOM.random((C, H, W)) * 2
    fresh = np.ones_like(values)
    found = gate_of(values, 2.0, fresh).statistics
    for key in ("min", "mean", "max", "std"):
        assert getattr(found, key) == pytest.approx(float(getattr(np, key)(values)), rel=1e-5), key
    assert found.from_init.mean == pytest.approx(np.abs(values - 1).mean(), rel=1e-5)
    assert found.from_init.max == pytest.approx(np.abs(values - 1).max(), rel=1e-5)
    assert found.uniformity is None


def test_dead_and_saturated_are_shares_of_the_range():
    values = np.array([0.04, 0.06, 1.89, 1.91])  # of (0, 2): 0.1 and 1.9 are the limits
    found = gate_of(values, 2.0).statistics
    assert (found.dead, found.saturated) == (0.5, 0.25)
    found = gate_of(values / 2, 1.0).statistics
    assert (found.dead, found.saturated) == (0.5, 0.25)
    assert gate_of(values - 1, None).statistics.dead is None


@pytest.mark.parametrize(
    ("weights", "entropy", "uniformity", "peak"),
    [
        (np.full(15, 1 / 15), math.log(15), 1.0, 1.0),
        (np.eye(15)[4], 0.0, 0.0, 15.0),
        ([0.5, 0.5, *[0] * 13], math.log(2), math.log(2) / math.log(15), 7.5),
    ],
)
def test_uniformity_and_peak_of_weights(weights, entropy, uniformity, peak):
    found = gate_of(np.reshape(weights, (1, H, W)), None).statistics
    assert found.entropy == pytest.approx(entropy, abs=1e-6)
    assert found.uniformity == pytest.approx(uniformity, abs=1e-6)
    assert found.peak == pytest.approx(peak, rel=1e-5)
    assert found.dead is None


def test_pairwise_weights_are_averaged_over_who_looks():
    pairs = np.vstack([np.full((14, 15), 1 / 15), np.eye(15)[4]])  # all look everywhere, the last looks at 4 only
    gate = gate_of(pairs, None)
    found = gate.statistics
    assert found.uniformity == pytest.approx(14 / 15, abs=1e-5)
    assert found.peak == pytest.approx((14 * 1 + 15) / 15, rel=1e-5)
    np.testing.assert_allclose(gate.grids()[0], pairs.mean(0).reshape(H, W) * 15, rtol=1e-5)
    np.testing.assert_allclose(gate.query_weights((H - 1, W - 1)), np.eye(15)[4].reshape(H, W) * 15, rtol=1e-5)
    assert gate_of(pairs - 0.1, None).statistics.uniformity is None  # a dot product has no weights


# --- one implementation, one rule -------------------------------------------------------------------------------------
OLD_NUMBERS = {  # of two images of a map, rounded to six digits as gates.csv has them
    "mean": 0.489628, "std": 0.287497, "min": 0.00373424, "max": 0.9955, "dead": 0.0833333, "saturated": 0.05,
}  # fmt: skip


def test_a_map_of_several_images_has_the_numbers_of_all_of_them():
    values = np.random.default_rng(7).random((2, 2, 3, 5)).astype(np.float32)
    found = statistics_of(values, 1.0)
    assert {key: float(f"{getattr(found, key):.6g}") for key in OLD_NUMBERS} == OLD_NUMBERS


def test_statistics_survive_json():
    gate = gate_of(RANDOM.random((C, 1, 1)), 2.0, fresh=np.ones((C, 1, 1)))
    stored = json.loads(json.dumps(gate.statistics.to_json()))
    assert set(stored) == {
        "min", "mean", "max", "std", "dead", "saturated", "entropy", "uniformity", "peak", "from_init",
    }  # fmt: skip
    assert GateStatistics.from_json(stored) == gate.statistics
    weights = gate_of(np.full((1, H, W), 1 / 15), None).statistics
    assert GateStatistics.from_json(weights.to_json()) == weights


@pytest.mark.parametrize(
    ("values", "kind", "weights"),
    [
        (np.full((1, H, W), 1 / 15), "weights", True),
        (np.full((1, H, W), 1 / 14), "weights", False),
        (np.full((C, 1, 1), 1 / C), "channel", True),  # a softmax over channels
        (np.array([[2.0, -1.0]]), "weights", False),
        (np.ones((1, 1, 1)), "spatial", False),  # a single value that is 1 is a gate
        (np.eye(15), "pairs", True),
        (np.eye(15) * 0.9, "pairs", False),
        (np.full((15, 15), 1 / 225), "pairs", False),  # the whole sums to 1, no row does
    ],
)
def test_weights_are_known_by_one_rule(values, kind, weights):
    assert are_weights(values, kind) == weights


def test_a_declared_kind_is_not_guessed():
    square = RANDOM.random((C, H, W))
    (gate,) = gates_of([square], C, (H, W), [1.0], kinds=["groups"])
    assert (gate.kind, gate.top, gate.declared) == ("groups", 1.0, True)
    (gate,) = gates_of([RANDOM.random((H, W))], C, (H, W), [None], kinds=["weights"])
    assert (gate.kind, gate.top, gate.values.shape) == ("weights", None, (1, H, W))
