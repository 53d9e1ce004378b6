"""Time a comparison of 12 short runs, one after the other and several at a time."""

import argparse
import subprocess
import sys
import tempfile
import time

MODELS = ("yolo11n.yaml", "yolo11n-se.yaml", "yolo11n-eca.yaml", "yolo11n-ela.yaml")


def main() -> None:
    """Carry out the comparison in both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--per-gpu", type=int, default=6)
    parser.add_argument("--device", default="0")
    parser.add_argument("--models", nargs="+", default=MODELS)
    given, settings = parser.parse_known_args()
    settings = settings or ["epochs=5", "imgsz=320", "batch=32"]
    seconds = {}
    for number in (1, given.per_gpu):
        with tempfile.TemporaryDirectory() as out:
            words = [*given.models, "--data", given.data, "--seeds", "0,1,2", "--speed-seconds", "0", "-o", out]
            words += ["--per-gpu", str(number), f"device={given.device}", *settings]
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "yolo_attn.cli", "compare", *words], check=True)
            seconds[number] = time.perf_counter() - began
    for number, took in seconds.items():
        print(f"{number} at a time: {took:.0f} s, {seconds[1] / took:.2f} times as fast as one after the other")
