"""What reports and logs show in the place of secrets."""

from __future__ import annotations

import json

import pytest

from appserver.check import Report
from appserver.configuration import Configuration
from appserver.masking import masked


@pytest.mark.parametrize(
    "name, value, shown",
    [
        ("env", "DB=postgres://u:p@h/d", "DB=***"),
        ("env", "NOTHING", "NOTHING"),
        ("ajp-secret", "hunter2", "***"),
        ("ajp-secret", "", ""),
        ("db_password", "hunter2", "***"),
        ("set-ph", "api_key=hunter2", "api_key=***"),
        ("set-ph", "api_key=", "api_key="),
        ("set-placeholder", "color=blue", "color=blue"),
        ("logger", "zeromq:tcp://u:p@h:1", "zeromq:tcp://***@h:1"),
        ("logger", "a://u:p@h b://v:q@i", "a://***@h b://***@i"),
        ("zeromq", "tcp://127.0.0.1:1,tcp://127.0.0.1:2", "tcp://127.0.0.1:1,tcp://127.0.0.1:2"),
        ("module", "a:b", "a:b"),
        ("http-socket", "@abstract", "@abstract"),
    ],
)
def test_masked(name, value, shown):
    assert masked(name, value) == shown


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.setenv("APPSERVER_ENV", "FROM_VARIABLE=hunter2")
    monkeypatch.setenv("HIDDEN", "hunter2")
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nhttp-socket = 127.0.0.1:0\nenv = SECRET_KEY=hunter2\nenv = OTHER=$(HIDDEN)\n"
        "password = hunter2\nthreads = x://u:hunter2@h\nenv = =hunter2\n"
    )
    return Report(Configuration([f"{tmp_path}/site.ini", "--env", "SIXTH=hunter2"]), "")


def test_a_report_has_no_secrets(report):
    text = report.text(colour=False)
    assert "SECRET_KEY=***" in text
    assert "env = OTHER=***\n" in text
    found = text + report.json() + "\n".join(report.problems + report.warnings)
    assert "hunter2" not in found
    assert [each["value"] for each in json.loads(report.json())["lines"] if each["option"] == "password"] == [
        "***"
    ]
