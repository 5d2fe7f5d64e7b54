"""Jinja2 templates of configs.

Owns the sandbox and the wording of template errors. It must not know where the context comes from.
Rendering is deterministic: no clock, no randomness, no files, no secrets; the same context gives the
same bytes, because the digest of the result decides whether an instance is replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Problem, SpecError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

MAX_OUTPUT = 4 << 20
"""Largest result, in characters."""
_MAX_EXPONENT = 1000
_FAILURES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError, MemoryError)
"""What a template's own expressions can raise."""


@functools.cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined  # noqa: PLC0415 - 40 ms that most commands never need
    from jinja2.exceptions import SecurityError  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Sandbox(ImmutableSandboxedEnvironment):
        """Also bounds the two operators that turn a few characters into gigabytes."""

        intercepted_binops = frozenset(("*", "**"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sized = [len(item) for item in (left, right) if isinstance(item, str | bytes | list | tuple)]
            numbers = [abs(item) for item in (left, right) if isinstance(item, int)]
            bound = _MAX_EXPONENT if operator == "**" else MAX_OUTPUT // max(*sized, 1, 1)
            if (operator == "**" or sized) and any(number > bound for number in numbers):
                raise SecurityError(f"the result of {operator} would be too large")
            return super().call_binop(context, operator, left, right)

    environment = Sandbox(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.pop("random")
    environment.globals.pop("lipsum")
    return environment


def render(template_text: str, context: Mapping[str, Any], *, file: str) -> str:
    """Return the rendered text.

    Args:
        template_text: The template.
        context: ``project``, ``service``, ``slot``, ``host`` (name, address, labels, vars) and
            ``environment``. No secrets and no release: neither may change a config's digest.
        file: The template's name, for errors.

    Raises:
        SpecError: The template is malformed, uses something that is not there, or fails; with the line.
    """
    from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError  # noqa: PLC0415
    from jinja2.exceptions import SecurityError  # noqa: PLC0415

    try:
        template = _environment().from_string(template_text)
        parts: list[str] = []
        length = 0
        for part in template.generate(dict(context)):
            parts.append(part)
            length += len(part)
            if length > MAX_OUTPUT:
                raise SpecError([Problem(f"the result is larger than {MAX_OUTPUT} characters", file)])
        return "".join(parts)
    except TemplateSyntaxError as error:
        raise SpecError([Problem(f"cannot read the template: {_said(error)}", file, error.lineno)]) from error
    except UndefinedError as error:
        hint = f"a template knows {', '.join(sorted(map(str, context)))}"
        raise SpecError([Problem(f"cannot render: {_said(error)}", file, _line(error), hint=hint)]) from error
    except SecurityError as error:
        message = f"cannot render: the sandbox forbids it: {_said(error)}"
        raise SpecError([Problem(message, file, _line(error))]) from error
    except TemplateError as error:
        raise SpecError([Problem(f"cannot render: {_said(error)}", file, _line(error))]) from error
    except _FAILURES as error:
        message = f"cannot render: {type(error).__name__}: {_said(error)}"
        raise SpecError([Problem(message, file, _line(error))]) from error


def _said(error: Exception) -> str:
    text = str(error).splitlines()
    return text[0] if text else "no reason given"


def _line(error: Exception) -> int:
    """Return the template's line that failed; Jinja2 puts it into the traceback."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
