"""``save``: read layers out of this host's engine.

Owns the handler. Layers travel uncompressed, under their diff id: whoever receives them compresses each
once, for all hosts.
"""

from __future__ import annotations

import hashlib
from typing import IO, Dict, Iterable, Iterator, Tuple

from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.imaging.describe import configuration
from orchestrator.agent.imaging.export import PIECE, export
from orchestrator.agent.imaging.store import ImageStore, TarSplit, UnreadableError, chain_ids, diff_ids
from orchestrator.agent.paths import check_digest, private_directory
from orchestrator.protocol.layers import header
from orchestrator.protocol.messages import Layer, Saved, SaveImage

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"


def save(params: SaveImage, context: Context) -> Saved:
    """Send the layers asked for and return the image's configuration.

    Raises:
        Refusal: ``not-found``: the image or a layer is not here; ``digest-mismatch``: the engine's files
            are not what they were.
    """
    check_digest(params.image[len("sha256:") :], "image id")
    config = configuration(context, params.image)
    chains = dict(zip(diff_ids(config), chain_ids(diff_ids(config))))
    strangers = [layer for layer in params.layers if layer not in chains]
    if strangers:
        raise Refusal("not-found", f"image {params.image} has no layer {strangers[0][:80]}")
    recipes = _recipes(ImageStore.of(context.engine), params.layers, chains)
    for diff_id, (recipe, size) in recipes.items():
        try:
            _send(context, diff_id, size, recipe.content())
        except UnreadableError as error:
            raise Refusal("digest-mismatch", f"cannot read layer {diff_id}: {error}") from error
    left = tuple(layer for layer in params.layers if layer not in recipes)
    if left:
        _export(context, params.image, left)
    return Saved(config)


def _recipes(
    store: ImageStore, wanted: Tuple[str, ...], chains: Dict[str, str]
) -> "Dict[str, Tuple[TarSplit, int]]":
    """Return the layers that can be read from the engine's files, with their size."""
    recipes = {}
    for diff_id in wanted:
        try:
            recipe = store.open_layer(chains[diff_id])
            recipes[diff_id] = (recipe, recipe.size())
        except UnreadableError:
            continue
    return recipes


def _export(context: Context, image: str, wanted: Tuple[str, ...]) -> None:
    with export(context.engine, image, wanted, private_directory(context.paths.layers)) as found:
        for diff_id in wanted:
            path = found.layers[diff_id]
            with path.open("rb", buffering=0) as file:
                _send(context, diff_id, path.stat().st_size, _pieces(file))


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    piece = file.read(PIECE)
    while piece:
        yield piece
        piece = file.read(PIECE)


def _send(context: Context, diff_id: str, size: int, content: Iterable[bytes]) -> None:
    running = hashlib.sha256()
    context.send_body(header(Layer(diff_id, diff_id, size, 0, MEDIA_TYPE)))
    for piece in _joined(content):
        context.check_cancelled()
        running.update(piece)
        context.send_body(piece)
    if f"sha256:{running.hexdigest()}" != diff_id:
        raise Refusal("digest-mismatch", f"the engine's files of layer {diff_id} have changed")


def _joined(content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in larger pieces: a layer of many small files would be many small frames."""
    buffer = bytearray()
    for piece in content:
        buffer += piece
        if len(buffer) >= PIECE:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
