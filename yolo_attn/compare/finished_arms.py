"""Read which finished trainings are compared: files by arm, and a distinct name for each arm."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from yolo_attn.compare import run_folder
from yolo_attn.errors import YoloAttnError, like, nearest_file
from yolo_attn.util.files import plain_name

CHECKPOINTS, PREDICTIONS = ".pt", ".json"
_SAYS_NOTHING = re.compile(r"best|last|weights?|model|epoch\d+|predictions|detections|results|instances_.*")
_NOT_PLAIN = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|,=]|^[. ]+| +$")

Arms = Mapping[str, Sequence[str | Path] | str | Path]
"""Files by the name of their arm."""


def is_arm(word: str) -> bool:
    """Tell whether a word of the command line names files, e.g. ``a.pt`` or ``ela=a0.pt,a1.pt``, not a setting."""
    if "=" not in word or Path(word).is_file():
        return True
    return word.rpartition("=")[2].lower().endswith((CHECKPOINTS, PREDICTIONS))


def read_arms(given: Sequence[str | Path] | Arms) -> dict[str, list[Path]]:
    """Return the files of each arm, the baseline first.

    Args:
        given: Files, each an arm; or words such as ``ela=a0.pt,a1.pt``; or files by name.

    Raises:
        YoloAttnError: If there are fewer than two arms, a file is missing or of another kind, two arms have the same
            name, or they have different numbers of files.
    """
    named = _by_name(given) if isinstance(given, Mapping) else [_read_word(word) for word in given]
    if len(named) < 2:
        has = f"only '{named[0][1][0]}' is given" if named else "none is given"
        raise YoloAttnError(f"a comparison needs at least two finished trainings, the baseline first; {has}")
    for _, files in named:
        for file in files:
            _check_file(file)
    names = _distinct([name for name, _ in named], [files[0] for _, files in named])
    if twice := {name for name in names if names.count(name) > 1}:
        raise YoloAttnError(f"two arms are called {', '.join(sorted(twice))}; name them, e.g. other=b.pt")
    arms = {plain_name("arm", name): files for name, (_, files) in zip(names, named, strict=True)}
    _check_numbers(arms)
    return arms


def _by_name(given: Arms) -> list[tuple[str | None, list[Path]]]:
    one = {name: [files] if isinstance(files, str | Path) else files for name, files in given.items()}
    return [(name, [Path(file) for file in files]) for name, files in one.items()]


def _read_word(word: str | Path) -> tuple[str | None, list[Path]]:
    if isinstance(word, Path) or Path(word).is_file():
        return None, [Path(word)]
    name, equals, files = word.partition("=")
    listed = [Path(file) for file in (files if equals else name).split(",")]
    return (name if equals else None), listed


def _check_file(file: Path) -> None:
    kind = file.suffix.lower()
    if kind in (".yaml", ".yml"):
        raise YoloAttnError(
            f"'{file}' is a YAML: --finished compares trained checkpoints ({CHECKPOINTS}) and files of predictions "
            f"({PREDICTIONS}); models are trained and compared without it"
        )
    if kind not in (CHECKPOINTS, PREDICTIONS):
        raise YoloAttnError(
            f"'{file}' is neither a checkpoint ({CHECKPOINTS}) nor a file of COCO predictions ({PREDICTIONS})"
            f"{nearest_file(file, f'*{CHECKPOINTS}')}"
        )
    if not file.is_file():
        near = nearest_file(file, f"*{file.suffix}")
        raise like(FileNotFoundError, f"no {'predictions' if kind == PREDICTIONS else 'checkpoint'} at '{file}'{near}")


def _check_numbers(arms: Mapping[str, Sequence[Path]]) -> None:
    if len({len(files) for files in arms.values()}) > 1:
        counts = ", ".join(f"{name} has {len(files)}" for name, files in arms.items())
        raise YoloAttnError(
            f"differences are paired by seed, so every model needs as many checkpoints as the baseline: {counts}"
        )
    for name, files in arms.items():
        if len({file.resolve() for file in files}) < len(files):
            raise YoloAttnError(f"arm {name} names a file twice; its checkpoints have to be trainings of their own")


# --- names ------------------------------------------------------------------------------------------------------------
def _distinct(given: Sequence[str | None], files: Sequence[Path]) -> list[str]:
    """Return a name for each arm: the given one, else one of its file, with as much of the path as tells them apart."""
    names = [name or _label(file) for name, file in zip(given, files, strict=True)]
    for longer in (_with_stem, _with_folder, _with_folders):
        again = {name for name in names if names.count(name) > 1}
        if not again:
            break
        for i, file in enumerate(files):
            if given[i] is None and names[i] in again:
                names[i] = longer(file)
    return names


def _label(file: Path) -> str:
    """Return the name of a file, or of its run where the file's own says nothing, as that of ``best.pt``."""
    if not _SAYS_NOTHING.fullmatch(file.stem.lower()):
        return _plain(file.stem)
    run = _run(file)
    try:  # a run of a comparison
        return _plain(json.loads((run / run_folder.SPEC).read_text(encoding="utf-8"))["arm"])
    except (OSError, ValueError, KeyError, TypeError):
        return _plain(run.name) or _plain(file.stem)


def _with_stem(file: Path) -> str:
    return _plain(f"{_run(file).name}-{file.stem}") if _SAYS_NOTHING.fullmatch(file.stem.lower()) else _label(file)


def _with_folder(file: Path) -> str:
    return _plain(f"{_run(file).name}-{file.stem}")


def _with_folders(file: Path) -> str:
    return _plain("-".join([*_run(file).parts[-3:], file.stem]))


def _run(file: Path) -> Path:
    """Return the folder of the run that a file is of, by its absolute path."""
    folder = file.resolve().parent
    return folder.parent if folder.name == "weights" else folder


def _plain(name: str) -> str:
    return _NOT_PLAIN.sub("-", name).strip("-")
