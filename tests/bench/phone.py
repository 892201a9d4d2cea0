#!/usr/bin/env python3
"""Measures the web dialect of a release build on loopback, and prints a table in Markdown.

    tests/bench/phone.py --qrdrop target/release/qrdrop [--mib 1024] [--runs 3] [--folder /dev/shm]

Beside `nc` of the same round: `curl -T` through a one-time path, and a sealed upload from headless Chromium (needs
selenium, as `tests/run` installs it). What arrived is compared with what was sent, each time.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
from phone import Phone  # noqa: E402


def peak_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


class Inbox:
    """A receiver on loopback whose events are read as they come."""

    def __init__(self, qrdrop, folder, *flags):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.invite = folder.parent / "invite"
        command = [qrdrop, "receive", str(folder), "--json", "--qr", "never", "--port", "0", "--interface", "127.0.0.1",
                   "--hidden", "--invite-file", str(self.invite), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.events, self.notes = [], []
        for pipe, lines in ((self.process.stdout, self.events), (self.process.stderr, self.notes)):
            threading.Thread(target=self.read, args=(pipe, lines), daemon=True).start()
        self.event("listening")

    @staticmethod
    def read(pipe, lines):
        lines.extend(line for line in pipe)

    def event(self, name):
        while True:
            for line in list(self.events):
                event = json.loads(line)
                if event["event"] == name:
                    return event
            time.sleep(0.002)

    def note(self, pattern):
        while True:
            for line in list(self.notes):
                found = re.search(pattern, line)
                if found:
                    return found[0]
            time.sleep(0.002)

    def stop(self):
        peak = peak_mib(self.process.pid)
        self.process.send_signal(2)
        self.process.wait()
        return peak


def netcat(source, target):
    listener = subprocess.Popen(f"nc -l -N 127.0.0.1 5999 > {target}", shell=True)
    while subprocess.run("ss -Hltn sport = 5999", shell=True, capture_output=True).stdout == b"":
        time.sleep(0.01)
    began = time.perf_counter()
    subprocess.run(f"nc -N 127.0.0.1 5999 < {source}", shell=True, check=True)
    listener.wait()
    return time.perf_counter() - began


def curl(qrdrop, source, folder):
    inbox = Inbox(qrdrop, folder, "--curl", "--yes=open")
    url = inbox.note(r"http://\S+")
    began = time.perf_counter()
    subprocess.run(["curl", "-sS", "-T", str(source), url], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return seconds, inbox.stop()


def browser(qrdrop, source, folder):
    inbox = Inbox(qrdrop, folder, "--yes=private")
    phone = Phone()
    try:
        phone.start()
        phone.open(inbox.invite.read_text().split()[0])
        phone.wait(["ready"])
        timing = phone.script("const t = performance.timing; return t.domInteractive - t.navigationStart")
        phone.choose([str(source)])
        seconds = inbox.event("finished")["seconds"]
        return seconds, inbox.stop(), timing
    finally:
        phone.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--qrdrop", required=True)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", default="/dev/shm")
    arguments = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="qrdrop-bench-", dir=arguments.folder))
    try:
        source = work / "source.bin"
        with open(source, "wb") as file:
            for _ in range(arguments.mib):
                file.write(os.urandom(1024 * 1024))
        rows = {"nc": [], "curl -T": [], "Chromium, sealed": []}
        peaks, interactive = {"curl -T": [], "Chromium, sealed": []}, []
        same = ["cmp", str(source)]
        for _ in range(arguments.runs):
            rows["nc"].append(netcat(source, work / "nc.bin"))
            (work / "nc.bin").unlink()
            for name, way in (("curl -T", curl), ("Chromium, sealed", browser)):
                seconds, peak, *timing = way(arguments.qrdrop, source, work / "inbox")
                subprocess.run([*same, str(work / "inbox" / "source.bin")], check=True)
                shutil.rmtree(work / "inbox")
                rows[name].append(seconds)
                peaks[name].append(peak)
                interactive += timing
        print("| program | median | x nc | receiver's peak MiB |\n| --- | --- | --- | --- |")
        for name, seconds in rows.items():
            rate = arguments.mib * 1.048576 / statistics.median(seconds)
            ratio = statistics.median(nc / own for nc, own in zip(rows["nc"], seconds))
            peak = f"{max(peaks[name]):.1f}" if name in peaks else ""
            print(f"| {name} | {rate:.0f} MB/s | {ratio:.2f} | {peak} |")
        print(f"\nThe page is interactive after {statistics.median(interactive):.0f} ms (worst {max(interactive)} ms).")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
