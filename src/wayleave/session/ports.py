"""What the domain asks of the world, as Protocols: the engine is given one of each, real or simulated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from wayleave.net.units import BootNs
from wayleave.session.model import Service, Session, Used
from wayleave.session.refusal import Refusal


class Clock(Protocol):
    """Boot time; whether the wall clock can be believed."""

    def boot(self) -> BootNs: ...

    @property
    def plausible(self) -> bool: ...


class Reviewer(Protocol):
    """Says what a session that is there would get under the configuration that counts."""

    def review(self, session: Session) -> Service | Refusal: ...


class Authorization(Reviewer, Protocol):
    """Decides what a client gets, or says why it gets nothing."""

    def decide(self, session: Session, now: BootNs) -> Service | Refusal | None:
        """About a client at first sight. None: the answer comes later, through the engine's `decided`."""

    def reauthorize(self, session: Session) -> None:
        """Ask again about a session that is served, when that can be; what is said comes with `reconsider`."""

    def forget(self, session: Session) -> None:
        """The session is gone; an answer that is under way interests nobody."""


class Records(Protocol):
    """Durable leases. What is submitted is completed later, in groups, through the engine's `recorded`."""

    def save(self, session: Session, promise_until: BootNs, account: object = None) -> None:
        """`account`: a record of accounting that is durable with it, or neither is."""

    def keep(self, session: Session) -> None:
        """Write what a recorded session is like by now; no completion tells of it."""

    def erase(self, id_: int, account: object = None) -> None:
        """`account` as for `save`."""

    def flush(self) -> None:
        """Hand over what was saved and erased since the last flush."""


class Plane(Protocol):
    """The data plane's tables and what it noticed of a session."""

    def install(self, sessions: Sequence[Session], now: BootNs) -> None:
        """Raises: PlaneFull."""

    def refresh(self, sessions: Sequence[Session], now: BootNs) -> int:
        """Have rows that stand say what the sessions say now; returns how many differed. Raises: PlaneFull."""

    def remove(self, ids: Iterable[int], now: BootNs) -> None: ...

    def seen(self, id_: int) -> BootNs: ...

    def renewed(self, id_: int) -> BootNs:
        """When the data plane last answered its client by itself: a renewal, or an echo of PPP."""

    def counted(self, id_: int) -> Used:
        """All that was ever counted under an id, whoever had it."""


class Accounts(Protocol):
    """Makes records of accounting; None: there is nobody to account to. What they are is not the domain's to know."""

    def started(self, session: Session, now: BootNs) -> object | None: ...

    def stopped(self, session: Session, used: Used, now: BootNs) -> object | None: ...


class PlaneFull(Exception):
    """The tables have no room for another session."""
