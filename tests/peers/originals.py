"""Runs a socket tutorial's own two programs against qrdrop: originals.py FOLDER QRDROP [ROUNDS]

FOLDER holds sender.py and receiver.py as they were published; only host, port and file name are set, in memory.
Each round sends one file each way, of 0 bytes to 20 MiB, every third one a table that begins with digits. A file is
exact, or (towards qrdrop only, which says so) refused with a hint; anything else ends this with exit code 1.
"""
import collections
import json
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile

SIZES = [0, 1, 9, 10, 99, 1_000, 4_095, 4_096, 4_097, 65_536, 1_000_000, 20 << 20]


def with_values(program, **values):
    """The program with these top-level assignments; each must have been there."""
    for name, value in values.items():
        program, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value!r}", program)
        assert count == 1, f"`{name}` is set once in the program"
    return program


def content(n):
    chance, size = random.Random(n), SIZES[n % len(SIZES)]
    if n % 3:
        return chance.randbytes(size)
    row = f"{chance.randrange(10**6)},{chance.randrange(10**6)}\n".encode()
    return (row * (size // len(row) + 1))[:size]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Inbox:
    """qrdrop, taking classic peers, and what it says."""

    def __init__(self, qrdrop, root):
        self.folder = root / "inbox"
        self.folder.mkdir()
        self.process = subprocess.Popen(
            [qrdrop, "receive", self.folder, "--classic", "accept", "--hidden", "--qr", "never", "--interface", "127.0.0.1",
             "--port", "0", "--state-dir", root / "inbox-state", "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = self.outcome("listening")["port"]

    def outcome(self, *names):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] in names:
                return event
        raise SystemExit("qrdrop ended")


def to_qrdrop(program, inbox, folder, name, data):
    (folder / name).write_bytes(data)
    subprocess.run([sys.executable, "-c", with_values(program, host="127.0.0.1", port=inbox.port, filename=name)],
                   cwd=folder, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    event = inbox.outcome("stored", "failed", "refused")
    if event["event"] == "stored":
        return "exact" if pathlib.Path(event["path"]).read_bytes() == data else "WRONG"
    return "refused with a hint" if event.get("hint") or event.get("reason") else "REFUSED WITHOUT A HINT"


def from_qrdrop(program, qrdrop, root, folder, name, data):
    source, port = root / name, free_port()
    source.write_bytes(data)
    receiver = subprocess.Popen([sys.executable, "-u", "-c", with_values(program, SERVER_HOST="127.0.0.1", SERVER_PORT=port)],
                                cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    receiver.stdout.readline()  # it says so once it listens
    sent = subprocess.run([qrdrop, "send", source, "--classic", "--to", f"127.0.0.1:{port}", "--state-dir", root / "state"],
                          stdin=subprocess.DEVNULL, capture_output=True)
    receiver.communicate(timeout=60)
    arrived = folder / name
    return "exact" if sent.returncode == 0 and arrived.exists() and arrived.read_bytes() == data else "WRONG"


def main():
    programs, qrdrop = pathlib.Path(sys.argv[1]), os.path.abspath(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    sender, receiver = ((programs / name).read_text() for name in ("sender.py", "receiver.py"))
    results = collections.Counter()
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        theirs = root / "theirs"
        theirs.mkdir()
        inbox = Inbox(qrdrop, root)
        for n in range(rounds):
            data = content(n)
            results["to qrdrop: " + to_qrdrop(sender, inbox, theirs, f"to-{n}.csv", data)] += 1
            results["from qrdrop: " + from_qrdrop(receiver, qrdrop, root, theirs, f"from-{n}.csv", data)] += 1
        inbox.process.terminate()
    for result, count in sorted(results.items()):
        print(f"{result}: {count}")
    sys.exit(any(word.isupper() and len(word) > 1 for result in results for word in result.split()))


main()
