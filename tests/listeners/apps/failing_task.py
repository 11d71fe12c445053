"""Tasks with defects: as the path says, they raise before the answer, behind it, or once they are done."""

from __future__ import annotations

from appserver.listeners.connection import Connection
from appserver.listeners.request import Request


def broken(task):
    """Have a kind of task raise."""
    work, done = task.work, task.done

    def fails(self, where):
        return self.x is not None and self.x.uri == where

    def failing_work(self):
        if fails(self, "/ok?before"):
            raise ValueError("a defect")
        work(self)
        if fails(self, "/ok?behind"):
            raise ValueError("a defect")

    def failing_done(self):
        if fails(self, "/ok?done"):
            raise ValueError("a defect")
        done(self)

    task.work, task.done = failing_work, failing_done


broken(Connection)
broken(Request)
