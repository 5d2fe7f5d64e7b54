"""What is put into the file system of a service's containers, as frozen models.

Owns volumes, scratch space, configs and secrets, with Compose's short and long forms brought into one.
It must not know services, files on this machine or positions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.spec.fields import AbsolutePath, Argv, LocalPath, Mode, SecretName, Size, Uid, VariableName
from orchestrator.spec.parts import Part
from orchestrator.spec.values import container_path


class VolumeMount(Part):
    """Something mounted into the containers. Short form: ``name:/path[:ro]`` or ``/host/path:/path[:ro]``."""

    type: Literal["volume", "bind", "tmpfs"] = Field(
        default="volume", description="What is mounted.", examples=["bind"]
    )
    source: str = Field(
        default="",
        description="Name of the volume (`name` means the same), or absolute path on the host.",
        examples=["data"],
    )
    target: AbsolutePath = Field(description="Path inside the container.", examples=["/var/lib/data"])
    read_only: bool = Field(
        default=False, description="Whether the container may only read it.", examples=[True]
    )
    size: Size = Field(default=0, description="Size of a tmpfs; 0 is the engine's default.", examples=["64m"])

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        if isinstance(data, str):
            return _short_volume(data)
        if isinstance(data, Mapping) and "name" in data and "source" not in data:
            return {("source" if key == "name" else key): item for key, item in data.items()}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.type == "volume" and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", self.source):
            raise ValueError(
                f"expected the name of a volume (lower-case letters, digits, _ and -), got {self.source!r}"
            )
        if self.type == "bind":
            container_path(self.source)
        if self.type == "tmpfs" and self.source:
            raise ValueError("a tmpfs has no source")
        if self.size and self.type != "tmpfs":
            raise ValueError("only a tmpfs has a size")
        return self


def _short_volume(data: str) -> dict[str, Any]:
    parts = data.split(":")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise ValueError(f"expected name:/path, /host/path:/path, or one of them with :ro, got {data!r}")
    return {
        "type": "bind" if parts[0].startswith(("/", ".", "~")) else "volume",
        "source": parts[0],
        "target": parts[1],
        "read_only": parts[2:] == ["ro"],
    }


class Tmpfs(Part):
    """Scratch space in memory. Short form: ``/path`` or ``/path:size=64m``."""

    target: AbsolutePath = Field(description="Path inside the container.", examples=["/scratch"])
    size: Size = Field(default=0, description="Largest size; 0 is the engine's default.", examples=["64m"])

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        if not isinstance(data, str):
            return data
        target, _, options = data.partition(":")
        result = {"target": target}
        for option in filter(None, options.split(",")):
            name, _, value = option.partition("=")
            if name != "size":
                raise ValueError(f"expected /path or /path:size=64m, got the option {option!r}")
            result["size"] = value
        return result


class Config(Part):
    """A file mounted read-only: exactly one of ``template``, ``file`` and ``content``."""

    template: LocalPath | None = Field(
        default=None, description="Jinja2 template, rendered for each instance.", examples=["api.conf.j2"]
    )
    file: LocalPath | None = Field(
        default=None, description="File that is taken as it is.", examples=["api.conf"]
    )
    content: str | None = Field(default=None, description="The content itself.", examples=["debug = false\n"])
    target: AbsolutePath = Field(description="Path inside the container.", examples=["/etc/api.conf"])
    mode: Mode = Field(default=0o444, description="Permissions, as octal digits.", examples=["0440"])
    uid: Uid = Field(default=0, description="Owner.", examples=[1000])
    gid: Uid = Field(default=0, description="Group.", examples=[1000])

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _exactly_one(self, ("template", "file", "content"))
        return self


class SecretSource(Part):
    """Where a secret's value comes from when a plan is made: exactly one of the three."""

    env: VariableName | None = Field(
        default=None,
        description="Environment variable of this command.",
        examples=["SHOP_DB_PASSWORD"],
    )
    file: LocalPath | None = Field(
        default=None, description="File; its whole content, byte for byte.", examples=["secrets/db"]
    )
    command: Argv | None = Field(
        default=None,
        description="Command whose output (less one final newline) is the value; never run by a shell.",
        examples=["pass show shop/db"],
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _exactly_one(self, ("env", "file", "command"))
        return self


class Secret(Part):
    """A secret, mounted read-only."""

    name: SecretName = Field(
        description="Name, and the file's name under /run/secrets.", examples=["DB_PASSWORD"]
    )
    from_: SecretSource = Field(
        alias="from", description="Where the value comes from.", examples=[{"env": "SHOP_DB_PASSWORD"}]
    )
    target: AbsolutePath = Field(
        default="",
        description="Path inside the container; /run/secrets/NAME by default.",
        examples=["/etc/app/key"],
    )
    mode: Mode = Field(default=0o400, description="Permissions, as octal digits.", examples=["0440"])
    uid: Uid = Field(default=0, description="Owner.", examples=[1000])
    gid: Uid = Field(default=0, description="Group.", examples=[1000])

    @property
    def path(self) -> str:
        """Absolute path inside the container."""
        return self.target or f"/run/secrets/{self.name}"


def _exactly_one(part: Part, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(part, name) is not None]
    if len(given) != 1:
        expected = f"{', '.join(names[:-1])} and {names[-1]}"
        raise ValueError(f"expected exactly one of {expected}, got {' and '.join(given) or 'none'}")
