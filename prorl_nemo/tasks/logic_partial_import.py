"""Reasoning Gym with a few of its data sets, for a process that only checks their settings.

The package's ``__init__`` imports all data sets, and with them sympy and matplotlib: seconds.
Within ``only_data_sets`` the package and its categories are in ``sys.modules`` without their
``__init__`` having run, and the modules of the named data sets are imported as usual. What it
made must not outlive the block: the modules leave ``sys.modules`` at its end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

PACKAGE = "reasoning_gym"
# Not categories of data sets; small, and imported in full.
WHOLE = ("coaching", "data")
DATASET_NAME = re.compile(r'^DATASET_NAME = "(\w+)"$', re.MULTILINE)


@contextlib.contextmanager
def only_data_sets(names: Collection[str]) -> Iterator[None]:
    """Within, ``reasoning_gym.factory`` knows ``names`` and perhaps more.

    Imports nothing early where a module doesn't say that it registers one of ``names``, or the
    package is loaded: a data set is unknown only if all of Reasoning Gym doesn't have it.
    """
    if PACKAGE in sys.modules or not _import_modules_of(names):
        yield
        return
    try:
        yield
    finally:
        _forget()


def _import_modules_of(names: Collection[str]) -> bool:
    """Whether all of ``names`` are registered now; if not, nothing was imported."""
    try:
        modules = _enter_packages()
        importlib.import_module(f"{PACKAGE}.coaching")  # first: factory and it import each other
        for name in names:
            importlib.import_module(modules[name])
        registered = importlib.import_module(f"{PACKAGE}.factory").DATASETS
    except (ImportError, KeyError):  # a data set that needs more of the package, or is elsewhere
        registered = {}
    if not registered or not registered.keys() >= set(names):
        _forget()
        return False
    return True


def _enter_packages() -> dict[str, str]:
    """Put the packages into ``sys.modules`` unexecuted; the module of each data set, by name."""
    modules = {}
    for category in pkgutil.iter_modules(_enter(PACKAGE)):
        if not category.ispkg or category.name in WHOLE:
            continue
        package = f"{PACKAGE}.{category.name}"
        for folder in _enter(package):
            for path in Path(folder).rglob("*.py"):
                inner = ".".join(path.relative_to(folder).with_suffix("").parts)
                for name in DATASET_NAME.findall(path.read_text(encoding="utf-8")):
                    modules[name] = f"{package}.{inner}"
    return modules


def _enter(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(package)
    sys.modules[package] = importlib.util.module_from_spec(spec)
    return list(spec.submodule_search_locations or ())


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]
