"""The `deploy` command: from the process's arguments to its exit code.

Owns how the process starts and ends. It answers ``--version`` itself, because scripts ask that often
and everything else has to import more.
"""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command line and exit with the code that `docs/cli-output.md` documents."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from orchestrator import __version__  # noqa: PLC0415 - the fast path

        sys.stdout.write(f"deploy {__version__}\n")
        return
    from orchestrator.cli.run import run  # noqa: PLC0415 - the fast path

    code = run(sys.argv[1:])
    with contextlib.suppress(BrokenPipeError):  # whoever read the output has seen enough
        sys.stdout.flush()
        sys.stderr.flush()
    # At once: whatever had to be closed is closed, Python would take 60 ms to unload its modules and
    # would wait for threads that are still connecting to hosts.
    os._exit(code)


if __name__ == "__main__":
    main()
