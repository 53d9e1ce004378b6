"""Download COCO 2017 from its authors' server: resume, verify the checksum, unpack."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.errors import YoloAttnError

TIMEOUT = 15  # seconds without a byte
BLOCK = 1 << 20
REPORT_EVERY = 1 << 28  # bytes
ATTEMPTS = 5


@dataclass(frozen=True)
class Archive:
    """A zip file to download.

    Args:
        url: Its address.
        md5: Its checksum, as many public projects state it for COCO; None: not checked.
        makes: File or folder that shows that the archive is unpacked.
    """

    url: str
    md5: str | None
    makes: str

    @property
    def name(self) -> str:
        """Return the file name."""
        return self.url.rpartition("/")[2]


COCO_2017 = (
    Archive(
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        "f4bbac642086de4f52a3fdda2de5fa2c",
        "annotations/instances_train2017.json",
    ),
    Archive("http://images.cocodataset.org/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", "val2017"),
    Archive("http://images.cocodataset.org/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017"),
)


def download(
    folder: Path, archives: Sequence[Archive] = COCO_2017, log: Callable[[str], None] = lambda line: None
) -> None:
    """Download and unpack missing archives; an archive is deleted once it is unpacked.

    Args:
        folder: Target folder; created if it is missing.
        archives: Archives to download.
        log: Called with each line of progress.

    Raises:
        YoloAttnError: There is no network, or downloads are disabled, or a file is not the expected one.
    """
    if folder.suffix.lower() in (".json", ".yaml", ".yml"):
        raise YoloAttnError(f"COCO 2017 is downloaded into a folder, not into {folder}.")
    wanted = [a for a in archives if not (folder / a.makes).exists() and not (folder / "images" / a.makes).exists()]
    if not wanted:
        return
    if os.environ.get("YOLO_OFFLINE", "").lower() in ("1", "true"):
        names = ", ".join(archive.name for archive in wanted)
        raise YoloAttnError(f"YOLO_OFFLINE is set, so nothing is downloaded. Unpack {names} into {folder} yourself.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for archive in wanted:
            unpack(fetch(archive, folder, log), archive, folder, log)
    except OSError as error:
        raise YoloAttnError(f"cannot write to {folder}: {error.strerror or error}.") from error


def fetch(archive: Archive, folder: Path, log: Callable[[str], None] = lambda line: None) -> Path:
    """Download one archive, resuming an earlier attempt, and verify it.

    Returns:
        Path of the complete archive.

    Raises:
        YoloAttnError: It cannot be reached, or it is not what was expected; a wrong file is deleted.
    """
    done, part = folder / archive.name, folder / f"{archive.name}.part"
    if done.is_file():
        return done
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(archive, part, log)
            break
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            gained = part.exists() and part.stat().st_size > before
            if not gained or attempt == ATTEMPTS:
                raise YoloAttnError(
                    f"cannot download {archive.url} ({getattr(error, 'reason', None) or error}). The part so far is "
                    "kept: the same command resumes from there."
                ) from error
    log(f"{archive.name}: checking")
    _check(archive, part)
    os.replace(part, done)
    return done


def _receive(archive: Archive, part: Path, log: Callable[[str], None]) -> None:
    """Append the missing bytes to `part`; raise if the connection ends early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file is complete
            return
        raise
    with answer, part.open("ab" if answer.status == http.HTTPStatus.PARTIAL_CONTENT else "wb") as file:
        total = file.tell() + int(answer.headers.get("Content-Length", 0))
        told = file.tell()
        while block := answer.read(BLOCK):
            file.write(block)
            if file.tell() - told >= REPORT_EVERY:
                told = file.tell()
                log(f"{archive.name}: {told / 1e9:.1f} of {total / 1e9:.1f} GB")
    if part.stat().st_size < total:
        raise http.client.IncompleteRead(b"", total - part.stat().st_size)


def _check(archive: Archive, part: Path) -> None:
    seen = hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file:
        while block := file.read(BLOCK):
            seen.update(block)
    if archive.md5 is not None and seen.hexdigest() != archive.md5:
        part.unlink()
        raise YoloAttnError(
            f"{archive.url} is not what was expected: MD5 {seen.hexdigest()}, not {archive.md5}. It was deleted; "
            "the same command fetches it again."
        )
    if not zipfile.is_zipfile(part):
        part.unlink()
        raise YoloAttnError(f"{archive.url} is not a zip file. It was deleted.")


def unpack(path: Path, archive: Archive, folder: Path, log: Callable[[str], None] = lambda line: None) -> None:
    """Unpack an archive and delete it; `archive.makes` appears last, and complete.

    Raises:
        YoloAttnError: It is damaged.
    """
    log(f"{archive.name}: unpacking")
    partial = folder / f".{archive.name}.unpacking"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as file:
            file.extractall(partial)  # verifies the CRC of every member
        if not (partial / archive.makes).exists():
            raise zipfile.BadZipFile(f"it does not hold {archive.makes}")
        _move(partial, folder, archive)
    except (zipfile.BadZipFile, EOFError) as error:
        path.unlink()
        raise YoloAttnError(f"{path.name} is damaged ({error}). It was deleted; fetch it again.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    path.unlink()


def _move(partial: Path, folder: Path, archive: Archive) -> None:
    made = partial / archive.makes
    beside = [p for p in made.parent.iterdir() if p.is_file() and p != made] if made.is_file() else []
    for each in (*beside, made):  # `archive.makes` is moved last
        target = folder / each.relative_to(partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(each, target)
