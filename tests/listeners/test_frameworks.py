"""Flask, Django and werkzeug's test application, served through every listener."""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import unquote, urlencode

import pytest

from tests.listeners.conftest import APPS, FRONTS, KEPT_FRONTS, Site

FRAMEWORKS = {"flask": "flask_app", "django": "django_app"}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def framework(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    found = Site(directory, f"{FRAMEWORKS[request.param]}:app", post_buffering=65536)
    found.framework = request.param
    yield found
    found.close()


@pytest.fixture(params=FRONTS)
def browser(request, framework):
    with framework.client(request.param) as found:
        found.front = request.param
        yield found
    framework.forget_log()


def multipart(name, data, **fields):
    """Return a form with a file, as browsers send it."""
    parts = [
        f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode()
        for key, value in fields.items()
    ]
    parts.append(
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
    )
    body = b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"
    return [("Content-Type", "multipart/form-data; boundary=limit")], body


def test_page(browser):
    answer = browser.request("GET", "/?a=1&b=caf%C3%A9", [("Host", "www.example:8080")])
    assert answer.status == 200
    page = json.loads(answer.body)
    assert (page["path"], page["query"]) == ("/", {"a": "1", "b": "caf\xe9"})
    assert unquote(page["url"]) == "http://www.example:8080/?a=1&b=caf\xe9"


def test_not_found(browser):
    assert browser.request("GET", "/there-is-none").status == 404


def test_form(browser):
    fields = {"name": "caf\xe9", "text": "a&b=c d\r\n", "long": "x" * 50000}
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    answer = browser.request("POST", "/form", headers, urlencode(fields).encode())
    assert json.loads(answer.body) == fields


@pytest.mark.parametrize("size", [0, 10, 300000])
def test_upload(browser, size):
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    answer = browser.request("POST", "/upload", *multipart("own.bin", data, note="yes"))
    digest = hashlib.sha256(data).hexdigest()
    assert json.loads(answer.body) == {"name": "own.bin", "size": size, "sha256": digest, "note": "yes"}


def test_streaming(browser):
    answer = browser.request("GET", "/stream")
    assert answer.body.decode() == "".join(f"line {number}\n" for number in range(1000))
    assert answer.complete


def test_cookies(browser):
    answer = browser.request("GET", "/cookie")
    assert json.loads(answer.body) == {"seen": None, "visits": 0}
    cookies = [value.partition(";")[0] for value in answer.all("Set-Cookie")]
    assert len(cookies) == 3
    answer = browser.request("GET", "/cookie", [("Cookie", "; ".join(cookies))])
    assert json.loads(answer.body) == {"seen": "caf\xe9", "visits": 1}


def test_redirect(browser):
    answer = browser.request("GET", "/redirect", [("Host", "www.example")])
    assert (answer.status, answer.header("Location")) == (302, "/?a=b+c")
    assert answer.closed == (browser.front not in KEPT_FRONTS)
    answer = browser.request("GET", answer.header("Location"))
    assert json.loads(answer.body)["query"] == {"a": "b c"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file(browser, framework, method):
    answer = browser.request(method, "/file")
    content = (APPS / f"{FRAMEWORKS[framework.framework]}.py").read_bytes()
    assert answer.body == (content if method == "GET" else b"")
    assert answer.header("Content-Length") == str(len(content))
    assert answer.complete


def test_error(browser):
    answer = browser.request("GET", "/error")
    assert (answer.status, answer.complete) == (500, True)
    assert b"RuntimeError" not in answer.body
    assert browser.request("GET", "/").status == 200


# werkzeug's page about itself


@pytest.fixture(scope="module")
def werkzeug(tmp_path_factory):
    found = Site(tmp_path_factory.mktemp("werkzeug"), "werkzeug.testapp:test_app")
    yield found
    found.close()


@pytest.mark.parametrize("front", FRONTS)
def test_werkzeug(werkzeug, front):
    with werkzeug.client(front) as client:
        answer = client.request("GET", "/a%20b?x=y", [("User-Agent", "Own/1.0")])
        assert (answer.status, answer.complete) == (200, True)
        assert answer.header("Content-Type").startswith("text/html")
        page = re.sub(r"\s+", " ", answer.body.decode())
        for text in (
            "WSGI Information",
            "PATH_INFO",
            "&#39;/a b&#39;",
            "&#39;x=y&#39;",
            "Own/1.0",
            "appserver.listener",
        ):
            assert text in page
        assert client.request("HEAD", "/").body == b""
        resource = client.request("GET", "/?resource=logo")
        assert resource.header("Content-Type") == "image/png" or resource.status == 200
