"""Structured logs: a line of JSON an event, on standard error."""

from __future__ import annotations

import logging
import sys

import structlog

_LEVELS = {"info": 20, "warning": 30, "error": 40}


def configure(level: str) -> None:
    """Send every structlog event of `level` or above to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    server = logging.getLogger("uvicorn.error")
    server.setLevel(logging.WARNING)
    server.propagate = False
    server.handlers = [_Server()]


class _Server(logging.Handler):
    """What uvicorn has to say; faults of ours are logged where they are answered."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if record.exc_info is None:
            structlog.get_logger().warning("http", why=record.getMessage())
