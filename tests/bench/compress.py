#!/usr/bin/env python3
"""Measures what `--compress` does: never, auto and always in turn, each round, over links of several speeds.

    sudo python3 tests/bench/compress.py --qrdrop target/release/qrdrop [--mib 256] [--runs 3] [--links 20MB,loopback]

Sender and receiver each have a network namespace of their own, joined by a pair of interfaces that `tc tbf` slows down;
`loopback` is one namespace. The clock is the sender's own, from start to exit. Works: `log` is lines of a log, `noise` is
one file that can't be compressed, `texts` a folder of small text files, `mixed` one of noise and text files in turn. Every
byte is compared. Figures are medians of plain bytes; ratios are to `never` of the same round, medians too. `wire` is what
left the sender, for each plain byte.
"""
import argparse
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from memory import warm

# Rate each way, and the part of the size that is sent, so that slow links do not take all day.
LINKS = {"100Mbit": ("100mbit", 0.5), "20MB": ("160mbit", 0.5), "1Gbit": ("1gbit", 1), "loopback": (None, 1)}
CHOICES = ("never", "auto", "always")


def sh(line):
    subprocess.run(line, shell=True, check=True)


def log_lines(chance, size):
    paths = [f"/api/v{n % 3}/{word}/{n}" for n in range(400) for word in ("users", "orders", "images", "search")]
    agents = ["Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0", "curl/8.10.1", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)"]
    out, clock = bytearray(), 1_763_700_000.0
    while len(out) < size:
        clock += chance.expovariate(50)
        stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(clock))
        address = f"10.{chance.randrange(4)}.{chance.randrange(256)}.{chance.randrange(256)}"
        out += (f'{address} - - [{stamp}] "GET {chance.choice(paths)} HTTP/1.1" {chance.choice((200, 200, 200, 304, 404))} '
                f'{chance.randrange(60_000)} "-" "{chance.choice(agents)}" {chance.random():.3f}\n').encode()
    return bytes(out[:size])


def make(folder, mib):
    """Path by work and part of the size."""
    chance = random.Random(1)
    lines = log_lines(chance, 16 << 20)
    sources = {}
    for part in {link[1] for link in LINKS.values()}:
        root = folder / f"{part}"
        root.mkdir(parents=True)
        amount = int(mib * part)
        with (root / "log.txt").open("wb") as log, (root / "noise.bin").open("wb") as noise:
            for n in range(amount):
                # Far enough apart that no compressor's window sees the same lines twice.
                log.write(lines[n % 16 << 20:(n % 16 + 1) << 20])
                noise.write(chance.randbytes(1 << 20))
        for n in range(amount * 40):
            for name in ("texts", "mixed"):
                leaf = root / name / f"{n // 100:03}" / f"{n:05}"
                leaf.parent.mkdir(parents=True, exist_ok=True)
                start = chance.randrange(len(lines) - (16 << 10))
                size = chance.randint(1 << 10, 16 << 10)
                leaf.write_bytes(chance.randbytes(size) if name == "mixed" and n % 2 else lines[start:start + size])
        sources |= {("log", part): root / "log.txt", ("noise", part): root / "noise.bin",
                    ("texts", part): root / "texts", ("mixed", part): root / "mixed"}
    return sources


class Link:
    def __init__(self, name):
        rate, self.part = LINKS[name]
        self.sender = self.receiver = f"qrdrop-bench-{os.getpid()}"
        self.interface = "lo"
        sh(f"ip netns add {self.sender}; ip -n {self.sender} link set lo up")
        self.address = "127.0.0.1"
        if rate:
            self.receiver, self.interface, self.address = self.sender + "-r", "eth0", "10.83.9.2"
            sh(f"ip netns add {self.receiver}; ip -n {self.receiver} link set lo up; "
               f"ip link add eth0 netns {self.sender} type veth peer name eth0 netns {self.receiver}")
            for name, ip in ((self.sender, "10.83.9.1"), (self.receiver, "10.83.9.2")):
                sh(f"ip -n {name} addr add {ip}/24 dev eth0; ip -n {name} link set eth0 up; ip netns exec {name} "
                   f"tc qdisc add dev eth0 root tbf rate {rate} burst 256kb latency 50ms")
            time.sleep(1.5)  # until the kernel has noticed that both ends are up

    def sent(self):
        name = ["ip", "netns", "exec", self.sender, "cat", f"/sys/class/net/{self.interface}/statistics/tx_bytes"]
        return int(subprocess.run(name, check=True, capture_output=True).stdout)

    def close(self):
        for name in {self.sender, self.receiver}:
            subprocess.run(["ip", "netns", "del", name], check=False)


def once(bench, link, source, choice):
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        folder = pathlib.Path(folder)
        (folder / "target").mkdir()
        inside = lambda name: ["ip", "netns", "exec", name, bench.qrdrop]
        receiver = subprocess.Popen(
            [*inside(link.receiver), "receive", folder / "target", "--once", "--yes", "--hidden", "--qr", "never", "--interface",
             link.address, "--port", "0", "--invite-file", folder / "invite", "--state-dir", folder / "r", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            said = b""
            while b'"listening"' not in said:
                said = receiver.stdout.readline()
                if not said:
                    raise SystemExit("the receiver does not listen")
            before, start = link.sent(), time.monotonic()
            subprocess.run([*inside(link.sender), "send", source, "--to", f"@{folder / 'invite'}", "--compress", choice, "--state-dir",
                            folder / "s", "--json"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            seconds, wire = time.monotonic() - start, link.sent() - before
            receiver.stdout.read()
            receiver.wait(30)
        finally:
            if receiver.poll() is None:
                receiver.send_signal(signal.SIGINT)
                receiver.wait(10)
        sh(f"diff -r {source} {folder / 'target' / source.name}")
        return seconds, wire


def size(path):
    return sum(leaf.stat().st_size for leaf in ([path] if path.is_file() else path.rglob("*")) if leaf.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--qrdrop", required=True)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--links", default=",".join(LINKS))
    parser.add_argument("--work", default="log,noise,texts,mixed")
    parser.add_argument("--folder", default="/dev/shm")
    bench = parser.parse_args()
    bench.qrdrop = os.path.abspath(bench.qrdrop)
    with tempfile.TemporaryDirectory(dir=bench.folder, prefix="qrdrop-bench-") as root:
        sources = make(pathlib.Path(root) / "sources", bench.mib)
        warm(pathlib.Path(root), 2 * bench.mib << 20)
        print("| link | work | never MB/s | auto MB/s | always MB/s | auto / never | always / never | wire never, auto, always |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for name in bench.links.split(","):
            link = Link(name)
            try:
                for work in bench.work.split(","):
                    source = sources[work, link.part]
                    amount = size(source)
                    once(bench, link, source, "never")
                    rounds = [{choice: once(bench, link, source, choice) for choice in CHOICES} for _ in range(bench.runs)]
                    median = lambda of: statistics.median(map(of, rounds))
                    speeds = [f"{amount / 1e6 / median(lambda round: round[choice][0]):.0f}" for choice in CHOICES]
                    ratios = [f"{median(lambda round: round['never'][0] / round[choice][0]):.2f}" for choice in CHOICES[1:]]
                    wire = ", ".join(f"{median(lambda round: round[choice][1]) / amount:.2f}" for choice in CHOICES)
                    print(f"| {name} | {work} | {' | '.join(speeds + ratios)} | {wire} |", flush=True)
            finally:
                link.close()
    print(f"\n{bench.mib} MiB, {bench.runs} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
