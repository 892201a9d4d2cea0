#!/usr/bin/env python3
"""Many at once, and those who only take up room: 500 senders in every dialect, storms of connections, peers that are slow
before they have proven themselves, an address that takes every place, more connections than descriptors.

H01-H05, F11, F12. While it is so, and after it, another sender must be served soon, and what the receiver holds must be
bounded and come back: its peak of memory, its threads, its descriptors, its processor time. Needs Python's cryptography.
"""

import datetime
import ipaddress
import os
import random
import resource
import socket
import ssl
import struct
import tempfile
import threading
import time

from common import Tally, Violation, Watch, arguments
from page import Page, Refused

PEAK_MIB = 256
# During and after; the bars are for a machine that does nothing else.
SERVED_S = {"meanwhile": 2, "afterwards": 5}


class Siege:
    """A receiver, and what is asked of it whatever is done to it."""

    def __init__(self, scene, *more, **how):
        scene.ready()
        self.scene, self.more = scene, more
        self.host = scene.receiver(0, "--classic", "accept", *more, takes="open", **how)
        self.watch = Watch(self.host)
        self.to = ("127.0.0.1", self.host.port)
        scene.check_next()
        self.before, self.patience = self.watch.held(), scene.tally.args.patience

    def http_link(self):
        return (self.scene.work / "invite").read_text().split()[0]

    def serves(self, when):
        seconds = self.scene.check_next()
        self.note(f"slowest ms {when}", 1000 * seconds)
        if seconds > SERVED_S[when] * self.patience:
            raise Violation(f"I5: another sender waits {seconds:.1f} s {when}")

    def note(self, what, most):
        counts = self.scene.tally.counts
        counts[what] = max(counts.get(what, 0), round(most))

    def end(self):
        self.serves("afterwards")
        self.watch.comes_back_to(self.before)
        self.watch.is_idle()
        self.note("MiB at the peak", self.watch.peak_mib())
        if self.watch.peak_mib() > PEAK_MIB:
            raise Violation(f"I7: {self.watch.peak_mib():.0f} MiB at the peak")
        self.scene.check()
        self.host.interrupt()
        # Whoever came last from an address may have failed: that is what it says then.
        if (code := self.host.code()) in (None, 1) or code < 0:
            raise Violation(f"I6: the receiver ended with {code}: {self.host.said()[-600:]}")


def connect(to, source="127.0.0.1"):
    return socket.create_connection(to, 60, (source, 0))


def neighbour(number):
    """One of many addresses of this machine."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


# Many at once


def native(siege, number, path):
    scene = siege.scene
    program = scene.start([scene.qrdrop, "send", path, "-q", "--to", scene.link(), "--state-dir",
                           scene.work / "other" / str(number), "--retry", "60s"])
    if code := program.code(600):
        raise Violation(f"H01: a sender ended with {code}: {program.said()[-400:]}")


def web(siege, number, path):
    for _ in range(300):
        try:
            return Page(siege.http_link(), neighbour(number)).send(path.name, path.read_bytes())
        except Refused as refused:
            # Every place is taken, or the code has been drawn anew: told, and tried again, as a page does.
            if refused.status not in (403, 503):
                raise Violation(f"H02: a page was answered {refused}") from None
            siege.scene.tally.add("pages sent away for a moment")
            time.sleep(1)
    raise Violation("H02: a page found no place in five minutes")


def classic(siege, number, path):
    content = path.read_bytes()
    with connect(siege.to, neighbour(number)) as stream:
        stream.settimeout(300)
        stream.sendall(f"{path.name}<SEPARATOR>{len(content)}".encode())
        # The receiver may take a while to get to it; data in a segment of its own is what tells the header apart.
        time.sleep(0.2)
        stream.sendall(content)
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(4_096):
            pass


def crowd(rng, ways):
    """As many senders as were asked for, of these dialects in turn, all at once."""
    def case(scene):
        args = scene.tally.args
        for number in range(args.senders):
            scene.make(f"{number:04}.bin", number.to_bytes(4, "big") + rng.randbytes(args.kib * 1024 - 4))
        siege, failed = Siege(scene), []
        (scene.work / "other").mkdir(mode=0o700, exist_ok=True)

        def run(number, path):
            try:
                ways[number % len(ways)](siege, number, path)
            except (Violation, OSError) as error:
                failed.append(f"sender {number}: {error}")

        began = time.monotonic()
        threads = [threading.Thread(target=run, args=(number, path)) for number, path in enumerate(scene.paths)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise Violation(f"H01: {len(failed)} of {len(threads)} failed, first {failed[0]}")
        deadline = time.monotonic() + 60
        while len(siege.host.named("finished")) < args.senders and time.monotonic() < deadline:
            time.sleep(0.05)
        scene.check_whole()
        scene.tally.add("files exact", len(threads))
        siege.note("seconds for all", time.monotonic() - began)
        siege.end()

    return case


# Those who only take up room


def storm(scene):
    """Connections that end at once, in order or by a reset, at most ten seconds long."""
    siege, began, made = Siege(scene), time.monotonic(), 0
    reset = struct.pack("ii", 1, 0)
    while made < scene.tally.args.knocks and time.monotonic() - began < 10:
        stream = connect(siege.to, neighbour(made % 500))
        if made % 3:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        if made % 3 == 2:
            stream.send(b"\x16\x03\x01")
        stream.close()
        made += 1
        if made % 2_000 == 0:
            siege.serves("meanwhile")
    scene.tally.add("connections stormed", made)
    siege.end()


def hello():
    """The first words of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context().wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def context():
    """A client of the native dialect, with a key of its own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), True)
                   .sign(key, hashes.SHA256()))
    with tempfile.NamedTemporaryFile() as both:
        both.write(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        both.flush()
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        made.set_alpn_protocols(["qrdrop/1"])
        made.load_cert_chain(both.name)
    return made


def slow(scene):
    """Peers that stop in each phase before they are known, while others are served; each is closed at its limit."""
    siege, many = Siege(scene), scene.tally.args.each
    first, host = hello(), f"127.0.0.1:{siege.host.port}".encode()
    tls = context()
    phases = {
        "silent": (5, b""),
        "half a record": (15, first[:7]),
        "a hello": (15, first),
        "half a request": (15, b"GET / HTTP/1.1\r\nHost: "),
        "a claim without its body": (30, b"POST /claim HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 900\r\n\r\n"),
        "no separator": (15, b"a name"),
        "inside TLS, silent": (30, None),
        "inside TLS, half an opening": (30, b"\x01\x00"),
    }
    peers, began = [], time.monotonic()
    for phase, (limit, says) in phases.items():
        inside = phase.startswith("inside")
        for number in range(many):
            stream = connect(siege.to, neighbour(len(peers)))
            if inside:
                stream = tls.wrap_socket(stream)
            if says:
                stream.sendall(says)
            peers.append((phase, limit, time.monotonic(), stream))
    scene.tally.add("slow peers", len(peers))
    siege.serves("meanwhile")
    if time.monotonic() - began > 5 * siege.patience:
        raise Violation("the slow ones came too slowly for their limits to be told apart; lower `--each`")
    for phase, limit, came, stream in sorted(peers, key=lambda peer: peer[1]):
        stream.settimeout(max(0.1, came + limit + 2 * siege.patience - time.monotonic()))
        try:
            while stream.recv(4_096):
                pass
        except (ConnectionResetError, ssl.SSLError):
            pass
        except TimeoutError:
            raise Violation(f"F11: after {time.monotonic() - came:.1f} s `{phase}` is not closed yet") from None
        siege.note(f"s until `{phase}` is closed", time.monotonic() - came)
        stream.close()
    siege.end()


def greedy(scene):
    """One address takes every place there is; another one comes."""
    siege = Siege(scene)
    first, streams = hello(), []
    for number in range(1_400):
        try:
            stream = connect(siege.to, "127.0.0.2")
            stream.sendall(first if number % 4 == 0 else b"")
        except OSError:
            continue  # pushed out by itself
        streams.append(stream)
    scene.tally.add("places asked for by one address", len(streams))
    siege.serves("meanwhile")
    for stream in streams:
        stream.close()
    siege.end()


def descriptors(scene):
    """More connections than the receiver may have descriptors, held open."""
    siege = Siege(scene, wrap=["prlimit", "--nofile=256:256", "--"])
    streams = [connect(siege.to, neighbour(number)) for number in range(400)]
    scene.tally.add("descriptors of 256 taken", siege.watch.descriptors())
    # Who is silent goes after five seconds, and makes room.
    seconds = scene.check_next()
    siege.note("slowest ms without descriptors", 1000 * seconds)
    if seconds > 10 * siege.patience:
        raise Violation(f"H03: another sender waits {seconds:.1f} s")
    for stream in streams:
        stream.close()
    siege.end()


def main():
    number = {"type": int}
    args = arguments(__doc__, rounds=1, senders={**number, "default": 500, "help": "at once"},
                     kib={**number, "default": 256, "help": "of each sender"},
                     knocks={**number, "default": 10_000, "help": "connections of a storm"},
                     each={**number, "default": 25, "help": "slow peers in each phase"},
                     patience={"type": float, "default": 1, "help": "by how much what has a bar in seconds may take longer here"})
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    tally = Tally("load", args)
    for round_ in range(args.rounds):
        rng = random.Random(f"{args.seed}/{round_}")
        tally.case("native senders", crowd(rng, [native]))
        tally.case("senders of every dialect", crowd(rng, [native, web, native, web, classic]))
        for case in (storm, slow, greedy, descriptors):
            tally.case(case.__name__, case)
    tally.finish()


if __name__ == "__main__":
    main()
