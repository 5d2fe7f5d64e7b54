"""Where secrets come from, and that they stay out of sight."""

from __future__ import annotations

import pickle
import sys
import traceback

import pytest

from orchestrator.errors import RequestError
from orchestrator.spec import secret_source
from orchestrator.spec.model import Secret
from orchestrator.spec.secret_source import SecretValue, resolve_secret

HUSH = "correct-horse"


def secret(**source):
    """Return a secret called DB with ``source``."""
    return Secret.model_validate({"name": "DB", "from": source})


def resolve(directory, environ=None, **source):
    """Return the revealed value of a secret with ``source``."""
    return resolve_secret(secret(**source), environ=environ or {}, directory=directory).reveal()


def python(code):
    """Return a command that runs Python code."""
    return [sys.executable, "-c", code]


def test_sources(tmp_path):
    """Environment, file (byte for byte) and command (less one newline)."""
    (tmp_path / "key").write_bytes(b"\x00\xffx\n")
    assert resolve(tmp_path, {"A": HUSH}, env="A") == HUSH.encode()
    assert resolve(tmp_path, file="key") == b"\x00\xffx\n"
    assert resolve(tmp_path, file=str(tmp_path / "key")) == b"\x00\xffx\n"
    assert resolve(tmp_path, command=python("print('a b\\n')")) == b"a b\n"


def test_a_command_gets_the_environment_and_directory_and_no_shell(tmp_path):
    """It runs where the spec is, with this command's variables; a shell's characters mean nothing."""
    code = "import os, sys; print(os.getcwd(), os.environ['A'], sys.argv[1])"
    value = resolve(tmp_path, {"A": "1"}, command=[*python(code), "$(id); `x`"])
    assert value.decode() == f"{tmp_path} 1 $(id); `x`"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"env": "NOPE"}, "cannot get the secret DB: the variable NOPE is not set"),
        ({"env": "EMPTY"}, "cannot get the secret DB: its value is empty"),
        ({"file": "nope"}, "no such file or directory"),
        ({"file": "."}, "is a directory"),
        ({"command": []}, "its command is empty"),
        ({"command": ["/nope/x", HUSH]}, "cannot run the command /nope/x: no such file or directory"),
        ({"command": python(f"import sys; print('{HUSH}'); sys.exit(3)")}, "failed with exit status 3"),
        ({"command": python("pass")}, "its value is empty"),
        ({"command": python(f"print('{HUSH}' * 100000)")}, "larger than"),
    ],
)
def test_errors_name_the_secret_and_no_value(tmp_path, source, message):
    """Neither the message nor the traceback of a failure holds a value."""
    with pytest.raises(RequestError) as caught:
        resolve(tmp_path, {"EMPTY": "", "OTHER": HUSH}, **source)
    assert message in str(caught.value)
    shown = "".join(traceback.format_exception_only(caught.value)) + str(caught.value.hint)
    assert HUSH not in shown
    assert caught.value.__suppress_context__


def test_a_slow_command_is_stopped(tmp_path, monkeypatch):
    """A password manager that waits for ever does not."""
    monkeypatch.setattr(secret_source, "COMMAND_TIMEOUT", 0.05)
    with pytest.raises(RequestError, match="took longer"):
        resolve(tmp_path, command=python("import signal; signal.pause()"))


def test_values_do_not_show():
    """Not in repr, str, format, containers or pickles; comparing and measuring work."""
    value = SecretValue(HUSH.encode())
    for shown in (repr(value), str(value), f"{value}", f"{[value]}"):
        assert HUSH not in shown
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(value)
    assert value == SecretValue(HUSH.encode()) != SecretValue(b"other")
    assert value != HUSH
    assert len({value, SecretValue(HUSH.encode())}) == 1
    assert len(value) == len(HUSH)
