"""Keep stand-ins of what the host's tests would download: weights, data sets, videos; made once per work folder."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from instruments.host_suite import environment, plugin, scenes, weights
from instruments.paths import variables
from yolo_attn.errors import YoloAttnError


class StandIns:
    """Folders of stand-ins: ``plain`` and ``attention`` are folders with ``weights``, ``datasets`` ...

    Args:
        work: Work folder.
        given: Real weights of a detector, ``None`` for random ones.
        block: Name of the attention block.
        places: Where to put it; several are tried in turn.
    """

    def __init__(self, work: Path, given: Path | None, block: str, places: Sequence[str]):
        self.given, self.block, self.places = given, block, (*places, *weights.PLACES)
        self.plain = work / f"stand-ins-{self._key()}"
        self.attention = self.plain / re.sub(r"\W+", "-", " ".join((block, *places))).strip("-")

    def _key(self) -> str:
        """Return a hash of what the plain stand-ins and the outcomes of plain runs depend on."""
        code = hashlib.sha256(version("ultralytics").encode() + version("torch").encode())
        for file in (*(Path(module.__file__) for module in (environment, plugin, scenes, weights)), self.given):
            code.update(file.read_bytes() if file else b"")
        return code.hexdigest()[:12]

    def make(self) -> None:
        """Make stand-ins in processes of their own: the plain ones once, without this package, the others anew.

        Raises:
            YoloAttnError: If a process fails.
        """
        if not (self.plain / "complete").is_file():
            self._make("plain", self.plain)
        shutil.rmtree(self.attention, ignore_errors=True)
        self._make("attention", self.attention)

    def _make(self, kind: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        words = [kind, str(self.plain), str(folder), "--block", self.block, "--at", *self.places]
        words += ["--weights", str(self.given)] if self.given else []
        done = subprocess.run(
            [sys.executable, "-m", __name__, *words],
            env=variables(**offline(folder, self.plain)),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (folder / "log.txt").write_text(done.stdout, encoding="utf-8")
        if done.returncode:
            raise YoloAttnError(f"stand-ins cannot be made, see {folder / 'log.txt'}: {done.stdout.splitlines()[-1:]}")
        (folder / "complete").touch()

    def copy_to(self, folder: Path, attention: bool) -> None:
        """Fill the folder of a run: ``weights``, ``datasets``, and with attention the model YAMLs."""
        source = self.attention if attention else self.plain
        shutil.copytree(source / "weights", folder / "weights")
        shutil.copytree(self.plain / "assets", folder / "weights" / "solution_assets", dirs_exist_ok=True)
        shutil.copytree(self.plain / "datasets", folder / "datasets")
        if attention:
            shutil.copytree(source / "models", folder, dirs_exist_ok=True)


def offline(folder: Path, stand_ins: Path, python: str | Path = sys.executable) -> dict[str, str]:
    """Return variables with which a process has settings of its own, and every download fails at once.

    Args:
        folder: Folder of the process.
        stand_ins: Folder of the stand-ins.
        python: Interpreter whose commands are found first.
    """
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nowhere)
    return {
        **proxies,
        "no_proxy": "localhost,127.0.0.1",
        "NO_PROXY": "localhost,127.0.0.1",
        "YOLO_CONFIG_DIR": str(folder / "config"),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "TORCH_HOME": str(stand_ins / "torch"),
        "MPLBACKEND": "Agg",
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", "")]),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Make stand-ins in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["plain", "attention"])
    parser.add_argument("plain", type=Path, help="folder of the plain stand-ins")
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--block")
    parser.add_argument("--at", nargs="+")
    asked = parser.parse_args(words)
    if asked.kind == "plain":
        scenes.draw_sets(asked.folder / "datasets")
        scenes.draw_solution_assets(asked.folder / "assets")
        weights.make_torchvision(asked.folder / "torch")
        weights.make_plain(asked.folder / "weights", asked.weights)
    else:
        weights.make_attention(asked.plain / "weights", asked.folder / "weights", asked.block, asked.at)
        weights.make_yamls(asked.folder / "models", asked.block, asked.at)


if __name__ == "__main__":
    main()
