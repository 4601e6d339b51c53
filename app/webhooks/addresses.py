"""Which addresses a webhook may reach: public ones, however they are written.

An address that carries another one inside (IPv4-mapped, 6to4, Teredo, NAT64) is as private as what
it carries; it would otherwise lead into our own network through a translator.
"""

import ipaddress
from ipaddress import IPv4Address, IPv6Address, IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
"""RFC 6052 and RFC 8215; of the second no position of the IPv4 address is fixed."""
IPV4_COMPATIBLE = IPv6Network("::/96")


def is_public(address: str) -> bool:
    """Whether this IP address, and any inside it, belongs to the public internet."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # with a zone such as %eth0, say: link-local
        return False
    return _is_public(found)


def _is_public(found: IPv4Address | IPv6Address) -> bool:
    if isinstance(found, IPv6Address):
        if found in NAT64_LOCAL or found.scope_id is not None:
            return False
        inner = _inside(found)
        if inner:
            return all(_is_public(address) for address in inner)
    return found.is_global and not (found.is_multicast or found.is_reserved)


def _inside(found: IPv6Address) -> list[IPv4Address]:
    if found.ipv4_mapped is not None:
        return [found.ipv4_mapped]
    if found.sixtofour is not None:
        return [found.sixtofour]
    if found.teredo is not None:
        return list(found.teredo)
    if found in NAT64 or found in IPV4_COMPATIBLE:
        return [IPv4Address(int(found) & 0xFFFFFFFF)]
    return []
