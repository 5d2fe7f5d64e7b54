"""The one place that imports paramiko, and pays as little for it as possible.

paramiko imports ``invoke``, which is a third of its import time and serves only ``Match exec`` of an
OpenSSH configuration; it also copes with its absence. So it is absent while paramiko is imported, and a
stand-in does its one task, without invoke's habit of reading this process's own stdin.
"""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

_lock = threading.Lock()
_NULL = logging.NullHandler()


@dataclass(frozen=True)
class _Ran:
    """What paramiko looks at of a command that ended."""

    ok: bool


class _Invoke:
    """Runs the command of a ``Match exec``."""

    @staticmethod
    def run(command: str, **_options: Any) -> _Ran:
        """Run ``command`` by a shell, as OpenSSH does, and say whether it succeeded."""
        quiet = subprocess.DEVNULL
        ended = subprocess.run(["/bin/sh", "-c", command], check=False, stdin=quiet, stdout=quiet)
        return _Ran(ended.returncode == 0)


def load() -> Any:
    """Return the ``paramiko`` module."""
    with _lock:
        if "paramiko" not in sys.modules:
            # Without a handler of its own, what paramiko logs would be printed to stderr.
            logging.getLogger("paramiko").addHandler(_NULL)
            present = sys.modules.get("invoke")
            sys.modules["invoke"] = None  # type: ignore[assignment]  # documented: makes its import fail
            try:
                importlib.import_module("paramiko")
            finally:
                del sys.modules["invoke"]
                if present is not None:
                    sys.modules["invoke"] = present
        paramiko = importlib.import_module("paramiko")
        paramiko.config.invoke = _Invoke  # where its import would have been
        return paramiko
