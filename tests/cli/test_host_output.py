"""`yolo-attn predict` and `track` leave behind what `yolo` leaves: saved results, and no frame kept in memory.

Ultralytics decides both by the arguments of the process, so each command runs in a process of its own.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest

import yolo_attn as ya
from yolo_attn.host import command

FREE_MB = 80
"""Memory that may differ between two runs of one command, in MB; 48 more frames of the video take 285 MB."""


@pytest.fixture
def here(tmp_path, monkeypatch, tiny_models):
    """An empty working folder; where no `lap` is installed a stand-in, as there is nothing to assign."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_models[1], tmp_path)
    if importlib.util.find_spec("lap") is None:
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "lap.py").write_text("__version__ = '0.5.12'\n")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "lib"), *sys.path]))
    return tmp_path


def video(file, frames, width=320, height=192):
    """Draw a square that moves over noise."""
    noise = np.random.default_rng(0).integers(0, 99, (height, width, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (width, height))
    for i in range(frames):
        writer.write(cv2.rectangle(noise.copy(), (i, i), (i + 40, i + 40), (0, 200, 255), -1))
    writer.release()
    return file.name


RUN = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, "-m", "yolo_attn.cli", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(code)
"""


def run(*words):
    """Run the command; return its output and peak memory in MB, asked of a small process between it and this one."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    *said, peak = done.stdout.splitlines()
    return "\n".join(said), float(peak)


def left(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.slow
def test_predict_saves_the_picture(here):
    cv2.imwrite("a.jpg", np.full((64, 96, 3), 90, np.uint8))
    said, _ = run("predict", "model=tiny-ela.yaml", "source=a.jpg", "imgsz=32", f"project={here / 'out'}")
    assert left(here / "out") == ["predict/a.jpg"]
    assert "Results saved to" in said
    assert "accumulate in RAM" not in said


@pytest.mark.slow
def test_track_saves_the_video(here):
    words = ["model=tiny-ela.yaml", f"source={video(here / 'short.avi', 3)}", "imgsz=32", f"project={here / 'out'}"]
    said, _ = run("track", *words)
    assert left(here / "out") == ["track/short.avi"]
    assert "Results saved to" in said


@pytest.mark.slow
def test_no_frame_is_kept_in_memory(here):
    peaks = []
    for frames in (12, 60):
        source = f"source={video(here / f'{frames}.avi', frames, 1920, 1080)}"
        words = ["model=tiny-ela.yaml", source, "imgsz=32", "save=False", f"project={here / 'out'}"]
        said, peak = run("predict", *words)
        assert f"{frames}/{frames}" in said, "not every frame was predicted"
        peaks.append(peak)
    assert peaks[1] - peaks[0] < FREE_MB, peaks
    assert left(here / "out") == []


def test_every_module_sees_the_words_of_the_command_and_afterwards_what_it_saw(monkeypatch):
    import ultralytics.cfg
    import ultralytics.engine.model
    import ultralytics.utils.events

    later = ModuleType("ultralytics.imported_later")
    holders = (ultralytics.cfg, ultralytics.utils, ultralytics.engine.model, ultralytics.utils.events)
    before = [module.ARGV for module in holders]
    seen = []

    def entrypoint():
        later.ARGV, later.YOLO = (
            ultralytics.utils.ARGV,
            ultralytics.YOLO,
        )  # as `from ultralytics.utils import ARGV` does
        monkeypatch.setitem(sys.modules, later.__name__, later)
        seen.extend(module.ARGV for module in (*holders, later))
        raise KeyboardInterrupt

    monkeypatch.setattr(ultralytics.cfg, "entrypoint", entrypoint)
    with pytest.raises(KeyboardInterrupt):
        command.run_command(["predict", "model=a.pt"], YOLO=ya.YOLO)
    assert seen == [["yolo", "predict", "model=a.pt"]] * 5
    assert [id(module.ARGV) for module in holders] == [id(words) for words in before]
    assert later.ARGV is ultralytics.utils.ARGV
    assert later.YOLO is ultralytics.YOLO is not ya.YOLO
