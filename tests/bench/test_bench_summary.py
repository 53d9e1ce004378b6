"""Summary, tables and plot of hand-made raw lines with known answers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.bench_example import EXAMPLE, GPU, HEADER, group

from yolo_attn import YoloAttnError, cli
from yolo_attn.bench import plot, tables
from yolo_attn.bench.raw import RAW, read_raw, write_raw
from yolo_attn.bench.summary import summarize


def test_ratios_are_taken_round_by_round():
    """The machine is twice as slow in every other round: that cancels."""
    slow = [1, 2] * 10
    ours, tutorial = [2.0 * s for s in slow], [3.0 * s for s in slow]
    (found,) = summarize([HEADER, *group(0, {"ours": ours, "tutorial": tutorial})])["blocks"]
    assert found["ratios"]["ours/tutorial"] == pytest.approx({"ratio": 2 / 3, "ratio_low": 2 / 3, "ratio_high": 2 / 3})
    assert found["ratios"]["tutorial/ours"]["ratio"] == pytest.approx(1.5)
    assert found["times"]["ours"] == pytest.approx({"median_ms": 3, "p5_ms": 2, "p95_ms": 4})
    assert found["rounds"] == 20
    assert found["unstable"]
    assert found["spread"] == pytest.approx(2)


def test_the_best_is_the_faster_of_those_that_compute_the_same():
    se, ela, *_ = summarize(EXAMPLE)["blocks"]
    assert (se["best"], se["verdict"], se["ratios"]["ours/best"]["ratio"]) == ("timm", "faster", 0.5)
    assert (ela["best"], ela["verdict"], ela["ratios"]["ours/best"]["ratio"]) == ("tutorial", "slower", 2.0)
    alike = summarize([HEADER, *group(0, {"ours": [2.0], "timm": [1.0]}, block="ELA")])["blocks"][0]
    assert (alike["best"], alike["verdict"]) == (None, None)


def test_even_is_what_an_interval_around_1_says():
    ours = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98]
    (found,) = summarize([HEADER, *group(0, {"ours": ours, "tutorial": [1.0] * 8})])["blocks"]
    assert found["verdict"] == "even"


def test_times_over_the_floor_that_is_measured_or_computed():
    measured = summarize(EXAMPLE)["blocks"][0]
    assert measured["ratios"]["ours/floor"]["ratio"] == 2.0
    assert measured["ratios"]["tutorial/floor"]["ratio"] == 6.0
    (computed,) = summarize([GPU, *group(0, {"ours": [3.0] * 5}, floor_ms=1.5)])["blocks"]
    assert computed["ratios"]["ours/floor"] == {"ratio": 2.0, "ratio_low": 2.0, "ratio_high": 2.0}


def test_means_are_geometric_over_blocks_and_shapes():
    means = {(mean["pass"], mean["shape"]): mean["ratios"] for mean in summarize(EXAMPLE)["means"]}
    assert means["forward", "8x64x80x80"]["tutorial/ours"] == {"ratio": pytest.approx((3 * 0.5) ** 0.5), "groups": 2}
    assert means["forward", "all"]["ours/floor"] == {"ratio": pytest.approx((2 * 2 * 8) ** (1 / 3)), "groups": 3}
    assert means["forward", "all"]["ours/timm"]["groups"] == 3
    assert means["training", "all"]["ours/best"] == {"ratio": pytest.approx(0.5), "groups": 1}


def test_models_are_over_their_base_in_the_order_they_were_asked_for():
    (found,) = summarize(EXAMPLE)["models"]
    assert list(found["arms"]) == ["base", "identity control", "SE"]
    assert found["arms"]["SE"]["ratio"] == pytest.approx(1.1)
    assert found["arms"]["identity control"]["ratio_high"] == 1.0


def test_drifting_times_are_unstable():
    ours = [10 + k / 10 for k in range(30)]
    (found,) = summarize([HEADER, *group(0, {"ours": ours, "tutorial": ours})])["blocks"]
    assert found["unstable"]
    assert found["drift"] == pytest.approx(12.45 / 10.45)


def test_regimes_and_the_cost_of_launches_stand_apart():
    """A map of 52 MB is bound by memory, one of 3 MB by the launches."""
    fast, slow = {"ours": [4.0] * 9, "ours fused": [1.0] * 9, "tutorial": [6.0] * 9}, {"ours": [2.0] * 9}
    small = group(0, fast, shape="16x64x40x40")
    large = group(1, {**slow, "ours fused": [1.0] * 9}, shape="16x256x80x80")
    small[0] |= {"launches": {"ours": 9, "ours fused": 1}, "host_us": {"ours": 81.2, "ours fused": 20.9}}
    summary = summarize([GPU, *small, *large])
    means = {mean["shape"]: mean["ratios"] for mean in summary["means"]}
    assert means["launch-bound"]["ours/ours fused"]["ratio"] == 4
    assert means["memory-bound"]["ours/ours fused"]["ratio"] == 2
    assert means["launch-bound"]["best/ours fused"]["ratio"] == 6
    assert means["all"]["ours/ours fused"]["groups"] == 2
    text = tables.to_markdown(summary)
    assert rows_of(text, "Kernels launched and microseconds of the host per call")["SE"] == [
        "16x64x40x40", "1, 21", "9, 81",
    ]  # fmt: skip
    assert "| forward, fp32, contiguous | launch-bound |" in text


# --- raw lines --------------------------------------------------------------------------------------------------------
def test_only_complete_lines_are_read(tmp_path):
    write_raw(tmp_path, EXAMPLE)
    assert read_raw(tmp_path) == EXAMPLE
    whole = (tmp_path / RAW).read_text().splitlines()
    for cut in (whole[:-1], whole[:-2] + whole[-1:], [*whole[:-1], whole[-1][:9]], []):
        (tmp_path / RAW).write_text("\n".join(cut))
        with pytest.raises(YoloAttnError, match="is incomplete: the measurement was stopped"):
            read_raw(tmp_path)
    with pytest.raises(YoloAttnError, match="holds no bench"):
        read_raw(tmp_path / "elsewhere")


def test_a_measurement_that_is_stopped_leaves_incomplete_lines(tmp_path):
    def stopped():
        yield HEADER
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_raw(tmp_path, stopped())
    assert json.loads((tmp_path / RAW).read_text()) == HEADER
    with pytest.raises(YoloAttnError, match="incomplete"):
        read_raw(tmp_path)


# --- what is shown ----------------------------------------------------------------------------------------------------
def rows_of(text, heading):
    """Rows of the table under a heading, by the first cell."""
    section = text[text.index(f"## {heading}") :].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def test_tables_say_what_the_summary_says():
    text = tables.to_markdown(summarize(EXAMPLE))
    assert "A CPU, 2 cores; Python 3.12, torch 2.11" in text
    assert "2 threads" in text
    assert "`yolo-attn bench`" in text
    rows = rows_of(text, "8x64x80x80, forward")
    assert rows["SE"] == ["2.00", "6.00", "4.00", "2.00", "3.00 [3.00, 3.00]", "50 % faster than timm"]
    assert rows["ELA"] == ["2.00", "1.00", "~4.00", "2.00", "0.50 [0.50, 0.50]", "100 % slower than tutorial"]
    assert rows_of(text, "Memory")["SNL"] == ["8x64x80x80", "x + 0.03", "2.50"]
    models = rows_of(text, "yolo11n.yaml, training step")
    assert (models["base"], models["SE"]) == (["10.0", "–"], ["11.0", "1.100 [1.100, 1.100]"])
    assert "- holds 2.4 GiB: tutorial: NL 8x64x80x80 fp32 contiguous forward" in text
    assert "B5 8x64x80x80 fp32 contiguous forward and 3 more" in text
    assert "B6" not in text


def test_all_tables_are_well_formed():
    lines = tables.to_markdown(summarize(EXAMPLE)).splitlines()
    widths = {}
    for number, line in enumerate(lines):
        if line.startswith("|"):
            widths[number] = line.count("|")
            assert widths.get(number - 1, widths[number]) == widths[number], line
    assert len(widths) > 15


def test_on_a_gpu_the_rate_and_the_floor_are_said():
    records = [GPU, {"kind": "copy rate", "best": 4.1e12, "median": 4e12}, *group(0, {"ours": [3.0] * 5}, floor_ms=1.5)]
    text = tables.to_markdown(summarize(records))
    assert "Copying moves 4,100 GB/s (median 4,000)." in text
    assert "the fewest bytes a block can move" in text
    assert "A GPU, CUDA 13.0" in text


def test_the_plot_has_a_panel_per_pass_and_shape_and_every_mark_over_the_floor():
    figure = plot.draw(summarize(EXAMPLE))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{s}, {p}" for p in ("forward", "training") for s in ("8x64x80x80", "8x256x20x20")]
    marks = sorted(float(line.get_xdata()[0]) for line in figure.axes[0].lines if len(line.get_xdata()) == 1)
    assert marks == [1, 2, 2, 4, 4, 6]  # SE 2 6 4, ELA 2 1 4
    assert plot.draw(summarize([HEADER, *group(0, {"ours": [1.0]})])) is None


def test_reading_and_showing_needs_no_torch():
    code = "import sys; from yolo_attn.bench import command, report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- the command ------------------------------------------------------------------------------------------------------
def test_from_writes_summary_tables_and_plot_again(tmp_path, capsys):
    write_raw(tmp_path, EXAMPLE)
    assert cli.main(["bench", "--from", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "bench.json").read_text())
    assert cli.main(["bench", "--from", str(tmp_path)]) == 0
    assert capsys.readouterr().out.rstrip() == (tmp_path / "bench.md").read_text().rstrip()
    assert (tmp_path / "bench.png").read_bytes()[:4] == b"\x89PNG"


def test_a_small_bench_from_the_command_line(tmp_path, capsys):
    words = "bench --blocks SE,CoordAtt --shape 1x8x6x5 --shape 2x16x4x4 --pass forward --seconds 0.01 --device cpu"
    assert cli.main([*words.split(), "--dtype", "fp32", "-o", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(b["block"], b["shape"]) for b in found["blocks"]] == [
        *(("SE", "1x8x6x5"), ("CA", "1x8x6x5"), ("SE", "2x16x4x4"), ("CA", "2x16x4x4"))
    ]
    assert all(b["ratios"]["ours/floor"]["ratio"] > 0 for b in found["blocks"])
    made = {p.name for p in (tmp_path / "out").iterdir()} - {"bench.lock"}
    assert made == {"bench.jsonl", "bench.json", "bench.md", "bench.png"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--blocks SEE", "Did you mean 'SE'?"),
        ("--blocks ,", "unknown block ','"),
        ("--shape 8x64x80", "write e.g. 8x64x80x80"),
        ("--shape 0x64x8x8", "write e.g. 8x64x80x80"),
        ("--dtype fp23", "Did you mean 'fp32'?"),
        ("--layout channel_last", "Did you mean 'channels_last'?"),
        ("--pass foward", "Did you mean 'forward'?"),
        ("--mode compiled", "Did you mean 'compile'?"),
        ("--against tutorials", "Did you mean 'tutorial'?"),
        ("--device cuda:99", "unknown device 'cuda:99'"),
        ("--seconds 0", "--seconds 0.0: give a number above 0"),
        ("--threads -1", "--threads -1: give a number above 0"),
        ("--cuda-graphs --device cpu", "--cuda-graphs needs a GPU; the device is cpu"),
        ("--suite --mode eager", "--suite settles that itself: leave out --mode"),
        ("--models yolo99.yaml", "no model YAML 'yolo99.yaml'"),
        ("--models yolo11n-cls.yaml", "no neck"),
        ("--from nowhere", "'nowhere' holds no bench"),
        ("--from nowhere --pass forward", "--from reads what was measured: leave out --pass"),
        ("SE", "'SE' is not understood here"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2_and_leaves_nothing(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *words.split()]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("yolo-attn: ")]
    assert len(message) == 1
    assert says in message[0]
    assert not list(tmp_path.iterdir())
