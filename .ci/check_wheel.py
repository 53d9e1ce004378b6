"""Refuse a wheel that is too large, or not the package with its data: ``python .ci/check_wheel.py FILE.whl``."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = {f"yolo_attn/cfg/models/{file.name}" for file in ROOT.glob("cfg/models/*.yaml")}
SUFFIXES = (".py", ".css", ".js", ".json", ".typed", ".sh", ".bash", ".zsh")
PACKAGE = {f.relative_to(ROOT).as_posix() for f in ROOT.glob("yolo_attn/**/*") if f.suffix in SUFFIXES}

LARGEST = 1_000_000  # bytes

size = Path(sys.argv[1]).stat().st_size
names = set(zipfile.ZipFile(sys.argv[1]).namelist())
problems = [f"not the package's: {name}" for name in sorted(names) if not name.startswith(("yolo_attn/", "yolo_attn-"))]
problems += [f"missing: {name}" for name in sorted((MODELS | PACKAGE) - names)]
if size > LARGEST:
    problems.append(f"{size:,} bytes; at most {LARGEST:,}")
if problems or not MODELS:
    sys.exit("\n".join(problems) or "no model YAML in cfg/models")
print(f"wheel: {size:,} bytes, {len(names)} files, {len(MODELS)} model YAMLs")
