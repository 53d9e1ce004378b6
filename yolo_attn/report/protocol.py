"""How a comparison was obtained: the last part of its report, enough to repeat it."""

from __future__ import annotations

from yolo_attn.report.formatting import plural
from yolo_attn.report.parts import Code, Line, Section, Table
from yolo_attn.report.read import Summary, look


def protocol_section(summary: Summary) -> Section:
    """Return data, weights, recipe, seeds, hardware, versions and method, and which of them are not known."""
    facts = [
        ("recipe of every model", _recipe(summary)),
        ("seeds", ", ".join(map(str, look(summary, "protocol", "seeds") or []))),
        ("average precision", _ap(summary)),
        ("judged", look(summary, "protocol", "judged")),
        ("data", look(summary, "protocol", "data")),
        ("data, checksum", _code(look(summary, "protocol", "data_checksum"))),
        ("validation set", _data(summary)),
        ("pretrained weights", _weights(summary)),
        ("weights, checksum", _code(look(summary, "protocol", "weights_checksum"))),
        ("hardware", _hardware(summary)),
        ("versions", _versions(summary)),
        ("commit", _code(look(summary, "commit"))),
        ("intervals and tests", _method(summary)),
    ]
    optional = {"weights, checksum", "average precision"}
    rows: list[list[Line]] = [[k, v or "not stored"] for k, v in facts if v or k not in optional]
    title = "What the results were obtained with"
    return Section(
        "protocol", "How this was obtained", [Table(title, ["what", "value"], rows, words=frozenset({0, 1}))]
    )


def _recipe(summary: Summary) -> Line | None:
    overrides = look(summary, "protocol", "overrides")
    if overrides is None:
        return None
    return [Code(" ".join(f"{k}={v}" for k, v in sorted(overrides.items())))] if overrides else "the defaults"


def _data(summary: Summary) -> str | None:
    held = look(summary, "data") or {}
    said = [plural(held[k], k[:-1]) for k in ("images", "targets") if held.get(k) is not None]
    if held.get("classes") is not None:
        said.append(f"{held['classes']:,} classes")
    if without := held.get("classes_without_targets"):
        said.append(f"{len(without)} of them without a target")
    return ", ".join(said)


def _ap(summary: Summary) -> str | None:
    whose = {"ultralytics": "Ultralytics' own, that of its validation", "coco": "COCO's, that of pycocotools"}
    return whose.get(look(summary, "protocol", "ap") or "")


def _weights(summary: Summary) -> str | None:
    if not look(summary, "protocol"):
        return None
    return look(summary, "protocol", "weights") or "none: trained from random values"


def _hardware(summary: Summary) -> str:
    env = look(summary, "environment") or {}
    said = [
        f"device {env['device']}" if env.get("device") is not None else None,
        env.get("gpu"),
        f"CUDA {env['cuda']}" if env.get("cuda") else None,
        f"driver {env['driver']}" if env.get("driver") else None,
        env.get("cpu"),
        plural(env["cores"], "core") if env.get("cores") else None,
        plural(env["threads"], "thread") if env.get("threads") else None,
    ]
    return ", ".join(filter(None, said))


def _versions(summary: Summary) -> str:
    env = look(summary, "environment") or {}
    names = {"python": "Python", "torch": "torch", "ultralytics": "ultralytics", "yolo_attn": "yolo-attn"}
    return ", ".join(f"{name} {env[key]}" for key, name in names.items() if env.get(key))


def _method(summary: Summary) -> str:
    held = look(summary, "bootstrap") or {}
    said = [held.get("method")]
    if held.get("replicates"):
        said.append(f"{plural(held['replicates'], 'replicate')}, seed {held.get('seed', 'not stored')}.")
    return " ".join(filter(None, said))


def _code(text: str | None) -> Line | None:
    return [Code(text)] if text else None
