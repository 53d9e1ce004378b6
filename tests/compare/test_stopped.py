"""A full disk or a killed process at any moment: nothing incomplete counts as complete, and a restart resumes."""

import json
import os
import shutil

import pytest
from robustness.faults import FULL, KILLED, moments, stopped, tree
from robustness.judge import refusal_of
from support.bench_example import EXAMPLE

from yolo_attn import insert
from yolo_attn.bench import raw
from yolo_attn.bench.report import write_report
from yolo_attn.compare import results
from yolo_attn.demo.scenes import make_scenes
from yolo_attn.subset.choice import Choice
from yolo_attn.subset.convert import convert_coco

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="stops forked processes; this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
every_end = pytest.mark.parametrize("how", [FULL, KILLED])


def check(work, out, how, few, record_property, left=lambda: None):
    """Stop the work at each write operation, check the files, restart, and compare with uninterrupted work."""
    work()
    whole = tree(out)
    tried = 0
    _clear(out)
    for at in moments(work, out.parent, few):
        _clear(out)
        code, said = stopped(work, out.parent, at, how)
        if how == KILLED:
            assert code == -9, f"moment {at}: {said}"
        elif code:  # the error has to be one that the command line shows as one line
            assert said.startswith(("YoloAttnError", "OSError: [Errno 28]")), f"moment {at}: {said}"
        left()
        work()
        assert tree(out) == whole, f"moment {at}"
        tried += 1
    record_property("faults", tried)


def _clear(out):
    for path in out.parent.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("coco") / "set", train=6, val=3, size=32, seed=1)


@every_end
@pytest.mark.parametrize("copy", [False, True], ids=["linked", "copied"])
def test_subset(coco, copy, how, tmp_path, monkeypatch, record_property):
    monkeypatch.setattr("yolo_attn.subset.convert.plot_summary", lambda results, path: path.write_bytes(b"a plot"))
    out = tmp_path / "here" / "out"

    def nothing_half_made():
        if out.exists():
            assert json.loads((out / "subset.json").read_text())["files"]["labels/train"] == 4

    (tmp_path / "here").mkdir()
    work = lambda: convert_coco(coco, out, Choice(images=4), copy=copy)  # noqa: E731
    check(work, out, how, 6, record_property, nothing_half_made)


@every_end
def test_demo_scenes(how, tmp_path, record_property):
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / "set"
    check(lambda: make_scenes(out, train=3, val=2, size=32, seed=1), out, how, 4, record_property)


@every_end
def test_insert_leaves_the_file_before_or_the_new_one(how, tmp_path, record_property):
    file = tmp_path / "yolo11-mine.yaml"
    old, new = (insert("yolo11n.yaml", block, at="sppf") for block in ("SE", "ELA"))
    texts = {made.save(file).read_text() for made in (old, new)}
    tried = 0
    for at in moments(lambda: new.save(file), tmp_path, 9):
        old.save(file)
        stopped(lambda: new.save(file), tmp_path, at, how)
        assert file.read_text() in texts
        assert new.save(file).read_text() in texts
        tried += 1
    record_property("faults", tried)


@every_end
def test_compare(comparing, how, tmp_path, record_property):
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / "out"

    def a_report_or_one_sentence():
        assert "\n" not in (refusal_of(lambda: results.write(out, replicates=20)) or "")

    check(lambda: comparing(out), out, how, 6, record_property, a_report_or_one_sentence)


@every_end
def test_bench(how, tmp_path, monkeypatch, record_property):
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / "out"
    monkeypatch.setattr("yolo_attn.bench.plot.to_png_bytes", lambda s: b"a plot")

    def work():
        raw.write_raw(out, EXAMPLE)
        write_report(out)

    def incomplete_or_whole():
        said = refusal_of(lambda: write_report(out)) or "holds no bench"
        assert "incomplete" in said or "holds no bench" in said

    check(work, out, how, 5, record_property, incomplete_or_whole)
