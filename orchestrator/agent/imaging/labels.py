"""Which images are ours: the labels and tags that a build leaves on them.

Owns their names and what they prove. Light on purpose: every look at a host needs it.
"""

from __future__ import annotations

from typing import Any, Dict, List

from orchestrator.protocol.messages import Build

BUILD_LABEL = "deploy.build"
"""Label of an image: digest of the inputs it was built from."""
IMAGE_LABEL = "deploy.image"
"""Label of an image: its name in the spec."""


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
