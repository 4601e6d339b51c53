"""Base models of the contract: frozen records that refuse unknown fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$"

MAX_NAME_LENGTH = 64

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH, pattern=NAME_PATTERN)
]
"""The name of a registered component or a dataset: letters, digits and ``_ . : -``."""

Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""The one seed of a job. Every random stream is derived from it."""


class Record(BaseModel):
    """Immutable data with a fixed set of fields; a misspelt field is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Options(Record):
    """What a user may change about one component.

    Only declarative limits (``Field``, ``Literal``): the JSON Schema generated from the class is
    what the web application validates against, and a schema cannot carry a Python validator.
    """
