"""The check of insertion on stock models detects injected errors."""

import csv

import pytest
from instruments import insertion
from instruments.insertion import SITES, check, read_csv, to_markdown, write_csv
from instruments.paths import RESULTS
from instruments.ready_models import FAMILIES
from support.markdown import table_rows

from yolo_attn.host.model import host_model_names

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    path = tmp_path_factory.mktemp("check") / "cases.csv"
    found = check(["yolov10n.yaml"], save_to=path, blocks=("SE", "CA"))
    with path.open(newline="") as file:
        assert [row["site"] for row in csv.DictReader(file)] == [case.site for case in found]
    return found


@pytest.mark.slow
def test_a_stock_model_passes_at_every_site(cases):
    assert [c for c in cases if c.result != "ok"] == []
    assert {c.site for c in cases} == set(SITES)
    assert all((c.transferred, c.difference, c.difference_train) == (1.0, 0.0, 0.0) for c in cases)
    assert {c.blocks for c in cases if c.site == "pre-detect"} == {3}
    text = to_markdown(cases)
    assert "12 combinations of 1 models, 6 sites and 2 blocks; 0 failed." in text
    assert table_rows(text) == [["model", *SITES], ["yolov10n.yaml", *["2/2, 100 %, 0"] * len(SITES)]]


@pytest.mark.contract("insertion is invisible")
@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{family}.yaml" for family in FAMILIES])
def test_every_family_passes_at_every_site(name):
    if name not in host_model_names():
        pytest.skip(f"this Ultralytics has no {name}")
    found = check([name], scales="n", blocks=("CA",))
    assert [c for c in found if c.result != "ok"] == []
    assert {c.site for c in found} == set(SITES)


def test_the_documentation_counts_the_stored_cases(tmp_path):
    cases = read_csv(RESULTS / "insertion.csv")
    write_csv(cases, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == (RESULTS / "insertion.csv").read_text()
    assert {case.result for case in cases} == {"ok", "no such site", "host cannot build"}
    assert to_markdown(cases).strip() in (RESULTS / "insertion.md").read_text(encoding="utf-8")
    passed = sum(case.result == "ok" for case in cases)
    assert f"[{passed:,} combinations](results/insertion.md)" in (RESULTS.parent / "insert.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_blocks_that_are_no_identity_are_found(monkeypatch):
    def insert_as_in_the_paper(*args, **kwargs):
        return insertion_check_insert(*args, **{**kwargs, "init": "paper"})

    insertion_check_insert = insertion.insert
    monkeypatch.setattr(insertion, "insert", insert_as_in_the_paper)
    monkeypatch.setattr(insertion, "SITES", ("neck", "inner"))
    found = check(["yolov10n.yaml"])
    assert {c.result for c in found} == {"outputs differ"}
    assert all(c.difference > 0 and c.difference_train > 0 for c in found)
    assert "6 failed" in to_markdown(found)
    assert "- yolov10n.yaml, SE, neck: outputs differ" in to_markdown(found)


@pytest.mark.slow
def test_weights_that_do_not_come_over_are_found(monkeypatch):
    from yolo_attn.weights import transfer

    monkeypatch.setattr(insertion, "SITES", ("neck", "inner"))
    monkeypatch.setattr(transfer, "align", lambda source, target: [None] * len(target.rows))
    found = check(["yolov10n.yaml"])
    assert all("another architecture" in c.result for c in found)


@pytest.mark.slow
def test_sites_and_models_that_are_not_there_are_listed(monkeypatch):
    from yolo_attn.train import yolo

    monkeypatch.setattr(insertion, "FEW_BLOCKS", ("SE",))
    found = check(["yolo12-cls.yaml"], scales=("n", "s"))
    assert {c.model for c in found} == {"yolo12n-cls.yaml", "yolo12s-cls.yaml"}
    assert {c.site for c in found if c.result == "no such site"} == {"neck", "sppf"}
    assert {c.result for c in found} == {"ok", "no such site"}

    monkeypatch.setattr(insertion, "_outputs", lambda model, image: (image.sum() * 0, image.sum() * 0))
    assert {c.result for c in check(["yolov10n.yaml"])} == {"outputs show no changes"}

    def cannot(name):
        raise OSError("needs a download")

    monkeypatch.setattr(yolo, "YOLO", cannot)
    found = check(["yolov10n.yaml"])
    assert {c.result for c in found} == {"host cannot build"}
    assert "Not buildable by Ultralytics itself here: yolov10n.yaml." in to_markdown(found)


@pytest.mark.parametrize(
    ("name", "at_scales"),
    [
        ("yolo11.yaml", ["yolo11n.yaml", "yolo11x.yaml"]),
        ("yolov8-seg-p6.yaml", ["yolov8n-seg-p6.yaml", "yolov8x-seg-p6.yaml"]),
        ("yoloe-v8-seg.yaml", ["yoloe-v8n-seg.yaml", "yoloe-v8x-seg.yaml"]),
        ("yoloe-11.yaml", ["yoloe-11n.yaml", "yoloe-11x.yaml"]),
        ("rtdetr-l.yaml", ["rtdetr-l.yaml"]),
        ("yolov9c.yaml", ["yolov9c.yaml"]),
        ("yolov10b.yaml", ["yolov10b.yaml"]),
    ],
)
def test_models_are_named_with_their_scales(name, at_scales):
    assert list(insertion._at_scales(name, insertion.SCALES)) == at_scales
