"""Regular expressions: what they match in PCRE they match here, or they are refused."""

from __future__ import annotations

import pytest

from appserver.configuration import Configuration
from appserver.ini.error import IniError
from appserver.ini.logic import CONDITIONS, Block, Facts
from appserver.options import BadValue, regex
from appserver.pcre import RegexError, compiled

# A pattern, texts that it matches, and texts that it does not match.
MATCHES = [
    ("^/admin[[:digit:]]+$", ["/admin1", "/admin12"], ["/admin", "/admind", "/admin:", "/admin\xb2"]),
    ("^[[:alpha:]]$", ["a", "Z"], ["1", "_", "\xe9"]), ("^[[:alnum:]-]$", ["a", "1", "-"], ["_", "]"]),
    ("^[^[:alnum:]_]$", ["-", "\xe9", "\u20ac"], ["a", "0", "_"]), ("^[[:^space:]]$", ["a", "\xa0"], [" ", "\x0b"]),
    ("^[[:lower:][:punct:]]$", ["a", "[", "~"], ["A", " "]), ("(?i)^[[:^lower:]]$", ["1"], ["a", "A"]),
    ("^[[:word:]-.]$", ["a", "-", "."], ["/"]), ("^[[:cntrl:]]$", ["\x7f", "\n"], [" "]),
    ("^[[:xdigit:]]+$", ["aF0"], ["g"]), ("^[[:print:]]$", [" ", "~"], ["\t", "\xa0"]), ("^[[:graph:]]$", ["!"], [" "]),
    ("^[[:blank:]]$", [" ", "\t"], ["\n"]), ("^[[:ascii:]]$", ["\x7f"], ["\x80"]), ("^[[:upper:]]$", ["A"], ["a"]),
    (r"^\w$", ["a", "_"], ["\xe9", "\xb5"]), (r"^\W$", ["\xe9"], ["a"]), (r"^\d$", ["1"], ["\u0661"]),
    (r"^\s$", [" ", "\x0b"], ["\xa0", "\x1c", "\x85"]), (r"\bb", ["\xe9b"], ["ab"]), (r"^\B$", [""], ["a"]),
    ("(?i)\xe9", ["\xe9"], ["\xc9"]), (r"^\h$", ["\t", "\xa0"], ["\n"]), (r"^\H$", ["\n"], [" "]),
    (r"^\v$", ["\n", "\x85"], ["\t"]), (r"^[\V]$", ["\t", "\u20ac"], ["\x0b"]), (r"^\N$", ["a"], ["\n"]),
    (r"a\Z", ["a", "a\n"], ["a\n\n", "ab"]), (r"a\z", ["a"], ["a\n"]), ("a$", ["a", "a\n"], ["a\n\n"]),
    ("^a(?i)b|c$", ["aB", "C"], ["Ab"]), ("^(a(?i)b|c)d$", ["aBd", "Cd"], ["abD"]), ("^(?i:a)b$", ["Ab"], ["aB"]),
    ("^(?i)a(?-i)b$", ["Ab"], ["aB"]), ("^(?is)a.$", ["A\n"], ["a"]), ("(?s:.)(?#any)$", ["\n\n"], [""]),
    (r"^\Qa.b[\E+$", ["a.b[", "a.b[["], ["axb["]), (r"^a\Q.", ["a."], ["ab"]), (r"^a\Eb", ["ab"], []),
    ("^(?<y>[0-9])(?P=y)$", ["11"], ["12"]), ("^(?'y'.)(?P<z>.)$", ["ab"], []), (r"^(.)\1$", ["aa"], ["ab"]),
    (r"^\x41\x{42}\x2\e\a$", ["AB\x02\x1b\x07"], []), (r"^\0\012\07$", ["\0\n\x07"], []), (r"^[\x41-C\b]$", ["B", "\x08"], ["b"]),
    ("^[]a]$", ["]", "a"], ["b"]), ("^[^]a]$", ["b"], ["]"]), ("^[[a]$", ["[", "a"], ["]"]), ("^[a[]$", ["["], []),
    ("^[a&&b]$", ["&", "b"], ["|"]), ("^[a||b~~]$", ["|", "~"], ["&"]), ("^[+--]$", [",", "-"], ["."]),
    (r"^[\w-.]$", ["-", "."], ["/"]), ("^a{1,2}?{$", ["aa{"], ["a"]), ("^a{$", ["a{"], []), ("^a{b}$", ["a{b}"], []),
    ("^a++b$", ["aab"], ["c"]), ("^a*+a$", [], ["aa"]), ("^(?>a|ab)c$", ["ac"], ["abc"]), ("^a{1,2}+a$", ["aaa"], ["aa"]),
    ("^(a)?(?(1)b|c)$", ["ab", "c"], ["b"]), ("^(?=a)(?!ab)(?<!x)..(?<=c)$", ["ac"], ["ab"]), (r"^\/\-\_$", ["/-_"], []),
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pattern, matched, others", MATCHES)
def test_it_matches_as_pcre_does(pattern, matched, others):
    search = compiled(pattern).search
    for text in matched:
        assert search(text), text
    for text in others:
        assert not search(text), text


@pytest.mark.parametrize(
    "pattern, why",
    [
        ("a{,2}", r"^\{,2\} is no quantifier of PCRE's: write \\\{,2\} or \{0,2\}$"), ("{,}", r"or \{0,\}"),
        (r"\K", r"^\\K is not taken here: Python's re has no such thing, or means another by it$"), (r"\R", r"^\\R"), (r"\G", r"^\\G"), (r"\X", r"^\\X"),
        (r"\C", r"^\\C"), (r"\p{L}", r"^\\p"), (r"\cA", r"^\\c"), (r"\g1", r"^\\g"), (r"\k<a>", r"^\\k"), (r"\u0041", r"^\\u"),
        (r"\N{DIGIT ONE}", r"^\\N"), (r"\x{100}", r"^\\x"), (r"[\Qa\E]", r"^\\Q"), (r"[\1]", r"^\\1"), (r"\10", r"^\\10 is a group or"),
        ("(?R)", r"^\(\?R\)"), ("(a)(?1)", r"^\(\?1\)"), ("(?|a)", r"^\(\?\|a"), ("(*FAIL)", r"^\(\*FA"), ("(?x)a", r"^\(\?x\)"),
        ("(?m)^a", r"^\(\?m\)"), ("(?u)a", r"^\(\?u\)"), ("(?L:a)", r"^\(\?L:"), ("(?(R)a)", r"^\(\?\(R"), ("(?C)", r"^\(\?C\)"),
        ("[:digit:]", r"^\[:digit:\] is no class by itself: write \[\[:digit:\]\]$"), ("[[:digits:]]", "is no class: there are alpha,"),
        ("[[.a.]]", "is no class"), ("[[=a=]]", "is no class"), ("[a-[:digit:]]", "invalid range"), (r"[a-\d]", "invalid range"),
        ("[b-a]", "bad character range"), ("[a", "unterminated"), ("[]", "unterminated"), ("(", "unterminated"), (")", "unbalanced"),
        ("a\\", "end of pattern"), ("*a", "nothing to repeat"), ("a**", "multiple repeat"), (r"\1", "invalid group"), ("(?<=a*)", "fixed-width"),
    ],
)  # fmt: skip
def test_what_is_not_here_is_refused(pattern, why):
    with pytest.raises(RegexError, match=why):
        compiled(pattern)
    with pytest.raises(BadValue, match=r"^a regular expression; "):
        regex(pattern)


@pytest.mark.parametrize(
    "option",
    [
        "route = {} break:403", "route-uri = {} break:403", "route-if = regexp:${{PATH_INFO}};{} break:403",
        "static-expires = {} 60", "static-expires-uri = {} 60", "static-gzip = {}", "log-drain = {}", "log-filter = {}",
        "log-route = name {}", "log-req-route = name {}",
    ],
)  # fmt: skip
def test_every_option_has_the_same_language(option, tmp_path):
    file = tmp_path / "site.ini"
    for pattern, problems in (("[[:digit:]]", 0), (r"a\K", 1)):
        file.write_text(f"[uwsgi]\nhttp = :0\nmodule = x\n{option.format(pattern)}\n")
        found = Configuration([str(file)]).problems
        assert len(found) == problems
        assert all(
            f"{file}:4: " in each and r"a regular expression; \K is not taken here" in each for each in found
        )


def test_names_of_hosts_are_matched_so(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "web7")
    assert "if-hostname-match" in CONDITIONS
    assert Block("if-hostname-match", "^web[[:digit:]]$", Facts(lambda _: None)).values("x") == ["x"]
    with pytest.raises(IniError, match=r"\\K is no regular expression: \\K is not taken here"):
        Block("if-hostname-match", r"\K", Facts(lambda _: None)).values("x")
