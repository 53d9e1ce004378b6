"""The table for a paper: LaTeX that compiles, with the numbers of the report."""

import re
import subprocess
import sys

import pytest
from support.fake_runs import plan_for
from support.report_example import built, example

from yolo_attn.compare import driver
from yolo_attn.report.latex import escape, to_latex
from yolo_attn.report.results import read_results


def body(tex):
    """Cells of every line of the table, the head first."""
    return [line.removesuffix(r" \\").split(" & ") for line in tex.splitlines() if line.endswith(r"\\")]


def known():
    summary = example(arms=3)
    for arm, mean, sd in ((0, 0.2386, 0.0007), (1, 0.2486, 0.002), (2, 0.2312, 0.0012)):
        summary["arms"][arm]["metrics"]["mAP50-95"] |= {"mean": mean, "sd": sd}
    ela, ca = (arm["difference"]["mAP50-95"] for arm in summary["arms"][1:])
    ela |= {"estimate": 0.0096, "low": 0.0040, "high": 0.0149, "p_holm": 0.024, "verdict": "better"}
    ca |= {"estimate": -0.0077, "low": -0.0129, "high": -0.0024, "p_holm": 0.0004, "verdict": "worse"}
    return summary


def test_the_numbers_stand_in_the_table():
    assert body(to_latex(built(known()))) == [
        ["model", "mAP50-95", r"difference [95 \% interval]", "p", "params, M", "ms"],
        ["yolo11n", r"0.239 $\pm$ 0.001", "--", "--", "2.624", "5.21"],
        ["yolo11n-ela", r"\textbf{0.249} $\pm$ 0.002", "+0.010 [+0.004, +0.015]", "0.024", "2.628", "5.27"],
        ["yolo11n-ca", r"0.231 $\pm$ 0.001", "$-$0.008 [$-$0.013, $-$0.002]", r"$<$ 0.001", "2.632", "5.32"],
    ]


def test_the_caption_says_what_was_counted_and_where_it_was_measured():
    tex = to_latex(built({**known(), "note": "A smoke test: 100 % too short."}))
    (caption,) = re.findall(r"^\\caption\{(.*)\}$", tex, re.M)
    for said in (
        r"A smoke test: 100 \% too short. mAP50-95: mean $\pm$ standard deviation over seeds, n = 3 seeds $\times$ 600",
        "Difference to yolo11n, paired by seed and image, with 95 \\% interval.",
        "Holm's method for 2 comparisons",
        "batch 1, fp32, 200 rounds of each model, images of 640 px",
        "Bold: the highest mean, significant or not.",
    ):
        assert said in caption


def test_controls_stand_below_a_rule_and_are_never_bold():
    summary = known()
    summary["arms"][1]["kind"] = "plain control"
    lines = to_latex(built(summary)).splitlines()
    rules = [k for k, line in enumerate(lines) if line == r"\midrule"]
    assert len(rules) == 2
    assert lines[rules[1] + 1].startswith(r"yolo11n-ela & 0.249 ")
    assert lines[rules[0] + 1].startswith(r"yolo11n & \textbf{0.239}")


def test_what_is_not_known_is_a_dash_or_has_no_column():
    summary = known()
    summary["speed"] = None
    summary["arms"][2] = {"name": "failed", "kind": "attention", "seeds": []}
    summary["runs"] |= {"planned": 9, "complete": 6}
    tex = to_latex(built(summary))
    assert "6 of 9 runs are complete." in tex
    assert "ms" not in body(tex)[0]
    assert body(tex)[-1] == ["failed", *["--"] * 4]


def test_markup_in_names_stays_text():
    nasty = r"a_b & 50% #1 $x$ {y} ~z^2 \input{/etc/passwd} <i> | −1"
    summary = known()
    summary["arms"][1]["name"] = nasty
    for measurement in summary["speed"]["measurements"]:
        measurement["arms"][nasty] = measurement["arms"].pop("yolo11n-ela")
    tex = to_latex(built(summary))
    assert escape(nasty) in tex
    assert r"\input" not in tex
    unescaped = re.sub(r"\\[&%$#_{}]", "", tex)
    assert unescaped.count("{") == unescaped.count("}")
    assert unescaped.count("$") % 2 == 0
    assert {len(re.findall(r"(?<!\\)&", line)) for line in tex.splitlines() if line.endswith(r"\\")} == {5}


@pytest.mark.parametrize(
    ("text", "tex"),
    [("a\nb", "a b"), ("\\", r"\textbackslash{}"), ("^~", r"\textasciicircum{}\textasciitilde{}"), ("50 %", r"50 \%")],
)
def test_escaping(text, tex):
    assert escape(text) == tex


@pytest.mark.slow
def test_the_command_writes_it(scenes, faked, tmp_path):
    driver.compare(plan_for(scenes), tmp_path)
    command = [sys.executable, "-m", "yolo_attn.cli", "report", tmp_path, "--replicates", "20", "--latex"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"the table for a paper: {tmp_path / 'table.tex'}" in done.stderr
    assert (tmp_path / "table.tex").read_text(encoding="utf-8") == to_latex(read_results(tmp_path))
