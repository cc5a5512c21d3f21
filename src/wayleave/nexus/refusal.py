"""Why Nexus does not do what it was asked. Nothing was done then; the text says why, and what to do."""

from __future__ import annotations


class Refused(Exception):
    """It makes no sense, or not now. `status` is HTTP's, `name` what a program tells it by."""

    status, name = 400, "refused"


class Forbidden(Refused):
    """Who asks may not."""

    status, name = 403, "forbidden"


class Absent(Refused):
    """There is nothing of that name."""

    status, name = 404, "absent"


class Fenced(Refused):
    """The epoch is not the gateway's any more: nothing that it owned is its own."""

    status, name = 409, "fenced"


class Exists(Refused):
    """There is something of that name, or in that place, already."""

    status, name = 409, "exists"


class InUse(Refused):
    """Others refer to it, or live on it."""

    status, name = 409, "in-use"


class Exhausted(Refused):
    """There is no more of it."""

    status, name = 409, "exhausted"


class Changed(Refused):
    """It is not as it was when it was read."""

    status, name = 412, "conflict"


class Invalid(Refused):
    """A value cannot be."""

    status, name = 422, "invalid"


class Busy(Refused):
    """Others got in between every time."""

    status, name = 503, "busy"
