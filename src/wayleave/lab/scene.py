"""What a claim is: something said of gateways, checked on a lab, that a mutant must turn red.

A claim is a function that returns its evidence and raises if things are otherwise. Each has a mutant: one thing
switched off, with which the claim must not hold any more, or its check proves nothing. It takes the scene that it is
made on; those of a module are made with `claims_on` that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from wayleave.lab.topology import Lab, Section

Check = Callable[[Any], str]
"""Takes a scene."""


class Broken(Exception):
    """A claim does not hold; the text says what was seen instead."""


def expect(holds: object, otherwise: str) -> None:
    """Raise Broken unless `holds`."""
    if not holds:
        raise Broken(otherwise)


@dataclass(frozen=True, slots=True)
class Mutant:
    """Something switched off. `config` changes sections of the configuration; `action` runs at the point `at`.

    Of RADIUS, `radius` is the servers' group; `controllers` as `{"known": False}`: there are none. Of Nexus, `nexus`
    are its own settings; `servers` as `{"all": False}`: gateways are told of one machine, which is the leader's.
    """

    name: str
    words: str
    config: dict[str, Section] = field(default_factory=dict)
    at: str = ""
    action: Callable[[Any], object] | None = None
    """Takes the scene."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed, how it is checked (returns the evidence, raises if it is not so), what must turn it red."""

    name: str
    words: str
    check: Check
    mutant: Mutant
    scene: type[Scene]


CLAIMS: list[Claim] = []


class Scene(ABC):
    """A lab while claims are checked on it. They ask it for all that they need, so each can also run alone."""

    drawing: ClassVar[str]
    prefix: ClassVar[str] = ""
    """Of the files that are captured on it."""

    def __init__(self, lab: Lab, mutant: Mutant | None) -> None:
        self.lab, self.mutant = lab, mutant

    @classmethod
    @abstractmethod
    def staged(cls, mutant: Mutant | None = None) -> AbstractContextManager[Self]:
        """Build the lab; no gateway is started yet."""

    @abstractmethod
    def running(self) -> None:
        """See to it that all runs that is to run."""

    def reached(self, point: str) -> None:
        """A point at which a mutant may act."""
        if self.mutant is not None and self.mutant.at == point and self.mutant.action is not None:
            self.mutant.action(self)


def claims_on(scene: type[Scene]) -> Callable[[str, Mutant], Callable[[Check], Check]]:
    """Return what registers a check as a claim on this scene, named as the function."""

    def claim(words: str, mutant: Mutant) -> Callable[[Check], Check]:
        def register(check: Check) -> Check:
            CLAIMS.append(Claim(check.__name__.replace("_", "-"), words, check, mutant, scene))
            return check

        return register

    return claim
