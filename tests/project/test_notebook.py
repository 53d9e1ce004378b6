"""The notebook runs in an empty folder, shows what its text says, and has the same code in both languages."""

import base64
import re

import cv2
import nbformat
import numpy as np
import pytest
from instruments.notebook import CHINESE, NOTEBOOK, execute, text_of
from instruments.site.notebooks import notebook_pages
from support.paths import ROOT


def cells(notebook, kind="code"):
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == kind]


def cell_with(found, words):
    return next(cell for cell in found if words in cell.source)


def picture(cell):
    """Return the picture that a cell shows, ``(height, width, 3)``."""
    (shown,) = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return cv2.imdecode(np.frombuffer(base64.b64decode(shown), np.uint8), cv2.IMREAD_COLOR)


def check_outcomes(code):
    """Check what the cells of the executed notebook show."""
    said = text_of(cell_with(code, "transfer_weights"))
    loaded, tensors = map(int, re.search(r"(\d+) of (\d+) tensors transferred", said).groups())
    assert loaded == tensors == 499
    before = re.findall(r"mAP50-95 ([\d.]+)", said)
    assert len(before) == 2
    assert before[0] == before[1]
    assert float(before[0]) > 0.02  # learned something
    report = text_of(cell_with(code, "!yolo-attn compare"))
    assert "6 of 6 runs complete" in report
    (verdict,) = re.findall(r"^yolo11n-mine is (.+)$", text_of(cell_with(code, "results.json")), re.MULTILINE)
    assert verdict in ("better", "worse", "not significant")
    assert len(re.findall(rf"^\| \*\*yolo11n-mine\*\* \|.*\| {verdict} p = [\d.]+ \|", report, re.MULTILINE)) == 1
    assert "row 17: ELA" in text_of(cell_with(code, "!yolo-attn show"))
    for words in ("imshow", "gates.csv", "results.json", "17-ELA-product.png"):
        assert picture(cell_with(code, words)).std() > 10, words


@pytest.mark.slow
def test_the_notebook_runs_in_an_empty_folder(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    check_outcomes([cell for cell in execute(NOTEBOOK, folder).cells if cell.cell_type == "code"])
    assert [path.name for path in folder.iterdir()] == ["drawn"]
    assert (folder / "drawn" / "show" / "show.html").is_file()


@pytest.mark.parametrize("notebook", [NOTEBOOK, CHINESE], ids=lambda notebook: notebook.name)
def test_the_stored_outputs_are_those_of_its_text(notebook):
    check_outcomes(cells(notebook))
    text = notebook.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert not re.findall(r"(?:/tmp|/home|/root|/usr|/work|C:\\\\|site-packages)\b[^\"]{0,40}", text)
    assert [cell.execution_count for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))


def test_both_languages_have_the_same_code_and_the_same_cells():
    english, chinese = (nbformat.read(file, as_version=4).cells for file in (NOTEBOOK, CHINESE))
    assert [cell.cell_type for cell in english] == [cell.cell_type for cell in chinese]
    for ours, theirs in zip(english, chinese, strict=True):
        if ours.cell_type == "code":
            assert ours.source == theirs.source
        else:
            assert re.findall(r"`[^`]+`|\]\([^)]+\)|^#+", ours.source) == re.findall(
                r"`[^`]+`|\]\([^)]+\)|^#+", theirs.source
            )
            assert re.search(r"[\u4e00-\u9fff]", theirs.source)


def test_cells_are_short():
    assert max(len(cell.source.splitlines()) for cell in cells(NOTEBOOK)) <= 10


@pytest.mark.parametrize("notebook", [NOTEBOOK, CHINESE], ids=lambda notebook: notebook.name)
def test_links_resolve(notebook):
    links = re.findall(r"\]\(([^)#]+)", "".join(cell.source for cell in cells(notebook, "markdown")))
    assert links
    assert [link for link in links if not (notebook.parent / link).exists()] == []


def test_the_site_has_a_page_with_the_outputs_in_both_languages():
    pages = notebook_pages(ROOT / "docs")
    for notebook in (NOTEBOOK, CHINESE):
        text = pages[f"notebooks/{notebook.stem}.md"]
        assert "    yolo11n-mine is " in text
        shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
        assert len(shown) == 4
        assert all(f"notebooks/{file}" in pages for file in shown)
