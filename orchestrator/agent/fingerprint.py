"""What a container looks like to the engine, as one digest: tells whether it was changed behind us.

Owns which parts of the engine's inspect count. A fingerprint is taken right after creation and compared
with later ones of the same container by the same engine; options are never compared one by one with a
wish, which is where false re-creations come from. It must not know what was asked for.

Left out is what changes by itself: state, times, process ids, addresses and ids of networks, paths of
logs and resolver files, and every field that is empty, so that an upgraded engine that reports
more of them does not make every container look changed. So is what Podman adds to a container when it
starts it: nobody can change that of a container that exists.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from orchestrator.protocol.codec import digest

_WHOLE = ("Name", "Image", "Path", "Args", "Platform", "Config", "HostConfig")
_MOUNT = ("Type", "Name", "Source", "Destination", "Driver", "RW", "Propagation")
_SHORT_ID = 12
_ADDED_FIELDS = ("Annotations", "Ulimits")
_ADDED_VARIABLES = ("HOME=", "HOSTNAME=")
"""By Podman, at the first start."""


def fingerprint(inspect: Mapping[str, Any]) -> str:
    """Return the fingerprint, 64 hexadecimal digits, of a container's inspect."""
    seen: Dict[str, Any] = {key: inspect.get(key) for key in _WHOLE}
    seen["HostConfig"] = _without(inspect.get("HostConfig"), _ADDED_FIELDS)
    seen["Config"] = _without(inspect.get("Config"), ("Env",))
    variables = (inspect.get("Config") or {}).get("Env") or ()
    seen["Env"] = [entry for entry in variables if not str(entry).startswith(_ADDED_VARIABLES)]
    seen["Mounts"] = sorted(
        (_pick(mount, _MOUNT) for mount in inspect.get("Mounts") or ()),
        key=lambda mount: str(mount.get("Destination")),
    )
    own_alias = str(inspect.get("Id", ""))[:_SHORT_ID]
    networks = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    seen["Networks"] = {
        # Named even when nothing else is left of it: being connected is what counts.
        name: ["connected", *_aliases(endpoint, own_alias)]
        for name, endpoint in networks.items()
    }
    return digest(_prune(seen))


def _aliases(endpoint: Optional[Mapping[str, Any]], own_alias: str) -> List[str]:
    aliases = (endpoint or {}).get("Aliases") or ()
    return sorted({alias for alias in aliases if alias != own_alias})


def _without(document: Optional[Mapping[str, Any]], keys: "tuple[str, ...]") -> Dict[str, Any]:
    return {key: value for key, value in (document or {}).items() if key not in keys}


def _pick(document: Mapping[str, Any], keys: "tuple[str, ...]") -> Dict[str, Any]:
    return {key: document.get(key) for key in keys}


def _prune(value: Any) -> Any:
    """Drop nulls, zeros, empty strings and empty collections from objects, at every depth."""
    if isinstance(value, dict):
        pruned = {key: _prune(item) for key, item in value.items()}
        return {key: item for key, item in pruned.items() if item}
    if isinstance(value, list):
        return [_prune(item) for item in value]
    return value
