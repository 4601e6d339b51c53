"""An address is public only if everything in it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.addresses import is_public

PRIVATE_V4 = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
]


def hexed(v4: str) -> str:
    a, b, c, d = (int(part) for part in v4.split("."))
    return f"{a:02x}{b:02x}:{c:02x}{d:02x}"


CARRIERS = {
    "mapped": lambda v4: f"::ffff:{v4}",
    "compatible": lambda v4: f"::{v4}",
    "6to4": lambda v4: f"2002:{hexed(v4)}::1",
    "nat64": lambda v4: f"64:ff9b::{v4}",
}


@pytest.mark.parametrize("address", PRIVATE_V4)
def test_private_addresses_are_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize("inner", PRIVATE_V4)
def test_private_addresses_inside_others_are_refused(carry, inner):
    assert not is_public(carry(inner))


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "64:ff9b:1::808:808",
        "2001:0:a9fe:a9fe::",
        "no address",
        "",
        "2130706433",
        "0x7f000001",
    ],
)
def test_other_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]
)
def test_public_addresses_pass(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_a_carrier_is_as_public_as_what_it_carries(inner):
    for carry in CARRIERS.values():
        assert is_public(carry(str(inner))) == is_public(str(inner))
