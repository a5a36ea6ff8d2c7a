"""The lock of a run folder, also where the file system has none; and what it leaves of its process."""

from __future__ import annotations

import errno
import fcntl
import re
import subprocess
import sys
import threading
import warnings

import pytest

from batch.errors import Refused, StorageError
from batch.run_folder import RunFolder
from batch.store import lock
from tests.reading import ROOT


def without_locks(number):
    def flock(fd, operation):
        raise OSError(number, "no locks")

    return flock


@pytest.mark.parametrize("number", sorted(lock.NO_LOCKS))
def test_without_locks_a_file_stands_for_one_and_that_is_said(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", without_locks(number))
    run = RunFolder(tmp_path)
    with lock.held(run) as warning:
        assert "no locks" in str(warning)
        with pytest.raises(Refused), lock.held(run):
            raise AssertionError
    with lock.held(run) as warning:
        assert "no locks" in str(warning)


def test_a_lock_that_fails_is_a_fault_of_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", without_locks(errno.EIO))
    with pytest.raises(StorageError), lock.held(RunFolder(tmp_path)):
        raise AssertionError


def test_locks_at_the_same_time_leave_the_warnings_filters_of_the_process(tmp_path):
    before, threads = list(warnings.filters), []
    for number in range(8):
        (tmp_path / str(number)).mkdir()

    def often(number):
        for _ in range(40):
            with lock.held(RunFolder(tmp_path / str(number))):
                pass

    for number in range(8):
        threads.append(threading.Thread(target=often, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


LOOKING = """
import sys
from pathlib import Path
from batch.run_folder import RunFolder
from batch.store import lock
print(flush=True)
while True:
    lock.holder(RunFolder(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("begin", [lock.worker, lock.beside_workers])
def test_who_looks_whether_anybody_is_at_work_keeps_nobody_out(tmp_path, begin):
    run = RunFolder(tmp_path, "0-of-2")
    run.workers.mkdir()
    with lock.worker(run), lock.beside_workers(run):
        pass

    looking = subprocess.Popen(
        [sys.executable, "-c", LOOKING, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    with looking:
        try:
            assert looking.stdout is not None and looking.stdout.readline()
            for _ in range(1_000):
                with begin(run):
                    pass
        finally:
            looking.kill()


def test_no_module_changes_the_warnings_filters():
    """They are the whole process's, and `catch_warnings` is not made for threads."""
    modules = (ROOT / "batch").rglob("*.py")
    changing = re.compile(r"catch_warnings|simplefilter|filterwarnings|resetwarnings")
    assert not [path for path in modules if changing.search(path.read_text("utf-8"))]
