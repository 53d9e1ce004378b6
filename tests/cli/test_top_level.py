"""The public names of the package."""

import subprocess
import sys

import pytest

import yolo_attn as ya


@pytest.mark.parametrize("name", ya.__all__)
def test_a_public_name_is_there_and_listed(name):
    assert getattr(ya, name).__name__ == name if name != "ATTENTION_BLOCKS" else ya.ATTENTION_BLOCKS
    assert name in dir(ya)


def test_what_is_lifted_is_the_same_object():
    from yolo_attn.export import check
    from yolo_attn.host import releases

    assert ya.export_checked is check.export_checked
    assert ya.UntestedVersionWarning is releases.UntestedVersionWarning
    assert issubclass(ya.UntestedVersionWarning, UserWarning)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'yolo_attn' has no attribute 'exported'"):
        _ = ya.exported


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "yolo_attn", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"yolo-attn {ya.__version__}"
