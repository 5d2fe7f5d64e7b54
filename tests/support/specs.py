"""Loading specs from text, for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.loader import LoadedSpec, parse_spec


def load(*texts: str, **environ: str) -> LoadedSpec:
    """Return the spec of ``texts``, called ``0.yaml``, ``1.yaml`` and so on, merged left to right."""
    documents = [(text, f"{index}.yaml") for index, text in enumerate(texts)]
    return parse_spec(documents, environ=environ, directory=Path("/project"))


def problems(*texts: str, **environ: str) -> list[str]:
    """Return what is wrong with ``texts``."""
    with pytest.raises(SpecError) as caught:
        load(*texts, **environ)
    return [str(problem) for problem in caught.value.problems]


def service(fields: str) -> str:
    """Return a spec with one service ``a`` that has ``fields``, written in flow style."""
    return f"project: p\nimages: {{ a: {{ build: x }} }}\nservices:\n  a: {{ image: a, {fields} }}\n"
