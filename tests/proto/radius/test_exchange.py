"""Questions to servers that are slow, lossy, silent, dead and lied about, in virtual time."""

from itertools import pairwise

import pytest

from tests.conftest import PROFILE
from tests.proto.radius.world import MILLISECOND, World
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.radius.exchange import NEVER, Channel, Server, Unanswered
from wayleave.proto.radius.packet import Code, Doubt, decode, reveal

SEEDS = {"test": 60, "soak": 10_000}[PROFILE]


def test_asked_and_answered():
    world = World()
    world.servers[0].answer = lambda asked: (Code.ACCESS_REJECT, [(18, b"no: " + (asked.first(1) or b""))])
    assert world.ask("bob", lambda _at, _hide: [(1, b"bob")])
    world.run(lambda: bool(world.outcomes))
    answer = world.answered()["bob"]
    assert (answer.packet.code, answer.packet.first(18), answer.server) == (Code.ACCESS_REJECT, b"no: bob", "r0")
    peer = world.exchange.peers[0]
    assert (peer.sent, peer.repeated, peer.in_flight, len(world.exchange)) == (1, 0, 0, 0)
    assert peer.answers == {"access-reject": 1}
    assert peer.latency[3] == 1  # two ways of 5 ms


def test_passwords_are_hidden_for_the_packet_that_carries_them():
    world = World()
    world.ask(1, lambda _at, hide: [(2, hide(b"arctangent"))])
    world.run(lambda: bool(world.outcomes))
    (asked,) = world.servers[0].asked()
    hidden = asked.first(2)
    assert hidden is not None
    assert reveal(hidden, asked.authenticator, b"secret 0") == b"arctangent"


def test_repeated_as_it_was_with_growing_waits():
    world = World(timeout=Ns(SECOND), tries=4)
    world.servers[0].answer = lambda _: None
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    sent = world.servers[0].heard[:4]
    assert len({data for _, data in sent}) == 1, "identifier and authenticator stay (RFC 5080 2.2.2)"
    waits = [(after[0] - before[0]) / SECOND for before, after in pairwise(sent)]
    assert waits == [pytest.approx(wanted, rel=0.11) for wanted in (1, 2, 4)]
    assert world.unanswered() == {1: "no server lives: r0"}


def test_accounting_tells_its_age_anew_each_time():
    """RFC 2866 5.2: a changed Acct-Delay-Time is a new packet, with another identifier."""
    world = World(code=Code.ACCOUNTING_REQUEST)
    world.servers[0].answer = lambda _: None
    asked_at = world.now
    world.ask(1, lambda at, _hide: [(41, ((at - asked_at) // SECOND).to_bytes(4, "big"))])
    world.run(seconds=6)
    sent = [decode(data) for _, data in world.servers[0].heard if decode(data).code == Code.ACCOUNTING_REQUEST]
    assert [int.from_bytes(packet.first(41) or b"", "big") for packet in sent] in (
        [0, 1, 3],
        [0, 0, 2],
        [0, 0, 3],
        [0, 1, 2],
    )
    assert len({packet.identifier for packet in sent}) == 3


def test_an_answer_to_an_earlier_transmission_counts():
    world = World(code=Code.ACCOUNTING_REQUEST, timeout=Ns(SECOND))
    world.servers[0].latency = 800 * MILLISECOND
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    assert world.exchange.peers[0].repeated == 1
    assert 1 in world.answered()
    world.run(seconds=10)
    assert world.doubts == {"unmatched": 1}, "the later one's answer is to nothing any more"


def test_the_next_server_is_asked_with_its_own_secret():
    world = World(count=2, tries=2)
    world.servers[0].up = False
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    assert world.answered()[1].server == "r1"
    assert world.exchange.peers[0].dead


def test_a_dead_server_is_left_out_until_it_answers_a_probe():
    world = World(count=2, tries=1)
    world.servers[0].up = False
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    world.ask(2)
    world.run(lambda: len(world.outcomes) == 2, seconds=0.5)
    assert world.exchange.peers[0].sent == 1, "the dead one was not asked again"
    world.servers[0].up = True
    world.run(lambda: not world.exchange.peers[0].dead, seconds=10)
    assert world.servers[0].asked(Code.STATUS_SERVER)
    world.ask(3)
    world.run(lambda: len(world.outcomes) == 3)
    assert world.answered()[3].server == "r0"
    assert world.exchange.peers[0].in_flight == 0


def test_a_server_that_knows_no_status_is_tried_again_after_a_while():
    world = World(count=2, tries=1, probes=False, dead_for=Ns(30 * SECOND))
    world.servers[0].up = False
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    world.servers[0].up = True
    world.run(seconds=28)
    assert world.exchange.peers[0].dead
    world.run(seconds=4)
    assert not world.exchange.peers[0].dead
    assert not world.servers[0].asked(Code.STATUS_SERVER)


def test_a_server_that_ignores_status_is_tried_again_all_the_same():
    world = World(count=1, tries=1, dead_for=Ns(30 * SECOND))
    world.servers[0].up = world.servers[0].knows_status = False
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    world.servers[0].up = True
    world.run(seconds=25)
    assert not world.exchange.alive
    world.run(seconds=12)
    assert world.exchange.alive
    assert world.exchange.peers[0].dead_since != NEVER, "nothing was heard of it yet"
    world.ask(2)
    world.run(lambda: len(world.outcomes) == 2)
    assert world.answered()[2].server == "r0"
    assert world.exchange.peers[0].dead_since == NEVER


def test_a_server_that_answers_others_is_not_dead():
    """It drops one question without a word, as servers do with what they dislike."""
    world = World(tries=2)
    world.servers[0].answer = lambda asked: None if asked.first(1) == b"odd" else (Code.ACCESS_ACCEPT, [])
    world.ask("odd", lambda _at, _hide: [(1, b"odd")])
    world.run(seconds=1)
    world.ask("even", lambda _at, _hide: [(1, b"even")])
    world.run(lambda: len(world.outcomes) == 2)
    assert world.unanswered() == {"odd": "no server answered: r0"}
    assert not world.exchange.peers[0].dead


def test_all_dead_is_said_at_once():
    world = World(tries=1)
    world.servers[0].up = False
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    assert not world.exchange.alive
    world.ask(2)
    assert world.unanswered()[2] == "no server lives: r0"


def test_load_is_shared():
    world = World(count=3, share=True)
    for key in range(300):
        world.ask(key)
    world.run(lambda: len(world.outcomes) == 300)
    assert [peer.answers["access-accept"] for peer in world.exchange.peers] == [100, 100, 100]


def test_who_shares_takes_what_the_others_have_no_room_for():
    world = World(count=2, share=True, queue=2000)
    for server in world.servers:
        server.latency = SECOND // 2
    assert all(world.ask(key) for key in range(600))
    assert [peer.in_flight for peer in world.exchange.peers] == [256, 256]
    world.run(lambda: len(world.outcomes) == 600)
    low, high = sorted(peer.answers["access-accept"] for peer in world.exchange.peers)
    assert high - low <= 100


def test_thousands_in_flight_through_several_sources_and_the_newest_refused():
    world = World(channels=4, queue=50)
    taken = [world.ask(key) for key in range(1200)]
    assert taken == [True] * (4 * 256 + 50) + [False] * (1200 - 4 * 256 - 50)
    assert world.exchange.refused == 1200 - 4 * 256 - 50
    assert world.exchange.peers[0].in_flight == 1024
    world.run(lambda: len(world.outcomes) == 1074)
    assert set(world.answered()) == set(range(1074))
    assert not world.exchange.waiting


def test_those_that_wait_too_long_are_told():
    world = World(queue=50, tries=10)
    world.servers[0].answer = lambda _: None
    for key in range(300):
        world.ask(key)
    world.run(lambda: len(world.outcomes) >= 44, seconds=11)
    assert world.unanswered()[299] == "no answer: too many questions wait for the servers"


def test_who_asked_is_gone():
    world = World()
    world.ask(1)
    world.exchange.forget(1)
    world.run(seconds=60)
    assert not world.outcomes
    assert world.doubts == {"unmatched": 1}
    assert world.exchange.peers[0].in_flight == 0


def test_a_reply_without_message_authenticator_is_not_believed_unless_that_server_is_excused():
    for required in (True, False):
        world = World(required=required, tries=1)
        world.servers[0].signs = False
        world.ask(1)
        world.run(lambda: bool(world.outcomes))  # noqa: B023
        assert bool(world.answered()) is not required
        assert world.doubts["no-message-authenticator"] == required


def test_who_answers_what_is_not_believed_is_told_from_who_is_silent():
    world = World(count=2, tries=1)
    world.servers[0].secret, world.servers[1].up = b"another", False
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    (outcome,) = world.outcomes
    assert outcome == Unanswered(1, "answers that are not believed: r0: bad-authenticator", Doubt.BAD_AUTHENTICATOR)
    world.ask(2)
    assert world.unanswered()[2] == outcome.why, "also to who asks later"
    world.servers[0].secret = b"secret 0"
    world.run(lambda: world.exchange.alive)
    world.ask(3)
    world.run(lambda: 3 in world.answered())
    assert world.exchange.peers[0].doubted is None


def test_since_when_a_server_is_dead():
    world = World(tries=1)
    peer = world.exchange.peers[0]
    assert (peer.dead_since, peer.ever) == (NEVER, False)
    world.servers[0].up = False
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    died = world.now
    world.run(seconds=100)
    assert (peer.dead_since, peer.ever) == (died, False)
    world.servers[0].up = True
    world.run(lambda: peer.ever, seconds=10)
    assert (peer.dead, peer.dead_since) == (False, NEVER)


def test_nothing_malformed_or_out_of_place_is_believed():
    world = World()
    world.servers[0].answer = lambda _: (Code.COA_ACK, [])
    world.ask(1)
    world.run(seconds=0.5)
    for octets in (b"", bytes(19), bytes(20), b"\2\0\0\x14" + bytes(16)):
        world.exchange.receive(Channel(0, 0), octets, world.now)
    assert set(world.doubts) == {"unexpected-code"}
    assert world.exchange.peers[0].doubts.keys() == {"unexpected-code", "malformed", "bad-authenticator"}
    assert not world.outcomes


def test_a_server_behind_a_connection_is_dead_until_that_stands():
    world = World(reliable=True, tries=1)
    world.ask("early")
    world.exchange.lost(0, world.now, "nothing listens there")
    world.ask("later")
    world.run(seconds=60)
    assert not world.servers[0].heard
    assert world.unanswered() == {
        "early": "no server lives: r0",
        "later": "no server lives: r0 (nothing listens there)",
    }
    world.exchange.regained(0, world.now)
    for key in range(300):
        world.ask(key)
    assert world.exchange.peers[0].in_flight == 255
    world.run(lambda: len(world.answered()) == 300)
    assert 0 not in {packet.identifier for packet in world.servers[0].asked()}, (
        "that is for the connection's own probes"
    )


def test_silence_behind_a_connection_that_just_showed_itself_is_no_death():
    world = World(count=2, reliable=True, tries=1, timeout=Ns(5 * SECOND))
    for number in range(2):
        world.exchange.regained(number, world.now)
    world.servers[0].answer = lambda _asked: None
    world.ask("x")
    world.run(seconds=4)
    world.exchange.regained(0, world.now)
    world.run(lambda: "x" in world.answered())
    assert world.answered()["x"].server == "r1"
    assert not world.exchange.peers[0].dead


def test_a_connection_that_is_lost_sends_its_questions_elsewhere():
    world = World(count=2, reliable=True, tries=1, timeout=Ns(20 * SECOND))
    for number in range(2):
        world.exchange.regained(number, world.now)
    world.servers[0].latency = 10 * SECOND
    for key in range(20):
        world.ask(key)
    world.exchange.lost(0, world.now)
    world.run(lambda: len(world.outcomes) == 20, seconds=1)
    assert {answer.server for answer in world.answered().values()} == {"r1"}
    assert world.exchange.peers[0].dead
    world.exchange.regained(0, world.now)
    assert not world.exchange.peers[0].dead


def test_secrets_show_nowhere():
    server = Server(name="r", secret=Secret(b"hunter2"))
    assert "hunter2" not in f"{server} {server!r} {server.secret} {server.secret!r} %s" % server.secret


@pytest.mark.parametrize("first", range(0, SEEDS, max(1, SEEDS // 20)))
def test_on_a_bad_network_every_question_ends_once_and_no_lie_is_believed(first):
    """Loss, repetition, reordering, forgery and servers that come and go; the same seed, the same story."""
    for seed in range(first, first + SEEDS // 20):
        _bad_network(seed)


def _bad_network(seed: int) -> None:
    code = (Code.ACCESS_REQUEST, Code.ACCOUNTING_REQUEST)[seed % 2]
    world = World(
        count=1 + seed % 3,
        code=code,
        seed=seed,
        lose=0.2,
        repeat=0.2,
        forge=0.3,
        jitter=2 * SECOND,
        share=seed % 5 == 0,
        queue=20,
        probes=seed % 7 != 0,
    )
    for server in world.servers:
        server.answer = lambda asked: (
            Code.ACCESS_ACCEPT if asked.code == Code.ACCESS_REQUEST else Code.ACCOUNTING_RESPONSE,
            [(25, b"true " + (asked.first(1) or b""))],
        )
    asked = set()
    for key in range(400):
        if world.random.random() < 0.02:
            server = world.random.choice(world.servers)
            server.up = not server.up
        name = b"%d" % key
        if world.ask(key, lambda _at, _hide, name=name: [(1, name)]):
            asked.add(key)
        world.run(seconds=world.random.random() * 0.1)
    world.run(lambda: len(world.outcomes) == len(asked), seconds=600)
    answered, unanswered = world.answered(), world.unanswered()
    assert answered.keys() | unanswered.keys() == asked, f"seed {seed}"
    assert not answered.keys() & unanswered.keys()
    for key, answer in answered.items():
        assert answer.packet.first(25) == b"true %d" % key, f"seed {seed}: {answer}"
    for server in world.servers:
        server.up = True
    world.lose = world.forge = 0
    world.run(lambda: all(not peer.dead for peer in world.exchange.peers), seconds=120)
    world.run(seconds=30)
    assert all(peer.in_flight == 0 for peer in world.exchange.peers), f"seed {seed}: identifiers leak"


def test_the_deadline_never_stands_in_the_past_for_long():
    world = World(tries=1)
    world.servers[0].up = False
    world.ask(1)
    world.run(seconds=100)
    assert world.exchange.deadline > BootNs(world.now - SECOND)
