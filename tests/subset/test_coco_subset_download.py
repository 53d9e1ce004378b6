"""Downloads from a local server: resume, checksum, unpacking, and errors without a network."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from yolo_attn import cli
from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.download import COCO_2017, Archive, download, fetch

MEMBERS = {"val2017/1.jpg": b"x" * 70_000, "val2017/2.jpg": bytes(range(256)) * 300}


def zipped(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


class Server:
    """Serves one file; breaks off after `gives` bytes as long as `breaks` lasts."""

    def __init__(self, content: bytes):
        self.content, self.gives, self.breaks, self.ranges = content, len(content), 0, True
        self.asked: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/val2017.zip"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if start >= len(self.content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        end = len(self.content)
        if self.breaks:
            self.breaks -= 1
            end = start + self.gives
        request.wfile.write(self.content[start:end])


@pytest.fixture
def server():
    made = Server(zipped(MEMBERS))
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def archive(server, monkeypatch) -> Archive:
    monkeypatch.delenv("YOLO_OFFLINE")
    return Archive(server.url, hashlib.md5(server.content).hexdigest(), "val2017")


def content(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_archive_is_fetched_checked_and_unpacked(server, archive, tmp_path):
    download(tmp_path / "coco", [archive])
    assert content(tmp_path / "coco") == MEMBERS
    download(tmp_path / "coco", [archive])
    assert len(server.asked) == 1, "what is there was fetched again"


def test_a_broken_connection_goes_on_where_it_stopped(server, archive, tmp_path):
    server.gives, server.breaks = 50_000, 2
    download(tmp_path, [archive])
    assert server.asked == [None, "bytes=50000-", "bytes=100000-"]
    assert content(tmp_path) == MEMBERS


def test_an_interrupted_download_resumes_in_the_next_call(server, archive, tmp_path):
    (tmp_path / "val2017.zip.part").write_bytes(server.content[:1000])
    download(tmp_path, [archive])
    assert server.asked == ["bytes=1000-"]
    assert content(tmp_path) == MEMBERS


def test_a_complete_part_is_only_checked(server, archive, tmp_path):
    (tmp_path / "val2017.zip.part").write_bytes(server.content)
    download(tmp_path, [archive])
    assert content(tmp_path) == MEMBERS


def test_a_server_without_ranges_starts_again(server, archive, tmp_path):
    server.ranges = False
    (tmp_path / "val2017.zip.part").write_bytes(b"?" * 1000)
    download(tmp_path, [archive])
    assert content(tmp_path) == MEMBERS


def test_no_progress_ends_the_attempts(server, archive, tmp_path):
    server.gives, server.breaks = 0, 99
    with pytest.raises(YoloAttnError, match=r"cannot download http://127.0.0.1.* the same command resumes from there"):
        download(tmp_path, [archive])
    assert len(server.asked) == 1
    assert content(tmp_path) == {"val2017.zip.part": b""}


def test_a_wrong_checksum_is_refused_and_deleted(server, archive, tmp_path):
    (tmp_path / "val2017.zip.part").write_bytes(b"?" * 1000)  # of another file
    with pytest.raises(YoloAttnError, match=rf"is not what was expected: MD5 [0-9a-f]{{32}}, not {archive.md5}"):
        fetch(archive, tmp_path)
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (b"<html>moved</html>", "is not a zip file"),
        (zipped(MEMBERS).replace(b"x" * 100, b"y" * 100, 1), "is damaged"),
        (zipped({"other/1.jpg": b""}), "does not hold val2017"),
    ],
)
def test_without_a_checksum_the_zip_itself_is_checked(server, archive, tmp_path, served, said):
    server.content, server.gives = served, len(served)
    with pytest.raises(YoloAttnError, match=said):
        download(tmp_path, [Archive(server.url, None, "val2017")])
    assert content(tmp_path) == {}, "the next call would take it for complete"


def test_no_server_is_one_line(archive, tmp_path):
    with pytest.raises(YoloAttnError, match="cannot download"):
        download(tmp_path / "new", [Archive("http://127.0.0.1:9/val2017.zip", None, "val2017")])


def test_annotations_are_unpacked_beside_others(server, archive, tmp_path):
    names = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
    server.content = zipped(dict.fromkeys(names, b"{}"))
    server.gives = len(server.content)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "mine.json").write_text("[]")
    download(tmp_path, [Archive(server.url, None, names[0])])
    assert set(content(tmp_path)) == {*names, "annotations/mine.json"}


def test_offline_nothing_is_tried(tmp_path, capsys):
    assert cli.main(["subset", "--coco", str(tmp_path / "coco"), "-o", str(tmp_path / "out"), "--download"]) == 2
    said = capsys.readouterr().err
    assert "YOLO_OFFLINE is set" in said
    assert all(archive.name in said for archive in COCO_2017)
    assert list(tmp_path.iterdir()) == []


def test_a_json_is_no_place_to_download_to(tmp_path):
    with pytest.raises(YoloAttnError, match="is downloaded into a folder"):
        download(tmp_path / "x.json")
