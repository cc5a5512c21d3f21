"""The automaton: the table entry by entry, and what the table leaves open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.errors import Malformed
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.ppp.automaton import (
    NEVER,
    TABLE,
    Action,
    Automaton,
    Event,
    Layer,
    State,
    Timers,
)
from wayleave.proto.ppp.packet import Code, Protocol, decode, decode_options, encode, encode_options

NOW = BootNs(100 * SECOND)
GOOD, WRONG, UNKNOWN = (1, b"yes"), (1, b"no"), (9, b"?")

# Next states, from RFC 1661 4.1, copied a second time by hand: "." cannot happen.
NEXT = {
    "Up": "26........",
    "Down": "..01011111",
    "Open": "1163556789",
    "Close": "0022444444",
    "TO+": "....45668.",
    "TO-": "....23333.",
    "RCR+": "..28458988",
    "RCR-": "..26456766",
    "RCA": "..23457696",
    "RCN": "..23456686",
    "RTR": "..23456665",
    "RTA": "..23236686",
    "RUC": "..23456789",
    "RXJ+": "..23456689",
    "RXJ-": "..23233335",
    "RXR": "..23456789",
}
ACTIONS = {
    "tlu": ["RCR+ 7", "RCA 8"],
    "tld": ["Down 9", "Close 9", "RCR+ 9", "RCR- 9", "RCA 9", "RCN 9", "RTR 9", "RTA 9", "RXJ- 9"],
    "ser": ["RXR 9"],
    "zrc": ["RTR 9"],
    "sca": ["RCR+ 3", "RCR+ 6", "RCR+ 7", "RCR+ 8", "RCR+ 9"],
    "scn": ["RCR- 3", "RCR- 6", "RCR- 7", "RCR- 8", "RCR- 9"],
    "str": ["Close 6", "Close 7", "Close 8", "Close 9", "TO+ 4", "TO+ 5", "RXJ- 9"],
}


class Toy(Automaton, kw_only=True, gc=False):
    """A protocol with one option, which should be "yes"."""

    PROTOCOL = Protocol.IPCP

    asks: bytes = b"mine"
    needs: bool = False
    taken: tuple = ()

    def reset(self):
        self.asks = b"mine"

    def wishes(self):
        return [(1, self.asks)] if self.asks else []

    def judge(self, kind, _value):
        return GOOD[1] if kind == 1 else None

    def lacking(self, kinds):
        return [GOOD] if self.needs and 1 not in kinds else []

    def take(self, options):
        self.taken = (*self.taken, options)

    def naked(self, _kind, value):
        self.asks = value
        return value != b"never"

    def rejected(self, _kind):
        self.asks = b""
        return True


def machine(state=State.INITIAL, **how):
    """A machine in a state, come to by itself where that is one with a timer."""
    toy = Toy(Timers(), **how)
    if state == State.CLOSED:
        toy.step(Event.UP, NOW)
    elif state != State.INITIAL:
        toy.open(NOW)
        toy.state = state
        if state in (State.STOPPED, State.OPENED, State.STARTING):
            toy.deadline = NEVER
    return toy


def request(*options, identifier=7):
    return encode(Code.CONFIGURE_REQUEST, identifier, encode_options(options))


def answer(toy, code, *options):
    """What a peer says to the last request; its own options if it acknowledges."""
    data = encode_options(options) if options else toy._request
    return encode(code, toy._expected, data)


def opened(**how):
    toy = machine(**how)
    toy.open(NOW)
    toy.receive(request(GOOD), NOW)
    assert toy.receive(answer(toy, Code.CONFIGURE_ACK), NOW) == [Layer.UP]
    return toy


def codes(output):
    return [decode(said).code if isinstance(said, bytes) else said for said in output]


# ---- the table --------------------------------------------------------------------------


@pytest.mark.parametrize("event", Event, ids=lambda event: event.value)
def test_next_states(event):
    row = "".join("." if entry is None else str(int(entry.state)) for entry in TABLE[event])
    assert row == NEXT[event.value]


@pytest.mark.parametrize("action", ACTIONS)
def test_where_an_action_stands(action):
    found = [
        f"{event.value} {state}"
        for event in Event
        for state, entry in enumerate(TABLE[event])
        if entry is not None and Action(action) in entry.actions
    ]
    assert sorted(found) == sorted(ACTIONS[action])


_SENT = {
    Action.SEND_CONFIGURE_REQUEST: Code.CONFIGURE_REQUEST,
    Action.SEND_TERMINATE_REQUEST: Code.TERMINATE_REQUEST,
    Action.SEND_TERMINATE_ACK: Code.TERMINATE_ACK,
    Action.SEND_CONFIGURE_ACK: "reply",
    Action.SEND_CONFIGURE_NAK: "reply",
    Action.SEND_CODE_REJECT: "reply",
    Action.SEND_ECHO_REPLY: "reply",
    Action.THIS_LAYER_UP: Layer.UP,
    Action.THIS_LAYER_DOWN: Layer.DOWN,
    Action.THIS_LAYER_FINISHED: Layer.FINISHED,
}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
@pytest.mark.parametrize("event", Event, ids=lambda event: event.value)
def test_the_machine_does_what_the_table_says(event, state):
    toy = machine(state)
    before = toy.state
    output = toy.step(event, NOW, 5, b"reply")
    entry = TABLE[event][state]
    if entry is None:
        assert (output, toy.state) == ([], before)
        return
    following = entry.state
    assert toy.state is following
    said = [word if word == b"reply" else codes([word])[0] for word in output]
    assert said == [
        b"reply" if _SENT[action] == "reply" else _SENT[action] for action in entry.actions if action in _SENT
    ]
    running = toy.deadline != NEVER
    assert running == (State.CLOSING <= following <= State.ACK_SENT)


# ---- asking -----------------------------------------------------------------------------


def test_silence():
    """Max-Configure requests, three seconds apart, all with one identifier; then it is over."""
    toy = machine()
    sent = [(NOW, *toy.open(NOW))]
    while toy.deadline != NEVER:
        sent.append((toy.deadline, *toy.expire(toy.deadline)))
    assert sent[-1][1] is Layer.FINISHED
    assert [(at - NOW) // SECOND for at, *_ in sent] == list(range(0, 31, 3))
    assert len({said for _, said in sent[:-1]}) == 1
    assert toy.state is State.STOPPED


def test_nothing_is_due_before_its_time():
    toy = machine()
    toy.open(NOW)
    assert toy.expire(BootNs(toy.deadline - 1)) == []


def test_opened_by_either_order():
    first, second = machine(), machine()
    for toy in (first, second):
        toy.open(NOW)
    assert codes(first.receive(request(GOOD), NOW)) == [Code.CONFIGURE_ACK]
    assert first.receive(answer(first, Code.CONFIGURE_ACK), NOW) == [Layer.UP]
    assert second.receive(answer(second, Code.CONFIGURE_ACK), NOW) == []
    assert codes(second.receive(request(GOOD), NOW)) == [Code.CONFIGURE_ACK, Layer.UP]
    assert first.taken == second.taken == ((GOOD,),)
    assert first.deadline == second.deadline == NEVER


def test_a_nak_is_heeded():
    toy = machine()
    toy.open(NOW)
    identifier = toy._expected
    (again,) = toy.receive(answer(toy, Code.CONFIGURE_NAK, (1, b"other")), NOW)
    assert decode_options(decode(again).data) == ((1, b"other"),)
    assert decode(again).identifier != identifier


def test_a_reject_is_heeded():
    toy = machine()
    toy.open(NOW)
    (again,) = toy.receive(answer(toy, Code.CONFIGURE_REJECT), NOW)
    assert decode(again).data == b""


def test_what_we_cannot_live_with_ends_it():
    toy = machine()
    toy.open(NOW)
    assert toy.receive(answer(toy, Code.CONFIGURE_NAK, (1, b"never")), NOW) == [Layer.FINISHED]
    assert toy.deadline == NEVER


@pytest.mark.parametrize(
    "said",
    [
        lambda toy: encode(Code.CONFIGURE_ACK, toy._expected ^ 1, toy._request),
        lambda toy: encode(Code.CONFIGURE_ACK, toy._expected, b""),
        lambda toy: encode(Code.CONFIGURE_REJECT, toy._expected, b""),
        lambda toy: encode(Code.CONFIGURE_REJECT, toy._expected, encode_options([UNKNOWN])),
        lambda toy: encode(Code.CONFIGURE_NAK, toy._expected ^ 1, encode_options([GOOD])),
    ],
    ids=["other identifier", "other options", "empty reject", "reject of what was not asked", "late nak"],
)
def test_no_answer_to_our_request(said):
    toy = machine()
    toy.open(NOW)
    before = toy.state, toy.deadline, toy._expected
    assert toy.receive(said(toy), NOW) == []
    assert (toy.state, toy.deadline, toy._expected) == before


def test_an_answer_counts_once():
    """What the network repeats neither crosses the connection nor tears it down."""
    toy = machine()
    toy.open(NOW)
    ack = answer(toy, Code.CONFIGURE_ACK)
    toy.receive(ack, NOW)
    assert (toy.receive(ack, NOW), toy.state) == ([], State.ACK_RCVD)
    toy.receive(request(GOOD), NOW)
    assert (toy.receive(ack, NOW), toy.state) == ([], State.OPENED)


def test_a_peer_that_always_naks_comes_to_an_end():
    toy = machine()
    output = toy.open(NOW)
    for rounds in range(100):
        if output == [Layer.FINISHED]:
            break
        output = toy.receive(answer(toy, Code.CONFIGURE_NAK, (1, b"%d" % rounds)), NOW)
    assert toy.state is State.STOPPED
    assert rounds == Timers().most_rounds


def test_a_peer_that_agrees_and_asks_for_the_impossible_comes_to_an_end():
    """Each of its acknowledgements fills the restart counter again; what bounds it is `most_rounds`."""
    toy = machine()
    toy.open(NOW)
    for _ in range(100):
        toy.receive(answer(toy, Code.CONFIGURE_ACK), toy.deadline)
        toy.receive(request(UNKNOWN), toy.deadline)
        if toy.expire(toy.deadline) == [Layer.FINISHED]:
            break
    assert toy.state is State.STOPPED


# ---- being asked ------------------------------------------------------------------------


def test_answers():
    toy = machine()
    toy.open(NOW)
    (nak,) = toy.receive(request(WRONG), NOW)
    assert decode(nak).code == Code.CONFIGURE_NAK
    assert decode_options(decode(nak).data) == (GOOD,)
    (reject,) = toy.receive(request(WRONG, UNKNOWN), NOW)
    assert decode(reject).code == Code.CONFIGURE_REJECT
    assert decode_options(decode(reject).data) == (UNKNOWN,), "only what is rejected is told of (RFC 1661 5.4)"
    (ack,) = toy.receive(request(GOOD), NOW)
    assert (decode(ack).code, decode(ack).data) == (Code.CONFIGURE_ACK, encode_options([GOOD]))
    assert [decode(said).identifier for said in (nak, reject, ack)] == [7, 7, 7]


def test_an_option_that_stands_there_twice_is_rejected():
    toy = machine()
    toy.open(NOW)
    (reject,) = toy.receive(request(GOOD, GOOD), NOW)
    assert (decode(reject).code, decode_options(decode(reject).data)) == (Code.CONFIGURE_REJECT, (GOOD,))


def test_no_answer_is_much_longer_than_what_it_answers():
    toy = machine(needs=True)
    toy.open(NOW)
    for options in ([(1, b"")] * 700, [WRONG] * 300, [UNKNOWN] * 400, []):
        asked = request(*options)
        for said in toy.receive(asked, NOW):
            assert isinstance(said, Layer) or len(said) <= len(asked) + 8


def test_after_some_naks_what_is_wrong_is_rejected():
    toy = machine()
    toy.open(NOW)
    said = [codes(toy.receive(request(WRONG, identifier=number), NOW))[0] for number in range(7)]
    assert said == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_REJECT] * 2


def test_who_never_asks_for_what_it_needs_comes_to_an_end():
    toy = machine(needs=True)
    toy.open(NOW)
    said = [codes(toy.receive(request(identifier=number), NOW))[0] for number in range(6)]
    assert said == [Code.CONFIGURE_NAK] * 5 + [Layer.FINISHED]


def test_a_lost_ack_is_said_once_more():
    toy = opened()
    assert codes(toy.receive(request(GOOD), NOW)) == [Code.CONFIGURE_ACK]
    assert toy.state is State.OPENED
    output = toy.receive(request(GOOD), NOW)
    assert codes(output) == [Layer.DOWN, Code.CONFIGURE_REQUEST, Code.CONFIGURE_ACK]


def test_another_request_begins_anew():
    toy = opened()
    output = toy.receive(request(GOOD, identifier=8), NOW)
    assert codes(output) == [Layer.DOWN, Code.CONFIGURE_REQUEST, Code.CONFIGURE_ACK]
    assert toy.receive(answer(toy, Code.CONFIGURE_ACK), NOW) == [Layer.UP]


# ---- the end ----------------------------------------------------------------------------


def test_closed_by_us():
    toy = opened()
    assert codes(toy.close(NOW)) == [Layer.DOWN, Code.TERMINATE_REQUEST]
    assert toy.receive(encode(Code.TERMINATE_ACK, 3), NOW) == [Layer.FINISHED]
    assert (toy.state, toy.deadline) == (State.CLOSED, NEVER)


def test_closed_by_us_and_nobody_answers():
    toy = opened()
    toy.close(NOW)
    assert codes(toy.expire(toy.deadline)) == [Code.TERMINATE_REQUEST]
    assert toy.expire(toy.deadline) == [Layer.FINISHED]


def test_closed_by_the_peer():
    toy = opened()
    output = toy.receive(encode(Code.TERMINATE_REQUEST, 42), NOW)
    assert codes(output) == [Layer.DOWN, Code.TERMINATE_ACK]
    assert decode(output[1]).identifier == 42
    assert toy.expire(toy.deadline) == [Layer.FINISHED]


def test_unknown_codes():
    toy = opened()
    packet = encode(99, 3, bytes(1000))
    (reject,) = toy.receive(packet, NOW)
    assert decode(reject).code == Code.CODE_REJECT
    assert decode(reject).data == packet[:64]
    (another,) = toy.receive(packet, NOW)
    assert decode(another).identifier != decode(reject).identifier, "RFC 1661 5.6"


@pytest.mark.parametrize(("rejected", "state"), [(8, State.OPENED), (9, State.OPENED), (1, State.STOPPING)])
def test_code_rejects(rejected, state):
    toy = opened()
    toy.receive(encode(Code.CODE_REJECT, 1, encode(rejected, 1)), NOW)
    assert toy.state is state


# ---- whatever comes ---------------------------------------------------------------------


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
@pytest.mark.parametrize("code", range(15))
def test_every_code_in_every_state_with_any_body(code, state):
    bodies = [b"", b"\1", b"\1\0", b"\1\1", b"\1\xff", encode_options([GOOD]), encode_options([UNKNOWN]), bytes(300)]
    for body in bodies:
        for octets in (encode(code, 1, body), encode(code, 1, body)[:-1], bytes((code,))):
            toy = machine(state)
            before = toy.state
            try:
                output = toy.receive(octets, NOW)
            except Malformed:
                assert toy.state is before
                continue
            assert len(output) <= 3
            timed = State.CLOSING <= toy.state <= State.ACK_SENT
            assert not timed or toy.deadline != NEVER, "a state that waits has a deadline"


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.sampled_from([b"", encode_options([GOOD])]))))
def test_no_sequence_of_packets_leaves_it_waiting_for_ever(packets):
    toy = machine()
    toy.open(NOW)
    for code, identifier, body in packets:
        toy.receive(encode(code, identifier, body), NOW)
    for _ in range(20):
        if toy.deadline == NEVER:
            break
        toy.expire(toy.deadline)
    assert toy.state in (State.CLOSED, State.STOPPED, State.OPENED)
