"""Compare fused forms with the plain blocks in float64: ``python tools/check_fused.py``, on a GPU ``--device cuda``.

Without a GPU Triton interprets the kernels, which takes some minutes.
"""

from instruments.fused_check import main

if __name__ == "__main__":
    main()
