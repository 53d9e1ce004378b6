"""Examples that the help of each command begins with. A test parses every one."""

from __future__ import annotations

from collections.abc import Sequence

PROGRAM = (
    "yolo-attn demo --fast                                # is all installed? needs no data",
    "yolo-attn train model=yolo11n-ela.yaml data=coco8.yaml pretrained=yolo11n.pt epochs=3",
    "yolo-attn compare yolo11n.yaml yolo11n-ela.yaml --data coco8.yaml epochs=3",
)
"""Examples of the whole program."""

EXAMPLES = {
    "blocks": (
        "yolo-attn blocks                                     # names, parameters, hyper-parameters",
        "yolo-attn blocks --markdown > blocks.md              # with papers, shapes, measured cost",
    ),
    "insert": (
        "yolo-attn insert yolo11n.yaml --block ELA -o yolo11-mine.yaml init=identity",
        "yolo-attn insert yolo11n.yaml --block CBAM --at 'backbone:P5;neck:P3'",
        "yolo-attn insert best.pt --block SE --inside C3k2 -o yolo11-se2.yaml",
    ),
    "adopt": (
        "yolo-attn adopt FORK.yaml                            # print it, with comments",
        "yolo-attn adopt FORK.yaml -o yolo11-mine.yaml --init identity",
    ),
    "subset": (
        "yolo-attn subset --coco datasets/coco --preset coco-5k -o datasets/coco-5k",
        "yolo-attn subset --yolo data.yaml --images 10% --classes person,car -o datasets/streets",
        "yolo-attn subset --coco datasets/coco --ids shared.ids.txt -o datasets/shared",
    ),
    "compare": (
        "yolo-attn compare yolo11n.yaml yolo11n-ela.yaml --data coco128.yaml --seeds 0,1,2 epochs=30",
        "yolo-attn compare ablation.yaml -o runs/ablation      # a file of models and settings",
        "yolo-attn compare --finished base.pt ela.pt --data coco128.yaml",
    ),
    "bench": (
        "yolo-attn bench --blocks SE,ECA,ELA                  # forward and training, here",
        "yolo-attn bench --suite                              # all that is published, 8 minutes",
        "yolo-attn bench --blocks CBAM --shape 16x256x40x40 --models yolo11n.yaml --device 0",
    ),
    "show": (
        "yolo-attn show best.pt images/",
        "yolo-attn show ela.pt bus.jpg --beside cbam.pt -o runs/beside",
        "yolo-attn show best.pt bus.jpg --rows 17,21 --json   # statistics of two blocks",
    ),
    "demo": (
        "yolo-attn demo                                       # minutes on a CPU",
        "yolo-attn demo --fast                                # is all installed?",
    ),
    "pack": ("yolo-attn pack best.pt -o packed", "yolo-attn pack best.pt -o packed --imgsz 320"),
    "report": (
        "yolo-attn report runs/compare --latex                # also a table for a paper",
        "yolo-attn report runs/part1 runs/part2 -o runs/whole # merge parts made by --only",
        "yolo-attn report runs/compare --ap coco --json",
    ),
    "env": ("yolo-attn env", "yolo-attn env --json"),
    "completion": (
        'eval "$(yolo-attn completion bash)"                  # for this shell',
        "yolo-attn completion bash > ~/.local/share/bash-completion/completions/yolo-attn",
        "yolo-attn completion zsh > ~/.zfunc/_yolo-attn       # with ~/.zfunc in fpath",
    ),
}
"""Examples of the verbs of this package."""

HOST_EXAMPLES = {
    "train": (
        "train a model; pretrained weights reach their layers behind new attention too",
        "yolo-attn train model=yolo11n-ela.yaml data=coco8.yaml pretrained=yolo11n.pt epochs=3",
        "yolo-attn train model=yolo11n-cbam.yaml data=coco8.yaml init=identity freeze=base epochs=3",
        "yolo-attn train resume model=runs/detect/train/weights/last.pt",
    ),
    "val": (
        "measure the accuracy of a trained model",
        "yolo-attn val model=best.pt data=coco8.yaml",
        "yolo-attn val model=best.pt data=coco8.yaml split=test save_json",
    ),
    "predict": (
        "find objects in images or videos",
        "yolo-attn predict model=best.pt source=bus.jpg",
        "yolo-attn predict model=best.pt source=images/ conf=0.5 save_txt",
    ),
    "export": (
        "write a model in another format, run the file and compare it with PyTorch",
        "yolo-attn export model=best.pt format=onnx",
        "yolo-attn export model=best.pt format=openvino imgsz=320 --json",
        "yolo-attn export model=best.pt format=engine device=0 --no-check",
    ),
    "track": (
        "follow objects through a video",
        "yolo-attn track model=best.pt source=street.mp4",
        "yolo-attn track model=best.pt source=street.mp4 tracker=bytetrack.yaml",
    ),
    "benchmark": (
        "time a model in the formats it can be exported to",
        "yolo-attn benchmark model=best.pt data=coco8.yaml imgsz=320",
        "yolo-attn benchmark model=best.pt data=coco8.yaml format=onnx",
    ),
}
"""Purpose of the modes of Ultralytics, and examples."""


def beginning(summary: str, examples: Sequence[str]) -> str:
    """Return the first paragraphs of a help: what a command does, in a sentence, and examples."""
    sentence = f"{summary[:1].upper()}{summary[1:]}."
    return "\n".join([sentence, "", "examples:", *(f"  {line}" for line in examples), "", ""])
