"""This machine, refusing what Windows refuses: `python -m tests.windows FD` is the program there, forked
for each start (see fork_server).

What Windows lacks is hidden from `batch` alone, as the libraries have other code there.  What it refuses
is refused to everybody: a handle on a folder, to move or remove what is open or mapped, the names that
it keeps to itself, and the bytes of a lock.  A path is still one of this machine.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import fcntl
import importlib
import io
import os
import re
import select
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import filelock

from tests import unix_only

SIGBREAK = int(signal.SIGTTIN)
"""It has this number there, too."""
HEARD: set[int] = {signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV}
HEARD |= {signal.SIGTERM, SIGBREAK}

MOST_SELECTED = 512

ACCESS_DENIED, SHARING_VIOLATION, LOCK_VIOLATION, INVALID_NAME = 5, 32, 33, 123

_REFUSED = re.compile(
    r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|$)', re.IGNORECASE
)
_FREE = ("/dev/", "/proc/", "/sys/")


def main() -> None:
    install()
    from tests import fork_server  # which imports the program, that now is there

    fork_server.serve(int(sys.argv[1]), _speak)


def install(*packages: str) -> None:
    """From now on this process is on Windows, as far as that can be played, for `batch` and `packages`."""
    _lacking_there.update(packages)
    sys.meta_path.insert(0, _NoUvloop())
    builtins.__import__ = _import
    warnings.filterwarnings("error", category=EncodingWarning, module=r"batch\b")
    _files()
    _loop()
    _speak()
    # with a mode for which it does not try whether there are locks at all
    filelock.FileLock = partial(_Lock, mode=0o600)  # type: ignore[assignment]


def _speak() -> None:
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Pipe(1, "w", closefd=False)), sys.stdout.encoding, newline="\r\n"
    )


# what is not there


class _NoUvloop(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "uvloop":
            raise ModuleNotFoundError("there is no uvloop for Windows", name=name)


class _Lacking(ModuleType):
    """A module without what Windows lacks of it, with `more`."""

    def __init__(self, real: ModuleType, more: dict[str, Any]) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(more)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        if name in unix_only.names(self.__name__):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._real, name)


def _signal(number: int, handler: Any) -> Any:
    if number not in HEARD:
        raise ValueError("invalid signal value")
    return _set_handler(number, handler)


def _select(reading: Any, *others: Any) -> Any:
    if len(reading) > MOST_SELECTED:
        raise ValueError("too many file descriptors in select()")
    return select.select(reading, *others)


_set_handler, _real_import = signal.signal, builtins.__import__
_MORE: dict[str, dict[str, Any]] = {
    "select": {"select": _select},
    "signal": {"SIGBREAK": SIGBREAK, "signal": _signal},
}
_lacking_there = {"batch"}
_LACKING = {
    name: _Lacking(importlib.import_module(name), _MORE.get(name, {})) for name in unix_only.LACKING
}


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> Any:
    first, _, inner = name.partition(".")
    who = str((globals or {}).get("__name__")).partition(".")[0]
    if not level and who in _lacking_there:
        if first in unix_only.modules():
            raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
        if first in _LACKING and not (inner and fromlist):
            return _LACKING[first]
    return _real_import(name, globals, locals, fromlist, level)


# files


def _files() -> None:
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    os.open = _checked_open(os.open)
    builtins.open = io.open = _opening(builtins.open)
    for name in ("rename", "replace"):
        setattr(os, name, _moving(getattr(os, name)))
    for name in ("unlink", "remove"):
        setattr(os, name, _removing(getattr(os, name)))
    os.mkdir = _making(os.mkdir)


def _checked_open(call: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, flags: int, *args: Any, **how: Any) -> int:
        _check_name(path, flags & os.O_CREAT)
        if Path(path).is_dir():
            raise _refusal(ACCESS_DENIED, path)
        return call(path, flags, *args, **how)

    return opened


def _opening(call: Callable[..., Any]) -> Callable[..., Any]:
    """Any file; one that is locked as Windows locks, whose first byte nobody else may touch."""

    def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **how: Any) -> Any:
        if not isinstance(file, int):
            _check_name(file, "r" not in mode)
            if how.get("opener") is None and Path(file).is_dir():
                raise _refusal(ACCESS_DENIED, file)
            if os.fspath(file).endswith("lock") and how.get("opener") is None:
                handle = _Handle(file, mode)
                whole: Any = handle if buffering == 0 else io.BufferedRandom(handle)
                return whole if "b" in mode else io.TextIOWrapper(whole, **how)
        return call(file, mode, buffering, *args, **how)

    return opened


class _Pipe(io.FileIO):
    """Where nobody reads any more, Windows finds what is written there invalid."""

    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise OSError(errno.EINVAL, "Invalid argument") from None


class _Handle(io.FileIO):
    """A handle on a file of which another one may hold the first byte."""

    def __init__(self, file: Any, mode: str) -> None:
        super().__init__(file, "r+")
        if "w" in mode:
            self._check()
            self.truncate()

    def _check(self) -> None:
        try:
            fcntl.flock(self.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if self.tell() == 0:
                raise _refusal(LOCK_VIOLATION, self.name) from None
        else:
            fcntl.flock(self.fileno(), fcntl.LOCK_UN)

    def read(self, size: int | None = -1) -> Any:
        self._check()
        return super().read(size)

    def readall(self) -> Any:
        self._check()
        return super().readall()

    def readinto(self, buffer: Any) -> Any:
        self._check()
        return super().readinto(buffer)

    def write(self, data: Any) -> Any:
        self._check()
        return super().write(data)


def _moving(call: Callable[..., None]) -> Callable[..., None]:
    def moved(old: Any, new: Any, **how: Any) -> None:
        _check_name(new, True)
        for path in (old, new):
            if _is_open(path):
                raise _refusal(ACCESS_DENIED, path)
        if call.__name__ == "rename" and os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, "File exists", os.fspath(new))
        call(old, new, **how)

    return moved


def _removing(call: Callable[..., None]) -> Callable[..., None]:
    def removed(path: Any, **how: Any) -> None:
        if _is_open(path):
            raise _refusal(SHARING_VIOLATION, path)
        call(path, **how)

    return removed


def _making(call: Callable[..., None]) -> Callable[..., None]:
    def made(path: Any, *args: Any, **how: Any) -> None:
        _check_name(path, True)
        call(path, *args, **how)

    return made


def _check_name(path: Any, is_new: object) -> None:
    """What is not there yet gets no name that Windows refuses; nothing there is found by one."""
    name = Path(os.fsdecode(path)).name
    if _REFUSED.search(name) and not os.fsdecode(path).startswith(_FREE):
        error: OSError = FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if is_new:
            error = OSError(errno.EINVAL, "Invalid argument", path)
        error.winerror = INVALID_NAME  # type: ignore[attr-defined]
        raise error


def _is_open(path: Any) -> bool:
    """Whether this process has a handle on it, or on something in it, or has mapped it."""
    real = os.path.realpath(path)
    return any(each == real or each.startswith(f"{real}/") for each in _open_paths())


def _open_paths() -> Iterator[str]:
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(handle.readlink())
    with io.FileIO("/proc/self/maps") as maps:
        for line in maps.readall().decode(errors="replace").splitlines():
            yield line.split(maxsplit=5)[-1]


def _refusal(number: int, path: Any) -> PermissionError:
    error = PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
    error.winerror = number  # type: ignore[attr-defined]
    return error


class _Lock(filelock.UnixFileLock):
    """It is gone when it is released."""

    def _release(self) -> None:
        super()._release()
        with suppress(OSError):
            Path(self.lock_file).unlink()


# the loop


def _loop() -> None:
    """That of Windows waits for no descriptors, hears no signals and knows no unix sockets."""

    def lacking(*_: Any, **__: Any) -> Any:
        raise NotImplementedError

    kind = asyncio.SelectorEventLoop
    for name in unix_only.LOOP - {
        "remove_reader",
        "remove_writer",
    }:  # which asyncio itself calls here
        setattr(kind, name, lacking)


if __name__ == "__main__":
    main()
