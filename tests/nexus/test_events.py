"""Events of changes: whole commits, however many there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wayleave.nexus.routes.events import MOST_AN_EVENT, _parts
from wayleave.nexus.store.port import MAX_OPERATIONS, Change


@given(st.lists(st.integers(1, MAX_OPERATIONS), max_size=40))
def test_an_event_has_whole_commits(sizes: list[int]) -> None:
    changes = [Change(revision, "", None) for revision, size in enumerate(sizes, 2) for _ in range(size)]
    parts = list(_parts(changes))
    assert [change for part in parts for change in part] == changes
    assert all(len(part) < MOST_AN_EVENT + MAX_OPERATIONS for part in parts)
    ends = [part[-1].revision for part in parts]
    assert all(part[0].revision > end for end, part in zip(ends, parts[1:], strict=False))
