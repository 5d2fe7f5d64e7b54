"""What pages list is what the code has: methods, operations, codes, layers, files, the second example."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from orchestrator.agent.paths import Paths
from orchestrator.agent.router.home import Home
from orchestrator.planning.routing.endpoints import MESH_PORTS
from orchestrator.protocol.messages import METHODS, OPERATIONS
from orchestrator.spec.loader import load_spec

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
AGENT = sorted((ROOT / "orchestrator" / "agent").rglob("*.py"))
_CODE = re.compile(r"`([^`\n]+)`")


def section(page: str, heading: str) -> str:
    """Return what stands below a heading of a page."""
    text = (DOCS / page).read_text().partition(f"\n## {heading}\n")[2]
    assert text, f"{page} has no section {heading!r}"
    return text.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_method_is_on_the_page_of_the_protocol() -> None:
    """With whether it needs the lease."""
    said = {
        name: lease == "yes"
        for _, names, lease in (row for row in rows(section("agent-protocol.md", "Methods")) if len(row) == 3)
        for name in _CODE.findall(names)
    }
    assert said == {name: method.needs_lease for name, method in METHODS.items()}


def test_every_operation_is_on_the_page_of_the_protocol() -> None:
    """Each is named once in its table."""
    table = [
        names for _, names in (row for row in rows(section("agent-protocol.md", "Methods")) if len(row) == 2)
    ]
    found = [name for names in table for name in _CODE.findall(names)]
    assert sorted(found) == sorted(OPERATIONS)


def test_every_code_of_a_failed_operation_is_explained() -> None:
    """Those the agent raises are listed, and nothing is that is said nowhere."""
    sources = " ".join(path.read_text() for path in AGENT)
    raised = set(re.findall(r'(?:OperationFailed|Failure)\(\s*"([a-z-]+)"', sources))
    listed = {code for row in rows(section("troubleshooting.md", "Codes")) for code in _CODE.findall(row[0])}
    assert raised - listed == set()
    assert {code for code in listed if f'"{code}"' not in sources} == set()


def test_the_layers_are_those_that_are_held() -> None:
    """The picture of what may import what is the contract's."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]
    drawn = section("architecture.md", "One direction").split("```")[1]
    names = " > ".join(layers).replace("orchestrator.", "")
    assert " ".join(drawn.split()) == names


def test_the_files_of_a_router_are_those_it_has(tmp_path: Path) -> None:
    """Every file the code names by a constant is listed."""
    home = Home(Paths(tmp_path).project("shop"))
    listed = set(_CODE.findall(section("routing.md", "The router").partition("Its files are in")[2]))
    files = (home.config, home.picture_file, home.table_file, home.guard_file)
    folders = (home.certificates, home.maps, home.page.parent, home.run)
    assert {path.name for path in files} | {f"{path.name}/" for path in folders} <= listed


def test_the_ports_between_hosts_are_the_codes() -> None:
    """The range that a firewall has to let in."""
    words = f"between {MESH_PORTS[0]} and {MESH_PORTS[-1]}"
    assert words in " ".join(section("routing.md", "Between hosts").split())
    assert f"{MESH_PORTS[0]} to {MESH_PORTS[-1]}" in section("routing.md", "Ports on the hosts")


def test_the_second_example_is_what_the_page_quotes_and_is_valid() -> None:
    """It merges with the first into one spec with a route and without the port of the front."""
    example = DOCS / "example"
    quoted = re.search(r"```yaml\n(.*?)```", section("routing.md", "An example"), re.DOTALL)
    assert quoted is not None
    assert (example / "routing.yaml").read_text().endswith(quoted.group(1))
    files = [example / "spec.yaml", example / "routing.yaml"]
    project = load_spec(files, environ={"SHOP_CACHE_PASSWORD": "unread"}).project
    assert [(name, route.service, route.port) for name, route in project.routes.items()] == [
        ("shop", "front", 8080)
    ]
    assert project.services["front"].ports == ()
