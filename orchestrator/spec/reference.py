"""The reference of the spec, written from the model's own descriptions.

Owns the Markdown of ``docs/spec-reference.md``; a test holds that file equal to it. It must not know
the loader.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.spec import fields, model, routing, routing_fields, updates

_INTRO = """\
# Spec reference

Generated from the model; a test keeps it in step. `deploy schema` prints the same as JSON Schema.

```yaml
project: shop
images:
  base: { build: { context: images/base } }
  shop: { build: { context: images/shop, from: base } } # its Dockerfile stands on the image above
  cache: { image: "redis:7" } # better with its digest: redis:7@sha256:...
defaults: # merged into every service
  stop_grace_period: 20s
services:
  shop:
    image: shop
    hosts: [web]
    replicas: 2
    environment: { LOG_LEVEL: "${LOG_LEVEL:-info}", CACHE: "cache:6379" }
    configs: [{ template: shop.conf.j2, target: /etc/shop.conf }]
    secrets: [{ name: DB_PASSWORD, from: { env: SHOP_DB_PASSWORD } }]
    tmpfs: [/scratch]
    ports: ["8080:8080"]
    healthcheck: { http: /health, port: 8080, deadline: 60s }
    depends_on: [cache]
    resources: { memory: 256m, cpus: 0.5, pids: 200 }
  cache:
    image: cache
    hosts: [zone=a]
    volumes: ["data:/data"]
    healthcheck: { tcp: 6379 }
```

## The file

**YAML 1.2.** `yes`, `no`, `on` and `off` are text, and so is every number that could not be written back
exactly: `1.10`, `0644`, `0x1F`. Fields that expect a number or true and false read them; an environment
variable keeps the digits as written. Anchors, aliases and merge keys (`<<`) work. A key given twice is an
error. Keys that start with `x-` at the top level are ignored, for anchors to live in.

**Variables.** `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`, `${VAR?message}`,
`${VAR:+other}` and `${VAR+other}` in values are replaced from the environment, as Compose does; with the
colon an empty variable counts as unset. `$$` is a dollar sign. An unset variable without a default is an
error. Quote a variable inside `[ ]` and `{ }`.

**Precedence**, weakest first: the defaults below; `defaults:`; the first file; each further file. Maps are
merged key by key, lists and scalars are replaced. `environment`, `labels`, `args`, `extra_hosts` and
`headers` merge as maps even where they are written as lists of `NAME=value`. A key displaces those it
excludes: `replicas` and `per_host`, `build` and `image`, the kinds of a `healthcheck`. The tag `!override`
replaces a map instead of merging it, `!reset` removes what an earlier file said. Relative paths start at
the folder of the first file.

## Values

| value | forms |
|---|---|
| duration | `10s`, `1m30s`, `500ms`, `2h`, `1d`, or a number of seconds; at most a year |
| size | `512m`, `1.5g`, `64kb`, or a number of bytes; units are powers of 1024 |
| mode | octal digits: `0444`, `"0444"` or `0o444` |
| command | a list of words, or a string that is split like a shell would and never given to one |
| path | absolute, of letters, digits and `._@+=~-`, without `..` |
| local path | a path on this machine, relative to the first file |
| name | lower-case letters, digits, `_` and `-`, at most 63, starting with a letter or digit |
| number or share | a number of instances, or a percentage of them such as `25%` |
| variables | a map, or a list of `NAME=value`; values are text, numbers or true and false |
"""

_WORDS: tuple[tuple[Any, str], ...] = (
    (fields.Name, "name"),
    (fields.HostTerm, "host, group or label"),
    (fields.HostName, "host"),
    (fields.SecretName, "name"),
    (fields.Duration, "duration"),
    (fields.Size, "size"),
    (fields.Mode, "mode"),
    (fields.Count, "number"),
    (fields.PortNumber, "port"),
    (fields.Uid, "number"),
    (fields.AbsolutePath, "path"),
    (fields.LocalPath, "local path"),
    (fields.Word, "word"),
    (fields.Argv, "command"),
    (fields.Environment, "variables"),
    (fields.Labels, "variables"),
    (fields.Hosts, "variables"),
    (fields.Reference, "image reference"),
    (fields.Signal, "signal"),
    (fields.ContainerHostname, "host name"),
    (fields.VariableName, "variable"),
    (fields.UrlPath, "path of a URL"),
    (routing_fields.Share, "number or share"),
    (routing_fields.RouteHost, "host name"),
    (routing_fields.Prefix, "path of a URL"),
    (routing_fields.Cookie, "true or name"),
    (routing_fields.Headers, "variables"),
    (routing_fields.Network, "network"),
    (bool, "true or false"),
    (str, "text"),
    (int, "number"),
    (float, "number"),
)
_MODELS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("Project", model.Project),
    ("Image", model.Image),
    ("Build", model.Build),
    ("Service", model.Service),
    ("Healthcheck", model.Healthcheck),
    ("Dependency", model.Dependency),
    ("Port", model.Port),
    ("Volume mount", model.VolumeMount),
    ("Tmpfs", model.Tmpfs),
    ("Config", model.Config),
    ("Secret", model.Secret),
    ("Secret source", model.SecretSource),
    ("Resources", model.Resources),
    ("Volume", model.Volume),
    ("Router", routing.Router),
    ("Route", routing.Route),
    ("TLS", routing.Tls),
    ("Certificate", routing.CertificateSource),
    ("Update", updates.Update),
    ("Canary step", updates.CanaryStep),
    ("Check", updates.Check),
    ("Jobs", updates.Jobs),
    ("Job", updates.Job),
)
_NESTED = (model.Resources, updates.Update, updates.Jobs)
"""Parts whose defaults stand in their own section."""
_DEFAULTS_ROW = (
    "| `defaults` | fields of [Service](#service) |  | Merged into every service, which wins over them. "
    '| `{"stop_grace_period": "20s"}` |'
)


def reference_markdown() -> str:
    """Return the text of ``docs/spec-reference.md``."""
    return "\n".join([_INTRO, *(_section(title, each) for title, each in _MODELS)])


def _section(title: str, part: type[BaseModel]) -> str:
    hints = typing.get_type_hints(part, include_extras=True)
    rows = [_row(name, field, hints[name]) for name, field in part.model_fields.items()]
    if part is model.Project:
        rows.append(_DEFAULTS_ROW)
    head = ["| key | value | default | meaning | example |", "|---|---|---|---|---|"]
    summary = inspect.cleandoc(part.__doc__ or "").replace("``", "`")
    return "\n".join([f"## {title}\n", f"{summary}\n", *head, *rows, ""])


def _row(name: str, field: FieldInfo, hint: Any) -> str:
    example = json.dumps((field.examples or [""])[0], ensure_ascii=False)
    key = field.alias or name
    cells = (f"`{key}`", _words(hint), _default(field, hint), field.description or "", f"`{example}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _words(hint: Any) -> str:
    for known, words in _WORDS:
        if hint is known:
            return words
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        wanted = arguments[:1] if origin is typing.Annotated else arguments
        return " or ".join(_words(each) for each in wanted if each is not type(None))
    if origin in (tuple, Mapping):
        return f"{'list of' if origin is tuple else 'map of names to'} {_words(arguments[origin is Mapping])}"
    title = next(title for title, part in _MODELS if part is hint)
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _default(field: FieldInfo, hint: Any) -> str:
    value: Any = field.default
    if field.is_required():
        return "required"
    if value is None or value in ("", (), {}) or isinstance(value, _NESTED):
        return ""
    if isinstance(value, model.Healthcheck):
        text = "none"
    elif hint is fields.Mode:
        text = f"0{value:03o}"
    elif hint is fields.Duration:
        text = f"{value:g}s"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text}`"
