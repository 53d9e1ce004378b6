"""Memory of processes."""

import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import sys
from yolo_attn.util.processes import peak_memory_mb
before = peak_memory_mb()
gone = b"1" * (200 << 20)
del gone
print(before, peak_memory_mb())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not started by forks")
def test_peak_memory_is_not_that_of_the_starting_process():
    held = np.ones(600 << 17)  # 600 MB, used
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    before, after = map(float, printed.split())
    assert held.nbytes >> 20 == 600
    assert 5 < before < 300
    assert after - before == pytest.approx(200, abs=20)
