"""Atomic writing of files, with failures at every step."""

import errno

import pytest

from yolo_attn.util.files import replace_whole, write_all, write_json, write_torch, write_whole


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    file = write_whole(tmp_path / "a.txt", "old")

    def half(part):
        part.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_whole(file, half)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_written_is_there(tmp_path):
    import torch

    assert write_json(tmp_path / "a.json", {"a": [1.5]}).read_text() == '{\n  "a": [\n    1.5\n  ]\n}\n'
    write_torch(tmp_path / "a.pt", {"a": torch.ones(2)})
    assert torch.load(tmp_path / "a.pt")["a"].tolist() == [1, 1]
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "a.pt"}


def test_a_full_disk_is_one_line_for_the_user(monkeypatch, capsys):
    from yolo_attn import cli
    from yolo_attn.models import block_table

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(block_table, "as_text", full)
    assert cli.main(["blocks"]) == 2
    assert capsys.readouterr().err == "yolo-attn: [Errno 28] No space left on device\n"


def test_several_files_come_together_and_old_ones_go(tmp_path):
    folder = tmp_path / "out"
    write_all(folder, {"a/1.png": b"1", "page.html": b"page"})
    (tmp_path / "outside").write_text("stays")
    write_all(folder, {"page.html": b"new"}, stale=["a/1.png", "page.html", "../outside", "a/none"])
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == {
        "out/page.html",
        "outside",
    }
    assert (folder / "page.html").read_bytes() == b"new"


def test_of_several_files_none_comes_if_one_fails(tmp_path):
    with pytest.raises(TypeError):
        write_all(tmp_path, {"a": b"a", "b": "no bytes"})
    assert not list(tmp_path.iterdir())
