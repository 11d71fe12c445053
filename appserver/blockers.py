"""Libraries that are known to block the loop's thread, because they wait in C; found where they are imported.

Each is judged by the state that it is in: some can be made to wait in greenlets.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from appserver.blocking import is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Blocker:
    """A library, by its module's name; *blocks* tells of a module that is imported whether it does."""

    module: str
    what: str
    remedy: str
    blocks: Callable[[Any], bool] = lambda _: True


def _without_callback(extensions: Any) -> bool:
    return extensions.get_wait_callback() is None


def _waits_in_c(waiting: Any) -> bool:
    return getattr(waiting.wait, "__name__", "") == "wait_c"


def _not_initialised(_: Any) -> bool:
    return "grpc.experimental.gevent" not in sys.modules


def _thick(oracledb: Any) -> bool:
    return not oracledb.is_thin_mode()


def _used(sqlite3: Any) -> bool:
    """Tell whether SQLite is the application's database; many libraries import it for their own ends."""
    if not _SQLITE.isdisjoint(sys.modules):
        return True
    names = [vars(each) for each in list(sys.modules.values()) if isinstance(each, ModuleType)]
    return any(
        value is sqlite3 or value is sqlite3.connect
        for each in names
        if is_own(each.get("__file__") or "<")
        for value in list(each.values())
    )


_SQLITE = {
    "django.db.backends.sqlite3.base",
    "sqlalchemy.dialects.sqlite.pysqlite",
}  # imported where it is chosen
_BLOCKERS = (
    Blocker(
        "psycopg2.extensions", "queries to PostgreSQL (psycopg2)",
        "call psycogreen.gevent.patch_psycopg() of the package psycogreen, or use psycopg 3",
        _without_callback,
    ),
    Blocker(
        "psycopg.waiting", "queries to PostgreSQL (psycopg 3, which waits in C)",
        "import psycopg after the standard library is patched", _waits_in_c,
    ),
    Blocker(
        "MySQLdb._mysql", "queries to MySQL (mysqlclient)",
        "use PyMySQL: pymysql.install_as_MySQLdb() takes its place",
    ),
    Blocker(
        "_mysql_connector", "queries to MySQL (the C extension of mysql-connector)",
        "connect with use_pure=True",
    ),
    Blocker("cx_Oracle", "queries to Oracle (cx_Oracle)", "use oracledb, which needs no C library"),
    Blocker(
        "oracledb", "queries to Oracle (oracledb in thick mode)", "leave out init_oracle_client()", _thick
    ),
    Blocker(
        "sqlite3", "writes to SQLite, which wait in C for that of another greenlet,",
        "wait for nothing between BEGIN and COMMIT, or set threads = N instead of gevent", _used,
    ),
    Blocker("pyodbc", "queries over ODBC (pyodbc)", "give them to gevent.get_hub().threadpool.apply()"),
    Blocker("pymssql._mssql", "queries to SQL Server (pymssql)", "set its wait callback, or use python-tds"),
    Blocker(
        "grpc", "calls over gRPC", "call grpc.experimental.gevent.init_gevent() before the first channel",
        _not_initialised,
    ),
    Blocker("pylibmc", "requests to memcached (pylibmc)", "use pymemcache, which waits in Python"),
    Blocker("pycurl", "requests over libcurl (pycurl)", "use urllib3 or requests, which wait in Python"),
    Blocker("eventlet.hubs", "calls of eventlet, which has a loop of its own,", "leave eventlet out"),
)  # fmt: skip


def known() -> Iterator[str]:
    """Yield a warning for each of them that is imported and blocks."""
    for each in _BLOCKERS:
        module = sys.modules.get(each.module)
        if module is not None and each.blocks(module):
            yield (
                f"{each.module} is imported: {each.what} hold up all other requests while they wait;"
                f" {each.remedy}"
            )
