"""Where the layers of an image come from: the store, or a host that has them.

Owns :class:`LayerSource`, an :class:`~orchestrator.ports.ImageSource`. It must not know what a host
does with layers. A layer is fetched and compressed once, however many hosts ask for it at the same
time, and each host's stream starts as soon as the first of its layers is there. Nothing is ever held
in memory but one piece at a time.

Hosts are not trusted: what they send is stored under its own hash or refused, and they are given only
layers of the image they were offered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import IO, Any

from orchestrator.errors import ApplyFailed, DeployError, HostError, ProtocolViolation
from orchestrator.images.store import DigestMismatchError, Store
from orchestrator.ports import Call, RequestFailed, Session
from orchestrator.protocol.codec import WireError
from orchestrator.protocol.layers import LayerBegins, LayerData, LayerEnds, LayerEvent, LayerReader, header
from orchestrator.protocol.messages import Layer, LayersWanted, LoadImage, Saved, SaveImage, WantedLayer

PIECE = 1 << 17
"""Bytes of a blob sent at a time."""


class LayerStream:
    """The bytes one host asked for, in the form of :mod:`orchestrator.protocol.layers`."""

    def __init__(self, store: Store, layers: Sequence[tuple[WantedLayer, Future[Layer]]]) -> None:
        self._store = store
        self._layers = layers
        self._pieces = self._stream()

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def __next__(self) -> bytes:
        return next(self._pieces)

    @property
    def total(self) -> int:
        """Bytes that travel for the layers whose size is known so far, without what the host has of them."""
        sizes = 0
        for wanted, future in self._layers:
            if future.done() and not future.cancelled() and future.exception() is None:
                layer = future.result()
                offset = _offset(wanted, layer)
                sizes += len(_header(layer, offset)) + layer.size - offset
        return sizes

    def close(self) -> None:
        """Close what is open; the stream ends."""
        self._pieces.close()

    def _stream(self) -> Generator[bytes, None, None]:
        for wanted, future in self._layers:
            layer = future.result()
            offset = _offset(wanted, layer)
            yield _header(layer, offset)
            with self._open(layer) as file:
                yield from self._blob(file, layer, offset)

    def _open(self, layer: Layer) -> IO[bytes]:
        try:
            return self._store.open(layer)
        except OSError as error:
            raise ApplyFailed(
                f"cannot read a layer from {self._store.root}: {error}", hint="run it again"
            ) from error

    def _blob(self, file: IO[bytes], layer: Layer, offset: int) -> Iterator[bytes]:
        running, at = hashlib.sha256(), 0
        while at < layer.size:
            piece = file.read(min(PIECE, layer.size - at))
            if not piece:
                break
            running.update(piece)
            skipped = max(0, offset - at)
            at += len(piece)
            if skipped < len(piece):
                yield piece[skipped:]
        if f"sha256:{running.hexdigest()}" != layer.digest:
            # The host refuses it too; what matters here is that the next run does not find it again.
            self._store.drop(layer)
            raise ApplyFailed(
                f"a layer in {self._store.root} was damaged and has been dropped", hint="run it again"
            )


class LayerSource:
    """Offers images and opens their layers.

    Args:
        store: Kept layers.
        holders: Sessions of hosts that have an image, best first; called when the store lacks a layer.
    """

    def __init__(self, store: Store, holders: Callable[[str], Iterable[Session]]) -> None:
        self._store = store
        self._holders = holders
        self._mutex = threading.Lock()
        self._fetching: dict[str, Future[Layer]] = {}

    def offer(self, image: str) -> LoadImage:
        """Describe the image; project, epoch and tag are left empty.

        Raises:
            ApplyFailed: Nobody knows the image any more.
        """
        return LoadImage("", 0, image, self._config(image))

    @contextlib.contextmanager
    def blobs(self, image: str, wanted: LayersWanted) -> Iterator[LayerStream]:
        """Open the layers a host asked for.

        Raises:
            ApplyFailed: A layer is neither in the store nor on any host; raised while reading.
            ValueError: A layer is wanted that is not of this image.
        """
        mine = set(diff_ids(self._config(image)))
        strangers = [layer.diff_id for layer in wanted.wanted if layer.diff_id not in mine]
        if strangers:
            raise ValueError(f"layer {strangers[0][:80]} is none of image {image}")
        futures = self._layers(image, [layer.diff_id for layer in wanted.wanted])
        stream = LayerStream(self._store, list(zip(wanted.wanted, futures, strict=True)))
        try:
            yield stream
        finally:
            stream.close()

    def prefetch(self, image: str, wanted: Sequence[str]) -> None:
        """Begin to fetch and compress layers that will be asked for soon; returns at once.

        A failure shows when a host asks for the layer.

        Args:
            image: Image that is whole on one of its holders.
            wanted: Diff ids, such as those a build has just made.
        """
        self._layers(image, wanted)

    def _layers(self, image: str, wanted: Sequence[str]) -> list[Future[Layer]]:
        with self._mutex:
            futures: dict[str, Future[Layer]] = {}
            missing: dict[str, Future[Layer]] = {}
            for diff_id in wanted:
                if diff_id in self._fetching:
                    futures[diff_id] = self._fetching[diff_id]
                    continue
                future: Future[Layer] = Future()
                futures[diff_id] = future
                layer = self._store.layer(diff_id)
                if layer is None:
                    missing[diff_id] = self._fetching[diff_id] = future
                else:
                    future.set_result(layer)
        if missing:
            name = f"fetch {image[:19]}"
            threading.Thread(target=self._fetch, args=(image, missing), name=name, daemon=True).start()
        return [futures[diff_id] for diff_id in wanted]

    def _fetch(self, image: str, missing: dict[str, Future[Layer]]) -> None:
        """Fill ``missing``: every future has a result or an exception at the end."""
        failure: DeployError = ApplyFailed(f"cannot fetch the layers of image {image}")
        try:
            tried = self._ask_holders(image, missing)
            if _open(missing):
                failure = self._lost(image, tried)
        except OSError as error:
            failure = ApplyFailed(f"cannot keep a layer in {self._store.root}: {error}")
        except DeployError as error:
            failure = error
        finally:
            # Also after a defect of ours: whoever waits must not wait for ever.
            with self._mutex:
                for diff_id, future in missing.items():
                    self._fetching.pop(diff_id, None)
                    if not future.done():
                        future.set_exception(failure)

    def _ask_holders(self, image: str, missing: dict[str, Future[Layer]]) -> list[str]:
        tried = []
        for session in self._holders(image):
            left = _open(missing)
            if not left:
                break
            try:
                for layer in self._save(session, image, left):
                    missing[layer.diff_id].set_result(layer)
            except (RequestFailed, HostError) as error:
                tried.append(str(error))
        return tried

    def _save(self, session: Session, image: str, wanted: Sequence[str]) -> Iterator[Layer]:
        """Read layers of ``image`` from a host into the store."""
        call = session.request(SaveImage(image, tuple(wanted)))
        call.end_body()
        open_still = set(wanted)
        try:
            events = _events(call)
            for event in events:
                layer = _announced(session, event, open_still)
                open_still.remove(layer.diff_id)
                yield self._store.add_layer(layer.diff_id, _content(events), layer.size)
            self._keep_config(session, image, call.result())
        except (WireError, DigestMismatchError) as error:
            call.cancel()
            raise ProtocolViolation(session.host, str(error)) from error
        except BaseException:
            call.cancel()
            raise

    def _config(self, image: str) -> str:
        config = self._store.config(image)
        if config is not None:
            return config
        tried = []
        for session in self._holders(image):
            try:
                for _ in self._save(session, image, ()):
                    pass
            except (RequestFailed, HostError) as error:
                tried.append(str(error))
                continue
            config = self._store.config(image)
            if config is not None:
                return config
        raise self._lost(image, tried)

    def _lost(self, image: str, tried: Sequence[str]) -> ApplyFailed:
        """Return the error for an image nobody has, and forget it, so that the next run makes it again."""
        self._store.forget_image(image)
        return ApplyFailed(
            f"cannot find all of image {image}: it is neither kept here nor on a host that was asked",
            hint="run it again: it will be built or pulled anew",
            context=tried,
        )

    def _keep_config(self, session: Session, image: str, saved: Any) -> None:
        if not isinstance(saved, Saved):
            raise ProtocolViolation(session.host, "the host answered something else than an image")
        self._store.add_config(image, saved.config)


def diff_ids(config: str) -> tuple[str, ...]:
    """Return the diff ids an image configuration names, base first; empty when it has none."""
    try:
        found = json.loads(config)["rootfs"]["diff_ids"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(str(item) for item in found) if isinstance(found, list) else ()


def _open(missing: Mapping[str, Future[Layer]]) -> list[str]:
    """Return the layers that are still to come."""
    return [diff_id for diff_id, future in missing.items() if not future.done()]


def _offset(wanted: WantedLayer, layer: Layer) -> int:
    """Return where to go on: only the very blob that was under way can be continued."""
    return wanted.offset if wanted.partial == layer.digest and 0 <= wanted.offset <= layer.size else 0


def _header(layer: Layer, offset: int) -> bytes:
    return header(replace(layer, offset=offset))


def _announced(session: Session, event: LayerEvent, expected: set[str]) -> Layer:
    """Return the layer that ``event`` begins."""
    if not isinstance(event, LayerBegins) or event.layer.diff_id not in expected:
        raise ProtocolViolation(session.host, "the host sent a layer that nobody asked for")
    if event.layer.digest != event.layer.diff_id or event.layer.offset:
        raise ProtocolViolation(session.host, "the host sent a layer in another form than asked for")
    return event.layer


def _events(call: Call) -> Iterator[LayerEvent]:
    reader = LayerReader()
    for piece in call.body():
        yield from reader.receive(piece)
    reader.close()


def _content(events: Iterator[LayerEvent]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, LayerEnds):
            return
        if isinstance(event, LayerData):
            yield event.data
