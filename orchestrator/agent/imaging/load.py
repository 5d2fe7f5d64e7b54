"""``load``: take the layers this host lacks and hand the image to its engine while they arrive.

Owns the handler. The engine's own `load` takes an archive that lacks the files of layers whose chain id
it has: it never opens them (engine 20.10, classic store; 0.06 s for a small layer on a base of 110 MB).
Engines with another store take whole images only, and are sent them.

The engine makes nothing of an archive before it has all of it. So the request is broken off when
anything is wrong with what arrives, always in the middle of a layer, and nothing is left there of it.

One image is loaded at a time on a host: two that share a base would both ask for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import tarfile
import threading
import time
from pathlib import Path
from typing import Iterator, List, Sequence, Set

from orchestrator.agent import discover
from orchestrator.agent.engine import Engine, EngineError, Response
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.imaging.describe import CONTAINERD, CONTAINERD_HINT, image_id, inspect
from orchestrator.agent.imaging.find import give_name, progress
from orchestrator.agent.imaging.spool import Receiver, Spool, no_space
from orchestrator.agent.imaging.store import ImageStore, chain_ids, diff_ids
from orchestrator.agent.paths import private_directory
from orchestrator.protocol.layers import LayerBegins, LayerData, LayerReader
from orchestrator.protocol.messages import LayersWanted, Loaded, LoadImage

WHOLE_IMAGE = "whole image: this engine takes no part of one"
_turn = threading.Lock()


def load(params: LoadImage, context: Context) -> Loaded:
    """Load the image; nothing is left half-loaded, and what has arrived is kept for the next try.

    Raises:
        Refusal: ``digest-mismatch``, ``no-space``, ``bad-request``, ``cancelled`` or ``engine``.
    """
    if f"sha256:{hashlib.sha256(params.config.encode()).hexdigest()}" != params.image:
        raise Refusal("digest-mismatch", f"the configuration is not that of image {params.image}")
    if _present(params, context):
        return Loaded(params.image, loaded=False)
    folder = private_directory(context.paths.layers)
    with _alone(folder, context):
        if _present(params, context):
            return Loaded(params.image, loaded=False)
        spool = Spool(folder)
        missing, note = _missing(context.engine, diff_ids(params.config))
        context.progress(LayersWanted(tuple(spool.wanted(diff_id) for diff_id in missing), note=note))
        archive = _Archive(params, context, spool, missing)
        _hand_over(params, context, archive)
        archive.forget()
        spool.sweep()
    return Loaded(params.image, loaded=True)


def _present(params: LoadImage, context: Context) -> bool:
    found = inspect(context, params.image)
    if found is None:
        return False
    if params.tag and params.tag not in (found.get("RepoTags") or ()):
        give_name(context, params.image, params.tag)
    context.progress(LayersWanted(present=True))
    return True


@contextlib.contextmanager
def _alone(folder: Path, context: Context) -> Iterator[None]:
    """Wait for our turn among this process's requests and other agents on this host."""
    while not _turn.acquire(timeout=0.2):
        context.check_cancelled()
    try:
        with (folder / "lock").open("wb") as lock:
            while not _try_lock(lock.fileno()):
                context.check_cancelled()
                time.sleep(0.05)
            yield
    finally:
        _turn.release()


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _missing(engine: Engine, wanted: Sequence[str]) -> "tuple[List[str], str]":
    """Return the layers the engine needs, base first, and why when it needs more than it lacks."""
    image_store = discover.info(engine).image_store
    if image_store == "containerd":
        raise Refusal("engine", f"cannot load images: {CONTAINERD}", hint=CONTAINERD_HINT)
    if image_store != "classic":
        return list(wanted), WHOLE_IMAGE
    chains = chain_ids(tuple(wanted))
    store = ImageStore.of(engine)
    if store.readable:
        have = {chain for chain in chains if store.has_layer(chain)}
    else:
        have = _chains_of_images(engine)
    return [diff_id for diff_id, chain in zip(wanted, chains) if chain not in have], ""


def _chains_of_images(engine: Engine) -> Set[str]:
    """Return the chain ids of all images, where the engine's files cannot be read."""
    chains: Set[str] = set()
    for image in engine.get("/images/json") or ():
        try:
            found = engine.get(f"/images/{image['Id']}/json")
        except EngineError as error:
            if error.not_found:
                continue
            raise
        chains.update(chain_ids(tuple((found.get("RootFS") or {}).get("Layers") or ())))
    return chains


class _Archive:
    """A docker-archive that has the files of the ``missing`` layers only, made of what arrives."""

    def __init__(self, params: LoadImage, context: Context, spool: Spool, missing: Sequence[str]) -> None:
        self._params = params
        self._context = context
        self._spool = spool
        self._missing = tuple(missing)
        self.size = 0
        """Bytes of the layers that have begun to arrive, uncompressed."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive.

        Raises:
            Refusal: What arrives is not what was asked for, or damaged; or the request was cancelled.
            WireError: It is no stream of layers.
        """
        image, config = self._params.image, self._params.config
        names = [f"{_hex(diff_id)}.tar" for diff_id in diff_ids(config)]
        tags = [self._params.tag] if self._params.tag else None
        manifest = [{"Config": f"{_hex(image)}.json", "RepoTags": tags, "Layers": names}]
        yield _file(f"{_hex(image)}.json", config.encode())
        yield _file("manifest.json", json.dumps(manifest).encode())
        yield from self._layers()
        yield bytes(2 * tarfile.BLOCKSIZE)

    def forget(self) -> None:
        """Drop what has arrived."""
        for diff_id in self._missing:
            self._spool.discard(diff_id)

    def _layers(self) -> Iterator[bytes]:
        reader, expected = LayerReader(), list(self._missing)
        with contextlib.ExitStack() as stack:
            receiver: Receiver
            for piece in self._context.body():
                for event in reader.receive(piece):
                    if isinstance(event, LayerBegins):
                        if not expected or event.layer.diff_id != expected.pop(0):
                            raise Refusal("bad-request", "a layer came that was not asked for")
                        receiver = stack.enter_context(self._spool.receive(event.layer))
                        self.size += receiver.size
                        yield _header(f"{_hex(event.layer.diff_id)}.tar", receiver.size)
                        yield from receiver.kept()
                    elif isinstance(event, LayerData):
                        yield from receiver.take(event.data)
                    else:
                        yield receiver.finish() + _padding(receiver.size)
                        stack.close()
            reader.close()
        if expected:
            raise Refusal("bad-request", f"{len(expected)} layers did not come")


def _hand_over(params: LoadImage, context: Context, archive: _Archive) -> None:
    headers = {"Content-Type": "application/x-tar"}
    try:
        with context.engine.stream("POST", "/images/load", None, archive, headers, timeout=0) as response:
            _await_verdict(response, params, context, archive)
    except EngineError as error:
        if error.no_space:
            raise _engine_is_full(context.engine, archive.size) from error
        raise
    found = inspect(context, params.image)
    if found is None or image_id(found) != params.image:
        raise Refusal("digest-mismatch", f"the engine made another image than {params.image}")


def _await_verdict(response: Response, params: LoadImage, context: Context, archive: _Archive) -> None:
    try:
        for _line in progress(response.documents(), f"cannot load image {params.image}"):
            context.check_cancelled()
    except Refusal as refusal:
        if refusal.failure.code == "no-space":
            raise _engine_is_full(context.engine, archive.size) from refusal
        if refusal.failure.code == "engine":
            # Perhaps a layer does not unpack to its diff id: it must not be gone on from.
            archive.forget()
        raise


def _engine_is_full(engine: Engine, needed: int) -> Refusal:
    root = Path(str(engine.system().get("DockerRootDir") or "/"))
    # The engine unpacks an archive into its temporary folder before it makes layers of it.
    return no_space(root if root.is_dir() else Path("/"), 2 * needed)


def _file(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + _padding(len(content))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _hex(address: str) -> str:
    return address.partition(":")[2]
