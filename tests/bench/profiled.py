"""bng under cProfile from when it serves until it stops: `profiled.py FILE run --config …` writes FILE.

What it took to start would hide what is looked for.
"""

from __future__ import annotations

import asyncio
import cProfile
import sys

from wayleave.cli.bng import main
from wayleave.daemon.app import Gateway

_serve, _FILE = Gateway.run, sys.argv[1]


async def _serve_profiled(gateway: Gateway) -> None:
    profiler = cProfile.Profile()
    asyncio.get_running_loop().call_soon(profiler.enable)  # once it waits for frames
    try:
        await _serve(gateway)
    finally:
        profiler.disable()
        profiler.dump_stats(_FILE)


if __name__ == "__main__":
    Gateway.run = _serve_profiled  # type: ignore[method-assign]
    sys.argv[1:] = sys.argv[2:]
    main()
