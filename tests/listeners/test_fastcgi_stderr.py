"""``fastcgi-stderr``: what the application tells goes to the front end, as long as that has an ear for it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("front", ["fastcgi", "fastcgi-kept"])
@pytest.mark.parametrize("size", [1, 9000, 65535, 65536, 200_000])
def test_errors_go_to_the_front_end(serve, front, size):
    """Those of close() come behind the answer, where a kept connection has no place for them."""
    site = serve("waiting:app", ["fastcgi"], fastcgi_stderr="true")
    with site.client(front) as client:
        for number in range(3):
            answer = client.request("GET", f"/tells/{size}?t{number}")
            assert (answer.status, answer.body, answer.complete) == (200, b"told", True)
            assert answer.errors == b"e" * size
            site.log(rf"ERROR t{number} closed$")
