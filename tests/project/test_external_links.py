"""Links to other sites have the form of addresses; what the check says of sites is tried against a local one."""

import importlib.util
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.paths import ROOT

_SPEC = importlib.util.spec_from_file_location("check_links", ROOT / ".ci" / "check_links.py")
check_links = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check_links)


def test_no_link_of_the_repository_is_malformed(capsys):
    files = check_links.files()
    assert {"README.md", "NOTICE", "docs/index.md"} <= {file.relative_to(ROOT).as_posix() for file in files}
    assert len(check_links.collect(files)) > 40
    assert check_links.main(offline=True) == 0, capsys.readouterr().out


def test_addresses_are_found_without_what_surrounds_them():
    text = '[a](https://a.org/b). <https://c.org>, (see https://d.org/e_(f)), `https://g.org/h`; "https://i.org/\\n"'
    assert check_links.urls_in(text) == [
        "https://a.org/b", "https://c.org", "https://d.org/e_(f)", "https://g.org/h", "https://i.org/",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://arxiv.org/abs/1709.01507", None),
        ("https://doi.org/10.1016/j.engappai.2023.106442", None),
        ("http://arxiv.org/abs/1709.01507", "not https"),
        ("https://arxiv.org/abs/170901507", "not an address of arxiv.org"),
        ("https://doi.org/1016/j", "not an address of doi.org"),
        ("https://localhost/a", "not a host"),
        (f"{check_links.OWN}/blob/main/README.md", None),
        (f"{check_links.OWN}/blob/main/none.md", "not a file of this repository"),
    ],
)
def test_faults_of_form(url, said):
    assert check_links.fault(url) == said


@pytest.fixture
def site():
    """A local site that answers with the status in the path."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path.strip("/")))
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_answers_of_a_site(site):
    assert [check_links.ask(f"{site}/{status}") for status in (200, 404, 410, 403)] == [
        "ok", "gone", "gone", "status 403",
    ]  # fmt: skip


def test_a_site_that_is_not_there():
    assert check_links.ask("http://127.0.0.1:1/").startswith("no answer")


@pytest.mark.parametrize(("said", "code"), [("ok", 0), ("gone", 1), ("status 403", 0), ("no answer: x", 2)])
def test_exit_codes(said, code, monkeypatch):
    monkeypatch.setattr(check_links, "ask", lambda url: said)
    assert check_links.main(offline=False) == code
