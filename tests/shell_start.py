"""A start of the program in a shell, in place of the interpreter's: whoever listens forks it (see
program), on these streams, in this folder and with this environment; it ends as that one ends.

`python -IS tests/shell_start.py SOCKET ARGUMENT...` imports as little as can be.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket


def main(path: str, argv: list[str]) -> int:
    """The code with which it ended; a signal's number below 0."""
    fds = [fd for fd in range(3) if _is_open(fd)]
    words = [os.fsencode(word) for word in argv]
    folder = os.getcwdb()  # noqa: PTH109
    asked = marshal.dumps((fds, words, dict(os.environb), folder))
    listening = socket(AF_UNIX, SOCK_STREAM)
    listening.connect(path)
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    with_them = [(SOL_SOCKET, SCM_RIGHTS, rights)] if fds else []
    listening.sendmsg([b"%08x" % len(asked)], with_them)
    listening.sendall(asked)
    return int(listening.recv(16))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2:])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
