#!/usr/bin/env python3
"""What it takes to go on with a transfer of many files.

    tests/bench/resumed.py [--qrdrop PROGRAM] [--files 1000000]

A folder of files of 1 KiB is sent; the receiver is killed (SIGKILL) when it has stored some two fifths of them, and started
again. Said are the peak memory of the second receiver and of the sender, which has waited, and the seconds from the second
start to the end.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time


def ended(process):
    """Waits; its exit code and peak memory in MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / 1024


def make_tree(tree, files):
    for number in range(files):
        leaf = tree / f"{number // 1000:04}" / f"{number % 1000:03}"
        if number % 1000 == 0:
            leaf.parent.mkdir(parents=True)
        leaf.write_bytes(number.to_bytes(4, "big") * 256)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qrdrop", default="target/release/qrdrop")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--work", default="/dev/shm", help="where files are, and arrive")
    args = parser.parse_args()
    qrdrop = str(pathlib.Path(args.qrdrop).resolve())
    with tempfile.TemporaryDirectory(dir=args.work, prefix="qrdrop-resumed-") as work:
        work, started = pathlib.Path(work), []
        (work / "in").mkdir()
        make_tree(work / "tree", args.files)

        def receive(port):
            command = [qrdrop, "receive", work / "in", "--once", "--yes", "--hidden", "--qr", "never", "--interface", "lo", "--json"]
            command += ["--port", str(port), "--invite-file", work / "invite", "--state-dir", work / "there"]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
            return started[-1], json.loads(started[-1].stdout.readline())["port"]

        try:
            first, port = receive(0)
            while not (work / "invite").exists():
                time.sleep(0.01)
            command = [qrdrop, "send", work / "tree", "--to", f"@{work / 'invite'}", "-q", "--state-dir", work / "here"]
            started.append(sender := subprocess.Popen(command, stderr=subprocess.DEVNULL))
            stored = 0
            while stored < args.files * 2 // 5:
                stored += '"event":"stored"' in first.stdout.readline()
            first.kill()
            began = time.monotonic()
            second, _ = receive(port)
            for line in second.stdout:
                pass
            (code, receiver_mib), (sender_code, sender_mib) = ended(second), ended(sender)
            seconds = time.monotonic() - began
            print(f"{args.files} files, killed when {stored} were told; {seconds:.1f} s to the end (exit {code}, {sender_code})")
            print(f"peak MiB: sender {sender_mib:.1f}, second receiver {receiver_mib:.1f}")
        finally:
            for process in started:
                if process.returncode is None:
                    process.kill()
                    process.wait()


main()
