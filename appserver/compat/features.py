"""What uWSGI's modules have and this server has not, and what to use instead."""

from __future__ import annotations

# What a uWSGI may be without, by its build, options or age: code asks whether it is there, or does without.
_ABSENT = {
    "there is no queue; use a task queue": (
        "queue_get queue_last queue_pop queue_pull queue_push queue_set queue_size queue_slot queue_pull_slot"
    ),
    "there is no spooler; use a task queue such as Celery, RQ or Huey": (
        "spool send_to_spooler spooler_get_task spooler_jobs spooler_pid spooler_pids set_spooler_frequency"
    ),
    "there are no shared areas; use multiprocessing.shared_memory": (
        "sharedarea_dec32 sharedarea_dec64 sharedarea_inc32 sharedarea_inc64 sharedarea_memoryview "
        "sharedarea_object sharedarea_read sharedarea_read8 sharedarea_read16 sharedarea_read32 "
        "sharedarea_read64 sharedarea_readbyte sharedarea_readfast sharedarea_readlong sharedarea_rlock "
        "sharedarea_unlock sharedarea_wait sharedarea_wlock sharedarea_write sharedarea_write8 "
        "sharedarea_write16 sharedarea_write32 sharedarea_write64 sharedarea_writebyte sharedarea_writelong "
        "sharedarea_inclong websocket_send_binary_from_sharedarea websocket_send_from_sharedarea"
    ),
    "one WebSocket would hold up all other requests; set gevent = N or threads = N": (
        "websocket_handshake websocket_recv websocket_recv_nb websocket_send websocket_send_binary "
        "request_context connection_fd disconnect"
    ),
    "the connection is the server's; return or yield the answer": (
        "send sendfile offload close connect is_connected"
    ),
    "there are no asynchronous cores; set gevent = N and use gevent": (
        "async_connect async_sleep green_schedule suspend wait_fd_read wait_fd_write ready_fd"
    ),
    "there are no snmp counters": (
        "snmp_set_community snmp_set_counter32 snmp_set_counter64 snmp_set_gauge snmp_incr_counter32 "
        "snmp_incr_counter64 snmp_incr_gauge snmp_decr_counter32 snmp_decr_counter64 snmp_decr_gauge"
    ),
    "the limit of a request is that of the option harakiri": "set_user_harakiri",
}  # fmt: skip

# What each has, so that nobody asks: it is there, and says so when it is called.
_REFUSED = {
    "there is no shared cache; use Redis or memcached": (
        "cache_clear cache_dec cache_del cache_div cache_exists cache_get cache_inc cache_keys cache_mul "
        "cache_num cache_set cache_update add_cache_item"
    ),
    "there are no mules; run a worker of a task queue beside the server": (
        "mule_msg mule_get_msg mule_msg_extra_hook farm_msg farm_get_msg install_mule_msg_hook"
    ),
    "there are no metrics; use a client of Prometheus or statsd": (
        "metric_dec metric_div metric_get metric_inc metric_mul metric_set metric_set_max metric_set_min"
    ),
    "requests are read before the application is called": "chunked_read chunked_read_nb recv",
    "there is no remote procedure call; use HTTP": "register_rpc rpc rpc_list call",
    "files are not watched for the application; use the option touch-reload": "add_file_monitor",
    "there is no legion": "i_am_the_lord lord_scroll scrolls legion_status",
    "there is no gateway": "gateway route fcgi load_url add_var attach_daemon send_message",
    "one request's environ is no other's; use the one that the application is called with": "env parsefile",
    "the log is the collector's": "alarm logsize",
    "a worker knows nothing of the others; read the document of the option stats": (
        "workers total_requests listen_queue"
    ),
    "requests have no numbers here; have the front end send an X-Request-ID": "request_id",
    "handlers of signals run in a thread of their own; register one": "signal_wait signal_received",
    "which requests have a line is for disable-logging, log-4xx and similar options": "log_this_request",
    "nothing is embedded in the server; use importlib.resources": (
        "embedded_data extract SymbolsImporter SymbolsZipImporter ZipImporter"
    ),
    "a function is given to each call of the application": "start_response",
    "the sockets are the server's": "sockets",
    "the log is for warnings": "set_warning_message",
}  # fmt: skip


def _by_name(features: dict[str, str]) -> dict[str, str]:
    return {name: why for why, names in features.items() for name in names.split()}


ABSENT = _by_name(_ABSENT)
REFUSED = _by_name(_REFUSED)


def refuse(name: str) -> NotImplementedError:
    """Return the exception for what is not here."""
    return NotImplementedError(f"{name}: {REFUSED[name.rpartition('.')[2]]}")
