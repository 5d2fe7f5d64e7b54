"""The content address of a build: equal inputs, equal digest, nothing to build.

Pure. It covers what the builder is given (Dockerfile, arguments, target, platform, the context's files)
and the addresses of the images it stands on, so a change anywhere above changes everything below. It
does not cover what a `RUN` fetches, nor where a tag outside of the spec points: pin those by digest.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.protocol.codec import digest

VERSION = 1
"""Raised when the same inputs no longer mean the same image."""


@dataclass(frozen=True)
class BuildInputs:
    """Everything a build depends on."""

    dockerfile: str
    """Path inside the context; its text is part of the context, or in ``text`` when ignored there."""
    text: str
    """SHA-256 of the Dockerfile as the user wrote it."""
    context: str
    """Address of the context."""
    args: tuple[tuple[str, str], ...] = ()
    """Sorted by name."""
    target: str = ""
    platform: str = ""
    parents: tuple[tuple[str, str], ...] = ()
    """(name in the Dockerfile, identity of that image of the spec), sorted."""
    version: int = VERSION

    @property
    def digest(self) -> str:
        """The build digest: 64 hexadecimal digits."""
        return digest(self)
