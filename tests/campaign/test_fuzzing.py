"""Random cases with a fixed seed, and regressions found by ``python tools/fuzz.py``, which runs thousands."""

import pytest
import yaml
from robustness import page
from robustness.campaign import KINDS, run_kind
from robustness.judge import kind_of
from support.markdown import table_rows
from support.paths import TESTS
from support.tiers import sampled

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.host.registry import create_attention
from yolo_attn.host.rows import MOST_REPEATS
from yolo_attn.util.words import literal

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = {"models": 50, "inserts": 30, "command lines": 80}
FEW = 8


@pytest.mark.parametrize(
    ("kind", "cases"),
    sampled([(kind, cases) for kind in KINDS for cases in (FEW, CASES[kind])], lambda case: case[1] == FEW),
)
def test_random_cases_work_or_are_refused(kind, cases, record_property):
    ended = []
    run_kind(kind, cases, start=None, record=ended.append)
    assert len(ended) >= cases // 2
    assert {line["outcome"] for line in ended} <= {"worked", "refused", "Ultralytics' own"}
    record_property("faults", len(ended))


def test_tests_of_faults_exist():
    assert [part for part in page.PARTS if not (TESTS / part).is_file()] == []


def test_the_page_counts_cases_and_faults():
    cases = [
        {"kind": "models", "outcome": "worked", "why": ""},
        {"kind": "models", "outcome": "refused", "why": "row: no such block"},
        {"kind": "end", "cases": 2, "seed": 0, "failures": 0},
    ]
    faults = [{"part": "test_faults.py", "test": "a", "outcome": "failed", "faults": 3, "why": "KeyError"}]
    text = page.to_markdown(cases, faults, "Here.")
    assert "2 random cases and 3 faults were tried; **1 failures are left**. Here." in text
    kinds, parts = [row for row in table_rows(text) if row[0] == "models"], table_rows(text)
    assert kinds == [["models", "2", "1", "1", "1", "0", "0"]]
    assert [row[1:] for row in parts if row[0].endswith("(`tests/train/test_faults.py`)")] == [["1", "3", "0", "1"]]


def test_refusals_are_counted_by_what_they_say():
    assert (
        kind_of("row 3 [-1, 1, 'SE', ['x']]: reduction='x' is not an integer") == "row: reduction=_ is not an integer"
    )


# --- what was found ---------------------------------------------------------------------------------------------------
def model_of(*rows, head=(), **more):
    backbone = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], *map(list, rows)]
    return {"nc": 3, "backbone": backbone, "head": [[[0, 1], 1, "Detect", ["nc"]], *map(list, head)], **more}


FOUND = [
    (model_of([-1, 0, "SE", []]), "repeats=0 is not a whole number"),
    (model_of([-1, "x", "SE", []]), "repeats='x' is not"),
    (model_of([-1, None, "Conv_SE", [32]]), "repeats=None is not"),
    (model_of([-1, 10**18, "SE", []]), f"1 to {MOST_REPEATS}"),
    (model_of([True, 1, "SE", []]), "'from' True does not exist"),
    (model_of([-1, 1, "ECA", [{"gamma": 1e-300}]]), "row 2 .*ECA"),
    (model_of([-1, 1, "SE", [{"min_hidden": 10**18}]]), "row 2 .*SE for 32 channels"),
    (model_of([-1, 1, "SE", ["{[]: 1}"]]), "reduction='{\\[\\]: 1}' is not an integer"),
    (model_of([-1, 1, "nn.MaxPool2d_SE", [2]]), "unknown block 'nn.MaxPool2d_SE'"),
    (model_of([-1, 1, "LOGGER", []]), "unknown block 'LOGGER'"),
    (model_of([-1, 1, "Conv_SE", ["x"]]), "row 2 .*cannot be built or run: "),
    (model_of([-1, 1, "Conv_SE", [[32]]]), "row 2 .*cannot be built or run: "),
    (model_of([-1, 1, "SE", []], [[0, 2], 1, "Concat", [1]], head=[]), None),
    (model_of([-1, 1, "SE", []], scales={"n": "x"}), "this model cannot be built or run"),
    (model_of([-1, 1, "SE", []], scales={"x": [1, 1, 64]}), "unknown scale 'n'. .*Allowed: x"),
    (model_of([-1, 1, "SE", []], scales=[1]), "scales: \\[1\\] is not a mapping"),
    (model_of([-1, 1, "SE", []], nc="x"), "row 3 .*Detect"),
    (model_of(head=[[-1, 1, "SE", []], [[0, 1], 1, "Detect", ["nc"]]]), "row 2, Detect, gives no feature map"),
    (model_of(head=[[-1, 1, "SE", []]]), "the last row, SE, is attention"),
    ({**model_of([-1, 1, "SE", []]), "head": 5}, "'head' is 5, not a list of rows"),
]


@pytest.mark.parametrize(("model", "says"), FOUND, ids=[str(s)[:40] for _, s in FOUND])
def test_a_model_that_was_found(model, says, tmp_path):
    file = tmp_path / "yolo11n-found.yaml"
    file.write_text(yaml.safe_dump(model))
    if says is None:
        model["backbone"][-1] = [[0, 2], 1, "Concat", [1]]  # two strides that do not fit together
        model["head"] = [[[0, 3], 1, "Detect", ["nc"]]]
        file.write_text(yaml.safe_dump(model))
        says = "row 3 .*Concat.* cannot be built or run: RuntimeError"
    with pytest.raises(ya.YoloAttnError, match=says):
        ya.YOLO(file)


def test_the_errors_of_a_stock_model_stay_ultralytics_own(tmp_path):
    file = tmp_path / "yolo11n-stock.yaml"
    file.write_text(yaml.safe_dump(model_of([-1, 1, "Conv", ["x"]])))
    with pytest.raises(TypeError):
        ya.YOLO(file)


def test_a_model_that_cannot_be_built_leaves_no_activation_behind(tmp_path):
    from ultralytics.nn.modules import Conv

    before = Conv.default_act
    file = tmp_path / "yolo11n-relu.yaml"
    file.write_text(yaml.safe_dump(model_of([-1, 1, "Conv_SE", ["x"]], activation="nn.ReLU()")))
    with pytest.raises(ya.YoloAttnError):
        ya.YOLO(file)
    assert Conv.default_act is before


@pytest.mark.parametrize(
    ("base", "block", "more", "says"),
    [
        (None, "SE", {}, "None is no model to insert into"),
        (5, "SE", {}, "5 is no model"),
        ("yolo11n.yaml", None, {}, "None is no block"),
        ("yolo11n.yaml", [], {}, r"\[\] is no block"),
        ("yolo11n.yaml", [None], {}, "None is not a block and its place"),
        ("yolo11n.yaml", [(["SE"], "sppf")], {}, "is not a block and its place"),
        ("yolo11n.yaml", [("SE", "sppf", 5)], {}, "is not a block and its place"),
        ("yolo11n.yaml", "SE", {"at": 5}, "at=5 is not a place"),
        ("yolo11n.yaml", "SE", {"at": [5]}, r"at=\[5\] is not a place"),
        ("yolo11n.yaml", "SE", {"at": "after:²"}, "rows 0 to 22"),
        ("yolo11n.yaml", "SE", {"at": []}, r"at=\[\] is not a place"),
        ("yolo11n.yaml", "SE", {"inside": 5}, "inside=5 names no host block"),
    ],
)
def test_a_call_that_was_found(base, block, more, says):
    with pytest.raises(ya.YoloAttnError, match=says):
        ya.insert(base, block, **more)


@pytest.mark.parametrize("word", ["{[]: 1}", "(" * 5000, "-" * 5000 + "1", "\0", "9" * 5000])
def test_a_word_that_no_parser_likes_is_a_word(word):
    assert literal(word) == word


@pytest.mark.parametrize(
    "words", [["train", "model=0"], ["val", "model=True"], ["compare", "."], ["train", "model=yolo11n.yaml", "cfg=1e3"]]
)
def test_a_command_line_that_was_found(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    assert len([s for s in capsys.readouterr().err.splitlines() if s.startswith("yolo-attn: ")]) == 1


def test_a_message_is_one_line_whatever_it_quotes():
    with pytest.raises(ya.YoloAttnError) as caught:
        create_attention("S\nE", 8)
    assert "\n" not in str(caught.value)
