"""The line about a request: which requests have one, and what log-format makes of it."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from appserver.identity import become, worker_id
from appserver.log import zone
from appserver.log.access import NAMES, Access, AccessOptions
from appserver.log.sinks import FileSink

from .support.logs import Lines


def exchange(sent=5, **environ):
    environ = {
        "appserver.listener": "http", "REMOTE_ADDR": "192.0.2.7", "REQUEST_METHOD": "GET", "REQUEST_URI": "/a?b=c",
        "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "www.example", "HTTP_USER_AGENT": 'a "browser"', "CONTENT_LENGTH": "",
    } | environ  # fmt: skip
    return SimpleNamespace(
        environ=environ, method=environ["REQUEST_METHOD"], uri=environ["REQUEST_URI"], headers=[("A", "b"), ("C", "d")],
        protocol=environ["SERVER_PROTOCOL"], sent=sent, head_size=100, begun=True, dated=False,
        codec=SimpleNamespace(dated=False),
    )  # fmt: skip


def line(form, seconds=0.0123456, status="200", x=None, date="", **options):
    sink = Lines()
    access = Access(sink, AccessOptions(log_format=form, **options), date=date)
    access.line(x or exchange(), status, seconds)
    [text] = sink.lines
    return text


@pytest.mark.parametrize(
    "form, expected",
    [
        ('%(addr) "%(method) %(uri) %(proto)"', '192.0.2.7 "GET /a?b=c HTTP/1.1"'),
        ("%(status) %(rsize) %(hsize) %(size) %(cl) %(headers)", "200 5 100 105 0 2"),
        ("%(micros) %(msecs) %(secs)", "12345 12 0.012346"),
        ("%(host) %(user) %(referer) %(uagent)", 'www.example - - a \\"browser\\"'),
        ("%(vars) %(core) %(switches) %(modifier1) %(modifier2) %(werr) %(rerr) %(ioerr) %(pktsize)", "8 0 0 0 0 0 0 0 -"),
        ("%(var.HTTP_HOST) %(var.NOPE) %(nope) %(metric.x)", "www.example - - -"),
        ("%(pid) %(wid)", "{pid} 1"),
        ("100% %() %(uri", "100% - %(uri"),
        ("plain", "plain"),
        ("%(listener)", "http"),
    ],
)  # fmt: skip
def test_variables(form, expected):
    assert line(form) == expected.replace("{pid}", str(os.getpid()))


def test_times(monkeypatch):
    monkeypatch.setattr("appserver.log.zone._begun", "UTC")
    zone.keep(None)
    monkeypatch.setattr("appserver.log.access.time", lambda: 1_600_000_000.5)
    form = "%(ltime)|%(ctime)|%(time)|%(epoch)|%(tmsecs)|%(tmicros)|%(ftime)"
    assert line(form, 1.5) == (
        "13/Sep/2020:12:26:39 +0000|Sun Sep 13 12:26:39 2020|1599999999|1600000000|1599999999000|1599999999000000|"
        "13/Sep/2020:12:26:39 +0000"
    )
    assert line("%H:%M %(uri) %(ftime)", date="%Y") == "%H:%M /a?b=c 13/Sep/2020:12:26:40 +0000"
    assert (
        line("%H:%M %(uri) %(ftime)", x=exchange(REQUEST_URI="/%Y"), date="%Y", log_format_strftime=True)
        == "12:26 /%Y 2020"
    )


def test_memory():
    vsz, rss, vsz_mb, rss_mb = map(int, line("%(vsz) %(rss) %(vszM) %(rssM)").split())
    assert vsz > rss > 1 << 20
    assert abs(rss_mb - (rss >> 20)) < 50
    assert vsz_mb


def test_workers_have_their_number():
    become(7)
    try:
        assert (line("%(wid)"), worker_id()) == ("7", 7)
    finally:
        become(1)


@pytest.mark.parametrize(
    "agent", ['"', "\\", "\n", "\x00", "\x1b[2J", "caf\xe9", '","admin":"yes', "\U0001f600"]
)
def test_what_a_client_sends_cannot_break_json(agent):
    form = '{"agent": "%(uagent)", "status": %(status), "uri": "%(uri)"}'
    assert json.loads(line(form, x=exchange(HTTP_USER_AGENT=agent))) == {
        "agent": agent,
        "status": 200,
        "uri": "/a?b=c",
    }


def test_characters_of_the_applications_have_the_form_of_json():
    x = exchange(**{"appserver.logvars": {"mine": "\uffff\U00010000\U0001f600\U0010ffff"}})
    assert line("%(mine)", x=x) == r"\uffff\ud800\udc00\ud83d\ude00\udbff\udfff"


def test_every_variable_has_a_value_for_every_request():
    x = exchange()
    for name in ("REMOTE_ADDR", "HTTP_HOST", "HTTP_USER_AGENT", "CONTENT_LENGTH", "appserver.listener"):
        del x.environ[name]
    form = " ".join(f"%({name})" for name in NAMES)
    assert len(line(form, x=x, status="").replace("  ", " ").split()) >= len(NAMES)


@pytest.mark.parametrize("form", ["", "%(addr) %(uri) %(queued)"])
def test_what_the_application_makes_of_its_environ_does_not_matter(form):
    peer = ip_address("192.0.2.7")
    written = line(form, x=exchange(REMOTE_ADDR=peer, REQUEST_URI='/a"b', **{"appserver.queued": "soon"}))
    assert "192.0.2.7" in written


def test_variables_of_the_applications_own():
    assert line("%(mine) %(other)", x=exchange(**{"appserver.logvars": {"mine": "x"}})) == "x -"


@pytest.mark.parametrize(
    "options, status, seconds, sent, written",
    [
        ({}, "200", 9, 5, False), ({"log_4xx": True}, "404", 0, 5, True), ({"log_4xx": True}, "500", 0, 5, False),
        ({"log_5xx": True}, "503", 0, 5, True), ({"log_5xx": True}, "", 0, 5, False), ({"log_slow": 500}, "200", 0.5, 5, True),
        ({"log_slow": 500}, "200", 0.4, 5, False), ({"log_big": 200}, "200", 0, 100, True), ({"log_big": 200}, "200", 0, 99, False),
    ],
)  # fmt: skip
def test_what_is_written_although_logging_is_disabled(options, status, seconds, sent, written):
    sink = Lines()
    Access(sink, AccessOptions(**options), every=False).line(exchange(sent), status, seconds)
    assert bool(sink.lines) is written


@pytest.mark.parametrize("form", ["", "%(addr)"])
def test_only_lines_of_quick_requests_wait_for_the_end_of_a_turn(tmp_path, form):
    path = tmp_path / "log"
    sink = FileSink(str(path))
    access = Access(sink, AccessOptions(log_format=form))
    access.turns = True
    access.line(exchange(), "200", 0.0001)
    assert not path.read_text()
    access.line(exchange(), "200", 0.5)
    assert path.read_text().count("\n") == 2
    access.line(exchange(), "200", 0.0001)
    access.flush()
    assert path.read_text().count("\n") == 3
    sink.close()


@pytest.mark.parametrize("form", ["", "%(addr)"])
def test_the_forwarded_address_is_given_where_it_is_asked_for(form):
    x = exchange(HTTP_X_FORWARDED_FOR="198.51.100.1, 10.0.0.1")
    assert "198.51.100.1, 10.0.0.1" in line(form, x=x, log_x_forwarded_for=True)
    assert "192.0.2.7" in line(form, x=exchange(), log_x_forwarded_for=True)
    assert "198.51.100.1" not in line(form, x=x)
    assert x.environ["REMOTE_ADDR"] == "192.0.2.7"
