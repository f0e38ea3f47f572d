r"""Units of measurement: their dimension and scale, so that 5 km is 5000 m and never 5 m.

A unit expression such as ``kg m/s^2`` or ``\mathrm{kJ\,mol^{-1}}`` is read into powers of base
units and one exact scale. A word the table does not have is a base unit of its own: two
answers in "apples" agree, apples and pears do not.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_PREFIXES = {
    "": 0, "T": 12, "G": 9, "M": 6, "k": 3, "d": -1, "c": -2, "m": -3,
    "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12, "f": -15,
}  # fmt: skip
_SI = {  # symbol: (scale, powers of base units); these take prefixes
    "m": ("1", "m"), "g": ("1e-3", "kg"), "s": ("1", "s"), "A": ("1", "A"), "K": ("1", "K"),
    "mol": ("1", "mol"), "cd": ("1", "cd"), "Hz": ("1", "s-1"), "N": ("1", "kg m s-2"),
    "Pa": ("1", "kg m-1 s-2"), "J": ("1", "kg m2 s-2"), "W": ("1", "kg m2 s-3"),
    "C": ("1", "A s"), "V": ("1", "kg m2 s-3 A-1"), "F": ("1", "kg-1 m-2 s4 A2"),
    "Ω": ("1", "kg m2 s-3 A-2"), "T": ("1", "kg s-2 A-1"), "Wb": ("1", "kg m2 s-2 A-1"),
    "H": ("1", "kg m2 s-2 A-2"), "L": ("1e-3", "m3"), "l": ("1e-3", "m3"),
    "eV": ("1.602176634e-19", "kg m2 s-2"), "cal": ("4.184", "kg m2 s-2"),
    "bar": ("1e5", "kg m-1 s-2"), "M": ("1e3", "mol m-3"),
}  # fmt: skip
_OTHER = {  # these take no prefix
    "min": ("60", "s"), "h": ("3600", "s"), "hr": ("3600", "s"), "day": ("86400", "s"),
    "atm": ("101325", "kg m-1 s-2"), "Å": ("1e-10", "m"), "deg": ("1", "deg"), "rad": ("1", ""),
    "degC": ("1", "degC"), "degF": ("1", "degF"),
}  # fmt: skip
_NAMES = {
    "meter": "m", "metre": "m", "gram": "g", "second": "s", "sec": "s", "ampere": "A",
    "amp": "A", "kelvin": "K", "mole": "mol", "hertz": "Hz", "newton": "N", "pascal": "Pa",
    "joule": "J", "watt": "W", "coulomb": "C", "volt": "V", "farad": "F", "ohm": "Ω",
    "tesla": "T", "henry": "H", "liter": "L", "litre": "L", "electronvolt": "eV",
    "calorie": "cal", "minute": "min", "hour": "h", "degree": "deg", "radian": "rad",
    "angstrom": "Å", "atmosphere": "atm",
}  # fmt: skip
_NAME_PREFIXES = {
    "tera": "T", "giga": "G", "mega": "M", "kilo": "k", "deci": "d", "centi": "c",
    "milli": "m", "micro": "u", "nano": "n", "pico": "p", "femto": "f",
}  # fmt: skip
_TOKEN = re.compile(r"(/|per(?![a-z])|[()])|([^\W\d_]+)(?:\^?\{?([+-]?[0-9]+)\}?)?")


@dataclass(frozen=True)
class Unit:
    """A scale and powers of base units, sorted by name."""

    scale: Fraction
    dimension: tuple[tuple[str, int], ...]


@lru_cache(maxsize=4_096)
def parse_unit(text: str) -> Unit | None:
    """The unit that ``text`` spells; None for no text and for what is no unit expression."""
    text = _plain_text(text)
    scale, powers = Fraction(1), Counter[str]()
    sign, position = 1, 0
    for match in _TOKEN.finditer(text):
        if text[position : match.start()].strip(" *·."):
            return None
        position = match.end()
        operator, symbol, exponent = match.groups()
        if operator:
            # a/b c reads a/(b c), as it is meant in units
            sign = -1 if operator in ("/", "per") else sign
            continue
        factor, base = _symbol_unit(symbol)
        power = sign * int(exponent or 1)
        if abs(power) > 12:
            return None
        scale *= factor**power
        for name, count in base.items():
            powers[name] += count * power
    if text[position:].strip(" *·.") or not text.strip():
        return None
    return Unit(scale, tuple(sorted((name, power) for name, power in powers.items() if power)))


def is_known_unit(text: str) -> bool:
    """True if ``text`` is a unit expression made of units of the table only."""
    unit = parse_unit(text)
    return unit is not None and not any(name.startswith("?") for name, _ in unit.dimension)


def _plain_text(text: str) -> str:
    text = re.sub(r"\\(?:text|mathrm|rm|mbox|operatorname)(?![a-zA-Z])", "", text)
    text = re.sub(r"\\(?:cdot|times|,|;|:|!|\s)|~", " ", text)
    # Braces that group a name, not those of an exponent.
    text = re.sub(r"(?<!\^)\{([^{}]*(?:\^\{[^{}]*\}[^{}]*)*)\}", r"\1", text)
    text = re.sub(r"\\Omega(?![a-zA-Z])|Ω", "Ω", text)
    text = re.sub(r"\\mu(?![a-zA-Z])\s*", "u", text)
    text = re.sub(r"\^?\{?\\circ\}?|°", "deg", text)
    text = re.sub(r"deg[{\s]*(?=[CF](?![a-z]))", "deg", text)
    return text.replace("−", "-").replace("²", "^2").replace("³", "^3")


def _symbol_unit(symbol: str) -> tuple[Fraction, Counter[str]]:
    for name in (symbol, _abbreviate(symbol)):
        if name in _OTHER:
            return _read(_OTHER[name])
        for prefix, exponent in _PREFIXES.items():
            if name.startswith(prefix) and name[len(prefix) :] in _SI:
                scale, powers = _read(_SI[name[len(prefix) :]])
                return scale * Fraction(10) ** exponent, powers
    return Fraction(1), Counter({f"?{symbol.lower().removesuffix('s')}": 1})


def _abbreviate(word: str) -> str:
    """``kilometers`` to ``km``; a word that is no unit name is returned as it is."""
    name = word.lower()
    prefix = next((p for p in _NAME_PREFIXES if name.startswith(p)), "")
    stem = name[len(prefix) :]
    for candidate in (stem, stem.removesuffix("s"), stem.removesuffix("es")):
        if candidate in _NAMES:
            return _NAME_PREFIXES.get(prefix, "") + _NAMES[candidate]
    return word


def _read(entry: tuple[str, str]) -> tuple[Fraction, Counter[str]]:
    scale, base = entry
    powers = Counter[str]()
    for factor in base.split():
        match = re.fullmatch(r"([a-zA-Z]+)(-?[0-9]*)", factor)
        assert match is not None
        powers[match[1]] += int(match[2] or 1)
    return Fraction(scale), powers
