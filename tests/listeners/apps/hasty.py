"""Imported by a server, has it look so often at what has gone on for too long that no test waits for the next look."""

from __future__ import annotations

from appserver.listeners import sender, stream
from appserver.websocket import room

stream._SWEEP = sender._LOOK = room._TICK = 0.05
