"""What is done to the server under load, and what each failure that follows is called."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from time import monotonic, sleep

from tests.support.fronts import poll

REFUSED = "(111: Connection refused)"  # in nginx's log


@dataclass(slots=True)
class Event:
    """Something done to the server, from its beginning to the time when it is as before."""

    began: float
    ended: float = float("inf")
    ready: float = float("inf")
    pid: int = 0


class Phase:
    """Do something so many times; ``allowed`` names the failures that may come of it."""

    allowed = frozenset()

    def __init__(self, site, load):
        self.site = site
        self.load = load
        self.events = []

    def run(self, times):
        self.go_on(len(self.load.clients))
        for _ in range(times):
            event = Event(monotonic())
            self.events.append(event)
            self.once(event)

    def once(self, event):
        raise NotImplementedError

    def judge(self, sent, calls):
        """Return what a request that was not answered well is counted as."""
        return "lost" if sent.outcome == "lost" else "failed"

    def repeated(self, calls):
        """Tell whether a request has been given to the application twice."""
        return len(calls) > 1

    def figures(self, requests, calls):
        """Return figures that only this phase has."""
        seconds = [event.ended - event.began for event in self.events if event.ended < float("inf")]
        return {"seconds_each": [round(min(seconds), 2), round(max(seconds), 2)]} if seconds else {}

    def go_on(self, count, door=None):
        """Wait until so many more requests have been answered."""
        before = self.load.answered(door)
        poll(lambda: self.load.answered(door) >= before + count, f"{door or 'nobody'} answers no more")


class Reload(Phase):
    """Reload, each time when the one before has ended."""

    def once(self, event):
        self.site.server.reload()
        event.ended = monotonic()


class Kill(Phase):
    """Kill the worker that has served longest, every few seconds: crash loops would be slowed down.

    A request was in its hands when its call has begun there. One that was sent before the worker's sockets
    were closed, and was never called, was on its way into it: in a connection or a queue that was its.
    """

    allowed = frozenset({"in its hands", "on its way into it"})
    pause = 3.0  # seconds between kills
    within = 0.2  # seconds after its death in which Mongrel2's clients are answered 502, where shared

    def __init__(self, site, load):
        super().__init__(site, load)
        if not site.shared:
            self.allowed |= {
                "mongrel2: dealt to the dead",
                "mongrel2: in its hands",
                "mongrel2: on its way into it",
            }

    def once(self, event):
        event.pid = self.site.ledger.workers()[0]
        handle = os.pidfd_open(event.pid)
        try:
            event.began = monotonic()
            os.kill(event.pid, signal.SIGKILL)
            assert select.select([handle], [], [], 10)[0], "a killed process goes on"
            event.ended = monotonic()
        finally:
            os.close(handle)
        sleep(self.pause)
        self.go_on(20)

    def judge(self, sent, calls):
        kind, kill = self._of(sent, calls)
        if sent.door != "mongrel2" or sent.outcome in {"wrong", "surplus"}:
            return kind
        if self.site.shared and kill is not None and not self._given_up(sent, kill):
            return f"{kind}, and not answered 502 within {self.within} s"
        if self.site.shared:
            return kind
        return f"mongrel2: {kind if kill is not None else 'dealt to the dead'}"

    def _of(self, sent, calls):
        """Return what kind of failure it is, and the kill that explains it."""
        died = {call.pid for call in calls} & {kill.pid for kill in self.events}
        for kill in self.events:
            if kill.pid in died:
                return "in its hands", kill
        if not calls:
            for kill in self.events:
                if sent.began < kill.ended and sent.ended > kill.began:
                    return "on its way into it", kill
        return super().judge(sent, calls), None

    def _given_up(self, sent, kill):
        return sent.outcome == "502" and sent.ended - kill.began <= self.within

    def repeated(self, calls):
        """Tell whether it was called twice; nginx tries again where a kept connection ends."""
        killed = {kill.pid for kill in self.events}
        return sum(call.pid not in killed for call in calls) > 1

    def figures(self, requests, calls):
        in_hand = {
            name
            for name, of in calls.items()
            for call in of
            for kill in self.events
            if call.pid == kill.pid and call.ended > kill.began
        }
        ok = {sent.name for sent in requests if sent.outcome == "ok"}
        ended = {
            sent.name: sent.ended for sent in requests if sent.door == "mongrel2" and sent.outcome == "502"
        }
        after = [
            ended[name] - kill.began
            for name in in_hand & ended.keys()
            for kill in self.events
            if any(call.pid == kill.pid for call in calls[name])
        ]
        return {
            "calls_in_hand": len(in_hand),
            "calls_in_hand_answered_all_the_same": len(in_hand & ok),
            "mongrel2_502": len(ended),
            "mongrel2_502_slowest_ms": round(max(after) * 1000, 1) if after else None,
        }


class Mongrel2(Phase):
    """Stop and start Mongrel2; its own clients may see the end of their connections, and no more."""

    allowed = frozenset({"mongrel2: connection ended"})

    def once(self, event):
        self.site.mongrel2.stop()
        self.site.mongrel2.start()
        event.ended = monotonic()
        self.go_on(20, "mongrel2")
        event.ready = monotonic()

    def judge(self, sent, calls):
        if sent.door == "mongrel2" and sent.outcome in {"refused", "reset", "cut"}:
            for stop in self.events:
                if sent.began < stop.ended and sent.ended > stop.began:
                    return "mongrel2: connection ended"
        return super().judge(sent, calls)

    def figures(self, requests, calls):
        resumed = [
            min(sent.ended for sent in requests if sent.door == "mongrel2" and sent.outcome == "ok" and sent.began > stop.ended)
            - stop.ended
            for stop in self.events
            if stop.ready < float("inf")
        ]  # fmt: skip
        return (
            {"first_answer_after_start_ms": [round(each(resumed) * 1000) for each in (min, max)]}
            if resumed
            else {}
        )


class Term(Phase):
    """Stop the server by SIGTERM, and start it again once it has ended.

    What was sent before the signal must be answered, and so must what was taken after it: called, or
    accepted by the kernel. A client that finds no server is refused; Mongrel2's clients wait for the next.
    What Mongrel2 sends in the moment in which its last handler leaves it may throw away (ZeroMQ's PUSH looks
    at the ends of its peers now and then); it has never been ours, and is counted by itself.
    """

    THROWN_AWAY = "mongrel2: thrown away as its last handler left"

    allowed = frozenset({"refused", "kept connection had ended", THROWN_AWAY})

    def once(self, event):
        self.site.server.stop()
        event.ended = monotonic()
        self.site.server.start()
        event.ready = monotonic()
        self.go_on(20, "mongrel2")
        self.go_on(5 * len(self.load.clients))

    def judge(self, sent, calls):
        stop = next((each for each in self.events if sent.began < each.ready), None)
        if stop is None or sent.ended < stop.began:
            return super().judge(sent, calls)
        if calls or sent.outcome in {"cut", "wrong", "surplus"}:
            return "cut"
        if sent.outcome == "refused" or REFUSED in sent.why:
            return "refused"
        if sent.sent < stop.began:
            return "cut"
        if sent.outcome == "reset" and sent.door == "http" and sent.kept:
            return "kept connection had ended"
        if sent.outcome == "lost":
            return self.THROWN_AWAY if sent.door == "mongrel2" and sent.sent < stop.ended else "lost"
        return "reset after it was accepted"


PHASES = {"reload": Reload, "kill": Kill, "mongrel2": Mongrel2, "term": Term}
