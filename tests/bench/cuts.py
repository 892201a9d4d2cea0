#!/usr/bin/env python3
"""A large file that is cut at 30, 60 and 90 %: by a proxy, by kill -9 of the sender, by kill -9 of the receiver.

Each time it has to arrive exactly. What the proxy was handed beyond the size of the file was sent again, or was frames
and handshakes.
"""

import argparse
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

AT = (0.3, 0.6, 0.9)


class Proxy:
    """Between a sender and a receiver on loopback; cuts every connection each time that so many bytes have come."""

    def __init__(self, port, cuts=()):
        self.to, self.cuts, self.passed = ("127.0.0.1", port), list(cuts), 0
        self.open, self.lock = [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            guest, _ = self.listener.accept()
            try:
                host = socket.create_connection(self.to)
            except OSError:
                guest.close()
                continue
            self.open += [guest, host]
            for source, target, counts in ((guest, host, True), (host, guest, False)):
                threading.Thread(target=self.pump, args=(source, target, counts), daemon=True).start()

    def pump(self, source, target, counts):
        try:
            while data := source.recv(1 << 18):
                if counts:
                    self.count(len(data))
                target.sendall(data)
        except OSError:
            pass
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def count(self, many):
        with self.lock:
            self.passed += many
            if self.cuts and self.passed >= self.cuts[0]:
                self.cuts.pop(0)
                cut, self.open = self.open, []
                for end in cut:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    def wait(self, bytes_):
        while self.passed < bytes_:
            time.sleep(0.002)


class Scene:
    """A file, a receive folder, and the two programs."""

    def __init__(self, qrdrop, mib, work):
        self.qrdrop, self.size, self.work = qrdrop, mib << 20, pathlib.Path(work)
        self.inbox, self.source = self.work / "in", self.work / "big.bin"
        key = ["-K", "00112233445566778899aabbccddeeff", "-iv", "0"]
        with open(self.source, "wb") as out:
            noise = subprocess.Popen(["openssl", "enc", "-aes-128-ctr", *key, "-in", "/dev/zero"],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            left = self.size
            while left:
                data = noise.stdout.read(min(left, 1 << 20))
                out.write(data)
                left -= len(data)
            noise.kill()

    def receiver(self, port=0):
        self.inbox.mkdir(exist_ok=True)
        command = [self.qrdrop, "receive", self.inbox, "--interface", "lo", "--json", "--yes=private", "--hidden",
                   "--port", str(port), "--invite-file", self.work / "invite", "--state-dir", self.work / "there"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "listening":
                threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
                return process, event["port"]
        sys.exit("the receiver ended")

    def sender(self, proxy):
        links = (self.work / "invite").read_text().split()
        secret = next(link for link in links if link.startswith("qrdrop")).split("#")[1]
        link = f"qrdrop://127.0.0.1:{proxy.port}/#{secret}"
        command = [self.qrdrop, "send", self.source, "-q", "--to", link, "--state-dir", self.work / "here"]
        return subprocess.Popen(command)

    def report(self, what, proxy, sender):
        code = sender.wait()
        same = subprocess.run(["cmp", self.source, self.inbox / "big.bin"]).returncode == 0
        exact = code == 0 and same and [name.name for name in self.inbox.iterdir()] == ["big.bin"]
        again = (proxy.passed - self.size) / (1 << 20)
        print(f"{what:24} {'exact' if exact else 'WRONG'}   {again:6.1f} MiB again", flush=True)
        # The receiver knows this folder, and no other that takes its place.
        subprocess.run(["find", self.inbox, "-mindepth", "1", "-delete"], check=True)
        return exact


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qrdrop", default="target/release/qrdrop")
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--work", default="/dev/shm", help="where the file is, and arrives")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work, prefix="qrdrop-cuts-") as work:
        scene = Scene(str(pathlib.Path(args.qrdrop).resolve()), args.mib, work)
        receiver, port = scene.receiver()

        proxy = Proxy(port, [int(scene.size * at) for at in AT])
        good = scene.report("connections cut", proxy, scene.sender(proxy))

        proxy = Proxy(port)
        for at in AT:
            sender = scene.sender(proxy)
            proxy.wait(scene.size * at)
            sender.kill()
            sender.wait()
        good &= scene.report("sender killed", proxy, scene.sender(proxy))

        proxy = Proxy(port)
        sender = scene.sender(proxy)
        for at in AT:
            proxy.wait(scene.size * at)
            receiver.kill()
            receiver.wait()
            receiver, _ = scene.receiver(port)
        good &= scene.report("receiver killed", proxy, sender)

        receiver.send_signal(signal.SIGINT)
        receiver.wait()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
