"""Versions that are stored with results."""

import pytest

import yolo_attn as ya
from yolo_attn.compare import driver, finished, plan, run
from yolo_attn.util import env


@pytest.fixture
def _a_checkout_that_went_on(monkeypatch):
    """Let pip know another version of this package than that of the code."""
    installed = env.version
    monkeypatch.setattr(env, "version", lambda name: "0.0.1" if name == "yolo-attn" else installed(name))


@pytest.mark.usefixtures("_a_checkout_that_went_on")
def test_the_version_is_that_of_the_code():
    assert env.version_of("yolo-attn") == ya.__version__
    assert env.environment()["yolo_attn"] == ya.__version__
    assert all(module.version_of is env.version_of for module in (driver, finished, plan, run))


def test_other_versions_are_those_installed():
    import torch

    assert env.version_of("torch").partition("+")[0] == torch.__version__.partition("+")[0]
    assert env.version_of("nothing-of-the-kind") == "not installed"
