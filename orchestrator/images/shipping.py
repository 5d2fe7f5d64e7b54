"""The controller's side of ``load``: offer an image to a host and send the layers it lacks.

Owns the conversation. It must not know where layers come from, nor why the image is wanted there.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from orchestrator.errors import ProtocolViolation
from orchestrator.images.source import LayerStream
from orchestrator.ports import Call, ImageSource, Session
from orchestrator.protocol.messages import LayersWanted, Loaded

Progress = Callable[[str, int, int], None]
"""``(phase, bytes sent, bytes to send as far as known)``; ``compressing``, ``sending`` or ``loading``."""


def ship(
    session: Session,
    source: ImageSource,
    image: str,
    project: str,
    epoch: int,
    *,
    on_progress: Progress = lambda _phase, _sent, _total: None,
) -> int:
    """Make sure the host has ``image``, sending only the layers it lacks.

    Returns:
        Bytes of layers sent; 0 when the image was there already.

    Raises:
        RequestFailed: The host refused it (no space, lease lost, digest mismatch, ...).
        ApplyFailed: A layer cannot be found.
        HostError: The session is gone or the host misbehaved.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    offer = source.offer(image)
    offer = replace(offer, project=project, epoch=epoch, tag=tag_of(offer.config, project))
    call = session.request(offer, on_progress=answers.put, on_done=answers.put)
    try:
        wanted = answers.get()
        sent = 0
        # Anything else: the call ended before it said what it wants, and its result says why.
        if isinstance(wanted, LayersWanted):
            pieces = source.blobs(image, wanted)
            sent = _send(call, pieces, wanted, ended=lambda: not answers.empty(), on_progress=on_progress)
        loaded = call.result()
    except ValueError as error:
        call.cancel()
        raise ProtocolViolation(session.host, str(error)) from error
    except BaseException:
        call.cancel()
        raise
    if not isinstance(loaded, Loaded) or loaded.image != image:
        raise ProtocolViolation(session.host, f"the host loaded something else than image {image}")
    return sent


def tag_of(config: str, project: str) -> str:
    """Return the name of a built image on its hosts, as on its builder; nothing for a pulled one.

    Nothing is run by it: it keeps the engine's own clean-up of nameless images away, says what an image
    is, and marks the build the image came from.
    """
    try:
        labels = json.loads(config)["config"]["Labels"]
        name, build = labels["deploy.image"], labels["deploy.build"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f"deploy.local/{project}/{name}:{build[:20]}"


def _send(
    call: Call,
    source: AbstractContextManager[Iterator[bytes]],
    wanted: LayersWanted,
    *,
    ended: Callable[[], bool],
    on_progress: Progress,
) -> int:
    sent = 0
    if wanted.wanted and not wanted.present:
        on_progress("compressing", 0, 0)
        with source as pieces:
            for piece in pieces:
                if ended():
                    return sent
                call.send_body(piece)
                sent += len(piece)
                on_progress("sending", sent, pieces.total if isinstance(pieces, LayerStream) else 0)
        on_progress("loading", sent, sent)
    call.end_body()
    return sent
