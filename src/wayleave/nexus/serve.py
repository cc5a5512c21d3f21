"""Run Nexus: open its store, serve the API over TLS, and end holds that nobody renews, until told to stop."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from ssl import SSLError
from typing import Any

import structlog
import uvloop

from wayleave.io.secrets import SecretError, read_private
from wayleave.io.tls import KEY_MOST, server_context
from wayleave.net.units import SECOND, BootNs, Ns, UtcNs
from wayleave.nexus import logs
from wayleave.nexus.access import Bucket, Gate
from wayleave.nexus.allocations import Expiry
from wayleave.nexus.app import application, local
from wayleave.nexus.holding import Terms
from wayleave.nexus.providers import Providers
from wayleave.nexus.reclaim import Observer
from wayleave.nexus.refusal import Busy
from wayleave.nexus.server import Server
from wayleave.nexus.service import Service
from wayleave.nexus.settings import SQLITE, EtcdSettings, NexusSettings, SettingsError, host_and_port, load
from wayleave.nexus.store.port import Store, Unavailable
from wayleave.nexus.store.sqlite import SqliteStore
from wayleave.nexus.vacating import vacate

log = structlog.get_logger()

LOOKS = 20
"""So many times is a hold looked at while it lasts, and at least every `SELDOM`."""
SELDOM = Ns(5 * SECOND)
SETTLED = SECOND
"""How soon gateways begin to hear of a provider that another process has changed."""
VACATED = Ns(600 * SECOND)
"""How often blocks of Nexus's own are looked through for empty ones."""
KEPT = Ns(3600 * SECOND)
"""For how long at least a revision can be read, and watched from."""


class ListenError(Exception):
    """An address cannot be listened at; the text says why."""


def main(path: Path) -> int:
    """Return the exit status: 0 after a clean stop, 2 for a bad configuration, 1 for what the machine refuses."""
    try:
        settings = load(path)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log.level)
    try:
        uvloop.run(_run(settings.nexus, path.parent))
    except (ListenError, SecretError, Unavailable) as error:
        print(f"nexus: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: NexusSettings, folder: Path) -> None:
    """Raises: ListenError, SecretError, Unavailable, before anything is served."""
    stopping = asyncio.Event()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each gateway has two connections
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    files = (folder / settings.certificate, folder / settings.key, folder / settings.ca)
    context = server_context(*files, "nexus")
    async with AsyncExitStack() as held:
        outer = held.enter_context(_listen(settings.listen, "nexus.listen"))
        inner = held.enter_context(_listen(settings.local, "nexus.local"))
        store = open_store(settings, folder)
        held.push_async_callback(store.close)
        service = Service(store, Terms(settings.hold), boot, utc)
        guarded = Gate(application(service), settings.limits, service)
        servers = Server.over_tls(guarded, context, _refusals(service)), Server.plain(local(service))
        working = [asyncio.ensure_future(work) for work in _works(service, settings)]
        serving = asyncio.gather(servers[0].serve(sockets=[outer]), servers[1].serve(sockets=[inner]))
        log.info("serving", listen=settings.listen, local=settings.local)
        stop = asyncio.ensure_future(stopping.wait())
        ending: list[asyncio.Future[Any]] = [stop, serving, *working]
        try:
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
            service.feed.end()
            for server in servers:
                server.should_exit = True
            await serving
        finally:
            for work in working:
                work.cancel()
            ends = await asyncio.gather(*working, return_exceptions=True)
        for failure in (end for end in ends if isinstance(end, Exception)):
            raise failure  # what is in the store makes no sense: somebody has to look
    log.info("stopped")


def _refusals(service: Service) -> Callable[[SSLError], None]:
    """Return what counts who is not let on, and logs why: not each time, as anybody may knock as often as it likes."""
    bucket = Bucket(1, 10, boot())

    def refused(error: SSLError) -> None:
        reason = error.reason or "UNKNOWN"
        service.counts.refused[reason] += 1
        if not bucket.take(boot()):
            log.warning("not-let-on", why=getattr(error, "verify_message", reason))

    return refused


def _works(service: Service, settings: NexusSettings) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return what goes on beside the answers, for ever."""
    store = service.store
    observer, expiry = Observer(store, settings.grace), Expiry(store, settings.grace)
    providers = Providers(store)

    async def reclaim() -> None:
        for key in await observer.look(boot):
            service.counts.ended += 1
            log.info("hold-ended", hold=key)
        service.counts.holds = len(observer)

    async def expire() -> None:
        for key in await expiry.look(boot):
            log.info("allocation-ended", unit=key)

    async def go_back() -> None:
        for key in await vacate(store):
            log.info("block-empty", block=key)

    async def settle() -> None:
        service.unsettled.clear()
        await providers.settle()
        with suppress(TimeoutError):
            await asyncio.wait_for(service.unsettled.wait(), SETTLED / SECOND)

    return (
        _ever(Ns(0), service.feed.run),
        _ever(min(SELDOM, Ns(settings.hold // LOOKS)), reclaim),
        _ever(SELDOM, expire),
        _ever(VACATED, go_back),
        _ever(Ns(0), settle),
        _ever(Ns(0), lambda: _compact(store)),
    )


async def _ever(pause: Ns, work: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again. A store that does not answer is asked again in a moment."""
    while True:
        try:
            await work()
            await _pause(pause)
        except (Unavailable, Busy) as error:
            log.warning("store-unavailable", why=str(error))
            await _pause(SECOND)


async def _compact(store: Store) -> None:
    """Have the store forget what is older than `KEPT`."""
    before = await store.revision()
    await _pause(KEPT)
    await store.compact(before)


async def _pause(length: Ns) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), length / SECOND)


def boot() -> BootNs:
    """CLOCK_BOOTTIME: what holds are measured on."""
    return BootNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def utc() -> UtcNs:
    """For people, and for certificates."""
    return UtcNs(time.time_ns())


def open_store(settings: NexusSettings, folder: Path) -> Store:
    """Open what the settings name, in the loop that runs. Raises: SecretError, Unavailable."""
    if settings.etcd is None:
        return SqliteStore(folder / (settings.store or "").removeprefix(SQLITE))
    return _etcd(settings.etcd, folder)


def _etcd(settings: EtcdSettings, folder: Path) -> Store:
    try:
        from wayleave.nexus.store.etcd import EtcdStore, Tls
    except ImportError as error:
        raise Unavailable(f"[nexus.etcd]: {error}: pip install 'wayleave[etcd]'") from None
    key = read_private(folder / settings.key, "nexus.etcd.key", "the private key, PEM,", KEY_MOST)
    shown = (_pem(folder / settings.ca, "nexus.etcd.ca"), _pem(folder / settings.certificate, "nexus.etcd.certificate"))
    return EtcdStore(settings.endpoints, Tls(*shown, key))


def _pem(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SecretError(setting, f"{path}: {error.strerror}", "write it there, as PEM") from None


def _listen(endpoint: str, setting: str) -> socket.socket:
    host, port = host_and_port(endpoint)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        with ExitStack() as failed:
            failed.callback(listener.close)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            failed.pop_all()
    except OSError as error:
        raise ListenError(f"{setting}: cannot listen at {endpoint}: {error.strerror or error}") from None
    return listener
