"""Which fields a request's body may have where it has one that is not known."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from fastapi import Request
from pydantic import BaseModel


def unknown_field(request: Request, location: Sequence[int | str]) -> str:
    """What to say of the field at pydantic's ``location`` below the body: what is allowed there."""
    *path, name = location
    field = request.scope["route"].body_field
    known = _fields_at(field.field_info.annotation, path)
    return f"unknown field {str(name)!r}; allowed: {', '.join(known) or 'none'}"


def _fields_at(annotation: Any, path: Sequence[int | str]) -> list[str]:
    """Names as the model orders them; a step that is no field is an item or a branch of a union."""
    for step in path:
        fields = dict(pair for model in _models(annotation) for pair in model.model_fields.items())
        if step in fields:
            annotation = fields[str(step)].annotation
    return [name for model in _models(annotation) for name in model.model_fields]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this type may be made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
