#!/usr/bin/env python3
"""Measures whether a slow receiver holds up a fast one: the same file to the fast one alone, and to both at once.

    sudo python3 tests/bench/several.py --qrdrop target/release/qrdrop [--mib 512] [--runs 3] [--fast 100] [--slow 10]

The sender has a namespace, and each receiver one of its own, joined to the sender's by a cable that `tc tbf` slows down to so
many MB/s. The clock is that of each receiver's transfer, from "accepted" to "finished", as its JSON lines come. In the last
round the sender runs under `strace -f`, and the bytes that it reads of the file are counted; only that is told of it.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import threading
import time


def sh(line):
    subprocess.run(line, shell=True, check=True)


class Network:
    def __init__(self, rates):
        self.sender = f"qrdrop-bench-{os.getpid()}"
        self.receivers = [f"{self.sender}-{n}" for n in range(len(rates))]
        sh(f"ip netns add {self.sender}; ip -n {self.sender} link set lo up")
        for n, (name, rate) in enumerate(zip(self.receivers, rates)):
            sh(f"ip netns add {name}; ip -n {name} link set lo up; "
               f"ip link add eth{n} netns {self.sender} type veth peer name eth0 netns {name}")
            for host, device, ip in ((self.sender, f"eth{n}", 1), (name, "eth0", 2)):
                sh(f"ip -n {host} addr add 10.84.{n}.{ip}/24 dev {device}; ip -n {host} link set {device} up; ip netns exec {host} "
                   f"tc qdisc add dev {device} root tbf rate {rate * 8}mbit burst 256kb latency 50ms")
        time.sleep(1.5)  # until the kernel has noticed that both ends are up

    def close(self):
        for name in (self.sender, *self.receivers):
            subprocess.run(["ip", "netns", "del", name], check=False)


class Receiver:
    def __init__(self, bench, network, n, folder):
        (folder / f"target-{n}").mkdir()
        self.target, self.invite, self.seconds = folder / f"target-{n}", folder / f"invite-{n}", None
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", network.receivers[n], bench.qrdrop, "receive", self.target, "--once", "--yes", "--hidden", "--qr",
             "never", "--interface", "eth0", "--port", "0", "--invite-file", self.invite, "--state-dir", folder / f"r{n}", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        while json.loads(self.process.stdout.readline())["event"] != "listening":
            pass
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        accepted = None
        for line in self.process.stdout:
            event = json.loads(line)["event"]
            if event == "accepted":
                accepted = time.monotonic()
            elif event == "finished":
                self.seconds = time.monotonic() - accepted

    def done(self, source):
        self.reader.join()
        if self.process.wait(30) != 0 or subprocess.run(["cmp", source, self.target / source.name]).returncode != 0:
            raise SystemExit("what arrived is not what was sent")
        return self.seconds


def once(bench, network, source, which, trace=None):
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        folder = pathlib.Path(folder)
        receivers = [Receiver(bench, network, n, folder) for n in which]
        traced = ["strace", "-f", "-y", "-e", "trace=read,pread64,preadv,mmap,sendfile,splice,copy_file_range", "-o", trace] if trace else []
        targets = [word for receiver in receivers for word in ("--to", f"@{receiver.invite}")]
        subprocess.run(["ip", "netns", "exec", network.sender, *traced, bench.qrdrop, "send", source, *targets, "--compress", "never",
                        "--state-dir", folder / "s", "--json"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return [receiver.done(source) for receiver in receivers]


def bytes_read(trace, name):
    """Of the file, by any of the calls that were traced; those of other threads may stand between the halves of one."""
    waiting, total = set(), 0
    for line in trace.read_text().splitlines():
        thread, call = line.split(maxsplit=1)
        ours = f"/{name}>" in call or ("resumed>" in call and thread in waiting)
        if ours and "<unfinished" in call:
            waiting.add(thread)
        elif ours:
            waiting.discard(thread)
            if call.startswith("mmap"):
                raise SystemExit("it was mapped: reads can't be counted")
            total += int(re.search(r"= (-?\d+)", call)[1])
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--qrdrop", required=True)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fast", type=int, default=100)
    parser.add_argument("--slow", type=int, default=10)
    parser.add_argument("--folder", default="/dev/shm")
    bench = parser.parse_args()
    bench.qrdrop = os.path.abspath(bench.qrdrop)
    network = Network([bench.fast, bench.slow])
    try:
        with tempfile.TemporaryDirectory(dir=bench.folder, prefix="qrdrop-bench-") as root:
            source = pathlib.Path(root) / "source.bin"
            with source.open("wb") as out:
                for _ in range(bench.mib):
                    out.write(os.urandom(1 << 20))
            size = bench.mib << 20
            alone, both = [], []
            for _ in range(bench.runs):
                alone += once(bench, network, source, [0])
                both.append(once(bench, network, source, [0, 1]))
            trace = pathlib.Path(root) / "trace"
            once(bench, network, source, [0, 1], trace)
            rate = lambda seconds: f"{size / 1e6 / statistics.median(seconds):.1f} MB/s"
            print("| receiver | alone | beside the other |")
            print("| --- | --- | --- |")
            print(f"| {bench.fast} MB/s | {rate(alone)} | {rate([fast for fast, _ in both])} |")
            print(f"| {bench.slow} MB/s | | {rate([slow for _, slow in both])} |")
            ratio = statistics.median(single / fast for single, (fast, _) in zip(alone, both))
            print(f"\nfast beside slow / fast alone: {ratio:.2f}; read of the file for both: {bytes_read(trace, source.name) / size:.3f} of its size")
            print(f"{bench.mib} MiB, {bench.runs} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    finally:
        network.close()


main()
