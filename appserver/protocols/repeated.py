"""What says the same in many requests: the line of a field, or a variable of a front end.

It is read and checked once, and from then on found by the text or the bytes that it came with.
"""

from __future__ import annotations

from typing import Final

Entry = tuple[str, str]  # the environ's key and its value

# Nothing of this is secret, or differs from each request to the next.
REPEATED: Final = frozenset(
    {
        "HTTP_HOST", "HTTP_CONNECTION", "HTTP_USER_AGENT", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING",
        "HTTP_ACCEPT_LANGUAGE", "HTTP_ACCEPT_CHARSET", "HTTP_CACHE_CONTROL", "HTTP_PRAGMA", "HTTP_PRIORITY",
        "HTTP_DNT", "HTTP_ORIGIN", "HTTP_UPGRADE_INSECURE_REQUESTS", "HTTP_X_REQUESTED_WITH",
        "HTTP_SEC_FETCH_DEST", "HTTP_SEC_FETCH_MODE", "HTTP_SEC_FETCH_SITE", "HTTP_SEC_FETCH_USER",
        "HTTP_SEC_CH_UA", "HTTP_SEC_CH_UA_MOBILE", "HTTP_SEC_CH_UA_PLATFORM", "HTTP_SEC_GPC",
        "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_VIA",
        "CONTENT_TYPE", "REQUEST_METHOD", "SERVER_PROTOCOL", "SERVER_NAME", "SERVER_PORT", "SERVER_ADDR",
        "SERVER_SOFTWARE", "GATEWAY_INTERFACE", "REQUEST_SCHEME", "HTTPS", "DOCUMENT_ROOT", "SCRIPT_NAME",
        "REDIRECT_STATUS", "CONTENT_LENGTH", "QUERY_STRING", "SCGI", "wsgi.url_scheme",
    }
)  # fmt: skip
_OFTEN_NOTHING: Final = frozenset({"CONTENT_LENGTH", "QUERY_STRING"})  # and else no two are alike
_NOTHING: Final = frozenset({"", "0"})  # SCGI has no empty length
LONG: Final = 256  # characters or bytes from which on nothing is remembered
MOST: Final = 2000  # entries; then all are forgotten, so that a client that invents them does no lasting harm


def repeats(said: str | bytes, key: str, value: str) -> bool:
    """Tell whether it is worth it to remember that *said* gives *value* to an environ's *key*."""
    return key in REPEATED and len(said) < LONG and (value in _NOTHING or key not in _OFTEN_NOTHING)
