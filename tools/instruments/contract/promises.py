"""List the promises kept on every supported release, and read their outcomes from a run of their tests.

A promise is kept by the tests marked ``pytest.mark.contract(promise)``. ``pytest -m contract --junitxml=FILE`` runs
them; a test that has nothing to check on the installed releases is skipped with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

OK, FAILED, NOT_HERE = "ok", "failed", "not here"
PROMISE = "promise"
"""Name of the property of a test case in the XML file that holds the mark's argument."""

PROMISES = {
    "host alone": "Ultralytics by itself, without this package, trains and validates: what fails here is not ours.",
    "ready models": "Every ready YAML whose family the host knows builds; the others are refused by name.",
    "insertion is invisible": "Identity blocks, in rows and inside host blocks, change no output; all weights come "
    "over, strictly.",
    "loads by row": "Ultralytics' own classes load weights by row into a model with attention.",
    "trains": "Training starts from weights that follow their rows, is stopped after an epoch, and resumes.",
    "freezes the base": "`freeze=base` trains the attention, and layers that the weights did not fill, only.",
    "worker rebuilds": "The program that the host writes for the processes of a multi-GPU training, run on the CPU.",
    "validates": "A trained checkpoint validates, opened by this package and by the host alike.",
    "predicts": "A trained checkpoint predicts on a file and on an array alike.",
    "fuses": "Fusing folds the blocks' normalisations too and changes no output.",
    "opens elsewhere": "The checkpoint opens in a process that never imported this package, with the restricted loader "
    "too.",
    "exports": "A checkpoint exports to TorchScript, which computes what the model computes, at another size too.",
    "packs": "A checkpoint is packed, and opens with torch alone where this package cannot be imported.",
    "shows": "The attention of a checkpoint is drawn, and the log of a training's gates has every epoch.",
    "commands": "The command line inserts, trains and predicts, and answers a mistake with exit code 2.",
    "compares": "A comparison runs to its report, or is refused before anything is trained.",
}


def outcomes(junit_xml: str) -> list[dict[str, Any]]:
    """Return the outcome of every promise from pytest's XML report.

    A promise fails if one of its tests fails or none ran, and has nothing to check if all of them were skipped. Tests
    without a promise, e.g. one whose process crashed or a file that cannot be imported, count if they failed.

    Args:
        junit_xml: The report's text.

    Returns:
        Per promise: ``check``, its name; ``result``, one of ``OK``, ``FAILED`` and ``NOT_HERE``; ``detail``; and
        ``seconds``.
    """
    cases: dict[str, list[Element]] = {promise: [] for promise in PROMISES}
    for case in ElementTree.fromstring(junit_xml).iter("testcase"):
        promise = next((p.get("value", "") for p in case.iter("property") if p.get("name") == PROMISE), "")
        if promise or _failure(case) is not None:
            cases.setdefault(promise or f"{case.get('classname')} {case.get('name')}".strip(), []).append(case)
    return [{"check": promise, **_outcome(own)} for promise, own in cases.items()]


def _outcome(cases: Sequence[Element]) -> dict[str, Any]:
    seconds = round(sum(float(case.get("time", 0)) for case in cases), 1)
    failed = [(case, failure) for case in cases if (failure := _failure(case)) is not None]
    skipped = [skip for case in cases if (skip := case.find("skipped")) is not None]
    if not cases:
        result, detail = FAILED, "no test ran"
    elif failed:
        more = f" and {len(failed) - 1} more" if failed[1:] else ""
        result, detail = FAILED, f"{failed[0][0].get('name')}{more}: {_message(failed[0][1])}"
    elif len(skipped) == len(cases):
        result, detail = NOT_HERE, _message(skipped[0])
    else:
        left_out = f", {len(skipped)} skipped" if skipped else ""
        result, detail = OK, f"{len(cases) - len(skipped)} passed{left_out}"
    return {"result": result, "detail": detail, "seconds": seconds}


def _failure(case: Element) -> Element | None:
    failure = case.find("failure")
    return case.find("error") if failure is None else failure


def _message(element: Element) -> str:
    return " ".join(element.get("message", "").split())[:300]
