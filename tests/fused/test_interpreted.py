"""Values and gradients of the fused forms, by Triton's interpreter on the CPU: ``pytest -m interpreter``."""

import os

import pytest
import torch
from instruments.fused_cases import BOUNDS, FUSED, cases, errors

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1, as `-m interpreter` sets it"
    ),
]


@pytest.mark.parametrize("case", [case for name in FUSED for case in cases(name)], ids=str)
def test_values_and_gradients_are_those_of_the_plain_block(case):
    bound = BOUNDS[case.dtype]
    # gradients of parameters are float32 whatever the map is
    wrong = {name: e for name, e in errors(case).items() if not e < (bound if name in ("y", "x") else 5e-5)}
    assert not wrong


def test_every_dtype_has_a_bound():
    assert set(BOUNDS) == {torch.float32, torch.float16, torch.bfloat16}
