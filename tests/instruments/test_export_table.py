"""Export tables from raw lines: measured, missing and failed cells."""

from instruments.export_table import to_markdown
from support.markdown import table_rows

CELL = {"format": "onnx", "precision": "fp32", "dynamic": False}


def cell(block, worst, typical=None, **more):
    compared = [{"worst": w, "typical": w if typical is None else typical, "error": ""} for w in worst]
    return {"block": block, **CELL, "comparisons": compared, **more}


def row(text, name, column):
    """Return a block's entry in the first table that has the column."""
    tables = [rows for part in text.split("\n\n") if (rows := table_rows(part))]
    head, *rows = next(rows for rows in tables if column in rows[0])
    return next(line for line in rows if line[0] == name)[head.index(column)]


def test_what_is_right_wrong_failing_and_not_measured():
    text = to_markdown(
        [
            cell("none", [1e-5]),
            cell("SE", [2e-3]),
            cell("ELA", [None]),
            {"block": "NL", **CELL, "error": "RuntimeError: no such operator"},
            {"block": "CA", **CELL, "not_measured": "onnxruntime is not installed"},
        ]
    )
    entries = {name: row(text, name, "onnx fp32") for name in ("no attention", "`SE`", "`ELA`", "`NL`", "`CA`", "`GC`")}
    assert entries == {
        "no attention": "1.0e-05",
        "`SE`": "**2.0e-03**",
        "`ELA`": "**cannot run**",
        "`NL`": "**fails**",
        "`CA`": "not measured",
        "`GC`": "not measured",
    }
    assert "- `NL` onnx fp32: RuntimeError: no such operator" in text
    assert "- `CA` onnx fp32: onnxruntime is not installed" in text


def test_free_sizes_show_both_and_one_wrong_is_wrong():
    text = to_markdown([cell("SE", [1e-5, 0.2], dynamic=True)])
    assert row(text, "`SE`", "onnx fp32, free sizes") == "**1.0e-05 / 2.0e-01**"


def test_int8_is_judged_beside_the_model_without_attention():
    lines = [cell(b, [0.9], typical, precision="int8") for b, typical in (("none", 0.2), ("SE", 0.29), ("CA", 0.31))]
    text = to_markdown(lines)
    assert row(text, "`SE`", "onnx int8") == "2.9e-01"
    assert row(text, "`CA`", "onnx int8") == "**3.1e-01**"


def test_times_are_ratios_of_the_same_round():
    times = [{"none": 10.0, "SE": 11.0}, {"none": 20.0, "SE": 22.0}, {"none": 30.0, "SE": 60.0}]
    text = to_markdown([{"block": "none", "timed": "onnx", "precision": "fp32", "milliseconds": times}])
    assert row(text, "no attention", "onnx fp32") == "not measured"  # of the first table
    last = text.split("### Time")[1]
    assert row(last, "no attention", "onnx fp32") == "20.0 ms"
    assert row(last, "`SE`", "onnx fp32") == "1.10"


def test_map_of_each_file_stands_beside_pytorch_s():
    files = [("pt", "fp32", 0.31), ("onnx", "fp32", 0.31), ("onnx", "int8", 0.2504)]
    lines = [{"block": "SE", "validated": f, "precision": p, "map": m} for f, p, m in files]
    table = to_markdown([*lines, {**lines[0], "block": "none", "map": 0.3}]).split("### mAP50-95")[1]
    assert [row(table, "`SE`", column) for column in ("PyTorch", "onnx fp32", "onnx int8")] == [
        "0.3100",
        "0.3100",
        "0.2504",
    ]
    assert [row(table, "no attention", column) for column in ("PyTorch", "onnx int8")] == ["0.3000", ""]
