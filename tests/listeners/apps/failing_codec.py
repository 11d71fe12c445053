"""HTTP whose codec has defects: it raises for some targets, and within some bodies."""

from __future__ import annotations

from appserver.protocols.http import HttpCodec

_target, _receive_body = HttpCodec._target, HttpCodec.receive_body


def target_of(self, environ, method, target):
    if target == "/fail":
        raise ValueError("a defect")
    _target(self, environ, method, target)


def receive_body(self, x, data):
    if b"fail" in self.buffer + data:
        raise ValueError("a defect")
    return _receive_body(self, x, data)


HttpCodec._target = target_of
HttpCodec.receive_body = receive_body
