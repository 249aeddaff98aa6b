"""What a package holds, read from its files: nothing is imported, so help and wrong names cost nothing."""

from __future__ import annotations

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path

__all__ = ["file_of", "first_line", "folder", "modules", "subclasses", "table"]


@lru_cache
def folder(package: str) -> Path | None:
    """Where a package lies, importing at most the outermost one; ``None`` where it does not exist."""
    parts = package.split(".")
    spec = importlib.util.find_spec(".".join(parts[:2]))
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts[2:])
    return path if path.is_dir() else None


def modules(package: str) -> dict[str, Path]:
    """The files of a package by module name, in alphabetical order; without names that start with ``_``."""
    path = folder(package)
    return dict(_modules(path, path.stat().st_mtime_ns)) if path else {}


@lru_cache
def _modules(path: Path, changed: int) -> dict[str, Path]:
    """The files of a folder that was last changed at ``changed``: parsing one configuration asks a hundred times."""
    del changed  # it tells apart what was read before a file came or went
    return {file.stem: file for file in sorted(path.glob("*.py")) if not file.stem.startswith("_")}


@lru_cache
def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _headline(node: ast.Module | ast.ClassDef | None) -> str:
    lines = (ast.get_docstring(node) or "").splitlines() if node else []
    return lines[0].strip().replace("``", "") if lines else ""


def first_line(file: Path) -> str:
    """The first line of a file's docstring; empty where there is none, or the file is damaged."""
    return _headline(_tree(file))


def file_of(module: str) -> Path | None:
    """The file of a module inside a package; ``None`` where the package does not exist."""
    package, _, name = module.rpartition(".")
    path = folder(package)
    return path / f"{name}.py" if path else None


def _classes(file: Path) -> dict[str, ast.ClassDef]:
    tree = _tree(file)
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)} if tree else {}


def subclasses(package: str, base: str) -> dict[str, str]:
    """The modules of a package that define a class derived from ``base``, with that class's first line."""
    found = {}
    for name, file in modules(package).items():
        for node in _classes(file).values():
            if any(isinstance(parent, ast.Name) and parent.id == base for parent in node.bases):
                found[name] = _headline(node)
    return found


def table(module: str) -> dict[str, str]:
    """A module's dictionary from names to its classes, each with the class's first line."""
    file = file_of(module)
    tree = _tree(file) if file else None
    if file is None or tree is None:
        return {}
    made = _classes(file)
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            found = {
                k.value: v.id for k, v in pairs if isinstance(k, ast.Constant) and isinstance(v, ast.Name)
            }
            if found and set(found.values()) <= set(made):
                return {str(name): _headline(made[cls]) for name, cls in found.items()}
    return {}
