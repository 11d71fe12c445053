"""Options of requests and of the connections that they come over, and of each Mongrel2 server."""

from __future__ import annotations

from dataclasses import dataclass

from appserver.options import option


@dataclass(frozen=True)
class StreamOptions:
    """Requests."""

    buffer_size: int = option(
        65536,
        "Bytes that a request's head may have.",
        short="b",
        note="4096 in uWSGI; a request that is too long is answered 431 here.",
    )
    post_buffering: int = option(
        1048576,
        "Bytes of a request's body held in memory; more goes to a temporary file. 0 = the application is"
        " called at once, and reads the body as it comes.",
        note="Off in uWSGI.",
    )
    limit_post: int = option(
        1073741824,
        "Bytes that a request's body may have; 0 = no limit.",
        example="10485760",
        note="0 in uWSGI. A body that is too long is answered 413.",
    )
    socket_timeout: float = option(
        60.0,
        "Seconds that a peer may take between two pieces of a request or an answer.",
        short="z",
        note="4 in uWSGI.",
    )
    header_timeout: float = option(
        30.0, "Seconds that a peer may take for the head of a request.", note="own"
    )
    body_timeout: float = option(
        60.0,
        "Seconds that a peer may take for the body of a request, and more as long as it keeps min-rate.",
        note="own",
    )
    send_timeout: float = option(
        60.0,
        "Seconds that a peer may take to read an answer, and more as long as it keeps min-rate.",
        note="own",
    )
    min_rate: int = option(
        500,
        "Bytes a second that a peer must send of a body, or take of an answer; 0 = only pauses count.",
        note="own; with Mongrel2's download.flow_control a client has socket-timeout and the time that 2 MiB"
        " take at it, 0 = any.",
    )
    keepalive_timeout: float = option(
        75.0,
        "Seconds that a kept connection may idle.",
        note="own",
    )
    max_connections: int = option(
        0,
        "Connections that a listener has in a process at once; more wait in the kernel. 0 = what the limit of"
        " open files allows.",
        note="own",
    )
    ignore_client_abort: bool = option(
        False,
        "Finish a request whose client has closed its side of the connection; it may still read.",
        note="own",
    )


@dataclass(frozen=True)
class Mongrel2ServerOptions:
    """Mongrel2 servers."""

    mongrel2_upload_dir: str = option(
        "", "The directory of Mongrel2's upload.temp_store, as this server sees it.",
        expects="directory", note="own; behind a zeromq address it is that Mongrel2's.",
    )  # fmt: skip
    mongrel2_chroot: str = option(
        "", "The directory that Mongrel2 has for its root, as this server sees it.",
        expects="directory", note="own; behind a zeromq address it is that Mongrel2's.",
    )  # fmt: skip
    mongrel2_script_name: bool = option(
        False, "Make SCRIPT_NAME of the route that Mongrel2 has chosen.",
        note="own; behind a zeromq address it holds for that Mongrel2.",
    )  # fmt: skip
