"""How a client of PPP says who it is: what it is called by that, what proves it, and how a RADIUS server is told.

The gateway itself can check PAP, and CHAP with MD5; both take the password in the clear. MS-CHAPv2 takes MD4 and DES,
which Python has not: that is for servers.

Source: RFC 1334 2.2.1, RFC 1994 4.1, RFC 2865 5.1 to 5.3 and 5.40, RFC 2548 2.3.2 and 2.3.3.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable

from wayleave.net.errors import Malformed
from wayleave.proto.ppp.auth import ChapMd5, Credentials, MsChap2, Pap, chap_response
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.proto.radius.packet import LONGEST, LONGEST_PASSWORD, USER_PASSWORD, Avp
from wayleave.session.refusal import Reason, Refusal


def user_of(credentials: Credentials) -> str | Refusal:
    """What a client says it is called, as it is known in files and told to servers: text that a User-Name has room for.

    Source: RFC 2865 5.1, RFC 8044 3.4.
    """
    name = credentials.name
    if not name:
        return Refusal(Reason.CREDENTIALS_UNUSABLE, "it says no name")
    if len(name) > LONGEST:
        return Refusal(Reason.CREDENTIALS_UNUSABLE, f"its name has {len(name)} octets: a User-Name has {LONGEST}")
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        octet = f"0x{name[error.start]:02x}"
        return Refusal(Reason.CREDENTIALS_UNUSABLE, f"its name is no text: {octet} is no UTF-8")


# ---- Here -------------------------------------------------------------------------------


def proves(credentials: Credentials, password: bytes) -> bool:
    """Whether they prove that a client knows a password, in a time that does not tell how wrong it was."""
    match credentials:
        case Pap(password=said):
            return hmac.compare_digest(said, password)
        case ChapMd5(identifier=identifier, challenge=challenge, response=response):
            return hmac.compare_digest(chap_response(identifier, password, challenge), response)
        case MsChap2():
            return False


def again(credentials: Credentials | None) -> bytes:
    """What is the same if a client says the same once more, and tells no password: nothing, where it is challenged."""
    return hashlib.sha256(credentials.password).digest() if isinstance(credentials, Pap) else b""


# ---- To servers -------------------------------------------------------------------------


def why_untellable(credentials: Credentials) -> str:
    """Why no server can be told; empty: one can."""
    if isinstance(credentials, Pap) and len(credentials.password) > LONGEST_PASSWORD:
        return f"its password has {len(credentials.password)} octets: a User-Password has {LONGEST_PASSWORD}"
    return ""


def attributes(credentials: Credentials, hide: Callable[[bytes], bytes]) -> list[Avp]:
    """Return what an Access-Request says of them beside the User-Name; `hide` makes the value of User-Password."""
    match credentials:
        case Pap(password=password):
            return [(USER_PASSWORD, hide(password))]
        case ChapMd5(identifier=identifier, challenge=challenge, response=response):
            return [
                STANDARD["CHAP-Password"].encode(bytes((identifier,)) + response),
                STANDARD["CHAP-Challenge"].encode(challenge),
            ]
        case MsChap2():
            value = bytes((credentials.identifier, credentials.flags)) + credentials.peer_challenge
            value += bytes(8) + credentials.nt_response
            return [
                STANDARD["MS-CHAP-Challenge"].encode(credentials.challenge),
                STANDARD["MS-CHAP2-Response"].encode(value),
            ]


def proof(credentials: Credentials | None, answer: Iterable[Avp]) -> bytes:
    """What a client wants to hear of an Access-Accept to believe it: of MS-CHAPv2, `S=` and 40 digits; else nothing.

    Raises: Malformed if it is not there: the client would hang up. Source: RFC 2548 2.3.3, RFC 2759 5.
    """
    if not isinstance(credentials, MsChap2):
        return b""
    name = "MS-CHAP2-Success"
    said = next((value for row, value in STANDARD.explode(answer) if row.name == name), b"")
    if not said[1:].startswith(b"S="):
        raise Malformed(
            0, f"{name} is absent, or proves nothing: the client believes no server without", "RFC 2548 2.3.3"
        )
    return said[1:]
