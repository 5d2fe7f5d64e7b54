"""Looking without touching: status, releases, logs, and a command in a running instance.

Owns which instances a look concerns and how their streams are followed. It must not change anything,
nor know how what it finds is shown.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from orchestrator.errors import ApplyFailed, HostError, RequestError
from orchestrator.events import HostFailed, Listener
from orchestrator.inputs import Loaded, load, read_files
from orchestrator.options import Options
from orchestrator.planning.graph import build, document, dot, mermaid, tree
from orchestrator.planning.observed import ACTIVE, Index
from orchestrator.planning.types import Observed, Running
from orchestrator.ports import RequestFailed
from orchestrator.protocol.messages import Exec, Logs, ReleaseRecord
from orchestrator.wiring import Workbench

_PIECE = 65536
_INSTANCE = re.compile(r"(?P<service>[^\[\]]+)(\[(?P<slot>[0-9]{1,6})\])?")


def validate(options: Options) -> Loaded:
    """Read everything a plan would read on this machine, contexts and templates included.

    Raises:
        DeployError: Something is wrong.
    """
    loaded = load(options)
    build(loaded.spec.project)
    read_files(loaded)
    with Workbench(loaded, lambda _event: None) as bench:
        bench.recipes  # noqa: B018 - reading them is the check
        bench.check_placement()
    return loaded


def graph(options: Options, form: str) -> str:
    """Return the dependency graph as ``text``, ``dot``, ``mermaid`` or ``json``.

    Raises:
        SpecError: It has a cycle.
        RequestError: There is no such form.
    """
    made = build(load(options).spec.project)
    if form == "text":
        return "\n".join(tree(made)) + "\n"
    if form == "json":
        import json  # noqa: PLC0415 - this form only

        return json.dumps(document(made), indent=2, sort_keys=True) + "\n"
    if form in ("dot", "mermaid"):
        return dot(made) if form == "dot" else mermaid(made)
    raise RequestError(f"no form is called {form!r}", hint="choose text, dot or mermaid, or add --json")


def status(options: Options, listener: Listener) -> tuple[Observed, float]:
    """Return what runs where, every healthcheck tried once, and when that was (seconds since the epoch)."""
    with Workbench(load(options), listener) as bench:
        return bench.observe(), time.time()


def routes(options: Options, listener: Listener) -> tuple[Observed, float]:
    """Return what every router serves, and when that was (seconds since the epoch)."""
    with Workbench(load(options), listener) as bench:
        return bench.observe(probe=False), time.time()


def history(options: Options, listener: Listener) -> tuple[tuple[ReleaseRecord, ...], str, float]:
    """Return the remembered releases (newest first), the id of the one in force, and the time now."""
    with Workbench(load(options), listener) as bench:
        index = Index(bench.observe(probe=False))
    return index.records, index.current.id if index.current is not None else "", time.time()


def release(options: Options, wanted: str, listener: Listener) -> tuple[ReleaseRecord, ...]:
    """Return every host's record of one release.

    Raises:
        RequestError: No host remembers it.
    """
    with Workbench(load(options), listener) as bench:
        index = Index(bench.observe(probe=False))
    found = tuple(record for report in index.up.values() for record in report.releases if record.id == wanted)
    if not found:
        known = ", ".join(record.id for record in index.records) or "none"
        raise RequestError(f"no host remembers release {wanted!r}", hint=f"remembered are: {known}")
    return found


def logs(
    options: Options,
    wanted: str,
    listener: Listener,
    write: Callable[[str, bytes], None],
    *,
    follow: bool = False,
    tail: int = 100,
    since: str = "",
) -> None:
    """Stream the output of all instances of ``wanted`` into ``write(instance, bytes)``, from many threads.

    Raises:
        RequestError: Nothing of that name is there.
    """
    with Workbench(load(options), listener) as bench:
        chosen = _instances(bench, wanted)
        stop = threading.Event()

        def stream(item: Running) -> None:
            container = item.container
            request = Logs(bench.loaded.name, container.id, tail=tail, follow=follow, since=since)
            call = bench.fleet.session(item.host).request(request)
            call.end_body()
            try:
                for piece in call.body():
                    write(f"{container.service}[{container.slot}] {item.host}", piece)
                    if stop.is_set():
                        return
                call.result()
            except (HostError, RequestFailed) as error:
                listener(HostFailed(item.host, str(error)))

        with ThreadPoolExecutor(max(len(chosen), 1)) as pool:
            try:
                list(pool.map(stream, chosen))
            except KeyboardInterrupt:
                stop.set()
                bench.fleet.close()


def execute(
    options: Options,
    wanted: str,
    command: tuple[str, ...],
    listener: Listener,
    *,
    stdin: BinaryIO | None,
    stdout: BinaryIO,
) -> int:
    """Run ``command`` in a running instance; return its exit code.

    Args:
        options: As for every command.
        wanted: A service (its first running instance is taken) or ``service[slot]``.
        command: Program and arguments; no shell.
        listener: Is told of hosts that fail.
        stdin: Passed on, or ``None`` for nothing.
        stdout: Gets both of the command's outputs.

    Raises:
        RequestError: Nothing of that name runs.
        ApplyFailed: The command could not be run.
    """
    with Workbench(load(options), listener) as bench:
        running = [item for item in _instances(bench, wanted) if item.container.state == "running"]
        if not running:
            raise RequestError(f"{wanted} does not run", hint="see deploy status")
        item = running[0]
        call = bench.fleet.session(item.host).request(Exec(bench.loaded.name, item.container.id, command))

        def feed() -> None:
            while stdin is not None and (piece := stdin.read1(_PIECE)):  # type: ignore[attr-defined]
                call.send_body(piece)
            call.end_body()

        threading.Thread(target=feed, daemon=True).start()
        try:
            for piece in call.body():
                stdout.write(piece)
                stdout.flush()
            return int(call.result().exit_code)
        except RequestFailed as error:
            raise ApplyFailed(str(error), hint=error.failure.hint or None) from error


def _instances(bench: Workbench, wanted: str) -> list[Running]:
    """Return the containers of ``service`` or ``service[slot]``: those that run, else the latest of each."""
    match = _INSTANCE.fullmatch(wanted)
    index = Index(bench.observe(probe=False))
    slots = {
        slot: found
        for slot, found in index.slots.items()
        if match is not None
        and slot[0] == match["service"]
        and (match["slot"] is None or slot[1] == int(match["slot"]))
    }
    if not slots:
        known = ", ".join(sorted({service for service, _ in index.slots})) or "nothing"
        raise RequestError(f"no instance is called {wanted!r}", hint=f"there is: {known}")
    chosen: list[Running] = []
    for found in slots.values():
        active = [item for item in found if item.container.state in ACTIVE]
        chosen += active or [max(found, key=lambda item: item.container.started_at)]
    return chosen
