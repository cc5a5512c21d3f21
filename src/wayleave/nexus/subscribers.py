"""Subscribers: who buys service, and what their gateways have to know of them.

A commit that makes, changes or deletes a subscriber writes the entry of its gateway's view as well, and expects the
provider and the line that it is projected from as they were read. So an entry is always of what the three were at one
moment. To change the provider changes the service, and leaves the line as it is.

On behalf of a provider (`by`) only its own subscribers can be seen and changed, and of them only what is the provider's
to say: line, pool and address are the network owner's. Those that it makes are called PROVIDER.SOMETHING, so that a
name that is taken tells it nothing of others' subscribers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from wayleave.net.ipv4 import parse_address
from wayleave.net.mac import Mac
from wayleave.nexus import model
from wayleave.nexus.kept import Unowned, keep, let_go
from wayleave.nexus.model import Attached, Line, Provider, Subscriber
from wayleave.nexus.records import ATTEMPTS, Draft, Found, Listed, checked, find, found, listed, seen, written
from wayleave.nexus.refusal import Absent, Busy, Exists, Forbidden, Invalid, Refused
from wayleave.nexus.store.port import PAGE, Conflict, Entry, Store
from wayleave.nexus.views import project
from wayleave.proto.nexus.messages import Block

MOST_ON_A_LINE = 32
"""So that all of them move with their line in one commit."""
_LONGEST_USER = 128
_OWNERS = ("line", "pool", "address")
"""What is not a provider's to say."""


class Subscribers:
    """The subscribers of a store."""

    def __init__(self, store: Store, own: Callable[[str, int], Awaitable[Block | None]]) -> None:
        """`own` makes a block of a pool Nexus's own (`Holding.own`): there are the addresses that subscribers keep."""
        self._store, self._own_block = store, own

    async def get(self, name: str, by: str = "") -> Found[Subscriber]:
        """Raises: Absent."""
        there = await find(self._store, Subscriber, model.subscriber_key(name), f"subscriber {name}")
        if by and there.record.provider != by:
            raise Absent(f"there is no subscriber {name}")
        return there

    async def list(self, by: str = "", after: str = "", limit: int = PAGE, at: int = 0) -> Listed[Subscriber]:
        """List all, or a provider's: the latter's names are as of `at`, and they are as they are now.

        Raises: Compacted.
        """
        if not by:
            return await listed(self._store, Subscriber, model.SUBSCRIBERS, after, limit, at)
        prefix = model.customers_prefix(by)
        page = await self._store.page(prefix, f"{prefix}{after}" if after else "", limit, at)
        names = [entry.key.removeprefix(prefix) for entry in page.entries]
        read = [await self._store.get(model.subscriber_key(name)) for name in names]
        items = (found(Subscriber, entry) for entry in read if entry is not None)
        own = tuple(item for item in items if item.record.provider == by)
        return Listed(own, page.revision, names[-1] if page.more else None)

    async def put(self, subscriber: Subscriber, at: int | None, by: str = "") -> int:
        """Make or change a subscriber that was seen `at` a revision; returns its new one.

        Raises: Invalid, Exists (also of one on its line that is known by the same, or of whose its address is), Absent,
        Changed, Forbidden, Refused (its provider or its line takes no more), Busy.
        """
        name = checked("name", subscriber.name)
        _sensible(subscriber)
        what = f"subscriber {name}"
        for _ in range(ATTEMPTS):
            try:
                return await written(self._store, lambda draft: self._put(draft, subscriber, at, by), what)
            except Unowned as block:
                if await self._own_block(block.pool, block.index) is None:
                    raise Exists(f"address: {subscriber.address} is in a block that a gateway has") from None
        raise Busy(f"{what}: its address's block went {ATTEMPTS} times: ask again")

    async def _put(self, draft: Draft, after: Subscriber, at: int | None, by: str) -> None:
        key, what = model.subscriber_key(after.name), f"subscriber {after.name}"
        entry = await draft.get(key)
        before = _own(entry, by) if at != 0 else None
        if at != 0:
            seen(entry if before is not None else None, at, what)
        if by:
            _is_its_to_say(before, after, by)
        if at == 0:
            seen(entry, at, what)
        provider = await self._provider(draft, before, after)
        if before is not None:
            await _withdraw(draft, before)
        draft.put(key, after)
        draft.put(model.customer_key(after.provider, after.name), after.realm)
        if after.address:
            await keep(draft, provider.tenant, after)
        if after.line:
            line = await self._attach(draft, after)
            draft.put(model.view_key(line.node, after.name), project(after, line, provider))

    async def _provider(self, draft: Draft, before: Subscriber | None, after: Subscriber) -> Provider:
        provider = await draft.find(Provider, model.provider_key(after.provider))
        if provider is None:
            raise Invalid(f"provider: there is no provider {after.provider}")
        if provider.closed and (before is None or before.provider != provider.name):
            raise Refused(f"provider: {provider.name} is closed, and gets no new subscribers")
        if after.realm and after.realm not in provider.realms:
            theirs = ", ".join(provider.realms) or "none"
            raise Invalid(f"realm: {after.realm} is not one of provider {provider.name}; it has {theirs}")
        return provider

    async def _attach(self, draft: Draft, subscriber: Subscriber) -> Line:
        line = await draft.find(Line, model.line_key(subscriber.line))
        if line is None:
            raise Invalid(f"line: there is no line {subscriber.line}")
        attached = await draft.find(Attached, model.attached_key(line.name)) or Attached({})
        others = {name: known for name, known in attached.subscribers.items() if name != subscriber.name}
        known = (subscriber.login, subscriber.mac)
        if known in others.values():
            how = "by the same user and MAC" if any(known) else "by nothing but the line"
            raise Exists(f"line: somebody on line {line.name} is known {how}; give a user or a MAC to tell them apart")
        if len(others) >= MOST_ON_A_LINE:
            raise Refused(f"line: {line.name} has {MOST_ON_A_LINE} subscribers, and that is the most")
        draft.put(model.attached_key(line.name), Attached({**others, subscriber.name: known}))
        return line

    async def delete(self, name: str, at: int | None = None, by: str = "") -> None:
        """Delete a subscriber that was seen `at` a revision. Raises: Absent, Changed, Busy."""

        async def deleted(draft: Draft) -> None:
            entry = await draft.get(model.subscriber_key(name))
            before = _own(entry, by)
            seen(entry if before is not None else None, at, f"subscriber {name}")
            assert before is not None
            await _withdraw(draft, before)
            draft.delete(model.subscriber_key(name))

        await written(self._store, deleted, f"subscriber {name}")


async def _withdraw(draft: Draft, subscriber: Subscriber) -> None:
    """Take back what is derived from a subscriber; what is written after this is there all the same."""
    draft.delete(model.customer_key(subscriber.provider, subscriber.name))
    await let_go(draft, subscriber.name)
    if not subscriber.line:
        return
    key = model.attached_key(subscriber.line)
    line = await draft.find(Line, model.line_key(subscriber.line))
    attached = await draft.find(Attached, key)
    if line is None or attached is None:
        raise Conflict([model.line_key(subscriber.line)])  # it has moved since it was read, and the line is gone
    draft.delete(model.view_key(line.node, subscriber.name))
    others = {name: known for name, known in attached.subscribers.items() if name != subscriber.name}
    if others:
        draft.put(key, Attached(others))
    else:
        draft.delete(key)


def _own(entry: Entry | None, by: str) -> Subscriber | None:
    """Return a subscriber; None if there is none that `by` is to know of."""
    subscriber = model.decode(Subscriber, entry.value) if entry is not None else None
    return None if subscriber is None or (by and subscriber.provider != by) else subscriber


def _is_its_to_say(before: Subscriber | None, after: Subscriber, by: str) -> None:
    """Refuse what a provider may not say. Raises: Forbidden."""
    if after.provider != by:
        raise Forbidden(f"provider: is {by}, and only the network's operator changes that")
    if before is None and not after.name.startswith(f"{by}."):
        raise Forbidden(f"name: those that {by} makes are called {by}.SOMETHING")
    was = before or Subscriber(after.name, by)
    for field in _OWNERS:
        if getattr(was, field) != getattr(after, field):
            raise Forbidden(f"{field}: only the network's operator changes that; leave it as it is")


def _sensible(subscriber: Subscriber) -> None:
    """Raises: Invalid."""
    for problem in _problems(subscriber):
        raise Invalid(problem)


def _problems(subscriber: Subscriber) -> Iterator[str]:
    user = subscriber.user
    if not (subscriber.line or user or subscriber.mac):
        yield "a subscriber is known by its line, a user or a MAC: give at least one"
    if "@" in user or len(user.encode()) > _LONGEST_USER or not user.isprintable():
        yield f"user: {user!r}: write it without its realm, which goes into realm, in {_LONGEST_USER} octets"
    if subscriber.realm and not user:
        yield "realm: is of a user: give one"
    if subscriber.limit < 0:
        yield "limit: clients at once, 1 or more; 0: as many as the port allows"
    for field in ("provider", "line", "service", "pool"):
        if getattr(subscriber, field):
            checked(field, getattr(subscriber, field))
    try:
        if subscriber.mac and str(Mac.parse(subscriber.mac)) != subscriber.mac:
            yield f"mac: write it as {Mac.parse(subscriber.mac)}"
        if subscriber.address:
            parse_address(subscriber.address)
    except ValueError as error:
        yield str(error)
