"""The Windows build under Wine: the library's tests, one process each, then transfers with the build of this system."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

# Tests that do not hold under Wine, and why.
SLOW = "Wine is slow with a thousand sockets"
KNOWN = {
    "net::accept::tests::a_burst_of_senders_from_one_address_all_arrive": SLOW,
    "net::accept::tests::a_thousand_silent_connections_keep_nobody_out": SLOW,
    "transfer::tests::honest::a_file_that_is_replaced_while_it_is_sent_is_withdrawn_and_the_rest_arrives":
        "Wine replaces no file that is open",
}
PATIENCE = 60
QUIET = {**os.environ, "WINEDEBUG": "-all", "LC_ALL": "C.UTF-8"}
# What somebody offers, and what it is stored as.
NAMES = {
    "CON": "CON_",
    "aux.txt": "aux_.txt",
    "nul": "nul_",
    "a:b": "a_b",
    "x.": "x",
    "sp ": "sp",
    "q?.txt": "q_.txt",
    "fine": "fine",
}


class Failed(Exception):
    pass


def claim(holds, what):
    if not holds:
        raise Failed(what)


def tests(library):
    """Runs each test of the library; returns the names of those that failed and should not have."""
    listed = subprocess.run(["wine", library, "--list", "--format", "terse"], env=QUIET, capture_output=True, text=True)
    names = [line.removesuffix(": test") for line in listed.stdout.split("\n") if line.endswith(": test")]
    claim(names, "the library lists no tests")

    def one(name):
        try:
            command = ["wine", library, "--exact", name]
            run = subprocess.run(command, env=QUIET, capture_output=True, text=True, timeout=PATIENCE)
            return name, run.returncode == 0, run.stdout + run.stderr
        except subprocess.TimeoutExpired as late:
            # Now and then Wine hangs in a process that has ended while a thread of it had not.
            said = (late.stdout or b"").decode(errors="replace")
            return name, "test result: ok. 1 passed" in said, f"{said}\nno end after {PATIENCE} s"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = [(name, said) for name, well, said in pool.map(one, names) if not well]
    for name, said in failed:
        if name in KNOWN:
            print(f"known: {name}: {KNOWN[name]}")
        else:
            print(f"FAILED: {name}\n{said}")
    unknown = [name for name, _ in failed if name not in KNOWN]
    passed, known = len(names) - len(failed), len(failed) - len(unknown)
    print(f"{len(names)} tests: {passed} passed, {known} known, {len(unknown)} failed")
    return unknown


class Build:
    """One of the two programs."""

    def __init__(self, *command):
        self.command = command

    def start(self, *arguments):
        command = [*self.command, *map(str, arguments)]
        return subprocess.Popen(command, env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def receive(self, folder, invitation, port=0, *more):
        quietly = ("--json", "--yes", "--hidden", "--qr", "never", "--interface", "127.0.0.1")
        where = ("--port", port, "--invite-file", invitation, "--state-dir", f"{folder}.state")
        receiver = self.start("receive", folder, *quietly, *where, *more)
        receiver.listening = json.loads(receiver.stdout.readline())
        return receiver

    def send(self, source, invitation, *more):
        return self.start("send", source, "--to", f"@{invitation}", "--json", "--state-dir", f"{source}.state", *more)


def events(process):
    lines = [json.loads(line) for line in process.communicate(timeout=PATIENCE)[0].splitlines()]
    return {line["event"]: line for line in lines}


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def a_folder_arrives(sends, receives, root):
    source = root / "source"
    for number in range(200):
        (source / f"{number % 7}").mkdir(parents=True, exist_ok=True)
        (source / f"{number % 7}" / f"{number}").write_bytes(os.urandom(number * 97))
    (source / "grüße").write_bytes(os.urandom(20_000_000))
    (root / "in").mkdir()
    receiver = receives.receive(root / "in", root / "link", 0, "--once")
    claim(not receiver.listening["directory"].startswith("\\\\?"), "a path that nobody writes")
    sender = sends.send(source, root / "link")
    told = events(sender)
    stored = events(receiver)
    claim((sender.returncode, receiver.returncode) == (0, 0), (told, stored))
    claim(stored["finished"]["files"] == 201, stored)
    claim(tree(root / "in" / "source") == tree(source), "not the same")
    claim([path.name for path in (root / "in").iterdir()] == ["source"], "something is left")


def no_name_means_anything_to_windows(ours, windows, root):
    (root / "source").mkdir()
    for name in NAMES:
        (root / "source" / name).write_text(name)
    (root / "in").mkdir()
    receiver = windows.receive(root / "in", root / "link", 0, "--once")
    events(ours.send(root / "source", root / "link"))
    events(receiver)
    wanted = {f"source/{stored}": name.encode() for name, stored in NAMES.items()}
    claim(tree(root / "in") == {"source": None, **wanted}, tree(root / "in"))


def a_receiver_that_was_killed_goes_on(ours, windows, root):
    (root / "large").write_bytes(os.urandom(200_000_000))
    (root / "in").mkdir()
    receiver = windows.receive(root / "in", root / "link", 0, "--once")
    sender = ours.send(root / "large", root / "link", "--limit", "50MB", "--retry", "60s")
    for line in receiver.stdout:
        if json.loads(line).get("bytes", 0) > 50_000_000 and b'"progress"' in line:
            break
    # The program itself, which is not the process that was started: Wine's loader becomes it, a wrapper would not.
    os.kill(receiver.pid, signal.SIGKILL)
    receiver.communicate()
    claim(list((root / "in" / ".qrdrop-partial").iterdir()), "nothing was kept")
    again = windows.receive(root / "in", root / "link", receiver.listening["port"], "--once")
    told = events(sender)
    events(again)
    claim((sender.returncode, again.returncode) == (0, 0), told)
    claim(told["retry"]["from_bytes"] > 0, told["retry"])
    claim((root / "in" / "large").read_bytes() == (root / "large").read_bytes(), "not the same")
    claim([path.name for path in (root / "in").iterdir()] == ["large"], "something is left")


def the_tutorial_and_a_browser_are_served(_, windows, root):
    (root / "in").mkdir()
    receiver = windows.receive(root / "in", root / "link", 0, "--classic", "accept", "--timeout", "60s")
    address = ("127.0.0.1", receiver.listening["port"])
    page = urllib.request.urlopen(f"http://{address[0]}:{address[1]}/", timeout=PATIENCE).read()
    claim(b"<title>" in page, "no page")
    with socket.create_connection(address) as sender:
        sender.sendall(b"hello.txt<SEPARATOR>5hello")
    for line in receiver.stdout:
        if b'"stored"' in line:
            break
    receiver.terminate()
    receiver.communicate()
    claim((root / "in" / "hello.txt").read_bytes() == b"hello", "not the same")


def a_doctor_looks_at_windows(_, windows, root):
    doctor = windows.start("doctor", "--json", "--state-dir", root / "state")
    checks = {json.loads(line).get("check") for line in doctor.communicate(timeout=PATIENCE)[0].splitlines()}
    claim({"interface", "port", "firewall", "mdns"} <= checks, checks)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", required=True, help="the tests of the library, for Windows")
    parser.add_argument("--windows", required=True, help="the program for Windows")
    parser.add_argument("--ours", required=True, help="the program of this system")
    options = parser.parse_args()
    ours, windows = Build(options.ours), Build("wine", options.windows)
    # Wine makes its drive the first time that it runs.
    subprocess.run(["wine", options.windows, "--version"], env=QUIET, check=True)
    failed = tests(options.library)
    claims = [
        (a_folder_arrives, ours, windows),
        (a_folder_arrives, windows, ours),
        (no_name_means_anything_to_windows, ours, windows),
        (a_receiver_that_was_killed_goes_on, ours, windows),
        (the_tutorial_and_a_browser_are_served, ours, windows),
        (a_doctor_looks_at_windows, ours, windows),
    ]
    for holds, *builds in claims:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as root:
            try:
                holds(*builds, pathlib.Path(root))
                print(f"{holds.__name__}: {time.monotonic() - began:.1f} s")
            except Failed as failure:
                failed.append(holds.__name__)
                print(f"FAILED: {holds.__name__}: {failure}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
