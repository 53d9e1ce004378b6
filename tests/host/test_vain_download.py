"""The check of mixed precision does not try to download its model where that cannot succeed."""

from pathlib import Path

import pytest
from ultralytics import utils
from ultralytics.utils import downloads

from yolo_attn.host.trainer import no_vain_download


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """Collect what Ultralytics would try to download."""
    files = []
    monkeypatch.setattr(downloads, "attempt_download_asset", lambda file, *_: files.append(Path(file)) or str(file))
    monkeypatch.setattr(utils, "WEIGHTS_DIR", tmp_path)
    return files


def test_offline_it_is_not_tried(tried, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "ONLINE", False)
    with no_vain_download(), pytest.raises(ConnectionError, match=r"yolo26n\.pt"):
        downloads.attempt_download_asset(tmp_path / "yolo26n.pt")
    assert tried == []
    downloads.attempt_download_asset(tmp_path / "yolo26n.pt")  # outside, all is as ever
    assert tried == [tmp_path / "yolo26n.pt"]


def test_it_is_used_where_it_is_and_tried_where_it_can_succeed(tried, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "ONLINE", False)
    (tmp_path / "there.pt").touch()
    with no_vain_download():
        for file in (tmp_path / "there.pt", Path("elsewhere.pt")):
            downloads.attempt_download_asset(file)
        monkeypatch.setattr(utils, "ONLINE", True)
        downloads.attempt_download_asset(tmp_path / "yolo26n.pt")
    assert [file.name for file in tried] == ["there.pt", "elsewhere.pt", "yolo26n.pt"]


def test_mixed_precision_stays_on_as_after_a_failed_download(tried, monkeypatch):
    import torch
    from ultralytics.utils import checks

    monkeypatch.setattr(utils, "ONLINE", False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")

    class Model:
        @staticmethod
        def parameters():
            yield type("Parameter", (), {"device": torch.device("cuda")})

    with no_vain_download():
        assert checks.check_amp(Model()) is True
    assert tried == []
