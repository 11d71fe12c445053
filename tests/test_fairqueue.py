"""The queue in front of the application, without a loop."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.fairqueue import FairQueue


def filled(*keys):
    """Return a queue in which each item is the key of its line and its number in the order of coming."""
    queue = FairQueue(10.0)
    for number, key in enumerate(keys):
        queue.put(key, (key, number), float(number))
    return queue


def drained(queue):
    return [queue.take()[0] for _ in range(queue.size)]


def test_lines_have_their_turns():
    queue = filled("a", "a", "a", "a", "b", "c", "b")
    assert [key for key, _ in drained(queue)] == ["a", "b", "c", "a", "b", "a", "a"]
    assert (queue.size, queue.lines, queue.taken, queue.take()) == (0, 0, 7, None)


def test_a_line_keeps_its_order_and_its_times():
    queue = filled("a", "b", "a", "a")
    taken = [queue.take() for _ in range(4)]
    assert [since for (key, _), since in taken if key == "a"] == [0.0, 2.0, 3.0]


def test_who_comes_late_to_a_flood_is_next_but_one():
    queue = filled(*"a" * 1000)
    drained_before = [queue.take()[0][0] for _ in range(10)]
    queue.put("b", ("b", 0), 0.0)
    assert drained_before == ["a"] * 10
    assert [queue.take()[0][0] for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize(
    "keys, comes, displaced",
    [
        ("", "a", None),
        ("aaaa", "a", None),  # nobody has more right than those before him in his line
        ("aaaa", "b", ("a", 3)),
        ("aab", "b", None),  # both would be as long as the other is now
        ("aaab", "b", ("a", 2)),
        ("aaabbbbbc", "c", ("b", 7)),
        ("aaabbbbbc", "b", None),
        ("a", "b", None),
        ("aa", "b", ("a", 1)),
    ],
)
def test_room_is_made_in_the_longest_line(keys, comes, displaced):
    queue = filled(*keys)
    assert queue.displace(comes) == displaced
    assert queue.size == len(keys) - (displaced is not None)
    assert displaced not in drained(queue)


def test_time_is_up_in_the_order_of_coming():
    queue = filled("a", "b", "a", "b", "c")  # at 0, 1, 2, 3 and 4
    assert list(queue.expired(9.9)) == []
    assert sorted(item for item, _ in queue.expired(12.0)) == [("a", 0), ("a", 2), ("b", 1)]
    assert (queue.size, queue.lines) == (2, 2)
    assert list(queue.expired(13.0)) == [(("b", 3), 3.0)]
    assert drained(queue) == [("c", 4)]


def test_what_is_removed_leaves_its_place_to_the_next():
    queue = FairQueue(10.0)
    items = [object() for _ in range(4)]
    for number, (key, item) in enumerate(zip("aabc", items, strict=True)):
        queue.put(key, item, float(number))
    assert queue.remove("a", items[0]) == 0.0
    assert queue.remove("b", items[2]) == 2.0
    assert queue.remove("b", items[2]) is queue.remove("a", items[3]) is queue.remove("d", items[3]) is None
    assert (queue.size, queue.lines) == (2, 2)
    assert [queue.take(), queue.take(), queue.take()] == [(items[1], 1.0), (items[3], 3.0), None]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "take", "displace"]))))
def test_nothing_is_lost_and_nothing_comes_twice(steps):
    queue = FairQueue(0.0)
    inside = Counter()
    for number, (key, step) in enumerate(steps):
        if step == "put":
            queue.put(key, (key, number), float(number))
            inside[key] += 1
            continue
        taken = queue.take() if step == "take" else queue.displace(key)
        if taken is not None:
            inside[taken[0][0] if step == "take" else taken[0]] -= 1
        assert (taken is None) <= (step == "displace" or not +inside)
    assert queue.size == inside.total()
    assert queue.lines == len(+inside)
    assert Counter(key for key, _ in drained(queue)) == +inside
