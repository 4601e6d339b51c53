"""Text that is safe and readable inside Markdown."""

from collections.abc import Sequence


def plain(text: str) -> str:
    """``text`` on one line with nothing that Markdown or HTML would act on."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def indented(text: str) -> str:
    """An indented block, which no content can end early."""
    return "\n".join("    " + line for line in text.strip().splitlines())


def listing(names: Sequence[str]) -> str:
    """``a, b and c``; nothing for no names."""
    return (
        names[0]
        if len(names) == 1
        else ", ".join(names[:-1]) + " and " + names[-1]
        if names
        else ""
    )
