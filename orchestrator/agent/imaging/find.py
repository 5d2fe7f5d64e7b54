"""``find`` and ``pull``: images a builder has, or can get by reference.

Owns both handlers. They change nothing but the builder's images.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Optional

from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.imaging.describe import built, inspect
from orchestrator.agent.imaging.labels import BUILD_LABEL, build_of
from orchestrator.agent.paths import check_digest
from orchestrator.protocol.messages import Built, FindImage, Found, Pull


def find(params: FindImage, context: Context) -> Found:
    """Return the newest image that carries the build digest, if there is one, and name it as asked."""
    found = _labelled(context, check_digest(params.build, "build digest"))
    if found is None:
        return Found(None)
    if params.tag and params.tag not in (found.get("RepoTags") or ()):
        give_name(context, str(found["Id"]), params.tag)
    return Found(built(context, str(found["Id"])))


def give_name(context: Context, image: str, tag: str) -> None:
    """Give an image a further name."""
    repository, version = split(tag)
    context.engine.post(f"/images/{image}/tag", {"repo": repository, "tag": version})


def _labelled(context: Context, build: str) -> Optional[Dict[str, Any]]:
    """Return the newest image built from ``build`` as the engine lists it."""
    images = context.engine.get("/images/json", {"filters": {"label": [f"{BUILD_LABEL}={build}"]}}) or []
    ours = [image for image in images if build_of(image) == build]
    newest = sorted(ours, key=lambda image: (image.get("Created", 0), str(image.get("Id"))))
    return newest[-1] if newest else None


def pull(params: Pull, context: Context) -> Built:
    """Have the engine pull an image; one that is named by digest and there already is not pulled again.

    Raises:
        Refusal: ``not-found`` or ``engine``, in the engine's own words.
    """
    if "@sha256:" not in params.reference or inspect(context, params.reference) is None:
        _pull(params, context)
    return built(context, params.reference)


def _pull(params: Pull, context: Context) -> None:
    repository, tag = split(params.reference)
    query = {"fromImage": repository, "tag": tag, "platform": params.platform or None}
    with context.engine.stream("POST", "/images/create", query, b"", timeout=600) as response:
        for line in progress(response.documents(), f"cannot pull {params.reference}"):
            context.send_body(line.encode() + b"\n")
            context.check_cancelled()


def progress(documents: Iterator[Dict[str, Any]], what: str) -> Iterator[str]:
    """Yield the lines for people among the engine's progress documents.

    Raises:
        Refusal: A document says that ``what`` failed.
    """
    for document in documents:
        error = document.get("error") or (document.get("errorDetail") or {}).get("message")
        if error:
            code = "no-space" if "no space left on device" in str(error) else "engine"
            raise Refusal(code, f"{what}: {error}")
        # Byte counts of each layer come hundreds of times: the state is enough.
        if document.get("status") and not document.get("progressDetail"):
            layer: Optional[str] = document.get("id")
            yield f"{layer}: {document['status']}" if layer else str(document["status"])


def split(reference: str) -> "tuple[str, str]":
    """Return repository and tag (or digest) of a reference; the tag is ``latest`` when there is none."""
    name, at, digest = reference.partition("@")
    if at:
        return name, digest
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "latest")
