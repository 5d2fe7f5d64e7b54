"""The write path of the journal, broken at every system call."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import durable
from orchestrator.agent.durable import sweep, write


class Crash(BaseException):
    """The power went."""


@pytest.fixture
def calls(monkeypatch):
    """Record the calls of the write path; ``calls.fail_at = n`` makes the n-th the last one."""

    class Calls(list):
        fail_at = -1

    recorded = Calls()

    def intercept(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            recorded.append(name)
            if len(recorded) - 1 == recorded.fail_at:
                raise Crash(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(durable.os, name, call)

    for name in ("open", "fchmod", "write", "fsync", "close", "replace"):
        intercept(name)
    return recorded


def test_the_order_is_write_sync_rename_sync(tmp_path, calls):
    """Content reaches the disk before its name does, and the name before we say so."""
    write(tmp_path / "a", b"x")
    important = [name for name in calls if name in ("write", "fsync", "replace")]
    assert important == ["write", "fsync", "replace", "fsync"]


@pytest.mark.parametrize("step", range(9))
def test_a_crash_at_any_step_leaves_the_old_or_the_new(tmp_path, calls, step):
    """Never a mixture, never nothing."""
    path = tmp_path / "record"
    path.write_bytes(b"old")
    calls.fail_at = step
    try:
        write(path, b"new content")
        finished = True
    except Crash:
        finished = False
    assert path.read_bytes() in (b"old", b"new content")
    if finished:
        assert path.read_bytes() == b"new content"
        assert step >= len(calls)


@pytest.mark.parametrize("step", range(9))
def test_a_killed_writer_leaves_what_sweep_removes(tmp_path, calls, step, monkeypatch):
    """A process that is killed cleans nothing up; its leftovers are told apart and removed."""
    monkeypatch.setattr(durable, "_discard", lambda _: None)
    path = tmp_path / "record"
    calls.fail_at = step
    with contextlib.suppress(Crash):
        write(path, b"new content")
    monkeypatch.undo()
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] in ([], ["record"])


def test_short_writes_are_completed(tmp_path, monkeypatch):
    """A write may take less than it was given."""
    real = os.write
    monkeypatch.setattr(durable.os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    write(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_full_disk_leaves_the_old(tmp_path, monkeypatch):
    """An error is told, and nothing is half-written or left behind."""
    write(tmp_path / "a", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_files_are_private_from_the_first_byte(tmp_path):
    """No moment in which others could read; the folder neither."""
    write(tmp_path / "new" / "a", b"x", mode=0o640)
    assert (tmp_path / "new" / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_of_several_that_create_one_wins(tmp_path):
    """``create`` never replaces."""
    assert durable.create(tmp_path / "key", b"first")
    assert not durable.create(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


@given(st.binary(max_size=300_000))
def test_what_is_written_is_read(tmp_path_factory, data):
    """Any bytes."""
    path = tmp_path_factory.mktemp("d") / "a"
    write(path, data)
    assert path.read_bytes() == data
