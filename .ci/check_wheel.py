"""Refuse a wheel that holds anything but the package, or lacks its data: ``python .ci/check_wheel.py FILE.whl``."""

import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
foreign = [n for n in names if not n.startswith(("yolo_attn/", "yolo_attn-"))]
assert not foreign, f"not the package's: {foreign}"
models = [n for n in names if n.startswith("yolo_attn/cfg/models/")]
assert len(models) == 60, f"{len(models)} model YAMLs instead of 60"
assert "yolo_attn/models/block_facts.json" in names, "block_facts.json is missing, which `yolo-attn blocks` shows"
assert "yolo_attn/py.typed" in names, "py.typed is missing, which tells type checkers that the package has types"
print(f"wheel: {len(names)} files, {len(models)} model YAMLs")
