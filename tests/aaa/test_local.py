"""Authorization from the subscribers file."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from msgspec.structs import replace

from tests.aaa.clients import CHALLENGE, NT_RESPONSE, PEER_CHALLENGE, chap, dialing
from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization, Subscriber
from wayleave.net.mac import Mac
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import Credentials, MsChap2, Pap
from wayleave.session.model import Client, Line, Rate, Service
from wayleave.session.refusal import Reason, Refusal

MAC = Mac.parse("02:00:00:00:00:0a")
LINE = Line(1, 100, 7)


GOLD = Service(
    tenant="", pool="", name="gold", up=Rate.of(20_000_000), down=Rate.of(100_000_000), idle_timeout=Ns(60 * SECOND)
)
FREE = Service(tenant="", pool="", name="free")


def decide(
    client: Client, *entries: Subscriber, default: str | None = "residential", service: str | None = None
) -> Service | Refusal:
    settings = AuthorizationSettings(default=default, service=service)
    sold = {"gold": GOLD, "free": FREE}
    return LocalAuthorization(settings, entries, {1: "isp"}, {"theirs": "other"}, sold).grant(client)


def test_any_line_gets_the_default_pool_and_its_ports_tenant() -> None:
    assert decide(Client(LINE, MAC)) == Service(tenant="isp", pool="residential")


def test_a_port_that_is_not_configured_lets_nobody_on() -> None:
    """Its clients of before a restart are asked about too."""
    by_mac = Subscriber.model_validate({"name": "a", "mac": str(MAC), "tenant": "other"})
    for entries in ((), (by_mac,)):
        assert decide(Client(Line(2, 100, 7), MAC), *entries) == Refusal(
            Reason.PORT_NOT_CONFIGURED, "port 2 is not configured"
        )


def test_without_a_default_only_known_subscribers_get_on() -> None:
    known = Subscriber.model_validate({"name": "alice", "line": "1:100.7", "pool": "business"})
    refused = decide(Client(Line(1, 100, 8), MAC), known, default=None)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.UNKNOWN_CLIENT
    assert "not in the subscribers file" in refused.why
    assert decide(Client(LINE, MAC), known, default=None) == Service(tenant="isp", pool="business", subscriber="alice")


def test_the_default_is_for_those_of_its_tenant() -> None:
    """The other provider is closed: nobody gets into this one's by not being known."""
    refused = decide(Client(LINE, MAC), default="theirs")
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.UNKNOWN_CLIENT
    assert refused.why == "not in the subscribers file, and authorization.default is not tenant isp's"
    refused = decide(Client(LINE, MAC), Subscriber.model_validate({"name": "a", "mac": str(MAC)}), default="theirs")
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.NO_POOL
    assert refused.why == "subscriber a has no pool, and authorization.default is not tenant isp's"
    of_theirs = Subscriber.model_validate({"name": "a", "mac": str(MAC), "tenant": "other"})
    assert decide(Client(LINE, MAC), of_theirs, default="theirs") == Service(
        tenant="other", pool="theirs", subscriber="a"
    )


def test_an_entry_without_a_pool_gets_nothing_where_no_default_names_one() -> None:
    entry = Subscriber.model_validate({"name": "a", "mac": str(MAC)})
    refused = decide(Client(LINE, MAC), entry, default=None)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.NO_POOL


def test_an_entry_says_address_tenant_limit_and_antispoof() -> None:
    entry = Subscriber.model_validate(
        {"name": "a", "line": "1:100.7", "address": "10.0.0.9", "tenant": "other", "limit": 2, "antispoof": False}
    )
    assert decide(Client(LINE, MAC), entry) == Service(
        tenant="other",
        pool="residential",
        subscriber="a",
        address=IPv4Address("10.0.0.9"),
        limit=2,
        antispoof=False,
    )


def test_the_tenant_is_the_pools_where_the_entry_names_none() -> None:
    entry = Subscriber.model_validate({"name": "a", "line": "1:100.7", "pool": "theirs"})
    assert decide(Client(LINE, MAC), entry) == Service(tenant="other", pool="theirs", subscriber="a")


def test_an_entry_names_the_service_that_was_sold_and_others_get_the_default_s() -> None:
    entry = Subscriber.model_validate({"name": "a", "line": "1:100.7", "service": "gold"})
    assert decide(Client(LINE, MAC), entry) == replace(GOLD, tenant="isp", pool="residential", subscriber="a")
    other = Client(Line(1, 100, 8), MAC)
    assert decide(other, entry) == Service(tenant="isp", pool="residential")
    assert decide(other, entry, service="gold") == replace(GOLD, tenant="isp", pool="residential")
    plain = Subscriber.model_validate({"name": "b", "line": "1:100.7"})
    of_default = decide(Client(LINE, MAC), plain, service="gold")
    assert isinstance(of_default, Service)
    assert (of_default.name, of_default.up) == ("gold", GOLD.up)
    unlimited = Subscriber.model_validate({"name": "b", "line": "1:100.7", "service": "free"})
    free = decide(Client(LINE, MAC), unlimited, service="gold")
    assert isinstance(free, Service)
    assert (free.name, free.up, free.down) == ("free", None, None)


def test_a_blocked_subscriber_is_refused_though_the_default_would_let_it_on() -> None:
    entry = Subscriber.model_validate({"name": "a", "mac": str(MAC), "blocked": True})
    assert decide(Client(LINE, MAC), entry) == Refusal(Reason.BLOCKED, "subscriber a is blocked")


@pytest.mark.parametrize(
    ("known_by", "wins"),
    [
        ([{"mac": str(MAC), "line": "1:100.7/door"}, {"mac": str(MAC)}], 0),
        ([{"circuit": "door"}, {"mac": str(MAC), "circuit": "door"}], 1),
        ([{"circuit": "door"}, {"line": "1:100.7/door"}], 1),
        ([{"line": "1:100.7/door"}, {"mac": str(MAC)}], 1),
        ([{"circuit": "elsewhere"}, {"circuit": "door"}], 1),
    ],
)
def test_the_most_particular_entry_wins(known_by: list[dict[str, str]], wins: int) -> None:
    entries = [Subscriber.model_validate({"name": str(index), **keys}) for index, keys in enumerate(known_by)]
    service = decide(Client(Line(1, 100, 7, b"door"), MAC), *entries)
    assert isinstance(service, Service)
    assert service.subscriber == str(wins)


# ---- clients that say who they are --------------------------------------------------------------

ALICE = Pap(b"alice", b"sesame")
USER = Subscriber.model_validate({"name": "a", "user": "alice"})


def dial(
    credentials: Credentials | None, *entries: Subscriber, line: Line = LINE, default: str | None = "residential"
) -> Service | Refusal | None:
    passwords = {"alice": Secret(b"sesame"), "blocked": Secret(b"sesame")}
    settings = AuthorizationSettings(default=default)
    local = LocalAuthorization(settings, entries, {1: "isp"}, {}, {}, passwords)
    return local.decide(dialing(credentials, line=line), BootNs(1))


def refused(outcome: Service | Refusal | None) -> tuple[Reason, str]:
    assert isinstance(outcome, Refusal)
    return outcome.reason, outcome.why


@pytest.mark.parametrize("said", [ALICE, chap(b"alice", b"sesame")], ids=["pap", "chap"])
def test_a_user_gets_on_by_its_password(said: Credentials) -> None:
    assert dial(said, USER) == Service(tenant="isp", pool="residential", subscriber="a")


@pytest.mark.parametrize("said", [Pap(b"alice", b"open"), chap(b"alice", b"open")], ids=["pap", "chap"])
def test_a_wrong_password_is_a_reason_of_its_own(said: Credentials) -> None:
    assert refused(dial(said, USER)) == (Reason.WRONG_PASSWORD, "user alice does not know its password")


def test_who_is_asked_and_not_known_is_refused_whatever_lines_get() -> None:
    by_line = Subscriber.model_validate({"name": "l", "line": str(LINE)})
    unknown = (Reason.UNKNOWN_CLIENT, "user alice is not in the subscribers file")
    assert refused(dial(ALICE)) == unknown
    assert refused(dial(ALICE, by_line)) == unknown
    assert refused(dial(Pap(b"", b""), by_line)) == (Reason.CREDENTIALS_UNUSABLE, "it says no name")
    assert refused(dial(Pap(b"alice\xff", b"sesame"), USER))[0] is Reason.CREDENTIALS_UNUSABLE


def test_an_entry_without_a_password_lets_nobody_on() -> None:
    bob = Subscriber.model_validate({"name": "b", "user": "bob"})
    assert refused(dial(Pap(b"bob", b""), bob))[0] is Reason.WRONG_PASSWORD


def test_where_nobody_is_asked_lines_decide_and_users_do_not() -> None:
    assert dial(None, USER) == Service(tenant="isp", pool="residential")
    assert refused(dial(None, USER, default=None))[0] is Reason.UNKNOWN_CLIENT
    by_line = Subscriber.model_validate({"name": "l", "line": str(LINE), "pool": "homes"})
    assert dial(None, by_line) == Service(tenant="isp", pool="homes", subscriber="l")


def test_where_a_user_is_said_to_be_both_have_to_fit() -> None:
    here = Subscriber.model_validate({"name": "a", "user": "alice", "line": str(LINE)})
    with_mac = Subscriber.model_validate({"name": "m", "user": "alice", "mac": "02:00:00:00:00:99"})
    assert dial(ALICE, here, with_mac) == Service(tenant="isp", pool="residential", subscriber="a")
    elsewhere = (Reason.UNKNOWN_CLIENT, "user alice is not to be on this line, or not with this MAC")
    assert refused(dial(ALICE, here, line=Line(1, 100, 8))) == elsewhere
    assert refused(dial(ALICE, with_mac)) == elsewhere
    assert dial(ALICE, here, USER.model_copy(update={"pool": "homes"}), line=Line(1, 100, 8)) == Service(
        tenant="isp", pool="homes", subscriber="a"
    ), "the entry that names no line is for the others"


def test_a_blocked_user_is_refused_by_that_whether_it_proves_itself_or_not() -> None:
    entry = Subscriber.model_validate({"name": "x", "user": "blocked", "blocked": True})
    for password in (b"sesame", b"open"):
        assert refused(dial(Pap(b"blocked", password), entry))[0] is Reason.BLOCKED


def test_ms_chap_2_is_for_servers() -> None:
    said = MsChap2(b"alice", 7, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE, 0)
    why = "user alice proves itself by MS-CHAPv2, which takes a RADIUS server to check"
    assert refused(dial(said, USER)) == (Reason.CREDENTIALS_UNUSABLE, why)


def test_a_review_goes_by_the_name_that_was_proven() -> None:
    served = replace(dialing(ALICE), credentials=None)

    def reviewed(*entries: Subscriber) -> Service | Refusal:
        return LocalAuthorization(AuthorizationSettings(default="residential"), entries, {1: "isp"}, {}, {}).review(
            served
        )

    assert reviewed(USER) == Service(tenant="isp", pool="residential", subscriber="a")
    assert refused(reviewed())[0] is Reason.UNKNOWN_CLIENT
    assert refused(reviewed(USER.model_copy(update={"blocked": True})))[0] is Reason.BLOCKED
    nobody_asked = replace(dialing(None), credentials=None)
    local = LocalAuthorization(AuthorizationSettings(default="residential"), (), {1: "isp"}, {}, {})
    assert local.review(nobody_asked) == Service(tenant="isp", pool="residential")


def test_passwords_show_nowhere() -> None:
    local = LocalAuthorization(AuthorizationSettings(), (USER,), {}, {}, {}, {"alice": Secret(b"sesame")})
    assert "sesame" not in repr(vars(local))
