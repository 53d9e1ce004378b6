"""A user's files are imported under their own names, here and in child processes; a mistake is one line."""

import os
import subprocess
import sys

import pytest

from yolo_attn.errors import YoloAttnError
from yolo_attn.util.imports import VARIABLE, checksum, entries, imported


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder; what is imported from it is forgotten."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.delenv(VARIABLE, raising=False)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mine"):
            del sys.modules[name]


def test_a_file_is_imported_under_its_name_and_remembered_for_the_time(here):
    (here / "mine_a.py").write_text("VALUE = 7\n")
    with imported(["mine_a.py"]):
        assert sys.modules["mine_a"].VALUE == 7
        assert entries() == [str(here / "mine_a.py")]
        with imported([str(here / "mine_a.py")]):
            assert entries() == [str(here / "mine_a.py")]
        assert entries() == [str(here / "mine_a.py")]
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("word", ["mine_b", "mine_c.inner", "mine_c", "mine_c/", "mine_c/inner.py", "json.decoder"])
def test_modules_and_packages(word, here):
    (here / "mine_b.py").write_text("")
    (here / "mine_c").mkdir()
    (here / "mine_c" / "__init__.py").write_text("")
    (here / "mine_c" / "inner.py").write_text("")
    with imported([word]):
        name = {"mine_c/": "mine_c", "mine_c/inner.py": "inner"}.get(word, word)
        assert name in sys.modules
        assert checksum(entries())
    sys.modules.pop("inner", None)


def test_a_child_process_imports_the_same_from_any_folder(here, tmp_path_factory):
    (here / "mine_d.py").write_text("import yolo_attn as ya\nprint('imported', ya.register.__name__)\n")
    with imported(["mine_d.py"]):
        done = subprocess.run(
            [sys.executable, "-c", "import yolo_attn, sys; assert 'mine_d' in sys.modules"],
            cwd=tmp_path_factory.mktemp("elsewhere"), env={**os.environ}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout == "imported register\n"


def test_the_checksum_is_of_the_contents(here, tmp_path_factory):
    (here / "mine_e.py").write_text("A = 1\n")
    with imported(["mine_e.py"]):
        first = checksum(entries())
        (here / "mine_e.py").write_text("A = 2\n")
        assert checksum(entries()) != first
    assert checksum([]) is None


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("mine_f.py", "no file 'mine_f.py' to import. Did you mean 'mine_g.py'?"),
        ("mine_x", "no file or module 'mine_x' to import. Did you mean 'mine_g.py'?"),
        ("none/mine_g.py", "no file 'none/mine_g.py' to import"),
        ("mine_g.txt", "it is no Python file"),
        ("my-block.py", "'my-block' is no name of a module"),
        ("raises.py", "cannot be imported: ZeroDivisionError: division by zero (line 3)"),
        ("wrong.py", "cannot be imported: SyntaxError: "),
        ("leaves.py", "cannot be imported: SystemExit: 3 (line 1)"),
        ("needs.py", "cannot be imported: ModuleNotFoundError: No module named 'no_such_package' (line 1)"),
        ("sys.py", "'sys' is already the name of a module of Python"),
        ("__main__.py", "'__main__' is already the name of "),
        ("json.py", "'json' is already the name of "),
        ("yolo_attn.py", "'yolo_attn' is already the name of "),
        ("zipapp.py", "'zipapp' is already the name of "),
    ],
)
def test_what_cannot_be_imported_is_one_line(word, says, here):
    assert "zipapp" not in sys.modules
    (here / "mine_g.py").write_text("")
    texts = {"raises": "a = 1\n\nb = a / 0\n", "wrong": "a = = 1\n", "leaves": "raise SystemExit(3)\n"}
    texts |= {"needs": "import no_such_package\n", "json": "", "yolo_attn": "", "zipapp": "", "my-block": ""}
    texts |= {"sys": "", "__main__": ""}
    for name, text in {"mine_g.txt": "", **{f"{stem}.py": text for stem, text in texts.items()}}.items():
        (here / name).write_text(text)
    with pytest.raises(YoloAttnError) as error, imported([word]):
        pass
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, FileNotFoundError) or "no file 'm" not in says
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("content", ["import no_such_module", "def f(:", "1 / 0", "raise SystemExit", None])
def test_a_file_of_the_environment_that_fails_is_one_line_of_the_command(content, tmp_path):
    file = tmp_path / "mine_broken.py"
    if content is not None:
        file.write_text(f"{content}\n")
    environment = {**os.environ, VARIABLE: str(file)}
    command = [sys.executable, "-m", "yolo_attn.cli", "blocks"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"yolo-attn: {VARIABLE}: '{file}' cannot be imported: ")
    python = subprocess.run([sys.executable, "-c", "import yolo_attn"], env=environment, capture_output=True, text=True)
    assert "Traceback" in python.stderr
    assert python.returncode == 1
