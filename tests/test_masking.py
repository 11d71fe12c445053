"""What reports and logs show in the place of secrets."""

from __future__ import annotations

import json
import logging

import pytest

from appserver.check import Report
from appserver.cli import main
from appserver.configuration import Configuration
from appserver.lifecycle import ctl
from appserver.lifecycle.error import StartError
from appserver.masking import Secrets, masked


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
        ("dsn", "postgres://u:pa@ss@db/x@y", "postgres://***@db/x@y"),
        ("logger", "a://u:p@q@h,b://v:q@i", "a://***@h,b://***@i"),
        ("db_pass", "hunter2", "***"),
        ("PASS", "hunter2", "***"),
        ("set", "redis-pass=hunter2", "redis-pass=***"),
        ("key_passphrase", "hunter2", "***"),
        ("bypass", "static", "static"),
        ("passenger_root", "/srv", "/srv"),
        ("pass-through", "on", "on"),
        ("set", "compass=north", "compass=north"),
        ("route", "^/a basicauth:Some realm,me:hunter2,x", "^/a basicauth:Some realm,***"),
        ("route-run", "basicauth-next:R,me:hunter2", "basicauth-next:R,***"),
        ("route", "^/a ldapauth:R,bindpw=hunter2", "^/a ldapauth:R,***"),
        ("route", "^/a radius:secret=hunter2", "^/a radius:***"),
        ("route", "^/a redirect:/b,c", "^/a redirect:/b,c"),
        ("zeromq", "ipc://@send,ipc://@recv", "ipc://@send,ipc://@recv"),
        ("logger", "a://:p@h", "a://***@h"),
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
    return Report(Configuration([f"{tmp_path}/site.ini", "--env", "SIXTH=hunter2"]))


def test_a_report_has_no_secrets(report):
    text = report.text(colour=False)
    assert "SECRET_KEY=***" in text
    assert "env = OTHER=***\n" in text
    found = text + report.json() + "\n".join(report.problems + report.warnings)
    assert "hunter2" not in found
    assert [each["value"] for each in json.loads(report.json())["lines"] if each["option"] == "password"] == [
        "***"
    ]


EXPANDED = """
db_password = hunter2!.(x
short_token = 1
set-ph = redis_pass=redis-hunter
env = API_KEY=env-hunter
pyargv = --dsn=password=%(db_password),$(APP_TOKEN),$(APP_PASS:-default-hunter)
add-header = X-Token: $(APP_TOKEN)
dsn = x%(redis_pass)
chdir = /srv/env-hunter/%(dsn)
threads = %(db_password)
uid = @({secrets}/secret)
logto = /absent/%(db_password)/log
http-socket = 127.0.0.1:0
processes = 1
print = %(db_password) $(ORDINARY)
route = ^/%(db_password) log:x
"""


@pytest.fixture
def expanded(tmp_path, monkeypatch):
    """Return a file in which secrets come to stand where no name tells of them."""
    monkeypatch.setenv("APP_TOKEN", "token-hunter")
    monkeypatch.setenv("ORDINARY", "as it is")
    monkeypatch.delenv("APP_PASS", raising=False)
    (tmp_path / "secret").write_text("file-hunter\n")
    file = tmp_path / "site.ini"
    file.write_text("[uwsgi]" + EXPANDED.format(secrets=tmp_path))
    return str(file)


def test_secrets_are_hidden_wherever_they_are_expanded_into(expanded, capsys, caplog):
    configuration = Configuration([expanded, "--set-ph", "own_secret=cli-hunter", "--pyargv", "cli-hunter"])
    report = Report(configuration, ["it fails: hunter2!.(x"], ["token-hunter is noticed"])
    with caplog.at_level(logging.INFO):
        configuration.tell(logging.getLogger("test"))
    lines = json.loads(report.json())["lines"]
    texts = [
        report.text(colour=False), report.json(), *report.problems, *report.warnings, *configuration.problems,
        *configuration.warnings, caplog.text, *(str(value) for line in lines for value in line.values()),
        configuration.told(StartError("logto", "no such file: /absent/hunter2!.(x/log", "/absent")),
    ]  # fmt: skip
    assert "hunter" not in "\n".join(texts)
    shown = {line["option"]: line["value"] for line in lines}
    assert shown["add-header"] == "X-Token: ***"
    assert shown["dsn"] == "x***"
    assert shown["processes"] == "1", "what is short is no secret"
    assert "*** as it is" in caplog.text
    assert "--pyargv = ***" in report.text(colour=False)
    for arguments in ([expanded], ["--check", expanded], ["--check", "--json", expanded]):
        assert main(arguments) in {1, 2}
        said = capsys.readouterr()
        assert "hunter" not in said.out + said.err
        assert "threads = ***: expected a whole number" in said.out + said.err


def test_a_value_of_several_lines_is_told_in_one(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "value").write_text("one\ntwo\r\x1b[2J\nthree\n")
    (tmp_path / "secret").write_text("hunter\ntwice\n")
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nhttp-socket = :0\nvaria = @(value)\ndb_password = @(secret)\ncopied = x%(db_password)\n"
    )
    configuration = Configuration(["site.ini"])
    assert configuration.warnings[0].startswith(
        "site.ini:3: varia = one\\x0atwo\\x0d\\x1b[2J\\x0athree: unknown: "
    )
    assert configuration.warnings[1].startswith("site.ini:5: copied = x***: unknown: ")
    with caplog.at_level(logging.INFO):
        configuration.tell(logging.getLogger("test"))
    assert len([each for each in caplog.messages if "unknown" in each]) == 2
    assert not any("\n" in each for each in caplog.messages)
    with open("site.ini", "a") as file:
        file.write("threads = @(value)\n")
    assert main(["site.ini"]) == 1
    assert capsys.readouterr().err == (
        "appserver: site.ini:6: threads = one\\x0atwo\\x0d\\x1b[2J\\x0athree: expected a whole number, 1 or more;"
        " uWSGI takes it for 0\n"
    )


def test_a_problem_keeps_its_verdict(expanded):
    verdicts = {each.setting.name: each for each in Configuration([expanded]).verdicts}
    assert verdicts["threads"].judgement.value == "wrong"
    assert verdicts["uid"].text.endswith("there is no user ***.")


def test_what_reads_a_file_for_itself_hides_them_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APP_TOKEN", "token-hunter")
    file = tmp_path / "site.ini"
    file.write_text("[appserver]\npyargv = $(APP_TOKEN) @(/absent)\n")
    assert ctl.main(["--ini", str(file), "status"]) == 1
    assert capsys.readouterr().err == (
        f"appserver: {file}:2: pyargv = *** @(/absent): No such file or directory: /absent\n"
    )


def test_the_longest_secret_is_hidden_whole():
    secrets = Secrets(["hunter", "hunter2", "", "12345"])
    assert secrets.hidden("hunter2 12345") == "*** 12345"
    assert Secrets([]).hidden("hunter2") == "hunter2"
