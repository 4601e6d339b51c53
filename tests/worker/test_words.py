"""What may be shown of what a child said."""

import pytest

from worker.words import MAX_CHARS, public, storable


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("No such file: '/var/lib/dcpi/work/x.bin'", "No such file: '[path]'"),
        ("in /opt/dcpi/lib, line 3", "in [path], line 3"),
        ("HOME=/root", "HOME=[path]"),
        ("/tmp", "[path]"),
        ("km/h and 1 / 2 and a/b/c", "km/h and 1 / 2 and a/b/c"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("ValueError: a bug", "ValueError: a bug"),
    ],
)
def test_paths_are_hidden_and_nothing_else(said, shown):
    assert public(said) == shown


def test_what_no_database_takes_is_replaced():
    assert storable("a\0b\ud800c") == "a\ufffdb?c"
    assert len(storable("x" * (MAX_CHARS + 1))) == MAX_CHARS
