"""Steady load on every door: many clients, each a thread, so many requests a second in all."""

from __future__ import annotations

import threading
from time import monotonic

from tests.soak.client import Client


class Load:
    """Clients of all *doors* (names and ports), *rate* requests a second in all, while the context lasts.

    A *share* of the requests keeps the application for so many *seconds*.
    """

    def __init__(self, doors, rate, clients, share=0.05, seconds=0.2):
        self.asked = rate
        self.clients = [
            Client(name, port, number, share, seconds)
            for number in range(clients)
            for name, port in doors.items()
        ]
        self.began = self.ended = 0.0
        self._stopping = threading.Event()
        self._threads = []

    def __enter__(self):
        self.began = monotonic()
        pause = len(self.clients) / self.asked
        for number, client in enumerate(self.clients):
            arguments = (self.began + number / self.asked, pause, self._stopping)
            self._threads.append(threading.Thread(target=client.run, args=arguments))
            self._threads[-1].start()
        return self

    def __exit__(self, *_):
        self.ended = monotonic()
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def requests(self, door=None):
        """Return what has been sent, of one door or of all."""
        return [sent for client in self.clients if door in {None, client.door} for sent in client.requests]

    def answered(self, door=None):
        """Count the requests that were answered well."""
        return sum(client.answered for client in self.clients if door in {None, client.door})
