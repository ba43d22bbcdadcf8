"""A line between two network namespaces that is slow and loses packets: for kernels without tc's netem.

`python3 netns-link.py NEAR FAR` makes two TUN interfaces and carries IP packets between them. Each line of its input,
`DELAY_MS JITTER_MS LOSS`, sets what happens to packets from then on, in either direction: each is lost with
probability LOSS, or arrives after DELAY_MS, more or less by up to JITTER_MS (uniform, so that packets overtake each
other, as with netem). Prints `ready` once both interfaces are there. Ends with its input.
"""
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
# Packets under way; more are lost, as in any queue.
MOST_WAITING = 10_000


def tun(name):
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH22x', name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def carry(near, far):
    other = {near: far, far: near}
    delay_ms = jitter_ms = loss = 0.0
    waiting = []
    sequence = 0
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(to, packet)
            except OSError:
                pass  # The interface is down, or its queue is full: the packet is lost.
        patience = max(0.0, waiting[0][0] - now) if waiting else None
        readable, _, _ = select.select([near, far, 0], [], [], patience)
        for fd in readable:
            if fd == 0:
                order = os.read(0, 4096).decode()
                if not order:
                    return
                delay_ms, jitter_ms, loss = map(float, order.strip().split('\n')[-1].split())
                continue
            try:
                packet = os.read(fd, 65536)
            except OSError:
                continue  # Down, for now.
            if random.random() < loss or len(waiting) >= MOST_WAITING:
                continue
            late = (delay_ms + random.uniform(-jitter_ms, jitter_ms)) / 1000
            sequence += 1
            heapq.heappush(waiting, (time.monotonic() + max(0.0, late), sequence, other[fd], packet))


random.seed(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
ends = tun(sys.argv[1]), tun(sys.argv[2])
print('ready', flush=True)
carry(*ends)
