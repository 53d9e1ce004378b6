"""Take the tests of the installed Ultralytics from its source distribution."""

from __future__ import annotations

import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from instruments.contract.releases import pip
from yolo_attn.errors import YoloAttnError

FILES = (
    "test_python", "test_cli", "test_engine", "test_solutions", "test_exports", "test_integrations",
    "test_ndjson_converter",
)  # fmt: skip
"""All but those that need a GPU."""


def fetch_tests(work: Path) -> Path:
    """Return the folder ``tests`` of the installed release; download the source distribution if it is not there.

    Args:
        work: Folder that keeps what was downloaded.

    Raises:
        YoloAttnError: If the package index does not have it.
    """
    release = version("ultralytics")
    folder = work / f"ultralytics-{release}"
    if not (folder / "tests").is_dir():
        asked = ["download", "--quiet", "--no-binary", ":all:", "--no-deps", "--no-build-isolation"]
        pip(sys.executable, *asked, "--dest", str(work), f"ultralytics=={release}")
        unpack(next(work.glob(f"ultralytics-{release}.tar.gz")), work)
    return folder / "tests"


def unpack(archive: Path, target: Path) -> None:
    """Unpack the tests of a source distribution.

    Raises:
        YoloAttnError: If it has none.
    """
    with tarfile.open(archive) as tar:
        files = {Path(member.name).parts: tar.extractfile(member) for member in tar.getmembers() if member.isfile()}
        tests = {parts: file for parts, file in files.items() if parts[1:-1] == ("tests",) and file}
        if not tests:
            raise YoloAttnError(f"'{archive}' holds no tests")
        for (release, folder, name), file in tests.items():
            (target / release / folder).mkdir(parents=True, exist_ok=True)
            (target / release / folder / name).write_bytes(file.read())
