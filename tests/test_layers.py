"""The floors of the house, held by reading every module's syntax tree.

Each module of proxyapp stands on one floor and imports only what its floor
allows. A new top-level module is refused until it is drawn in FLOORS.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_FUNCTION = 40
LONGEST_CLASS = 200
MOST_METHODS = 15
LONGEST_MODULE = 350

# Floor -> the floors it may import. `proxyapp.a.b` stands on floor `a`.
GROUND = {"errors", "wire", "rules", "config"}
EXCHANGE = GROUND | {"net", "stream", "exchange"}
FLOORS: dict[str, set[str]] = {
    "errors": set(),
    "wire": {"errors"},
    "rules": {"errors", "wire"},
    "config": {"errors", "wire", "rules"},
    "net": GROUND,
    "stream": {"errors", "wire", "rules", "net"},
    "exchange": {"errors", "wire", "rules", "net", "stream"},
    "logs": {"rules"},
    "requestlog": {"rules", "logs"},
    "passwords": {"rules"},
    "credentials": {"errors", "rules", "passwords"},
    "limits": {"errors", "rules", "net"},
    "proxy": EXCHANGE,
    "store": {"wire", "rules"},
    "cache": EXCHANGE | {"store"},
    "site": EXCHANGE,
    "server": EXCHANGE,
    "service": EXCHANGE
    | {"logs", "requestlog", "credentials", "limits", "proxy", "store", "cache", "site", "server"},
    "explain": GROUND,
    "against": GROUND,
    "controlclient": set(),
    "cachetool": {"rules", "controlclient"},
    "reloading": set(),
    "workers": EXCHANGE | {"limits", "logs", "server", "service", "reloading"},
    "tap": {
        "config",
        "rules",
        "explain",
        "against",
        "cachetool",
        "reloading",
        "logs",
        "net",
        "service",
        "workers",
    },
}
# Floors without I/O and without a clock, and what would bring them either.
PURE = ("errors", "wire", "rules")
IMPURE = {"twisted", "socket", "os", "time", "asyncio", "threading"}


class Import(NamedTuple):
    """One imported module, or one name out of a module."""

    module: str
    name: str
    line: int
    is_nested: bool

    @property
    def full(self) -> str:
        """The dotted name of what is imported."""
        return f"{self.module}.{self.name}" if self.name else self.module


class Module(NamedTuple):
    """A module of proxyapp, read."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def floor(self) -> str:
        """The first part of the name behind `proxyapp`; empty for the package itself."""
        return self.name.partition(".")[2].partition(".")[0]

    def __str__(self) -> str:
        return self.name


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of proxyapp."""
    found = []
    for path in sorted(ROOT.glob("proxyapp/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


each_module = pytest.mark.parametrize("module", modules(), ids=str)


def imports(module: Module) -> Iterator[Import]:
    """Yield what *module* imports, wherever the import stands."""
    nested = {
        id(node)
        for function in ast.walk(module.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno, id(node) in nested)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}:{node.lineno}: a relative import"
            for alias in node.names:
                yield Import(node.module or "", alias.name, node.lineno, id(node) in nested)


def ours(module: Module) -> Iterator[tuple[str, Import]]:
    """Yield the modules of proxyapp that *module* imports."""
    names = {known.name for known in modules()}
    for found in imports(module):
        if found.module.split(".")[0] == "proxyapp":
            is_module = found.full in names or found.module == "proxyapp"
            yield (found.full if is_module else found.module), found


@each_module
def test_floors(module: Module) -> None:
    """A module imports its own floor and those below, as drawn."""
    if not module.floor:
        assert not list(ours(module)), "the package itself imports nothing"
        return
    assert module.floor in FLOORS, f"{module.name} stands on no floor of FLOORS"
    allowed = FLOORS[module.floor] | {module.floor}
    wrong = [
        f"{module.name}:{found.line} imports {name}"
        for name, found in ours(module)
        if name.split(".")[1] not in allowed
    ]
    assert not wrong


@each_module
def test_pure_floors(module: Module) -> None:
    """The floors that decide do no I/O and read no clock."""
    if module.floor in PURE:
        roots = {found.module.split(".")[0] for found in imports(module)}
        assert not roots & IMPURE


def test_only_service_knows_proxy_and_site() -> None:
    """The two sides meet in the composition root alone."""
    for module in modules():
        known = {name.split(".")[1] for name, _ in ours(module)} & {"proxy", "site"}
        assert known <= {module.floor} or module.floor == "service", module.name


def test_no_cycles() -> None:
    """No chain of imports leads back to where it began."""
    graph = {module.name: {name for name, _ in ours(module)} for module in modules()}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for imported in sorted(graph.get(name, ())):
                walk(imported, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())


@each_module
def test_the_reactor_is_handed_down(module: Module) -> None:
    """Only net and tap know where Twisted keeps its reactor."""
    if module.floor in ("net", "tap"):
        return
    assert not [found.line for found in imports(module) if _is_reactor(found)]
    texts = [node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant)]
    assert "twisted.internet.reactor" not in texts


def _is_reactor(found: Import) -> bool:
    return found.full.startswith("twisted.internet.reactor")


@each_module
def test_twisted_web_stays_out(module: Module) -> None:
    """Its HTTP is not what we build on; one adapter carries resources made for it."""
    if module.name == "proxyapp.site.webresource":
        return
    assert not [found.line for found in imports(module) if found.full.startswith("twisted.web")]


@each_module
def test_imports_stand_at_the_top(module: Module) -> None:
    """No function imports, but tap: there the reactor is chosen first."""
    if module.floor != "tap":
        assert not [found.line for found in imports(module) if found.is_nested]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@each_module
def test_private_names_of_twisted_stay_in_net(module: Module) -> None:
    """What may change with any release of Twisted is touched on one floor, which checks it."""
    if module.floor == "net":
        return
    bound = set()
    for found in imports(module):
        if found.module.split(".")[0] == "twisted":
            assert not any(map(_is_private, found.full.split("."))), found
            bound.add(found.name or found.module.split(".")[0])
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            root = ast.unparse(node.value).split(".")[0]
            assert root not in bound, f"{module.name}:{node.lineno}: {ast.unparse(node)}"


@each_module
def test_module_opens_with_a_sentence(module: Module) -> None:
    """The first line says what the module decides or does."""
    docstring = ast.get_docstring(module.tree)
    assert docstring
    first, _, rest = docstring.partition("\n")
    assert first.endswith((".", "?")), first
    assert not rest or rest.startswith("\n"), "a blank line follows the sentence"


@each_module
def test_module_length(module: Module) -> None:
    """A module is one noun; past this it is two."""
    assert len(module.path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Return the lines of *node* from its first line on, docstring apart."""
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


@each_module
def test_function_length(module: Module) -> None:
    """A function is read in one sitting."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _length(node) <= LONGEST_FUNCTION, f"{module.name}:{node.lineno} {node.name}"


@each_module
def test_class_size(module: Module) -> None:
    """A class has one job; all its methods count but those that Twisted calls, in camelCase."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            methods = [
                each
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                and not each.name.startswith("__")
                and each.name.islower()
            ]
            assert _length(node) <= LONGEST_CLASS, f"{module.name}:{node.lineno} {node.name}"
            assert len(methods) <= MOST_METHODS, f"{module.name}:{node.lineno} {node.name}"


# --- The rules themselves ---


def read(source: str) -> Module:
    """Return *source* as a module of the site."""
    return Module("proxyapp.site.x", Path("x.py"), ast.parse(source))


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (test_floors, "from proxyapp import server"),
        (test_floors, "from proxyapp.proxy import pool"),
        (test_floors, "import proxyapp.tap"),
        (test_the_reactor_is_handed_down, "from twisted.internet import reactor"),
        (test_the_reactor_is_handed_down, "x = sys.modules['twisted.internet.reactor']"),
        (test_twisted_web_stays_out, "from twisted import web"),
        (test_twisted_web_stays_out, "from twisted.web.http import Request"),
        (test_imports_stand_at_the_top, "def f():\n    import os"),
        (test_private_names_of_twisted_stay_in_net, "from twisted.internet import _sslverify"),
        (test_private_names_of_twisted_stay_in_net, "from twisted.internet.x import _Y"),
        (
            test_private_names_of_twisted_stay_in_net,
            "from twisted.internet import tcp\ntcp.Server._y",
        ),
        (test_module_opens_with_a_sentence, "x = 1"),
        (test_module_opens_with_a_sentence, '"""A title"""'),
        (test_function_length, "def f():\n" + "    x\n" * 40),
        (test_class_size, "class A:\n" + "    x\n" * 200),
        (test_class_size, "class A:\n" + "".join(f"    def f{n}(): ...\n" for n in range(16))),
    ],
)
def test_each_rule_bites(check: object, source: str) -> None:
    """A module that breaks a rule is caught by it."""
    assert callable(check)
    with pytest.raises(AssertionError):
        check(read(source))


def test_docstrings_do_not_count() -> None:
    """A long explanation makes no function long."""
    source = 'def f():\n    """\n' + "    words\n" * 60 + '    """\n' + "    x\n" * 30
    test_function_length(read(source))
