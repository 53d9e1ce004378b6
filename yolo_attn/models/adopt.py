"""Rewrite a model YAML of a tutorial, fork or paper into one of this package, and say what was understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError, shorten
from yolo_attn.host.model import build_shapes, host_scale, load_model_dict, means_block, row_strides
from yolo_attn.host.row_names import with_own_names
from yolo_attn.models.adopt_missing import Missing
from yolo_attn.models.adopt_nearest import nearest
from yolo_attn.models.adopt_rows import Foreign, examine, rewrite, with_rows
from yolo_attn.models.adopt_shift import Shifted, shift
from yolo_attn.models.graph import Graph, rows_of
from yolo_attn.models.row_init import attention_rows
from yolo_attn.models.yaml_text import check_file_name, flow, row_comments, rows_to_text
from yolo_attn.util.files import write_whole
from yolo_attn.util.words import check_init

_MARK = "# Adopted from "


@dataclass(frozen=True)
class Adoption:
    """A foreign model YAML in this package's own form, and what was understood of it.

    Attributes:
        yaml: The model dict.
        text: The model YAML; that of the original where there was nothing to change.
        attention: Rows that are or hold attention.
        remarks: What is written behind the rows: what stood there, how it was read, what is wrong.
        counts: Rows whose number of channels was left out.
        anchors: Rows whose anchors were left out.
        reindexed: The ``from`` that a row had, by row, where it was corrected.
        shiftable: Rows whose ``from`` ``shift`` would correct.
        left: Rows that probably read a wrong row and were left alone, with the reason.
        missing: Classes that are not here.
        faults: The error of each row that means nothing.
        notes: What else is said at the top of the file.
        nearest: The nearest ready model YAML in one clause; empty where there is none.
        error: Why the model cannot be built; empty where it can.
    """

    yaml: dict[str, Any]
    text: str = field(repr=False)
    attention: tuple[int, ...]
    remarks: Mapping[int, Sequence[str]] = field(repr=False)
    counts: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()
    reindexed: Mapping[int, Any] = field(default_factory=dict)
    shiftable: tuple[int, ...] = ()
    left: Mapping[int, str] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    faults: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    nearest: str = ""
    error: str = ""

    @property
    def builds(self) -> bool:
        """Whether the model can be built here."""
        return not self.error

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the model YAML and return its path.

        Args:
            path: The file; folders are made.
            force: Replace a file that exists.

        Raises:
            YoloAttnError: If the file exists, or its name does not end in .yaml or states another scale.
        """
        path = Path(path)
        check_file_name(path, self.yaml.get("scale"))
        if path.exists() and not force:
            raise YoloAttnError(f"'{path}' exists; --force (in Python: force=True) replaces it")
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_whole(path, self.text)

    def __str__(self) -> str:
        understood = len(self.attention) - len(self.faults)
        lines = [f"rows with attention: {len(self.attention)}, understood: {understood}"]
        lines += [f"row {i}: {remark}" for i, remarks in self.remarks.items() for remark in remarks]
        lines += [f"numbers of channels left out: {len(self.counts)}"] * bool(self.counts)
        lines += [f"anchors left out of {_rows_said(self.anchors)}"] * bool(self.anchors)
        lines += [f"re-indexed: {_rows_said(list(self.reindexed))}"] * bool(self.reindexed)
        if self.shiftable:
            lines.append(f"--shift (in Python: shift=True) would correct the sources of {_rows_said(self.shiftable)}")
        lines += [f"missing: {missing}" for missing in self.missing]
        lines += list(self.notes)
        lines += [f"nearest: {self.nearest}"] * bool(self.nearest)
        return "\n".join(lines)


def adopt(
    path: str | Path,
    output: str | Path | None = None,
    shift: bool = False,
    init: str | None = None,
    force: bool = False,
) -> Adoption:
    """Rewrite a model YAML that was written for other code into one of this package.

    Args:
        path: The model YAML.
        output: File to write.
        shift: Correct the ``from`` of rows that was not counted up when attention rows were inserted.
        init: ``paper`` or ``identity``: how every block that has the choice starts; as written by default.
        force: Replace ``output`` if it exists.

    Returns:
        The model, its text with comments, and what was understood. A model that cannot be built yet, for which
        ``builds`` is false, is returned and written too.

    Raises:
        YoloAttnError: If it is no model YAML, or ``output`` cannot be written.

    Examples:
        >>> adopt("yolo11n-ela.yaml").nearest
        'yolo11-ela.yaml has ELA at neck:P3,P4,P5; here at the same places'
    """
    if init is not None:
        check_init(init)
    original, text = _read(path)
    made = _Adopter(Path(path).name, original, text, shift, init).adoption()
    if output is not None:
        if Path(output).exists() and Path(path).exists() and Path(output).samefile(path):
            raise YoloAttnError(f"'{output}' is the file to adopt; give another name")
        made.save(output, force)
    return made


def _read(path: str | Path) -> tuple[dict[str, Any], str]:
    """Return the model dict of a YAML, with its scale, and the text; empty for a name that is not that of a file.

    Raises:
        YoloAttnError: If there is no such file, or it holds no model.
    """
    import yaml

    if not isinstance(path, (str, Path)) or Path(path).suffix.lower() not in (".yaml", ".yml"):
        raise YoloAttnError(f"{shorten(str(path))} is not a model YAML: give a file whose name ends in .yaml")
    file = Path(path)
    if not file.is_file():
        model = load_model_dict(path)
        named = Path(str(model.get("yaml_file", "")))
        return model, named.read_text(encoding="utf-8") if named.is_file() else ""
    try:
        text = file.read_text(encoding="utf-8")
        model = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise YoloAttnError(f"'{path}' is not a model YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(model, dict) or not {"backbone", "head"} <= set(model):
        raise YoloAttnError(f"'{path}' is not a model YAML: it has no 'backbone' and 'head'")
    for section in ("backbone", "head"):
        if not isinstance(model[section], list):
            raise YoloAttnError(
                f"'{path}' is not a model: '{section}' is {shorten(model[section])}, not a list of rows"
            )
    if not model["head"]:
        raise YoloAttnError(f"'{path}' is not a model: 'head' has no rows")
    return {**model, "scale": host_scale(path) if model.get("scales") else "", "yaml_file": file.name}, text


class _Adopter:
    """Adopt one model.

    Args:
        name: File name of the original.
        original: Its model dict.
        text: Its text.
        shift: Whether to correct sources.
        init: How blocks start, ``None`` for as written.
    """

    def __init__(self, name: str, original: dict[str, Any], text: str, shift: bool, init: str | None):
        self.name, self.original, self.text, self.shift, self.init = name, original, text, shift, init
        self.notes: list[str] = []

    def adoption(self) -> Adoption:
        from yolo_attn.host.compat import tasks

        model = dict(with_own_names(deepcopy(self.original), tasks()))
        self._convert_settings(model)
        foreign = examine(model)
        moved = shift(foreign.known)
        if self.shift:
            foreign = self._with_sources(foreign, moved)
        rewritten = rewrite(foreign)
        rows = rewritten.rows
        if self.init:
            for row in attention_rows(rows):
                if row.init:
                    rows[row.index][3] = row.arguments(self.init)
        made = with_rows(model, rows)
        remarks: dict[int, list[str]] = {i: [said] for i, said in rewritten.was.items()}
        for i, said in rewritten.faults.items():
            remarks.setdefault(i, []).append(said)
        for i in rewritten.unknown:
            remarks.setdefault(i, []).append(
                "what its arguments mean cannot be told before the missing classes are here"
            )
        if self.shift:
            for i, was in moved.was.items():
                remarks.setdefault(i, []).append(f"read {flow(was)}, which was not counted up")
        for i, said in self._wiring_faults(moved).items():
            remarks.setdefault(i, []).append(said)
        error = self._error(made, foreign, rewritten.faults)
        if not error and (paper := [row.index for row in attention_rows(rows) if row.init == "paper"]):
            self.notes.append(
                f"with pretrained weights, {_rows_said(paper)} at first change what they give: the blocks start as in "
                f"their papers; --init identity starts them as y = x"
            )
        near = self._nearest(made, moved) if not error else ""
        remarks = dict(sorted(remarks.items()))
        kept = made == self.original and (self.text.startswith(_MARK) or not (remarks or error))
        ordered = not made.get("scale") or next(iter(made.get("scales") or [made["scale"]])) == made["scale"]
        text = self.text if self.text and kept and ordered else self._to_text(made, foreign, remarks, near, error)
        return Adoption(
            made,
            text,
            tuple(i for i, row in enumerate(rows) if i in rewritten.faults or _is_attention(row[2])),
            remarks,
            tuple(rewritten.counts),
            tuple(rewritten.anchors),
            dict(moved.was) if self.shift else {},
            () if self.shift else tuple(sorted(moved.was)),
            moved.left,
            tuple(foreign.missing),
            rewritten.faults,
            tuple(self.notes),
            near,
            error,
        )

    def _convert_settings(self, model: dict[str, Any]) -> None:
        """Convert settings of other dialects in place."""
        if "anchors" in model:
            del model["anchors"]
            self.notes.append("the list of anchors is left out: no head here has any")
        if "ch" in model:
            given = model.pop("ch")
            if "channels" not in model:
                model["channels"] = given
            self.notes.append(f"ch: {given} is channels: {model['channels']} here")
        if model.get("scales"):
            for key in ("depth_multiple", "width_multiple"):
                if key in model:
                    self.notes.append(
                        f"{key}: {model.pop(key)} is left out: scales are there, and Ultralytics takes those"
                    )

    def _with_sources(self, foreign: Foreign, moved: Shifted) -> Foreign:
        def corrected(model: Mapping[str, Any]) -> dict[str, Any]:
            rows = [list(row) for row in rows_of(model)]
            for i in moved.was:
                rows[i][0] = rows_of(moved.model)[i][0]
            return with_rows(model, rows)

        return Foreign(corrected(foreign.model), foreign.missing, foreign.faults, corrected(foreign.known))

    def _wiring_faults(self, moved: Shifted) -> dict[int, str]:
        """Return what is wrong, or not clear, in what rows read, by row."""
        said = {**moved.passed, **moved.left}
        if not self.shift:
            now = rows_of(moved.model)
            said.update(
                {i: f"probably {flow(now[i][0])}, not {flow(was)}: --shift corrects it" for i, was in moved.was.items()}
            )
        return said

    def _nearest(self, made: dict[str, Any], moved: Shifted) -> str:
        if self.shift or not moved.was:
            return nearest(made)
        sources = rows_of(moved.model)
        corrected = [[sources[i][0], *row[1:]] if i in moved.was else row for i, row in enumerate(rows_of(made))]
        near = nearest(with_rows(made, corrected))
        return f"with --shift, {near}" if near else ""

    def _error(self, made: dict[str, Any], foreign: Foreign, faults: Mapping[int, str]) -> str:
        """Return why the model cannot be built, in one clause; empty where it can."""
        if foreign.missing:
            return f"{_counted(len(foreign.missing), 'class is', 'classes are')} not here: " + ", ".join(
                cls.name for cls in foreign.missing
            )
        if faults:
            return next(iter(faults.values()))
        if not any(_is_attention(row[2]) for row in rows_of(made)):
            return ""  # Ultralytics builds it alone
        try:
            for scale in made.get("scales") or [None]:
                build_shapes(made, scale)
            row_strides(made)
        except YoloAttnError as error:
            return str(error)
        return ""

    def _to_text(
        self, made: dict[str, Any], foreign: Foreign, remarks: Mapping[int, Sequence[str]], near: str, error: str
    ) -> str:
        said = [f"Cannot be built yet: {error}"] * bool(error)
        said += [f"{missing}." for missing in foreign.missing]
        said += self.notes
        said += [f"nearest: {near}"] * bool(near)
        header = [f"{_MARK}{self.name} by yolo-attn {version('yolo-attn')}.", *(f"# {line}" for line in said)]
        if own := _comments_at_top(self.text):
            header += ["", *own]
        comments = row_comments(Graph(made)) if not error else [str(i) for i in range(len(rows_of(made)))]
        for i, lines in remarks.items():
            comments[i] = "; ".join([comments[i], *lines])
        return rows_to_text(made, header, comments)


def _is_attention(name: str) -> bool:
    from yolo_attn.host.compat import tasks
    from yolo_attn.host.row_names import holds_block

    return means_block(name) or holds_block(name, tasks())


def _comments_at_top(text: str) -> list[str]:
    """Return the comment lines at the top of a model YAML, without those of an earlier adoption."""
    lines = text.splitlines()
    if text.startswith(_MARK):
        lines = lines[next((i for i, line in enumerate(lines) if not line.strip()), len(lines)) + 1 :]
    found = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            break
        found.append(line.rstrip())
    return "\n".join(found).strip().splitlines()


def _rows_said(rows: Sequence[int]) -> str:
    return f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
