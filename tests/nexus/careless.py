"""`nexus` over an etcd whose commits forget what was expected: a mutant, which chaos has to show."""

from __future__ import annotations

from collections.abc import Sequence

from wayleave.cli.nexus import main
from wayleave.nexus.store.etcd import EtcdStore
from wayleave.nexus.store.port import Delete, Is, Put

_commit = EtcdStore.commit


async def careless(store: EtcdStore, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
    del expects
    return await _commit(store, [], changes)


if __name__ == "__main__":
    EtcdStore.commit = careless  # type: ignore[method-assign]
    main()
