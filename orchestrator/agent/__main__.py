"""The agent's command line: ``serve [--root DIR] [--socket PATH]``.

And, started by an agent alone, ``guard --project NAME [--root DIR] [--socket PATH]``: the process that
takes a cutover back which nobody confirms.

Nothing else is taken from anywhere: started by a forced command of SSH, whatever the client asked to
run instead (``SSH_ORIGINAL_COMMAND``) has no effect.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Dict, List, Optional

from orchestrator.agent.paths import default_root
from orchestrator.agent.router import watchman
from orchestrator.agent.serve import serve

USAGE = "usage: agent serve|guard [--root DIR] [--socket PATH] [--project NAME]"
EXIT_USAGE = 64
"""``EX_USAGE`` of sysexits.h."""


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the agent with ``arguments`` (those of the process when ``None``) and return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parse(words)
    if options is None:
        sys.stderr.write(f"{USAGE}\n")
        return EXIT_USAGE
    root = Path(options["--root"]) if options["--root"] else default_root()
    if words[0] == "guard":
        status = watchman.watch(root, options["--project"], options["--socket"])
    else:
        status = serve(root, options["--socket"])
    with contextlib.suppress(OSError):  # nobody may be left to read it
        sys.stderr.flush()
    # At once: no thread may go on changing things for a controller that is gone.
    os._exit(status)


def _parse(words: List[str]) -> Optional[Dict[str, str]]:
    """Return the options, or ``None`` when the words make no sense."""
    options = {"--root": "", "--socket": "", "--project": ""}
    if words[:1] not in (["serve"], ["guard"]) or len(words) % 2 == 0:
        return None
    for name, value in zip(words[1::2], words[2::2]):
        if name not in options:
            return None
        options[name] = value
    return options if (words[0] == "guard") == bool(options["--project"]) else None


if __name__ == "__main__":
    sys.exit(main())
