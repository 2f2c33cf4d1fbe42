"""Settings: YAML files and dotted overrides to frozen dataclasses, strictly, and back.

An unknown key, a wrong type or a value out of range is an error that names the setting.
"""

import dataclasses
import functools
import json
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import yaml

from brainuad.manifest import file_errors, plain
from brainuad.types import BrainuadError, DataError, MissingError, UsageError

T = TypeVar("T")

_STRICT = pydantic.ConfigDict(extra="forbid", strict=True)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: ``1e-4`` is a number, and a key may stand only once."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} stands twice", key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, *, where: str) -> Any:
    """The value that a YAML text holds; ``where`` names the text in errors."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UsageError(
            f"{where}: not valid YAML ({_one_line(error)}); correct the text"
        ) from error


def load_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a YAML file; an empty file holds none."""
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path}: no such settings file; check the path")
    try:
        with file_errors(path):
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error.reason}); give a YAML file") from error
    data = parse_yaml(text, where=str(path))
    if data is not None and not isinstance(data, dict):
        raise UsageError(f"{path}: holds a {type(data).__name__}; write `name: value` lines")
    return data or {}


def dump_yaml(obj: Any) -> str:
    """YAML text of settings, in the order of the fields; :func:`load_yaml` reads it back."""
    return yaml.safe_dump(plain(obj), sort_keys=False, allow_unicode=True, width=100)


def to_dict(obj: Any) -> dict[str, Any]:
    """The fields of a settings dataclass in plain types, nested."""
    return plain(obj)


def build(cls: type[T], data: Mapping[str, Any] | None, *, where: str = "") -> T:
    """An instance of a settings dataclass from plain data, checked strictly.

    Args:
        cls: frozen dataclass; nested dataclasses are built too, missing fields take defaults.
        data: values by field name.
        where: name of this part of the settings, put before the field in errors.

    Raises:
        UsageError: unknown key, wrong type, value out of range or missing value; names them all.
    """
    data = plain({} if data is None else data)
    _check_names(cls, data, where)
    try:
        # Through JSON, because there "strict" still lets a list be a tuple and a word a path.
        return _adapter(cls).validate_json(json.dumps(data))
    except pydantic.ValidationError as error:
        raise UsageError("; ".join(_sentences(error, where, data))) from error


@functools.cache
def _adapter(cls: type) -> Any:
    if "__pydantic_config__" not in cls.__dict__ and dataclasses.is_dataclass(cls):
        cls.__pydantic_config__ = _STRICT  # type: ignore[attr-defined]
    return pydantic.TypeAdapter(cls)


def _check_names(cls: Any, data: Any, where: str) -> None:
    """Refuse keys that no field has, here and in nested dataclasses, listing the known ones."""
    if not dataclasses.is_dataclass(cls) or not isinstance(data, Mapping):
        return
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    for key, value in data.items():
        if key not in known:
            raise UsageError(_unknown(_dotted(where, key), known))
        for nested in _dataclasses_in(hints[key]):
            _check_names(nested, value, _dotted(where, key))


def _dataclasses_in(hint: Any) -> list[type]:
    options = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    found = [option for option in options if dataclasses.is_dataclass(option)]
    # Of several possible dataclasses only pydantic can tell which one is meant.
    return typing.cast("list[type]", found) if len(found) == 1 else []


_UNIONS = (typing.Union, types.UnionType)


def _unknown(name: str, known: Sequence[str]) -> str:
    choices = f"known: {', '.join(sorted(known))}" if known else "nothing can be set here"
    return f"{name}: unknown setting; {choices}"


def _dotted(*parts: object) -> str:
    return ".".join(str(part) for part in parts if str(part))


def _sentences(error: pydantic.ValidationError, where: str, data: Any) -> list[str]:
    """One sentence per setting, though a choice of types makes an error for each of them."""
    by_name: dict[str, list[Any]] = {}
    for item in error.errors(include_url=False):
        by_name.setdefault(_dotted(where, *_path(item, data)), []).append(item)
    # What is wrong with a part says what is wrong with the whole.
    return [
        _sentence(items, name)
        for name, items in by_name.items()
        if not any(other.startswith(f"{name}.") for other in by_name)
    ]


def _path(item: Any, data: Any) -> list[str | int]:
    """The keys that lead to a setting, without pydantic's names for the types it tried."""
    path: list[str | int] = []
    *_, last = ("", *item["loc"])  # before it may stand the name of a type that was tried
    for part in item["loc"]:
        inside = range(len(data)) if isinstance(data, list) else data
        if isinstance(data, (dict, list)) and part in inside:
            data = data[part]
            path.append(part)
        elif item["type"].startswith("missing") and part == last:
            path.append(part)
    return path


def _sentence(items: list[Any], name: str) -> str:
    # Of several types that were tried, the one that fitted has the more telling complaint.
    telling = [item for item in items if not item["type"].endswith("_type")] or items
    kind, cause = telling[0]["type"], telling[0].get("ctx", {}).get("error")
    if isinstance(cause, BrainuadError):
        return _joined(name, str(cause))
    name = name or "settings"
    if kind.startswith("missing"):
        return f"{name}: has no value; give one"
    if kind == "unexpected_keyword_argument":
        return f"{name}: unknown setting; remove it"
    said = " or ".join(dict.fromkeys(item["msg"].removeprefix("Value error, ") for item in telling))
    return f"{name}: {said}, got {telling[0]['input']!r}; correct this value"


def _joined(name: str, message: str) -> str:
    said = not name or message.startswith(f"{name}: ")
    return message if said else f"{name}: {message}"


def override(data: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Settings with some values replaced; the original is not touched.

    Args:
        data: complete settings, as :func:`to_dict` gives them: a path must exist in them.
        changes: ``"a.b=value"``; the value is read as YAML, so ``1e-4``, ``[1, 2]`` and
            ``{x: 1}`` work. A mapping without entries accepts any name.

    Raises:
        UsageError: no ``=``, or a path that the settings do not have.
    """
    result = _copy(data)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            raise UsageError(f"--set {change!r}: not of the form a.b=value; write it so")
        _replace(result, path.strip(), parse_yaml(text, where=f"--set {path.strip()}"))
    return result


def _copy(data: Any) -> Any:
    return {k: _copy(v) for k, v in data.items()} if isinstance(data, Mapping) else data


def _replace(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for depth, key in enumerate(parents):
        _check_has(data, key, parents[:depth])
        data = data[key]
    if not isinstance(data, dict) or data:
        _check_has(data, last, parents)
    data[last] = value


def _check_has(data: Any, key: str, parents: Sequence[str]) -> None:
    if not isinstance(data, dict):
        raise UsageError(f"{_dotted(*parents)}: is a value, it has no {key!r}; set it as a whole")
    if key not in data:
        raise UsageError(_unknown(_dotted(*parents, key), list(data)))


def seconds(duration: str | int | float) -> float:
    """Seconds in a duration such as ``"90s"``, ``"9m"``, ``"1h30m"`` or a plain number."""
    if isinstance(duration, (int, float)) and 0 <= duration < math.inf:
        return float(duration)
    text = str(duration).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    raise UsageError(f"duration {duration!r}: not understood; write it like 90s, 9m or 1h30m")


Seconds = Annotated[float, pydantic.BeforeValidator(seconds)]
"""A duration in seconds; settings files may write it like ``9m``."""
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
"""A number from 0 to 1, both included."""


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
