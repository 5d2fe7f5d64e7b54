"""What a builder says of one of its images.

Owns :class:`~orchestrator.protocol.messages.Built` and where its parts come from: the engine's inspect
for the id, its files or its export for the verbatim configuration.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from orchestrator.agent import discover
from orchestrator.agent.engine import EngineError
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.imaging.export import export
from orchestrator.agent.imaging.store import ImageStore, chain_ids, diff_ids
from orchestrator.agent.paths import private_directory
from orchestrator.protocol.messages import Build, Built

BUILD_LABEL = "deploy.build"
"""Label of an image: digest of the inputs it was built from."""
IMAGE_LABEL = "deploy.image"
"""Label of an image: its name in the spec."""


CONTAINERD = "this engine keeps them in containerd, where an image has another id than everywhere else"
CONTAINERD_HINT = 'set "features": {"containerd-snapshotter": false} in /etc/docker/daemon.json'


def labels(params: Build) -> Dict[str, str]:
    """Return the labels of the image that is built."""
    return {BUILD_LABEL: params.build, IMAGE_LABEL: params.name}


def build_of(summary: Dict[str, Any], *, in_use: bool = False) -> str:
    """Return the build digest of a listed image, or nothing.

    The label alone proves nothing: whatever is built on an image inherits it, a half-built one too. The
    tag of the same digest is given to the finished image only. Tags can be moved or taken away by hand,
    so an image ``in_use``, which instances of a release are made from, needs none.
    """
    build = str((summary.get("Labels") or {}).get(BUILD_LABEL, ""))
    ours = (tag.startswith("deploy.local/") and tag.endswith(f":{build[:20]}") for tag in _tags(summary))
    return build if build and (in_use or any(ours)) else ""


def _tags(summary: Dict[str, Any]) -> List[str]:
    return [str(tag) for tag in summary.get("RepoTags") or ()]


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
