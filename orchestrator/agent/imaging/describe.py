"""What a builder says of one of its images.

Owns :class:`~orchestrator.protocol.messages.Built` and where its parts come from: the engine's inspect
for the id, its files or its export for the verbatim configuration.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from orchestrator.agent import discover
from orchestrator.agent.engine import EngineError
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.imaging.export import export
from orchestrator.agent.imaging.store import ImageStore, chain_ids, diff_ids
from orchestrator.agent.paths import private_directory
from orchestrator.protocol.messages import Built

CONTAINERD = "this engine keeps them in containerd, where an image has another id than everywhere else"
CONTAINERD_HINT = 'set "features": {"containerd-snapshotter": false} in /etc/docker/daemon.json'


def image_id(found: Dict[str, Any]) -> str:
    """Return the id of an inspected image; Podman leaves the algorithm out."""
    image = str(found.get("Id", ""))
    return image if image.startswith("sha256:") else f"sha256:{image}"


def inspect(context: Context, reference: str) -> Optional[Dict[str, Any]]:
    """Return the engine's inspect of an image, or ``None`` when it has none of that name.

    Raises:
        EngineError: The engine could not be asked.
    """
    try:
        found = context.engine.get(f"/images/{reference}/json")
    except EngineError as error:
        if error.not_found:
            return None
        raise
    return found if isinstance(found, dict) else None


def built(context: Context, reference: str) -> Built:
    """Describe an image.

    Raises:
        Refusal: ``not-found``, or the engine's ids are not those of configurations.
        EngineError: The engine could not be asked.
    """
    found = inspect(context, reference)
    if found is None:
        raise Refusal("not-found", f"the engine has no image {reference}")
    image = image_id(found)
    config = configuration(context, image)
    layers, store = diff_ids(config), ImageStore.of(context.engine)
    sizes = [store.layer_bytes(chain) for chain in chain_ids(layers)]
    return Built(image, config, tuple(zip(layers, sizes)))


def configuration(context: Context, image: str) -> str:
    """Return the verbatim configuration of ``image``, proven by its id.

    Raises:
        Refusal: It cannot be had.
    """
    config = ImageStore.of(context.engine).config(image)
    if config is not None:
        return config
    if discover.info(context.engine).image_store == "containerd":
        raise Refusal("engine", f"cannot describe images: {CONTAINERD}", hint=CONTAINERD_HINT)
    with export(context.engine, image, (), private_directory(context.paths.layers)) as found:
        return found.config
