"""Whether requests need a key: always, unless the service listens on the loopback interface."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from app.access.scopes import READING_METHODS
from app.settings import MIN_SECRET, Settings


def keys_required(settings: Settings) -> bool:
    """Whether every request needs a key.

    Raises:
        ValueError: the settings would open the service to strangers, or keys cannot be checked.
    """
    if settings.auth == "open":
        return False
    local = is_loopback(settings.host)
    if settings.auth == "off" and not local:
        raise ValueError(
            f"DCPI_AUTH is off and DCPI_HOST is {settings.host}, which other machines can reach; "
            "set DCPI_AUTH=on, or listen on 127.0.0.1 (DCPI_AUTH=open means: something in front "
            "of the service decides who may use it)"
        )
    required = settings.auth == "on" or not local
    if required and settings.key_secret is None:
        raise ValueError(
            f"API keys are needed (DCPI_AUTH is {settings.auth}, DCPI_HOST is {settings.host}), so "
            f"set DCPI_KEY_SECRET to at least {MIN_SECRET} random characters, for example from: "
            "openssl rand -hex 32"
        )
    return required


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def came_from_outside(server: tuple[str, int | None] | None) -> bool:
    """Whether a request arrived on an address that other machines can reach.

    ``server`` is that of the ASGI scope. What a server was told to listen on need not be what
    ``DCPI_HOST`` says; this is what the connection itself says. Names and sockets are not judged.
    """
    if server is None:
        return False
    try:
        return not ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return False


def was_passed_on(headers: Mapping[str, str]) -> bool:
    """Whether a proxy says that it received this request from somebody else.

    It reaches a service behind a proxy of the same machine on the loopback interface, like one of
    this machine's own.
    """
    return any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))


def is_meant_for_this_machine(headers: Mapping[str, str]) -> bool:
    """Whether a request is addressed to ``localhost`` or a loopback address.

    The name of a page can be resolved anew to 127.0.0.1 once the page is loaded. What it then asks
    of this machine is of its own origin for its browser, and says so only by the name in ``Host``.
    A browser never leaves that out.
    """
    try:
        host = urlsplit("//" + headers.get("host", "localhost")).hostname
    except ValueError:  # brackets around what is no address
        return False
    return host is not None and is_loopback(host)


def sent_by_another_site(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser says that it makes this change for a page of another site.

    Such a page cannot send a key it does not know, but where none is needed it could post a form.
    Nothing but browsers sends this header, and a page cannot forge it.
    """
    site = headers.get("sec-fetch-site", "none")
    return method not in READING_METHODS and site not in ("none", "same-origin")
