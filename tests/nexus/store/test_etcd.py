"""What only a cluster has: members that die, freeze, and come back."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest

from tests.nexus.store.stores import fresh, opened, told
from wayleave.lab.etcd import EtcdCluster
from wayleave.nexus.store.etcd import EtcdStore, Tls
from wayleave.nexus.store.port import Conflict, Is, Put, Unavailable


@pytest.mark.parametrize("how", ["kill9", "freeze"])
def test_a_lost_leader_loses_no_commit_and_no_watch_skips_one(cluster: EtcdCluster, how: str) -> None:
    """The leader is the member that is asked: the store has to find another, and the watch to go on there."""

    async def story() -> None:
        leader = await asyncio.to_thread(cluster.leader)
        others = [node for node in cluster.nodes if node is not leader]
        endpoints = [leader.endpoint, *(node.endpoint for node in others)]
        async with opened(lambda: EtcdStore(endpoints, cluster.tls)) as store:
            prefix = fresh()
            begin = await store.revision()
            keys = [f"{prefix}{i:03}" for i in range(60)]
            watching = asyncio.create_task(told(store, prefix, begin, begin + len(keys)))
            for i, key in enumerate(keys):
                if i == 20:
                    await asyncio.to_thread(getattr(leader, how))
                while True:
                    try:
                        await store.commit([Is(key, 0)], [Put(key, b"")])
                        break
                    except Unavailable:
                        pass
                    except Conflict:  # with itself: what was of unknown outcome was done
                        break
            changes = list(chain(*await watching))
            assert [change.key for change in changes] == keys
            assert [change.revision for change in changes] == list(range(begin + 1, begin + 61))
            assert [entry.key for entry in (await store.page(prefix)).entries] == keys
        if how == "kill9":
            cluster.start(leader)
        else:
            leader.thaw()
        await asyncio.to_thread(cluster.wait)

    asyncio.run(story())


def test_a_minority_says_that_it_is_unavailable_within_the_deadline(cluster: EtcdCluster) -> None:
    async def story() -> None:
        left, *dead = cluster.nodes
        async with opened(lambda: EtcdStore([left.endpoint], cluster.tls, deadline_s=1.0)) as store:
            key = fresh()
            at = await store.commit([], [Put(key, b"1")])
            for node in dead:
                node.kill9()
            with pytest.raises(Unavailable):
                await store.get(key)
            with pytest.raises(Unavailable):
                await store.commit([Is(key, 0)], [Put(key, b"2")])
            for node in dead:
                cluster.start(node)
            await asyncio.to_thread(cluster.wait)
            entry = await store.get(key)
            assert entry is not None
            assert entry.revision == at

    asyncio.run(story())


def test_who_shows_no_certificate_is_not_let_in(cluster: EtcdCluster) -> None:
    async def story() -> None:
        async with opened(lambda: EtcdStore(cluster.endpoints, None, deadline_s=0.5)) as store:
            with pytest.raises(Unavailable, match="is it running"):
                await store.revision()

    asyncio.run(story())
    assert "key" not in repr(Tls(b"a", b"certificate", b"key"))
