"""The session table: ids, keys, deadlines, full lines."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs
from wayleave.session.model import NEVER, Client, Line, Phase, Service, Session
from wayleave.session.table import REST, SILENT, Full, Table

NOW = BootNs(1_000 * SECOND)
LINE = Line(1, 100, 1)


def client(number: int, line: Line = LINE) -> Client:
    return Client(line, Mac(number.to_bytes(6, "big")))


def opened(table: Table, number: int, line: Line = LINE, since: BootNs = NOW) -> Session:
    session = Session(id=table.new_id(since), client=client(number, line), phase=Phase.ACTIVE, since=since)
    table.put(session, since)
    return session


def closed(session: Session) -> Session:
    return replace(session, phase=Phase.CLOSED)


def test_sessions_are_counted_by_port() -> None:
    table = Table(8)
    first, second, third = opened(table, 1), opened(table, 2), opened(table, 3, Line(2, 100, 1))
    table.put(replace(first, phase=Phase.OFFERED), NOW)
    assert table.on_port == {1: 2, 2: 1}
    for session in (first, third):
        table.put(closed(session), NOW)
    table.put(closed(third), NOW)
    assert table.on_port == {1: 1, 2: 0}
    assert table.get(second.id) is second


def test_a_session_is_found_by_its_frame_its_line_and_its_id() -> None:
    table = Table(8)
    session = opened(table, 1)
    assert table.find(client(1)) is session
    assert table.get(session.id) is session
    assert table.on_line(LINE) == [session]
    assert table.find(client(1, Line(1, 100, 2))) is None
    assert table.find(client(1, Line(2, 100, 1))) is None
    table.put(closed(session), NOW)
    assert (table.find(client(1)), table.get(session.id), table.on_line(LINE), len(table)) == (None, None, [], 0)


def test_an_id_rests_before_it_is_used_again() -> None:
    table = Table(2)
    first, second = opened(table, 1), opened(table, 2)
    with pytest.raises(Full, match=r"gateway\.sessions"):
        table.new_id(NOW)
    table.put(closed(first), NOW)
    with pytest.raises(Full):
        table.new_id(BootNs(NOW + REST - 1))
    assert table.new_id(BootNs(NOW + REST)) == first.id
    assert second.id != first.id


def test_after_a_restore_the_ids_in_between_are_used_again() -> None:
    table = Table(4)
    table.put(Session(id=2, client=client(1), phase=Phase.ACTIVE, since=NOW), NOW)
    table.close_gaps(NOW)
    later = BootNs(NOW + REST)
    assert sorted(table.new_id(later) for _ in range(3)) == [0, 1, 3]


def test_deadlines_come_in_order_once_each_and_follow_a_session_that_moves_its_own() -> None:
    table = Table(8)
    at = {number: BootNs(NOW + number * SECOND) for number in (1, 2, 3)}
    sessions = {number: replace(opened(table, number), deadline=at[number]) for number in (3, 1, 2)}
    for session in sessions.values():
        table.put(session, NOW)
    table.put(replace(sessions[1], deadline=BootNs(at[3] + 1)), NOW)
    table.put(replace(sessions[2], deadline=NEVER), NOW)
    assert table.due(BootNs(at[2]), 10) == []
    assert [session.client for session in table.due(BootNs(at[3] + 1), 10)] == [client(3), client(1)]
    assert table.due(BootNs(at[3] + 100 * SECOND), 10) == []


def test_moving_a_deadline_a_thousand_times_does_not_grow_the_heap() -> None:
    table = Table(8)
    session = opened(table, 1)
    for step in range(1000):
        table.put(replace(session, deadline=BootNs(NOW + SECOND + step)), NOW)
    assert len(table._deadlines) == 1
    assert len(table.due(BootNs(NOW + 2 * SECOND), 10)) == 1


@pytest.mark.parametrize(("silent_for", "replaced"), [(SILENT, False), (SILENT + 1, True)])
def test_a_full_line_gives_up_the_client_silent_longest_for_more_than_a_minute(silent_for: int, replaced: bool) -> None:
    table = Table(8)
    seen = {1: BootNs(NOW - silent_for), 2: BootNs(NOW - silent_for + 5)}
    first, _ = opened(table, 1, since=BootNs(1)), opened(table, 2, since=BootNs(1))
    newcomer = opened(table, 3)
    verdict = table.room_for(newcomer, 2, NOW, lambda session: seen[int.from_bytes(session.client.mac, "big")])
    assert verdict == (first if replaced else False)
    assert table.room_for(newcomer, 3, NOW, lambda _: NOW) is True


def test_clients_on_their_way_out_and_on_other_lines_do_not_count_against_a_line() -> None:
    table = Table(8)
    leaving = opened(table, 1)
    table.put(replace(leaving, phase=Phase.REMOVING), NOW)
    opened(table, 2, Line(1, 100, 2))
    assert table.room_for(opened(table, 3), 1, NOW, lambda _: NOW) is True


def test_sessions_are_found_by_what_accounting_and_servers_call_them() -> None:
    table = Table(8)
    bob = Service(tenant="default", pool="p", subscriber="bob")
    mine, other = (
        Session(id=number, client=client(number), phase=Phase.ACTIVE, since=NOW, accounting=f"a{number}", service=bob)
        for number in (1, 2)
    )
    table.put(mine, BootNs(1))
    table.put(other, BootNs(1))
    assert table.accounted("a1") == mine
    assert table.of_subscriber("bob") == [mine, other]
    assert table.of_mac(mine.client.mac) == [mine]
    renamed = replace(other, service=replace(bob, subscriber="alice"))
    table.put(renamed, BootNs(2))
    assert (table.of_subscriber("bob"), table.of_subscriber("alice")) == ([mine], [renamed])
    for one in (mine, renamed):
        table.put(replace(one, phase=Phase.CLOSED), BootNs(3))
    assert table.accounted("a1") is None
    assert table.of_subscriber("bob") == table.of_subscriber("alice") == table.of_mac(mine.client.mac) == []
