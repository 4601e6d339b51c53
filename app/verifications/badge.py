"""A verification as a picture of two words: what was asked, and what came out.

Made of shapes and attributes alone, since the policy of every answer allows no style sheet.
"""

import hashlib
from xml.sax.saxutils import escape

from fastapi import Request
from fastapi.responses import Response

from app.condensed.downloads import tags_in
from app.condensed.schemas import VerificationOutcome, Verified

MEDIA_TYPE = "image/svg+xml"
ASK_AGAIN = "private, no-cache"
"""May be kept, but is asked for again each time: the next verification changes it."""

LABEL = "report"
GREY = "#555"
COLOURS: dict[VerificationOutcome, str] = {
    "none": "#6e7681",
    "passed": "#2a7d4f",
    "failed": "#b3362b",
}
LETTER_WIDTH = 6.5
PADDING = 8
HEIGHT = 20


def serve(request: Request, verified: Verified) -> Response:
    """Answer GET or HEAD of the badge, honouring If-None-Match."""
    picture = draw(verified)
    etag = f'"{hashlib.sha256(picture.encode()).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": ASK_AGAIN}
    if {etag, "*"} & tags_in(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(picture, headers=headers, media_type=MEDIA_TYPE)


def words(verified: Verified) -> str:
    """The right half of the badge: the outcome, its date, and how many students it rests on."""
    if verified.outcome == "none" or verified.verified_at is None:
        return "not verified"
    day = verified.verified_at.date().isoformat()
    students = "" if verified.n is None else f", n = {verified.n}"
    return f"{verified.outcome} {day}{students}"


def draw(verified: Verified) -> str:
    """The badge as an SVG document."""
    said = words(verified)
    left, right = _width(LABEL), _width(said)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" '
        f'role="img" aria-label="{LABEL}: {escape(said)}">'
        f"<title>{LABEL}: {escape(said)}</title>"
        f'<rect width="{left}" height="{HEIGHT}" fill="{GREY}"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOURS[verified.outcome]}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" '
        'font-size="11">'
        f"{_text(LABEL, left / 2, left)}{_text(said, left + right / 2, right)}"
        "</g></svg>\n"
    )


def _width(text: str) -> int:
    return round(len(text) * LETTER_WIDTH) + 2 * PADDING


def _text(text: str, middle: float, width: int) -> str:
    # The length is given, so that it fits whatever font the reader has.
    length = width - 2 * PADDING
    return f'<text x="{middle:g}" y="14" textLength="{length}">{escape(text)}</text>'
