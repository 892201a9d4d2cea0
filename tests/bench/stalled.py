#!/usr/bin/env python3
"""What a receiver takes while most of its senders stand still.

    tests/bench/stalled.py [--qrdrop PROGRAM] [--senders 20] [--mib 64]

Senders of a large file each begin; all but one are stopped (SIGSTOP) in the middle, the last one sends its own to the end.
Said are the receiver's memory before, with all of them standing, and at its peak, its threads, and what dominates: the
kinds of pages that its memory is made of.
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time

MIB = 1 << 20


def status(process, *fields):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return [int(re.search(rf"^{field}:\s+(\d+)", text, re.M)[1]) for field in fields]


def made_of(process):
    """KiB that are resident, by what they are: the program, heap, stacks and other anonymous memory."""
    kinds, kind = {}, ""
    for line in pathlib.Path(f"/proc/{process.pid}/smaps").read_text().splitlines():
        if head := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)", line):
            name = head[1]
            kind = "heap" if name == "[heap]" else "stack" if name.startswith("[stack") else "files" if name.startswith("/") else "anonymous"
        elif line.startswith("Rss:"):
            kinds[kind] = kinds.get(kind, 0) + int(line.split()[1])
    return ", ".join(f"{kind} {kib / 1024:.1f}" for kind, kib in sorted(kinds.items(), key=lambda item: -item[1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qrdrop", default="target/release/qrdrop")
    parser.add_argument("--senders", type=int, default=20)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--work", default="/dev/shm", help="where files are, and arrive")
    args = parser.parse_args()
    qrdrop = str(pathlib.Path(args.qrdrop).resolve())
    with tempfile.TemporaryDirectory(dir=args.work, prefix="qrdrop-stalled-") as work:
        work = pathlib.Path(work)
        (work / "in").mkdir()
        source = work / "big.bin"
        with open("/dev/urandom", "rb") as random, source.open("wb") as out:
            for _ in range(args.mib):
                out.write(random.read(MIB))
        command = [qrdrop, "receive", work / "in", "--interface", "lo", "--json", "--yes", "--hidden", "--port", "0", "--qr", "never"]
        receiver = subprocess.Popen([*command, "--invite-file", work / "invite", "--state-dir", work / "there"],
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        senders = []
        try:
            while json.loads(receiver.stdout.readline())["event"] != "listening":
                pass
            [before] = status(receiver, "VmRSS")
            # Slow enough that each can be stopped in the middle.
            slow = ["--limit", f"{args.mib * MIB // 20}"]
            to = ["--to", f"@{work / 'invite'}", "-q"]
            for number in range(args.senders - 1):
                senders.append(subprocess.Popen([qrdrop, "send", source, *to, *slow, "--state-dir", work / f"here-{number}"]))
            begun = set()
            while len(begun) < len(senders):
                event = json.loads(receiver.stdout.readline())
                if event["event"] == "progress" and event["bytes"] > 0:
                    begun.add(event["transfer"])
            for sender in senders:
                sender.send_signal(signal.SIGSTOP)
            time.sleep(1)
            standing, threads = status(receiver, "VmRSS", "Threads")
            kinds = made_of(receiver)
            last = subprocess.run([qrdrop, "send", source, *to, "--state-dir", work / "last"])
            [peak] = status(receiver, "VmHWM")
            rows = [("before", before), (f"{len(senders)} stand still", standing), ("peak, with one that sends", peak)]
            for what, kib in rows:
                print(f"{what:28} {kib / 1024:7.1f} MiB")
            print(f"{threads} threads; standing: {kinds}; the last one ended with {last.returncode}")
        finally:
            for process in [*senders, receiver]:
                process.kill()
                process.wait()


main()
