#!/usr/bin/env python3
"""Transfers over a line on which something happens: connections reset every so many bytes, closed in one direction, silent for
a moment or for good, bytes changed, segments cut small. Then the same command, until all is there.

R17, R18, R19. What befalls the first connections of a round is drawn; later ones are left alone, so that it ends.
"""

import math
import random
import socket
import struct
import threading
import time

from common import Tally, Violation, arguments

MIB = 1 << 20
# What a sender may end with on such a line: all there, nobody found, incomplete, no pairing.
BEFALLEN = (0, 4, 5, 6)
ATTEMPTS = 12
# A side that hears nothing gives up after 45 s at most; then it has --retry to come back.
SILENCE_S = 45
RESET = struct.pack("ii", 1, 0)


class Broken(Exception):
    """This connection has come to its end."""


class Befalls:
    """What happens to one connection, at a byte of one of its directions."""

    KINDS = ["reset", "reset", "reset", "ends one way", "silent a moment", "byte changed", "crumbs"]

    def __init__(self, rng, scene):
        self.tally, total, patient = scene.tally, scene.total(), scene.tally.args.patient
        self.kind = "silent for good" if patient and rng.random() < 0.02 else rng.choice(self.KINDS)
        # As often in the handshakes and offers of the first kilobytes as in all the data behind them.
        self.at = round(10 ** rng.uniform(2, math.log10(total + 10_000)))
        self.up = rng.random() < 0.7
        self.pause_s = rng.uniform(0.2, 2.5)

    def act(self, up, before, piece, to):
        """Passes a piece on, which `before` bytes came before."""
        place = self.at - before
        if up != self.up or not 0 <= place < len(piece):
            return to.sendall(piece)
        self.tally.add(self.kind)
        if self.kind == "byte changed":
            return to.sendall(piece[:place] + bytes([piece[place] ^ 1 << self.at % 8]) + piece[place + 1:])
        if self.kind == "crumbs":
            for byte in piece[:2_000]:
                to.sendall(bytes([byte]))
            return to.sendall(piece[2_000:])
        to.sendall(piece[:place])
        if self.kind == "silent a moment":
            time.sleep(self.pause_s)
            return to.sendall(piece[place:])
        if self.kind == "silent for good":
            time.sleep(2 * SILENCE_S)
        if self.kind == "ends one way":
            to.shutdown(socket.SHUT_WR)
            raise EOFError
        raise Broken


class Line:
    """Listens in front of a host; the first connections are befallen."""

    def __init__(self, port, befalls):
        self.port_there, self.befalls = port, befalls
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                guest, _ = self.listener.accept()
            except OSError:
                return
            try:
                host = socket.create_connection(("127.0.0.1", self.port_there))
            except OSError:
                guest.close()
                continue
            befalls = self.befalls.pop(0) if self.befalls else None
            for stream in (guest, host):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for up, source, to in ((True, guest, host), (False, host, guest)):
                threading.Thread(target=self.carry, args=(befalls, up, source, to), daemon=True).start()

    def carry(self, befalls, up, source, to):
        before = 0
        try:
            while piece := source.recv(65_536):
                if befalls:
                    befalls.act(up, before, piece, to)
                else:
                    to.sendall(piece)
                before += len(piece)
            to.shutdown(socket.SHUT_WR)
        except EOFError:
            pass
        except (Broken, OSError):
            for stream in (source, to):
                try:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    # Wakes the other direction, which holds it too.
                    stream.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def leads(self, link):
        scheme, rest = link.split("://")
        return f"{scheme}://127.0.0.1:{self.port}/{rest.split('/', 1)[1]}"

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def draw(scene, rng):
    kind = rng.choice(["large", "many", "mixed"])
    if kind != "many":
        scene.make("large.bin", rng.randbytes(rng.randrange(MIB, 12 * MIB)))
    if kind != "large":
        for number in range(150):
            scene.make(f"tree/part {number % 5}/file-{number}.dat", b"%d " % number + rng.randbytes(rng.randrange(9_000)))
    scene.ready()


def round_(rng):
    def case(scene):
        draw(scene, rng)
        fetching = rng.random() < 0.3
        if fetching:
            host = scene.hosting(["send", *scene.paths, "--keep", "--state-dir", scene.here])
        else:
            host = scene.receiver()
        befalls = [Befalls(rng, scene) for _ in range(rng.randrange(1, 8))]
        line = Line(host.port, befalls)
        for _ in range(ATTEMPTS):
            link = line.leads(scene.link())
            more = ["--json", "--retry", "60s", "--compress", "never"]
            if fetching:
                guest = scene.start([scene.qrdrop, "receive", scene.inbox, "--from", link, "--state-dir", scene.there,
                                     *more[:3]])
            else:
                guest = scene.start([scene.qrdrop, "send", *scene.paths, "--to", link, "--state-dir", scene.here, *more])
            code = guest.code(3 * SILENCE_S)
            scene.tally.add("taken up again", len(guest.named("retry")))
            if code not in BEFALLEN:
                raise Violation(f"{guest} ended with {code}: {guest.said()}")
            scene.check()
            if code == 0:
                break
            scene.tally.add("commands given again")
        else:
            raise Violation(f"not all is there after {ATTEMPTS} attempts: {guest.said()}")
        line.close()
        scene.check_whole()
        if fetching:
            host.kill()
        else:
            scene.check_next()
            scene.stop(host)
        scene.check_left()

    return case


def main():
    args = arguments(__doc__, rounds=40, patient={"action": "store_true", "help": "now and then a connection is silent for good"})
    tally = Tally("lines", args)
    for number in range(args.rounds):
        tally.case(f"round {number}", round_(random.Random(f"{args.seed}/{number}")))
    tally.finish()


if __name__ == "__main__":
    main()
