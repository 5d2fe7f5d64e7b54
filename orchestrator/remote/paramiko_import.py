"""The one place that imports paramiko, and pays as little for it as possible.

paramiko imports ``invoke``, which is a third of its import time and serves only ``Match exec`` of an
OpenSSH configuration; it also copes with its absence. So it is absent while paramiko is imported, and
put in place when a configuration needs it.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
import threading
from collections.abc import Sequence
from typing import Any

_lock = threading.Lock()
_NULL = logging.NullHandler()


def load() -> Any:
    """Return the ``paramiko`` module."""
    with _lock:
        # Without a handler of its own, what paramiko logs would be printed to stderr.
        logging.getLogger("paramiko").addHandler(_NULL)
        if "paramiko" in sys.modules or "invoke" in sys.modules:
            return importlib.import_module("paramiko")
        sys.modules["invoke"] = None  # type: ignore[assignment]  # documented: makes its import fail
        try:
            return importlib.import_module("paramiko")
        finally:
            del sys.modules["invoke"]


def ssh_config(lines: Sequence[str]) -> Any:
    """Return a ``paramiko.SSHConfig`` of ``lines``."""
    paramiko = load()
    if any(re.match(r"\s*match\b.*\bexec\b", line, re.IGNORECASE) for line in lines):
        paramiko.config.invoke = importlib.import_module("invoke")
    return paramiko.SSHConfig.from_text("\n".join(lines))
