"""The page at ``/docs``, made of files of our own: it works where nothing else can be reached."""

import base64
import hashlib
import re
from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from app.kit.headers import NO_FRAMES, POLICY

PATH = "/docs"
DAY = 86400
NO_ICON = "data:,"

router = APIRouter(include_in_schema=False)


@router.get(PATH)
async def page(request: Request) -> HTMLResponse:
    """Every operation, to be tried out."""
    root = request.scope.get("root_path", "")
    made = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{root}{PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{PATH}/swagger-ui.css",
        swagger_favicon_url=NO_ICON,
    )
    made.headers[POLICY] = _policy(bytes(made.body))
    return made


@router.get(PATH + "/{name}")
def part(name: Literal["swagger-ui-bundle.js", "swagger-ui.css"]) -> FileResponse:
    """What the page is made of; the package that brings it is needed for its files only."""
    path = files("fastapi_offline") / "static" / name
    return FileResponse(str(path), headers={"Cache-Control": f"public, max-age={DAY}"})


def _policy(html: bytes) -> str:
    """Our own files and, by their digests, the scripts that stand in the page itself.

    Swagger UI sets styles on its elements and draws icons from ``data:`` addresses.
    """
    inline = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in inline]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; connect-src 'self'; {NO_FRAMES}"
    )
