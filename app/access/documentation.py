"""Keys in the OpenAPI document: which operations take one, and where it goes."""

from typing import Any

from fastapi import FastAPI

from app.access.gate import is_open

SCHEME = "apiKey"


def install(app: FastAPI) -> None:
    """Say of every operation behind the gate that it takes a key."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SCHEME] = {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "dcpi_...",
            "description": "An API key; not needed where the service listens on loopback only.",
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if is_open(path) else [{SCHEME: []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
