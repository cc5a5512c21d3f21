"""No address with two live clients, whatever happens in whatever order; and each mutant is found out."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.conftest import PROFILE
from tests.model.authority import HORIZON, LEASE, World, mutant

CLIENTS = st.sampled_from(["a", "b", "c"])
ADDRESSES = range(1, 3)


class Authority(RuleBasedStateMachine):
    """Any order of events that the world allows."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(client=CLIENTS)
    def ask(self, client: str) -> None:
        self.world.ask(client, ADDRESSES)

    @rule(heard=st.booleans())
    def commit(self, heard: bool) -> None:
        self.world.commit(heard)

    @rule(client=CLIENTS, heard=st.booleans())
    def renew(self, client: str, heard: bool) -> None:
        self.world.renew(client, heard)

    @rule(client=CLIENTS)
    def is_served(self, client: str) -> None:
        self.world.ask(client, ADDRESSES)
        self.world.commit(heard=True)

    @rule(client=CLIENTS)
    def kernel_looks(self, client: str) -> None:
        self.world.look(client)

    @precondition(lambda self: self.world.flight)
    @rule(heard=st.booleans())
    def kernel_answers(self, heard: bool) -> None:
        self.world.answer(heard)

    @rule(client=CLIENTS)
    def release(self, client: str) -> None:
        self.world.release(client)

    @rule(length=st.integers(1, HORIZON))
    def wait(self, length: int) -> None:
        self.world.wait(length)

    @rule()
    def expire(self) -> None:
        self.world.expire()
        self.world.commit(heard=True)

    @rule(written=st.integers(0, 3))
    def kill(self, written: int) -> None:
        self.world.kill(written)

    @rule()
    def start(self) -> None:
        self.world.start()

    @rule(off=st.integers(0, LEASE), in_1970=st.booleans())
    def power_fails(self, off: int, in_1970: bool) -> None:
        self.world.fail(off, in_1970)

    @rule(off=st.integers(0, LEASE), in_1970=st.booleans())
    def reboots(self, off: int, in_1970: bool) -> None:
        self.world.fail(off, in_1970)
        self.world.start()

    @rule()
    def set_clock(self) -> None:
        self.world.set_clock()

    @invariant()
    def one_live_client_an_address(self) -> None:
        self.world.check()


class TestAuthority(Authority.TestCase):
    """Hypothesis searches cleverly, and shrinks what it finds."""

    settings = settings(stateful_step_count=60, suppress_health_check=list(HealthCheck))


# What happens how often in a random walk: long stories need many events that go well.
WALK: dict[str, float] = {
    "is_served": 6, "ask": 1, "commit": 2, "renew": 3, "kernel_renews": 6, "kernel_looks": 3, "kernel_answers": 3,
    "release": 1, "wait": 8, "expire": 3, "kill": 0.5, "start": 2, "reboots": 1, "set_clock": 1,
}  # fmt: skip
STEPS = 300
SEEDS = {"test": 2_000, "soak": 100_000}[PROFILE]


def walk(world: World, seed: int) -> None:
    """Take random steps, many thousands a second. Raises: AssertionError with the seed."""
    chance = random.Random(seed)
    for name in chance.choices(list(WALK), list(WALK.values()), k=STEPS):
        client, heard = chance.choice("abc"), chance.random() < 0.8
        match name:
            case "is_served":
                world.ask(client, ADDRESSES)
                world.commit(heard)
            case "ask":
                world.ask(client, ADDRESSES)
            case "commit":
                world.commit(heard)
            case "renew":
                world.renew(client, heard)
            case "kernel_renews" | "kernel_looks":
                world.look(client)
                if name == "kernel_renews" and world.flight:
                    world.answer(heard)
            case "kernel_answers" if world.flight:
                world.answer(heard)
            case "release":
                world.release(client)
            case "wait":
                world.wait(chance.randint(1, 3))
            case "expire":
                world.expire()
                world.commit(heard)
            case "kill":
                world.kill(chance.randint(0, 3))
            case "start":
                world.start()
            case "reboots":
                world.fail(chance.randint(0, 3), chance.random() < 0.5)
                world.start()
            case "set_clock":
                world.set_clock()
        try:
            world.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_long_walks_never_put_two_clients_on_one_address() -> None:
    for seed in range(SEEDS):
        walk(World(), seed)
    print(f"{SEEDS} walks of {STEPS} steps")


MUTANTS = {
    "no promise": {"promise_kept": False},
    "index reused at once": {"index_rests": False},
    "packets in flight not awaited": {"flight_awaited": False},
    "1970 believed": {"clock_doubted": False},
    "renewals not read again": {"renewals_reread": False},
    "what was told is forgotten at a restart": {"told_remembered": False},
}


@pytest.mark.parametrize("switches", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mutant_is_found(switches: dict[str, bool]) -> None:
    def hunt() -> None:
        for seed in range(20_000):
            walk(mutant(**switches), seed)

    with pytest.raises(AssertionError, match="two clients live on one address"):
        hunt()
