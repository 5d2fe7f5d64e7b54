"""Processes end for certain, and what a host says is heard, without root."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from orchestrator.lab import processes
from orchestrator.lab.processes import LabError


def test_words_are_heard_one_by_one():
    """Then silence, when the channel is closed."""
    read, write = os.pipe()
    os.write(write, b"42\nready\n")
    os.close(write)
    assert [processes.hear(read) for _ in range(3)] == ["42", "ready", ""]
    os.close(read)


def test_end_takes_also_what_ignores_sigterm():
    """A polite request first, then force; pids that are gone are passed over."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        processes.end([child.pid, 0], polite=0.05)
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, os.WNOHANG)
        processes.end([child.pid])


def test_end_waits_for_a_polite_process():
    """One that ends by itself is not killed."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        processes.end([child.pid], polite=30)
        assert not os.path.exists(f"/proc/{child.pid}")  # noqa: PTH110 - not a path of ours


def test_only_boot_scripts_below_the_folder_are_found(tmp_path):
    """An ordinary process with such an argument is none of ours."""
    script = tmp_path / "boot"
    with subprocess.Popen(["sh", "-c", "read x", str(script)], stdin=subprocess.PIPE) as other:
        assert processes.find(tmp_path) == ()
        assert (other.pid, ["sh", "-c", "read x", str(script)]) in list(processes.command_lines())
        other.send_signal(signal.SIGKILL)


def test_descriptors_of_the_caller_are_not_handed_on():
    """Such as a pipe of make, which would wait until the hosts end."""
    read, write = os.pipe()
    os.set_inheritable(write, 1)
    assert write in processes._inherited()
    assert read not in processes._inherited()
    os.close(read)
    os.close(write)


def test_a_failing_tool_shows_what_it_said():
    """The command line and its last words are in the context."""
    with pytest.raises(LabError, match="cannot try") as failure:
        processes.call(["sh", "-c", "echo no luck >&2; exit 2"], why="try")
    assert failure.value.context[-1] == "no luck"
    with pytest.raises(LabError, match="cannot try: no-such-tool is not installed"):
        processes.call(["no-such-tool"], why="try")
