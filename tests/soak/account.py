"""The account of a phase: every request that was sent against every call that was made."""

from __future__ import annotations

from collections import Counter


def percentiles(seconds):
    """Return the median and the 99th percentile in milliseconds."""
    seconds = sorted(seconds)
    return {
        f"p{percent}_ms": round(seconds[int(len(seconds) * percent / 100)] * 1000, 1)
        for percent in (50, 99)
        if seconds
    }


class Account:
    """What became of the requests of a phase; ``breaches`` names whatever may not have happened."""

    def __init__(self, phase, load, ledger):
        self.requests = load.requests()
        ledger.read()
        self.calls = ledger.calls
        self.failures = []  # (what it counts as, the request)
        for sent in self.requests:
            if sent.outcome != "ok":
                self.failures.append((phase.judge(sent, self.calls.get(sent.name, ())), sent))
        self.counts = Counter(kind for kind, _ in self.failures)
        self.duplicated = sorted(name for name, calls in self.calls.items() if phase.repeated(calls))
        self.invented = sorted(
            sent.name for sent in self.requests if sent.outcome == "ok" and sent.name not in self.calls
        )
        self.breaches = {kind: count for kind, count in self.counts.items() if kind not in phase.allowed}
        if self.duplicated:
            self.breaches["duplicated"] = len(self.duplicated)
        if self.invented:
            self.breaches["answered without a call"] = len(self.invented)
        self.figures = {
            "times": len(phase.events),
            "asked_rate": load.asked,
            "rate": round(len(self.requests) / (load.ended - load.began), 1),
            "seconds": round(load.ended - load.began, 1),
            "requests": len(self.requests),
            "answered": len(self.requests) - len(self.failures),
            "not_answered_well": dict(self.counts),
            "duplicated": self.duplicated,
            **phase.figures(self.requests, self.calls),
            "doors": {name: self._door(name) for name in dict.fromkeys(sent.door for sent in self.requests)},
            "breaches": self.breaches,
        }

    def _door(self, name):
        requests = [sent for sent in self.requests if sent.door == name]
        waited = [sent.took - sent.seconds for sent in requests if sent.outcome == "ok"]
        return dict(Counter(sent.outcome for sent in requests)) | percentiles(waited)
