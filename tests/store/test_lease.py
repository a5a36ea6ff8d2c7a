"""A lock for file systems that have none: taken by one at a time, and lost by whoever was frozen."""

from __future__ import annotations

import errno
import fcntl

import pytest

from batch.errors import Refused, StorageError
from batch.run_folder import RunFolder
from batch.store import lease, lock
from batch.store.files import Disk
from batch.store.lease import MARGIN, TERM, Lease


class Time:
    """Seconds that pass when somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.meanwhile = lambda: None

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def time():
    return Time()


def made(path, time, name="process 1 on a"):
    """A lease that is held, and is renewed by its test alone."""
    held = Lease(path, name, time)
    path.write_bytes(held.content)
    return held


def test_a_lease_that_is_renewed_is_taken_by_nobody(tmp_path, time):
    held = made(tmp_path / "w.lease", time)
    time.meanwhile = held.renew
    assert lease.taken(tmp_path / "w.lease", "process 2 on b", time, time.sleep) is None
    assert not held.is_lost()


def test_a_lease_whose_holder_has_died_is_taken_after_a_term(tmp_path, time):
    made(tmp_path / "w.lease", time)
    mine = lease.taken(tmp_path / "w.lease", "process 2 on b", time, time.sleep)
    assert mine is not None
    assert TERM < time.now < 2 * TERM
    assert not mine.is_lost()
    assert lease.holder(tmp_path / "w.lease") == "process 2 on b"
    mine.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_that_is_given_up_is_free_at_once(tmp_path, time):
    held = made(tmp_path / "w.lease", time)
    time.meanwhile = held.release
    mine = lease.taken(tmp_path / "w.lease", "process 2 on b", time, time.sleep)
    assert mine is not None and time.now < TERM
    mine.release()


def test_of_two_who_saw_one_die_one_takes_it(tmp_path, time):
    path = tmp_path / "w.lease"
    stale = made(path, time)

    def another_takes_it():
        if time.now > TERM and path.read_bytes() == stale.content:
            path.unlink()
            made(path, time, "process 3 on c")

    time.meanwhile = another_takes_it
    assert lease.taken(path, "process 2 on b", time, time.sleep) is None
    assert lease.holder(path) == "process 3 on c"


def test_a_lease_that_was_taken_meanwhile_is_not_taken_away(tmp_path, time):
    path = tmp_path / "w.lease"
    stale = made(path, time).content
    mine = made(path, time, "process 3 on c")
    lease.take_away(path, stale)
    assert not mine.is_lost()
    assert list(tmp_path.iterdir()) == [path]


def test_who_was_frozen_beyond_its_term_changes_nothing(tmp_path, time):
    path = tmp_path / "w.lease"
    held, disk = made(path, time), Disk()
    disk.guard(lambda: lease.lost(held, path))
    disk.put(tmp_path / "kept", [b"1"], tmp_path)
    time.now += TERM - MARGIN + 1
    with pytest.raises(StorageError, match="run out"):
        disk.put(tmp_path / "kept", [b"2"], tmp_path)
    assert (tmp_path / "kept").read_bytes() == b"1"
    assert not held.renew()


def test_whose_lease_another_has_changes_nothing(tmp_path, time):
    path = tmp_path / "w.lease"
    held = made(path, time)
    made(path, time, "process 2 on b")
    assert held.is_lost() and not held.renew()
    held.release()
    assert lease.holder(path) == "process 2 on b"


def test_without_locks_a_worker_holds_a_lease_and_that_is_said(tmp_path, monkeypatch):
    def flock(fd, operation):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    run = RunFolder(tmp_path, "0-of-2")
    run.workers.mkdir()
    with lock.worker(run) as (lost, word):
        assert word is not None and "no locks" in word
        assert lost() is None
        assert list(lock.at_work(run)) == ["0-of-2"]
    assert lock.at_work(run) == {}


def test_a_worker_is_refused_where_its_name_is_taken(tmp_path):
    run = RunFolder(tmp_path, "0-of-2")
    run.workers.mkdir()
    with lock.worker(run) as (lost, word):
        assert word is None and lost() is None
        with pytest.raises(Refused, match="0-of-2"), lock.worker(run):
            raise AssertionError
        with lock.worker(run.of("1-of-2")):
            assert list(lock.at_work(run)) == ["0-of-2", "1-of-2"]
            with pytest.raises(Refused, match="1-of-2"), lock.held(RunFolder(tmp_path)):
                raise AssertionError
