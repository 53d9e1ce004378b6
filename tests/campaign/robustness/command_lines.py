"""Random command lines: valid ones, and ones with typos or wrong files."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from robustness.models import STOCK
from robustness.values import BLOCKS, PARSER_WORDS, mostly

FILES = [
    "data.yaml", "no-images.yaml", "model.yaml", "text.txt", "folder", "cut.pt", "empty.pt", "none.yaml", "none.pt",
    "coco", "coco/annotations/instances_train.json", "broken.json", "binary.yaml", "list.yaml", "matrix.yaml",
]  # fmt: skip
MODELS = [
    "yolo11n-ela.yaml",
    "yolov8n-se.yaml",
    "yolo11s-ca-inside.yaml",
    *STOCK[:8],
    "model.yaml",
    "yolo11n-elaa.yaml",
]
VALUES = [
    "0",
    "1",
    "-1",
    "0.5",
    "1e9",
    "nan",
    "",
    "a,b",
    "0,1",
    "None",
    "True",
    "[",
    "é",
    "../up",
    "cpu",
    *PARSER_WORDS,
]

values = st.one_of(
    st.sampled_from(VALUES), st.text(st.characters(codec="utf-8", exclude_characters="\0/~"), max_size=6)
)
files = mostly(st.sampled_from([*FILES, *MODELS]), values, of=6)


def flags(**choices: st.SearchStrategy | None) -> st.SearchStrategy:
    """Draw some of these flags, each with its value, if it takes one."""
    pairs = {name: value if value is not None else st.none() for name, value in choices.items()}
    drawn = st.fixed_dictionaries({}, optional=pairs)
    return drawn.map(lambda d: [w for k, v in d.items() for w in (_flag(k), *([] if v is None else [str(v)]))])


def _flag(name: str) -> str:
    return "-o" if name == "o" else "--" + name.replace("_", "-")


def settings(keys: list[str]) -> st.SearchStrategy:
    """Draw ``key=value`` words."""
    word = st.builds("{}={}".format, mostly(st.sampled_from(keys), values, of=8), mostly(values, files, of=4))
    return st.lists(word, max_size=3)


blocks = mostly(st.sampled_from(BLOCKS), values, of=8)
models = mostly(st.sampled_from(MODELS), files, of=4)
outputs = mostly(st.sampled_from(["out", "yolo11-out.yaml", "text.txt", "folder", "out/yolo11-x.yaml"]), values, of=8)
seeds = mostly(st.sampled_from(["0", "0,1"]), values, of=4)
HYPER = ["init", "reduction", "variant", "kernel_size", "groups", "bias", "fusion"]
HOST_KEYS = [
    "model",
    "data",
    "epochs",
    "imgsz",
    "batch",
    "pretrained",
    "freeze",
    "task",
    "mode",
    "device",
    "cfg",
    "name",
]
HOST_KEYS += ["optimizer", "classes", "resume", "project", "format", "source", "conf", "workers", "lr0", "cache"]

TEMPLATES = {
    "blocks": [flags(json=None, markdown=None)],
    "insert": [
        models.map(lambda m: [m]),
        st.lists(blocks, min_size=1, max_size=2).map(lambda bs: [w for b in bs for w in ("--block", b)]),
        flags(at=st.sampled_from(["neck:P3", "sppf", "after:4", "neck:P9", "back"])),
        flags(inside=st.sampled_from(["C3k2", "C2f@outer", "SPPF", "x"])),
        flags(o=outputs, json=None),
        settings(HYPER),
    ],
    "subset": [
        flags(coco=files, o=outputs),
        flags(images=values, val_images=values, seed=values, min_boxes=values, background=values, copy=None, json=None),
        flags(sampling=st.sampled_from(["random", "stratified", "x"])),
        flags(classes=st.sampled_from(["cat", "dog,cat", "", ","])),
        flags(sizes=st.sampled_from(["small", "large,medium", "big"]), ids=files, train_ids=files),
        flags(preset=values, images_dir=files),
    ],
    "compare": [
        st.lists(models, max_size=3),
        flags(data=files, weights=files, seeds=seeds, controls=st.sampled_from(["identity", "plain,identity", "x"])),
        flags(executor=st.sampled_from(["serial", "pool", "x"]), per_gpu=values, threads=values, speed_seconds=values),
        flags(o=outputs, json=None),
        settings(["epochs", "imgsz", "batch", "optimizer", "seed", "device", "time", "cache", "fraction"]),
    ],
    "bench": [
        flags(blocks=st.one_of(blocks, st.just("SE,ELA")), shape=values, device=values),
        flags(dtype=values, layout=values, mode=values),
        flags(models=models, imgsz=values, batch=values, seconds=values, minutes=values, threads=values, suite=None),
        flags(o=outputs, json=None),
    ],
    "report": [files.map(lambda f: [f]), flags(replicates=values, ap=values, json=None)],
    "demo": [flags(o=outputs, fast=None)],
}
for _verb in ("train", "val", "predict", "export", "track", "benchmark"):
    TEMPLATES[_verb] = [models.map(lambda m: [f"model={m}"]), files.map(lambda f: [f"data={f}"]), settings(HOST_KEYS)]
NOT_TRIED = {"login", "logout", "checks", "check", "settings", "setting", "solutions", "solution", "copy-cfg", "hub"}
"""Words that make the host do something else: ask, look at the machine, change its settings, write its files."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw the words after ``yolo-attn``."""
    verb = draw(mostly(st.sampled_from(list(TEMPLATES)), values, of=20))
    words = [w for part in TEMPLATES.get(verb, [st.lists(values, max_size=3)]) for w in draw(part)]
    for _ in range(draw(st.integers(0, 2)) // 2):
        words = _slip(words, draw(st.integers(0, 20)), draw(st.integers(0, 3)), draw(values))
    words = [verb, *words] if draw(st.integers(0, 30)) < 30 else words
    return [word for word in words if word.lstrip("-").lower() not in NOT_TRIED]


def _slip(words: list[str], at: int, how: int, other: str) -> list[str]:
    at %= len(words) + 1
    if how == 0:
        return words[:at] + words[at + 1 :]
    if how == 1:
        return [*words[:at], other, *words[at:]]
    if how == 2:
        return words[:at] + words[at : at + 1] * 2 + words[at + 1 :]
    return words[:at] + [w[1:] for w in words[at : at + 1]] + words[at + 1 :]


def write_files(folder: Path) -> None:
    """Write the files that the command lines name, valid and broken, into an empty folder."""
    from yolo_attn.demo.scenes import make_scenes
    from yolo_attn.subset.convert import convert_coco

    convert_coco(make_scenes(folder / "coco", train=8, val=4, size=64, seed=1), folder / "yolo")
    (folder / "data.yaml").write_text((folder / "yolo" / "data.yaml").read_text())
    (folder / "folder").mkdir()
    texts = {
        "no-images.yaml": "path: .\ntrain: images/train\nval: images/val\nnames: {0: car}\n",
        "model.yaml": "nc: 3\nbackbone: [[-1, 1, Conv, [16, 3, 2]], [-1, 1, SE, []]]\nhead: [[[0, 1], 1, Detect, [3]]]",
        "text.txt": "not a model\n",
        "list.yaml": json.dumps([1, {"a": None}]),
        "matrix.yaml": "arms: [yolo11n.yaml, yolo11n-ela.yaml]\nseeds: [0]\noverrides: {epochs: 1, imgsz: 32}\n",
        "broken.json": '{"images": [{"id": 1',
        "empty.pt": "",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "cut.pt").write_bytes(b"PK\x03\x04" + bytes(300))
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
