"""Version, changelog, citation and stored checkpoints belong to one release."""

import importlib.util

from support.paths import ROOT

import yolo_attn as ya

_spec = importlib.util.spec_from_file_location("check_release", ROOT / ".ci" / "check_release.py")
check_release = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_release)


def test_the_version_is_that_of_its_tag():
    assert check_release.problems() == []
    assert check_release.problems(f"v{ya.__version__}") == []


def test_another_tag_is_refused():
    (problem,) = check_release.problems("v9.9")
    assert problem == f"the tag is v9.9, the version {ya.__version__}"


def test_a_version_without_section_date_and_checkpoints_is_refused(tmp_path, monkeypatch):
    for file in (*check_release.STATED, "CHANGELOG.md"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / file).read_text(encoding="utf-8")
        (tmp_path / file).write_text(text if file == "CHANGELOG.md" else text.replace(ya.__version__, "9.9"))
    monkeypatch.setattr(check_release, "ROOT", tmp_path)
    assert check_release.problems("v9.9") == [
        "CHANGELOG.md has no section [9.9] with a date",
        "tests/fixtures/checkpoints has no 9.9",
    ]
    (tmp_path / "CHANGELOG.md").write_text("## [9.9] - 1999-09-09\n")
    assert "CITATION.cff has another date than CHANGELOG.md, 1999-09-09" in check_release.problems("v9.9")
