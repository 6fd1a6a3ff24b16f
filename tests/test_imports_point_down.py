"""The layers of the house, and patterns that have bitten other code bases.

`engine` may import `modeling`, never the other way; see LAYERS. Read from the source, so that
imports inside functions count too.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Where commands are started under names that they had before.
EARLIER_NAMES = (
    "stseg.checkpoint.export",
    "stseg.engine.name_similarity",
    "stseg.engine.small_clip",
    "stseg.engine.small_sam",
)

# From the ground up. Groups on one line are neighbours that must not know each other.
LAYERS = [
    ["stseg.utils"],
    ["stseg.render", "stseg.weights"],
    ["stseg.exports"],
    ["stseg.structures"],
    ["stseg.config"],
    ["stseg.checkpoint", "stseg.modeling.layers", "stseg.data"],
    ["stseg.modeling.encoders stseg.modeling.text"],
    ["stseg.modeling.heads stseg.modeling.losses"],
    ["stseg.modeling.scores"],
    ["stseg.evaluation", "stseg.modeling.meta_arch"],
    ["stseg.modeling stseg.modeling.systems"],  # gathers what registers
    ["stseg.predictor"],
    ["stseg.self_training"],
    ["stseg.engine"],
    ["stseg.tools", "stseg.small_world", "stseg.photo_clip"],
    [f"stseg stseg.data.__main__ {' '.join(EARLIER_NAMES)}"],  # likewise
    ["stseg.cli stseg.__main__"],
    ["train_net demo benchmarks datasets"],
]
PLACE = {
    package: (floor, room)
    for floor, rooms in enumerate(LAYERS)
    for room, packages in enumerate(rooms)
    for package in packages.split()
}
SOURCES = sorted((ROOT / "stseg").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    base = ROOT.joinpath(*name.split("."))
    return base.is_dir() or base.with_suffix(".py").is_file()


def place_of(module: str) -> tuple[int, int]:
    """Floor and room of the longest package name that matches, exactly for `stseg` itself."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        package = ".".join(parts[:end])
        gathers = package in ("stseg", "stseg.modeling")
        if package in PLACE and (not gathers or package == module):
            return PLACE[package]
    raise AssertionError(f"{module} has no place: add its package to LAYERS in {__file__}")


def own_imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """Modules of this project that a file imports, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*up, base] if base else up)
            for alias in node.names:
                yield origin(base, alias.name), node.lineno


def origin(package: str, name: str) -> str:
    """The module behind `from package import name`, through front doors; else the package."""
    if is_module(f"{package}.{name}"):
        return f"{package}.{name}"
    return behind_door(package).get(name, package)


@cache
def behind_door(package: str) -> dict[str, str]:
    """Where the names come from that a package's `__init__.pyi` shows; {} for what has none."""
    stub = ROOT.joinpath(*package.split("."), "__init__.pyi")
    if not stub.is_file():
        return {}
    imports = (n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ImportFrom))
    shown = ((f"{package}.{n.module}", alias.name) for n in imports for alias in n.names)
    return {name: origin(module, name) for module, name in shown}


def arrows_up(path: Path) -> Iterator[str]:
    module = module_name(path)
    floor, room = place_of(module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for target, line in own_imports(tree, module, path.name == "__init__.py"):
        if target.split(".")[0] not in ("stseg", "train_net", "demo", "benchmarks", "datasets"):
            continue
        if target.split(".")[0] == "datasets" and not is_module(target):
            continue
        to_floor, to_room = place_of(target)
        if to_floor > floor or (to_floor == floor and to_room != room):
            yield f"{path.relative_to(ROOT)}:{line}: {module} must not import {target}"


def test_no_import_points_up():
    assert len(SOURCES) > 10
    assert not [arrow for path in SOURCES for arrow in arrows_up(path)]


def test_an_arrow_up_would_be_found(tmp_path, monkeypatch):
    folder = tmp_path / "stseg" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "stseg" / "modeling").mkdir()
    bad = folder / "bad.py"
    bad.write_text("def f():\n    from ..modeling.heads import x\n    import stseg.engine\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert [text.split(": ")[0][-1] for text in arrows_up(bad)] == ["2", "3"]


def import_graph() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports, inside functions too."""
    graph = {}
    for path in SOURCES:
        module = module_name(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {t for t, _ in own_imports(tree, module, path.name == "__init__.py")}
        graph[module] = {t for t in found if t.split(".")[0] == "stseg"}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that are imported by what they import, a list for each such knot."""
    reach = {module: reachable(graph, module) for module in graph}
    knots = {frozenset(o for o in reach[module] if module in reach.get(o, ())) for module in graph}
    return [sorted(knot) for knot in knots if knot]


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def test_no_files_import_each_other_in_a_circle():
    assert not circles(import_graph())


def test_a_circle_would_be_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set()}
    assert circles(graph) == [["a", "b", "c"]]


def room_of(module: str) -> str:
    """`stseg.data`, or for what has rooms of its own `stseg.modeling.heads`; a lone file itself."""
    parts = module.split(".")
    deep = len(parts) > 2 and parts[1] in ("modeling", "tools")
    path = ROOT.joinpath(*parts[:3])
    return ".".join(parts[: 3 if deep and path.is_dir() else 2])


def side_doors(path: Path) -> Iterator[str]:
    """Imports of a file of another room that do not go through the room's own `__init__`."""
    module = module_name(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [*(name for name in names if is_module(name)), node.module or ""]
        else:
            continue
        for target in targets:
            if target.startswith("stseg.") and room_of(target) not in (target, room_of(module)):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {target}"


def test_rooms_are_entered_by_the_front_door():
    outside = [ROOT / "train_net.py", *(ROOT / "demo").glob("*.py")]
    outside += (ROOT / "datasets" / "prepare_scripts").glob("*.py")
    files = [p for p in [*SOURCES, *outside] if module_name(p) not in EARLIER_NAMES]
    assert len(files) > 200
    assert not [door for path in files for door in side_doors(path)]


def test_a_side_door_would_be_found(tmp_path, monkeypatch):
    for room in ("data", "engine"):
        (tmp_path / "stseg" / room).mkdir(parents=True)
    (tmp_path / "stseg" / "data" / "loaders.py").touch()
    bad = tmp_path / "stseg" / "engine" / "bad.py"
    bad.write_text(
        "from stseg.data import x\ndef f():\n    from stseg.data.loaders import y\n"
        "from stseg.data import loaders\nimport stseg.data.loaders\nimport stseg.engine.good\n"
    )
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert [text.split(":")[1] for text in side_doors(bad)] == ["4", "5", "3"]


STUBS = sorted((ROOT / "stseg").rglob("__init__.pyi"))


def test_front_doors_show_what_is_there_and_hide_no_file():
    """A name like that of a file beside it would be the one or the other, by luck."""
    assert len(STUBS) > 15
    for stub in STUBS:
        package = import_module(module_name(stub))
        for name in package.__all__:
            assert getattr(package, name) is not None
        files = {path.stem for path in stub.parent.iterdir()}
        assert not files & set(behind_door(module_name(stub))), stub


#: What every package may have.
MAY_SHARE = {"__init__", "__main__"}


def test_no_two_files_share_a_name():
    """One name, one thing: not `report` in two rooms, nor `labeler` beside `labelling`.

    A file of `stseg.cli` has its command's name, whatever that command is a face of.
    """
    names: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.parent.name == "cli" or path.stem in MAY_SHARE:
            continue
        if module_name(path) not in EARLIER_NAMES:
            names.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert not [paths for paths in names.values() if len(paths) > 1]


#: What Detectron2 looks up by name, and the module of ours that makes our names known there.
LOOKED_UP = {
    "build_model": "stseg.modeling.systems",
    "META_ARCH_REGISTRY": "stseg.modeling.systems",
    "SEM_SEG_HEADS_REGISTRY": "stseg.modeling.heads.cost_decoder",
    "DatasetCatalog": "stseg.data.datasets.register",
    "MetadataCatalog": "stseg.data.datasets.register",
}
#: What a file looks up although it is what registers, or registers what it was given itself.
REGISTER = {
    "stseg.modeling.heads.cosine_head": "SEM_SEG_HEADS_REGISTRY",
    "stseg.modeling.meta_arch.cel": "META_ARCH_REGISTRY",
    "stseg.modeling.meta_arch.ebseg": "META_ARCH_REGISTRY",
    "stseg.modeling.meta_arch.pgseg": "META_ARCH_REGISTRY",
    "stseg.modeling.meta_arch.stseg": "META_ARCH_REGISTRY",
    "benchmarks.reference_sed": "build_model",
}


def unregistered(path: Path, graph: dict[str, set[str]]) -> Iterator[str]:
    """Look-ups in Detectron2 by a file that does not import what registers our names there."""
    module = module_name(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detectron2"):
            names = {a.name for a in node.names} & (LOOKED_UP.keys() - {REGISTER.get(module)})
            for home in {LOOKED_UP[name] for name in names}:
                own = {t for t, _ in own_imports(tree, module, False)}
                reached = own.union(*(reachable(graph, t) for t in own))
                if home != module and home not in reached:
                    yield f"{module} imports {node.module} without {home}"


def test_names_are_registered_wherever_they_are_looked_up():
    """In a process of its own, too, where no other file has seen to it."""
    outside = [ROOT / "train_net.py", *(ROOT / "demo").glob("*.py")]
    outside += [*(ROOT / "datasets").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    graph = import_graph()
    assert not [text for path in [*SOURCES, *outside] for text in unregistered(path, graph)]


def test_a_lookup_of_unregistered_names_would_be_found(tmp_path, monkeypatch):
    bad = tmp_path / "stseg" / "bad.py"
    bad.parent.mkdir()
    bad.write_text("from detectron2.modeling import build_model\nimport stseg.config\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    graph = {"stseg.config": {"stseg.utils"}}
    assert list(unregistered(bad, graph)) == [
        "stseg.bad imports detectron2.modeling without stseg.modeling.systems"
    ]


GONE_FROM_NUMPY = {"int", "float", "bool", "str", "object", "long", "unicode"}


def banned(node: ast.AST) -> str | None:
    """Why a piece of syntax has no place in the package, or None."""
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        return "bare except hides every error"
    if isinstance(node, ast.Attribute) and node.attr in GONE_FROM_NUMPY:
        if isinstance(node.value, ast.Name) and node.value.id in ("np", "numpy"):
            return f"np.{node.attr} is gone from NumPy"
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name) and node.func.id == "print":
        return "use logging"
    attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if attribute == "cuda":
        return "use .to(device)"
    if attribute == "load" and ast.unparse(node.func) == "torch.load":
        safe = any(
            k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
        )
        return None if safe else "torch.load needs weights_only=True"
    return None


def test_no_device_is_assumed_below_the_engine():
    for path in SOURCES:
        if module_name(path).startswith("stseg.engine"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [n.lineno for n in ast.walk(tree) if getattr(n, "value", None) == "cuda"], path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_banned_pattern(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [f"{path}:{n.lineno}: {why}" for n in ast.walk(tree) if (why := banned(n))]
    assert not found


@pytest.mark.parametrize(
    "code",
    ["try: x\nexcept: y", "np.int(3)", "x.cuda()", "print(1)", "torch.load(f)"],
)
def test_banned_pattern_would_be_found(code):
    assert any(banned(node) for node in ast.walk(ast.parse(code)))
