"""The `deploy` command: from the process's arguments to its exit code.

Owns how the process starts and ends. It answers ``--version`` itself, because scripts ask that often
and everything else has to import more.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
"""``errors.Interrupted.exit_code``, without its import."""


def main() -> None:
    """Run the command line and exit with the code that `docs/cli-output.md` documents."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from orchestrator import __version__  # noqa: PLC0415 - the fast path

        sys.stdout.write(f"deploy {__version__}\n")
        return
    from orchestrator.cli.run import run  # noqa: PLC0415 - the fast path

    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        # Python would wait for threads that are still connecting to hosts; the user will not.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
