"""Interleaved timing of functions, on a simulated clock."""

import pytest

from yolo_attn.speed import interleaved


class Clock:
    """A clock that only the timed functions move, each by its own duration times how slow the machine is."""

    def __init__(self, monkeypatch):
        self.now, self.slowness, self.called = 0.0, 1.0, []
        monkeypatch.setattr(interleaved.time, "perf_counter", lambda: self.now)

    def lasting(self, name, milliseconds):
        def function():
            self.called.append(name)
            self.now += milliseconds * self.slowness / 1e3

        return function


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_every_function_is_called_once_a_round_and_no_one_always_after_the_same(clock):
    functions = {name: clock.lasting(name, 1) for name in "abc"}
    taken = list(interleaved.interleaved(functions, rounds=60, warmup_rounds=2))
    assert len(taken) == 60
    assert len(clock.called) == 62 * 3
    rounds = [clock.called[i : i + 3] for i in range(0, len(clock.called), 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert [list(times) for times in taken] == rounds[2:]
    before_a = [r[r.index("a") - 1] for r in rounds if r[0] != "a"]
    assert 10 <= before_a.count("b") <= len(before_a) - 10
    assert all(sum(r[0] == name for r in rounds) >= 10 for name in "abc")


def test_the_orders_depend_on_the_seed_alone(clock):
    def orders(seed):
        functions = {name: clock.lasting(name, 1) for name in "abc"}
        return [list(times) for times in interleaved.interleaved(functions, rounds=20, seed=seed)]

    assert orders(1) == orders(1) != orders(2)


def test_milliseconds_are_per_call_and_short_functions_are_repeated_all_alike(clock):
    functions = {"fast": clock.lasting("fast", 0.5), "slow": clock.lasting("slow", 2)}
    taken = list(interleaved.interleaved(functions, rounds=4, warmup_rounds=1, lasting_ms=10))
    assert [{n: pytest.approx(t) for n, t in {"fast": 0.5, "slow": 2.0}.items()}] * 4 == taken
    assert clock.called.count("fast") == clock.called.count("slow") == 1 + 4 * 20


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 5), (0.1, 10), (9.0, 30)])
def test_a_time_budget_ends_the_rounds(clock, seconds, expected):
    taken = interleaved.interleaved({"a": clock.lasting("a", 10)}, rounds=30, at_least=5, seconds=seconds - 1e-6)
    assert len(list(taken)) == expected


def test_warming_up_takes_as_long_as_asked(clock):
    list(interleaved.interleaved({"a": clock.lasting("a", 10)}, rounds=1, warmup_rounds=2, warmup_seconds=0.1 - 1e-6))
    assert len(clock.called) == 10 + 1


def test_the_device_is_waited_for_before_and_after_each_timing(clock):
    """Work that is only queued lands on the one who queued it."""
    queued = []

    def wait():
        clock.now += sum(queued)
        queued.clear()

    functions = {"a": lambda: queued.append(0.001), "b": lambda: queued.append(0.005)}
    for times in interleaved.interleaved(functions, rounds=5, synchronize=wait):
        assert times == {"a": pytest.approx(1), "b": pytest.approx(5)}
