#!/usr/bin/env python3
"""Small transfers one after another into one receiver, in every dialect, for as long as it takes: each exact, and memory,
threads and descriptors of the receiver in the end what they were after the first tenth.

R23. One in `--native` is sent by the program itself; the others take turns between a page and the tutorial's protocol,
which cost this side little. Needs Python's cryptography.
"""

import random
import socket
import time

from common import Tally, Violation, Watch, arguments
from page import Page, Refused

# What an allocator may keep of the largest moment.
GROWTH_MIB = 8
SAMPLES = 100


class Soak:
    """One receiver, and a sender of each dialect."""

    def __init__(self, scene):
        self.scene, self.page = scene, None
        scene.ready()
        self.host = scene.receiver(0, "--classic", "accept", takes="open")
        # Hundreds of thousands of events are not to be kept on this side.
        self.host.hear = lambda event: None
        self.watch = Watch(self.host)

    def native(self, path):
        scene = self.scene
        program = scene.start([scene.qrdrop, "send", path, "-q", "--to", scene.link(), "--state-dir", scene.here])
        if code := program.code():
            raise Violation(f"R23: a sender ended with {code}: {program.said()}")
        scene.programs.remove(program)
        program.log.unlink()

    def web(self, path):
        try:
            self.page = self.page or Page((self.scene.work / "invite").read_text().split()[0])
            self.page.send(path.name, path.read_bytes())
        except Refused as refused:
            raise Violation(f"R23: a page was answered {refused}") from None

    def classic(self, path):
        content = path.read_bytes()
        with socket.create_connection(("127.0.0.1", self.host.port), 60) as stream:
            # Letters, so that header and data can't be mistaken for each other in one segment.
            stream.sendall(f"{path.name}<SEPARATOR>{len(content)}".encode() + content)
            stream.shutdown(socket.SHUT_WR)
            while stream.recv(4_096):
                pass

    def one(self, way, number, rng):
        content = b"x%d " % number + rng.randbytes(rng.choice([0, 10, 1_000, 20_000]))
        path = self.scene.here / f"{number}.bin"
        path.write_bytes(content)
        getattr(self, way)(path)
        arrived, deadline = self.scene.inbox / path.name, time.monotonic() + 20
        # Nobody tells a classic sender that its file is stored.
        while not arrived.exists():
            if time.monotonic() > deadline:
                raise Violation(f"R23: `{path.name}`, sent by {way}, has not arrived: {self.host.said()[-400:]}")
            time.sleep(0.001)
        if arrived.read_bytes() != content:
            raise Violation(f"R23: `{path.name}`, sent by {way}, is not what was sent")
        arrived.unlink()
        path.unlink()

    def sample(self):
        return {"MiB": self.watch.status("VmRSS") / 1024, **self.watch.held()}


def soak(args, rng):
    def case(scene):
        scene.here.mkdir(mode=0o700)
        running, samples, number = Soak(scene), [], 0
        until = time.monotonic() + args.seconds
        while number < args.rounds and time.monotonic() < until:
            way = "native" if number % args.native == 0 else ("web", "classic")[number % 2]
            running.one(way, number, rng)
            scene.tally.add(way)
            number += 1
            if number % max(1, args.rounds // SAMPLES) == 0:
                samples.append(running.sample())
        samples.append(running.sample())
        tenth = max(1, len(samples) // 10)
        first, last = ({what: sum(sample[what] for sample in some) / len(some) for what in some[0]}
                       for some in (samples[:tenth], samples[-tenth:]))
        for what, allowed in {"MiB": GROWTH_MIB, "threads": 4, "descriptors": 4}.items():
            print(f"  {what}: {first[what]:.1f} in the beginning, {last[what]:.1f} at the end")
            if last[what] > first[what] + allowed:
                raise Violation(f"R23: {what} grew from {first[what]:.1f} to {last[what]:.1f} in {number} transfers")
        scene.check()
        scene.stop(running.host)
        scene.check_left()

    return case


def main():
    args = arguments(__doc__, rounds=20_000, seconds={"type": float, "default": 540, "help": "it ends then in any case"},
                     native={"type": int, "default": 50, "help": "one in so many is sent by the program"})
    tally = Tally("soak", args)
    tally.case("soak", soak(args, random.Random(args.seed)))
    tally.finish()


if __name__ == "__main__":
    main()
