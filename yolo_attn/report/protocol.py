"""Protocol section of the report: everything needed to repeat a comparison."""

from __future__ import annotations

from yolo_attn.report.formatting import plural
from yolo_attn.report.parts import Code, Line, Section, Table
from yolo_attn.report.results import Protocol, Results

_AP = {"ultralytics": "Ultralytics', equal to that of its validation", "coco": "COCO's, equal to that of pycocotools"}


def protocol_section(results: Results) -> Section:
    """Return data, weights, recipe, seeds, hardware, versions and method; missing facts are marked as not stored."""
    facts = [*_training(results.protocol), ("validation set", _data(results)), *_weights(results.protocol)]
    facts += [
        ("hardware", _hardware(results)),
        ("versions", _versions(results)),
        *_commits(results),
        ("intervals and tests", _method(results)),
    ]
    rows: list[list[Line]] = [[name, value or "not stored"] for name, value in facts]
    title = "Data, training, hardware and methods"
    table = Table(title, ["item", "value"], rows, words=frozenset({0, 1}))
    return Section("protocol", "Protocol", [table], folded=True)


def _commits(results: Results) -> list[tuple[str, Line | None]]:
    """Return the commit of the package, or those of training and timing where they differ."""
    timing = results.speed.environment.get("commit") if results.speed else None
    if timing in (None, results.commit):
        return [("commit", _code(results.commit))]
    return [("commit, training", _code(results.commit)), ("commit, timing", _code(timing))]


def _training(protocol: Protocol | None) -> list[tuple[str, Line | None]]:
    if protocol is None:
        return [
            (name, None)
            for name in ("training arguments of every model", "seeds", "evaluated checkpoint", "data", "data, checksum")
        ]
    recipe = " ".join(f"{k}={v}" for k, v in sorted(protocol.overrides.items()))
    ap = _AP.get(protocol.ap or "")
    return [
        (
            f"{'training' if protocol.trained else 'validation'} arguments of every model",
            [Code(recipe)] if recipe else "the defaults",
        ),
        *([("attention of every model", [Code(f"init={protocol.init}")])] if protocol.init else []),
        ("seeds", ", ".join(map(str, protocol.seeds))),
        *([("average precision", ap)] if ap else []),
        ("evaluated checkpoint", protocol.judged),
        ("data", protocol.data),
        ("data, checksum", _code(protocol.data_checksum)),
        *([("images, checksum", _code(protocol.images_checksum))] if protocol.images_checksum else []),
    ]


def _weights(protocol: Protocol | None) -> list[tuple[str, Line | None]]:
    if protocol is None:
        return [("pretrained weights", None)]
    if not protocol.trained:
        return []
    facts: list[tuple[str, Line | None]] = [("pretrained weights", protocol.weights or "none: trained from scratch")]
    return [*facts, ("weights, checksum", _code(protocol.weights_checksum))] if protocol.weights_checksum else facts


def _data(results: Results) -> str | None:
    data = results.data
    if data is None:
        return None
    facts = [plural(data.images, "image"), plural(data.targets, "target"), f"{data.classes:,} classes"]
    if data.classes_without_targets:
        facts.append(f"{len(data.classes_without_targets)} of them without a target")
    return ", ".join(facts)


def _hardware(results: Results) -> str:
    env = results.environment
    facts = [
        f"device {env['device']}" if env.get("device") is not None else None,
        env.get("gpu"),
        f"CUDA {env['cuda']}" if env.get("cuda") else None,
        f"driver {env['driver']}" if env.get("driver") else None,
        env.get("cpu"),
        plural(env["cores"], "core") if env.get("cores") else None,
        plural(env["threads"], "thread") if env.get("threads") else None,
        f"fused kernels {env['fused']}" if env.get("fused") and env.get("gpu") else None,
    ]
    return ", ".join(filter(None, facts))


def _versions(results: Results) -> str:
    names = {"python": "Python", "torch": "torch", "ultralytics": "ultralytics", "yolo_attn": "yolo-attn"}
    env = results.environment
    return ", ".join(f"{name} {env[key]}" for key, name in names.items() if env.get(key))


def _method(results: Results) -> str | None:
    held = results.bootstrap
    return f"{held.method} {plural(held.replicates, 'replicate')}, seed {held.seed}." if held else None


def _code(text: str | None) -> Line | None:
    return [Code(text)] if text else None
