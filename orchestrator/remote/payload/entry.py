"""``__main__`` of the bundle: starts the agent from bytecode compiled once on this host.

Python never keeps what it compiles out of an archive, and compiling the agent costs more than all it
does in an idle run. So the first start of a bundle puts the bytecode beside it, for the interpreter
that runs it; where that is not possible, the bundle works as it is.
"""
# ruff: noqa: INP001, UP036, PLC0415 - a script for other machines, whose every start pays for imports

import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path

if sys.version_info < (3, 9):
    os.write(1, b"\0deploy:old-python\n")
    sys.exit(69)


def compiled(bundle: Path) -> Path:
    """Return the archive of the bundle's bytecode, made when it is not there yet."""
    path = bundle.with_suffix(f".{sys.implementation.cache_tag}.zip")
    if not path.exists():
        import importlib.util
        import marshal
        import zipfile

        # PEP 552: magic number, flags (0b01: valid without a look at any source), no hash.
        header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
        temporary = Path(f"{path}.{os.getpid()}")
        with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(temporary, "w") as target:
            for name in source.namelist():
                code = compile(source.read(name), f"{bundle}/{name}", "exec", dont_inherit=True)
                target.writestr(f"{name}c", header + marshal.dumps(code))
        temporary.rename(path)
    return path


with contextlib.suppress(OSError):  # a read-only or full disk: slower, and as good
    sys.path.insert(0, str(compiled(Path(sys.argv[0]))))

sys.exit(import_module("orchestrator.agent.__main__").main())
