"""Which changes of an OpenAPI document would break a client that was written against the old one.

What a client sends may only be accepted more widely, what it reads may only become more certain:
so schemas are compared in one direction for requests and in the other for answers. Values that an
enumeration gains in answers do not count; clients are told to expect words that they do not know.
Schemas that contain themselves cannot be compared; there are none.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

TIGHTER: dict[str, Callable[[float, float], bool]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), operator.gt),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), operator.lt),
}
"""By each bound, whether one value of it allows less than another."""
ANY = "anything"
JSON_TYPES = ("application/json", "application/problem+json")


def breaking_changes(old: Json, new: Json) -> list[str]:
    """One line for each change that a client of ``old`` may not survive; empty if there is none.

    Args:
        old: the OpenAPI 3.1 document that clients were written against.
        new: the one they will meet.
    """
    return list(_Comparison(old, new).of_operations())


@dataclass(frozen=True)
class _Comparison:
    old: Json
    new: Json

    def of_operations(self) -> Iterator[str]:
        for path, operations in self.old["paths"].items():
            for method, before in operations.items():
                name = f"{method.upper()} {path}"
                after = self.new["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{name}: the operation is gone"
                    continue
                yield from self._of_operation(name, before, after)

    def _of_operation(self, name: str, before: Json, after: Json) -> Iterator[str]:
        if before.get("operationId") != after.get("operationId"):
            yield f"{name}: the operationId {before.get('operationId')} is another"
        if after.get("security") and not before.get("security"):
            yield f"{name}: takes a key now"
        yield from self._of_parameters(name, before, after)
        yield from self._of_bodies(name, before, after)
        yield from self._of_answers(name, before, after)

    def _of_parameters(self, name: str, before: Json, after: Json) -> Iterator[str]:
        known, found = _parameters(before), _parameters(after)
        for key, parameter in known.items():
            where = f"{name}: parameter {key[1]}"
            if key not in found:
                yield f"{where} is gone"
                continue
            yield from self._of_request(where, parameter["schema"], found[key]["schema"])
        for key, parameter in found.items():
            was_required = known.get(key, {}).get("required", False)
            if parameter.get("required", False) and not was_required:
                yield f"{name}: parameter {key[1]} is required now"

    def _of_bodies(self, name: str, before: Json, after: Json) -> Iterator[str]:
        known, found = before.get("requestBody", {}), after.get("requestBody", {})
        if found.get("required", False) and not known.get("required", False):
            yield f"{name}: the body is required now"
        for media, content in known.get("content", {}).items():
            where = f"{name}: body"
            if media not in found.get("content", {}):
                yield f"{where} as {media} is no longer read"
                continue
            later = found["content"][media]
            yield from self._of_request(where, content.get("schema", {}), later.get("schema", {}))

    def _of_answers(self, name: str, before: Json, after: Json) -> Iterator[str]:
        for status, answer in before["responses"].items():
            if not status.startswith("2"):
                continue
            where = f"{name}: answer {status}"
            found = after["responses"].get(status)
            if found is None:
                yield f"{where} is gone"
                continue
            for media, content in answer.get("content", {}).items():
                if media not in found.get("content", {}):
                    yield f"{where} no longer comes as {media}"
                elif media in JSON_TYPES:
                    later = found["content"][media].get("schema", {})
                    yield from self._of_reading(where, content.get("schema", {}), later)

    def _of_request(self, where: str, before: Json, after: Json) -> Iterator[str]:
        """The new schema must take everything that the old one took."""
        known, found = _branches(self.old, before), _branches(self.new, after)
        for kind, one in known.items():
            other = found.get(kind) or found.get(ANY)
            if other is None and kind == "integer":
                other = found.get("number")
            if other is None:
                yield f"{where} may no longer be {kind}"
                continue
            yield from _narrowed(where, one, other)
            for name in one.get("properties", {}):
                if name not in other.get("properties", {}) and other.get("properties"):
                    yield f"{where}.{name} is no longer taken"
            for name in set(other.get("required", ())) - set(one.get("required", ())):
                yield f"{where}.{name} is required now"
            yield from self._of_parts(where, one, other, self._of_request)

    def _of_reading(self, where: str, before: Json, after: Json) -> Iterator[str]:
        """The new schema must give nothing that the old one did not give."""
        known, found = _branches(self.old, before), _branches(self.new, after)
        for kind, other in found.items():
            one = known.get(kind) or known.get(ANY)
            if one is None and kind == "integer":
                one = known.get("number")
            if one is None:
                yield f"{where} may be {kind} now"
                continue
            for name in one.get("properties", {}):
                if name not in other.get("properties", {}):
                    yield f"{where}.{name} is gone"
                elif name in one.get("required", ()) and name not in other.get("required", ()):
                    yield f"{where}.{name} may be missing now"
            yield from self._of_parts(where, one, other, self._of_reading)

    def _of_parts(self, where: str, one: Json, other: Json, compare: Any) -> Iterator[str]:
        fields, later = one.get("properties", {}), other.get("properties", {})
        for name in fields.keys() & later.keys():
            yield from compare(f"{where}.{name}", fields[name], later[name])
        for part, mark in (("items", "[]"), ("additionalProperties", ".*")):
            if isinstance(one.get(part), dict) and isinstance(other.get(part), dict):
                yield from compare(where + mark, one[part], other[part])


def _parameters(operation: Json) -> dict[tuple[str, str], Json]:
    return {(item["in"], item["name"]): item for item in operation.get("parameters", ())}


def _branches(document: Json, schema: Json) -> dict[str, Json]:
    """What a value may be, by its type; of several objects, by the name of each."""
    found: dict[str, Json] = {}
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _branches(document, document["components"]["schemas"][name])
    for inner in schema.get("anyOf") or schema.get("oneOf") or ():
        for kind, branch in _branches(document, inner).items():
            name = f"{kind} {branch.get('title', '')}".strip() if kind in found else kind
            found[name] = branch
    if found:
        return found
    kinds = schema.get("type", ANY)
    return dict.fromkeys([kinds] if isinstance(kinds, str) else kinds, schema)


def _narrowed(where: str, one: Json, other: Json) -> Iterator[str]:
    if "enum" in other or "const" in other:
        allowed = other.get("enum", [other.get("const")])
        lost = [value for value in _values(one) if value not in allowed]
        if lost or not _values(one):
            yield f"{where} may no longer be {', '.join(map(repr, lost)) or 'any value'}"
    if other.get("pattern") not in (None, one.get("pattern")):
        yield f"{where} has another pattern"
    for bound in other.keys() & TIGHTER.keys():
        if bound not in one or TIGHTER[bound](other[bound], one[bound]):
            yield f"{where} has a tighter {bound}"


def _values(schema: Json) -> list[Any]:
    return list(schema.get("enum", [schema["const"]] if "const" in schema else []))
