"""Paths through a real nginx: the application is given the one that nginx's rules were about (E9)."""

from __future__ import annotations

import pytest

from tests.peers.client import curl, get

pytestmark = pytest.mark.peers


@pytest.fixture(params=["uwsgi", "fastcgi", "scgi"])
def ask(request, nginx):
    """Return what asks for a target, unchanged, over each protocol in turn."""
    return lambda target: curl(nginx.url(request.param, target), "--path-as-is")


@pytest.mark.parametrize("target", ["/closed/x", "/x/../closed", "//closed", "/%63losed", "/old/../closed"])
def test_E9_a_closed_path_is_closed(ask, target):
    assert ask(target).status == 403


@pytest.mark.parametrize(
    "target, path",
    [
        ("/closed/../x", "/x"), ("/x/closed/..", "/x/"), ("/closed%2F../x", "/x"), ("//x//y", "/x/y"),
        ("/old/x", "/new/x"), ("/old//x/../y", "/new/y"), ("/x%2541", "/x%41"),
    ],
)  # fmt: skip
def test_E9_the_path_is_as_nginx_understands_it(ask, target, path):
    found = ask(target).json
    assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["REQUEST_URI"]) == ("", path, target)


@pytest.mark.parametrize("name", ["fastcgi", "scgi"])
@pytest.mark.parametrize(
    "target, script, path",
    [
        ("/mounted/x", "/mounted", "/x"),
        ("/mounted//x/../y", "/mounted", "/y"),
        ("/mounted/", "/mounted", "/"),
        ("/stripped/x", "/stripped", "/x"),
        ("/stripped//closed/../x", "/stripped", "/x"),
        ("/stripped/", "/stripped", "/"),
    ],
)
def test_E9_a_mount_s_path_is_too(nginx, name, target, script, path):
    found = get(nginx.url(name, target), "--path-as-is").json
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (script, path)
