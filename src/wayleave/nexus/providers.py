"""Providers: who sells service on the network's lines.

A realm is one provider's (`realm/REALM`), so that a user with one is of one provider.

A provider is not deleted, and gives up no realm, while subscribers refer to it. It is closed first: whoever is about to
add one expects the provider as it was before, and fails. What is looked for after that cannot appear; then it is opened
again. Who is killed in between leaves a closed provider: do it once more, or open it.

What gateways have to know of its subscribers follows a change of the provider. They may be a million, so they follow
one group after the other (`settle`), each entry as of one moment: meanwhile a gateway has some that are of before.
`pending/PROVIDER` is written with the change, and removed when all have followed; whoever finds it begins anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Sequence

from wayleave.nexus import model
from wayleave.nexus.model import Line, Provider, Subscriber
from wayleave.nexus.records import Draft, Found, Listed, checked, find, listed, seen, shown, vacant, written
from wayleave.nexus.refusal import Exists, Invalid
from wayleave.nexus.store.port import MAX_OPERATIONS, PAGE, Conflict, Delete, Is, Store, entries
from wayleave.nexus.views import project

MOST_REALMS = 32
_GROUP = MAX_OPERATIONS // 2 - 2
"""Subscribers of a commit: each is expected with its line."""
_ENOUGH = 3
"""Subscribers that a refusal is about."""


class Providers:
    """The providers of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, name: str) -> Found[Provider]:
        """Raises: Absent."""
        return await find(self._store, Provider, model.provider_key(name), f"provider {name}")

    async def list(self, after: str = "", limit: int = PAGE, at: int = 0) -> Listed[Provider]:
        """Raises: Compacted."""
        return await listed(self._store, Provider, model.PROVIDERS, after, limit, at)

    async def put(self, provider: Provider, at: int | None) -> int:
        """Make or change a provider that was seen `at` a revision; returns its new one. `settle` is to follow.

        Raises: Invalid, Exists (also of a realm that is another's), Absent, Changed, InUse (of a realm), Busy.
        """
        _sensible(provider)
        key, what = model.provider_key(provider.name), f"provider {provider.name}"
        entry = await self._store.get(key)
        seen(entry, at, what)
        if entry is None:
            return await self._written(provider, 0)
        before = model.decode(Provider, entry.value)
        gone = set(before.realms) - set(provider.realms)
        if not gone:
            return await self._written(provider, entry.revision)
        async with vacant(self._store, entry, before, lambda: self._customers(before, gone), what) as closed:
            return await self._written(provider, closed)

    async def _written(self, provider: Provider, at: int) -> int:
        what = f"provider {provider.name}"
        return await written(self._store, lambda draft: self._put(draft, provider, at), what)

    async def _put(self, draft: Draft, after: Provider, at: int) -> None:
        key = model.provider_key(after.name)
        entry = await draft.get(key)
        seen(entry, at, f"provider {after.name}")
        before = model.decode(Provider, entry.value) if entry is not None else None
        for realm in after.realms:
            there = await draft.get(model.realm_key(realm))
            if there is not None and there.value != after.name.encode():
                raise Exists(f"realms: {realm} is provider {there.value.decode()}'s")
            draft.put(model.realm_key(realm), after.name)
        for realm in set(before.realms) - set(after.realms) if before is not None else ():
            draft.delete(model.realm_key(realm))
        if before is not None and _told(before) != _told(after):
            draft.put(model.pending_key(after.name), "")
        draft.put(key, after)

    async def delete(self, name: str, at: int | None = None) -> None:
        """Delete a provider that was seen `at` a revision. Raises: Absent, Changed, InUse, Busy."""
        key, what = model.provider_key(name), f"provider {name}"
        entry = await self._store.get(key)
        seen(entry, at, what)
        assert entry is not None
        before = model.decode(Provider, entry.value)
        goes = (key, model.pending_key(name), *map(model.realm_key, before.realms))
        async with vacant(self._store, entry, before, lambda: self._customers(before), what) as closed:

            async def deleted(draft: Draft) -> None:
                seen(await draft.get(key), closed, what)
                for each in goes:
                    draft.delete(each)

            await written(self._store, deleted, what)

    async def _customers(self, provider: Provider, realms: Container[str] | None = None) -> str:
        """Say which subscribers a provider has, or has of some realms."""
        names: list[str] = []
        prefix = model.customers_prefix(provider.name)
        async for entry in entries(self._store, prefix):
            if realms is None or entry.value.decode() in realms:
                names.append(entry.key.removeprefix(prefix))
                if len(names) > _ENOUGH:
                    break
        of = "" if realms is None else " of a realm that is to go"
        return f"it has subscribers{of}: {shown(names)}; change or delete them first" if names else ""

    async def settle(self) -> None:
        """Have gateways know of subscribers whose providers were changed. Raises: Busy, Unavailable: begin anew."""
        async for pending in entries(self._store, model.PENDING):
            provider = pending.key.removeprefix(model.PENDING)
            names: list[str] = []
            prefix = model.customers_prefix(provider)
            async for entry in entries(self._store, prefix):
                names.append(entry.key.removeprefix(prefix))
                if len(names) == _GROUP:
                    await self._follow(provider, names)
                    names = []
            await self._follow(provider, names)
            with contextlib.suppress(Conflict):  # it was changed once more
                await self._store.commit([Is(pending.key, pending.revision)], [Delete(pending.key)])

    async def _follow(self, name: str, subscribers: Sequence[str]) -> None:
        """Write anew what gateways have to know of a group of subscribers."""

        async def followed(draft: Draft) -> None:
            provider = await draft.find(Provider, model.provider_key(name))
            for each in subscribers:
                subscriber = await draft.find(Subscriber, model.subscriber_key(each))
                if provider is None or subscriber is None or subscriber.provider != name or not subscriber.line:
                    continue
                line = await draft.find(Line, model.line_key(subscriber.line))
                if line is None:
                    raise Conflict([model.line_key(subscriber.line)])  # it has moved since, and the line is gone
                draft.put(model.view_key(line.node, each), project(subscriber, line, provider))

        await written(self._store, followed, f"provider {name}")


def _told(provider: Provider) -> tuple[str, str, str]:
    """What of a provider gateways have to know."""
    return provider.tenant, provider.pool, provider.service


def _sensible(provider: Provider) -> None:
    """Raises: Invalid."""
    for field in ("name", "tenant", "pool"):
        checked(field, getattr(provider, field))
    if provider.service:
        checked("service", provider.service)
    for realm in provider.realms:
        if checked("realms", realm) != realm.lower() or "@" in realm:
            raise Invalid(f"realms: {realm}: write it in lower case, and without an @")
    if len(set(provider.realms)) < len(provider.realms) or len(provider.realms) > MOST_REALMS:
        raise Invalid(f"realms: each once, and {MOST_REALMS} at most")
