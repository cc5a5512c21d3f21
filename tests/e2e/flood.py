"""Send DISCOVERs as fast as one process can: `python flood.py DEVICE MACS FRAME`, inside a customer's namespace.

FRAME is a DISCOVER in hex; each copy gets one of MACS random MACs (0: the frame's own) and an xid of its own.
"""

from __future__ import annotations

import random
import socket
import sys
from contextlib import suppress

_CHADDR, _XID, _SOURCE = 14 + 20 + 8 + 28, 14 + 20 + 8 + 4, 6


def main() -> None:
    device, macs, frame = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
    copies: list[bytes] = []
    for number in range(macs or 1):
        made = bytearray(frame)
        if macs:
            mac = b"\x02" + random.Random(number).randbytes(5)
            made[_SOURCE : _SOURCE + 6] = made[_CHADDR : _CHADDR + 6] = mac
        made[_XID : _XID + 4] = number.to_bytes(4, "big")
        made[14 + 20 + 6 : 14 + 20 + 8] = b"\0\0"  # no UDP checksum
        copies.append(bytes(made))
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((device, 0))
    print("flooding", flush=True)
    while True:
        for copy in copies:
            with suppress(OSError):  # the device's queue is full
                out.send(copy)


if __name__ == "__main__":
    main()
