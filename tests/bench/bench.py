"""The harness behind tests/bench/run.

Works: W1 one file that can't be compressed; W3 a tree of small files; W4 one byte, from start to exit; classic the file
of W1 in the classic dialect.
A round runs each program once, in turn, so that every figure has a reference from the same minute: machines differ, and
so does one machine from hour to hour. The clock runs from the start of the side that connects, with the other one ready,
until both have ended (a server: until the client has). Ratios are to the reference of the same round, which is nc, and
for classic pair.c, sendfile to splice; figures are medians over the rounds. The pause that the classic dialect asks of a
sender is taken off both programs that make it. What arrived is compared byte for byte with what was sent, every time.
"""
import argparse
import collections
import filecmp
import getpass
import os
import pathlib
import random
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

Side = collections.namedtuple("Side", "start end cpu peak_kib code")
Result = collections.namedtuple("Result", "seconds sender receiver")


class Failed(Exception):
    pass


def make_sources(folder, mib, files):
    """The same bytes every time, for each work its path and its size."""
    folder.mkdir()
    chance = random.Random(1)
    big, tree, byte = folder / "big.bin", folder / "tree", folder / "byte.bin"
    with big.open("wb") as out:
        for _ in range(mib):
            out.write(chance.randbytes(1 << 20))
    for n in range(files):
        leaf = tree / f"{n // 100:03}" / f"{n:05}.bin"
        leaf.parent.mkdir(parents=True, exist_ok=True)
        leaf.write_bytes(chance.randbytes(chance.randint(1 << 10, 16 << 10)))
    byte.write_bytes(b"1")
    return {"W1": big, "W3": tree, "W4": byte, "classic": big}


def size(path):
    return sum(leaf.stat().st_size for leaf in ([path] if path.is_file() else path.rglob("*")) if leaf.is_file())


def same(source, copy):
    if source.is_file():
        return copy.is_file() and filecmp.cmp(source, copy, shallow=False)
    leaves = {leaf.relative_to(source) for leaf in source.rglob("*") if leaf.is_file()}
    copies = {leaf.relative_to(copy) for leaf in copy.rglob("*") if leaf.is_file()}
    return leaves == copies and all(filecmp.cmp(source / leaf, copy / leaf, shallow=False) for leaf in leaves)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def listens(port):
    """Whether something listens there; asked of the kernel, since a one-shot listener must not be woken."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as rows:
            if any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A" for row in list(rows)[1:]):
                return True
    return False


class Running:
    """A command line under the meter."""

    def __init__(self, bench, folder, name, line):
        self.report, self.log = folder / f"{name}.report", folder / f"{name}.log"
        argv = ["sh", "-c", line] if isinstance(line, str) else [str(arg) for arg in line]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([bench.meter, self.report, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def until(self, ready):
        deadline = time.monotonic() + 30
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"not ready: {self.log.read_text()[-500:]}")
            time.sleep(0.002)

    def side(self, timeout=600):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed(f"no end: {self.log.read_text()[-500:]}") from None
        start, end, user, system, peak, code = map(float, self.report.read_text().split())
        return Side(start, end, user + system, peak, code)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


def nc(bench, source, target, folder):
    port = free_port()
    if source.is_dir():
        taking = f"nc -l -N 127.0.0.1 {port} | tar xf - -C {shlex.quote(str(target))}"
        giving = f"tar cf - -C {shlex.quote(str(source.parent))} {source.name} | nc -N 127.0.0.1 {port}"
    else:
        taking = f"exec nc -l -N 127.0.0.1 {port} > {shlex.quote(str(target / source.name))}"
        giving = f"exec nc -N 127.0.0.1 {port} < {shlex.quote(str(source))}"
    return one_shot(bench, folder, taking, lambda: listens(port), giving)


def scp(bench, source, target, folder):
    port = free_port()
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "sshd.conf").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # sshd insists on it
    server = Running(bench, folder, "receiver", [shutil.which("sshd"), "-D", "-e", "-f", folder / "sshd.conf"])
    try:
        server.until(lambda: listens(port))
        client = Running(bench, folder, "sender", [
            "scp", "-q", "-r", "-c", "aes128-gcm@openssh.com", "-i", folder / "user", "-P", port,
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "IdentitiesOnly=yes", "-F", "none", source, f"{getpass.getuser()}@127.0.0.1:{target}/"]).side()
    finally:
        server.stop()
    if client.code:
        raise Failed((folder / "sender.log").read_text()[-500:])
    return Result(client.end - client.start, client, server.side())


def qrdrop(bench, source, target, folder):
    invite = folder / "invite"
    taking = [bench.qrdrop, "receive", target, "--once", "--yes", "--hidden", "--qr", "never", "--interface", "127.0.0.1",
              "--port", "0", "--invite-file", invite, "--state-dir", folder / "receiver-state", "--json"]
    giving = [bench.qrdrop, "send", source, "--to", f"@{invite}", "--state-dir", folder / "sender-state", "--json"]
    said = folder / "receiver.log"
    return one_shot(bench, folder, taking, lambda: b'"listening"' in said.read_bytes(), giving)


PAUSE = 0.1  # seconds between header and data, docs/protocol.md 10.2


def without_pause(result):
    return result._replace(seconds=result.seconds - PAUSE)


def pair(bench, source, target, folder):
    port = free_port()
    taking = [bench.pair, "take", port, target / source.name]
    giving = [bench.pair, "give", port, source, f"{source.name}<SEPARATOR>{source.stat().st_size}"]
    return without_pause(one_shot(bench, folder, taking, lambda: listens(port), giving))


def classic(bench, source, target, folder):
    port = free_port()
    taking = [bench.qrdrop, "receive", target, "--once", "--classic", "accept", "--hidden", "--qr", "never", "--interface",
              "127.0.0.1", "--port", port, "--state-dir", folder / "receiver-state", "--json"]
    giving = [bench.qrdrop, "send", source, "--classic", "--to", f"127.0.0.1:{port}", "--state-dir", folder / "sender-state",
              "--json"]
    said = folder / "receiver.log"
    return without_pause(one_shot(bench, folder, taking, lambda: b'"listening"' in said.read_bytes(), giving))


def one_shot(bench, folder, taking, ready, giving):
    """A receiver that ends with its transfer, and the sender that is timed."""
    receiver = Running(bench, folder, "receiver", taking)
    try:
        receiver.until(ready)
        sender = Running(bench, folder, "sender", giving).side()
        receiving = receiver.side(30)
    finally:
        receiver.stop()
    if sender.code or receiving.code:
        raise Failed("".join((folder / f"{side}.log").read_text()[-500:] for side in ("sender", "receiver")))
    return Result(max(sender.end, receiving.end) - sender.start, sender, receiving)


# For each work its programs; the first is the reference.
TOOLS = {"nc": nc, "scp AES-GCM": scp, "qrdrop": qrdrop}
CLASSIC = {"sendfile -> splice": pair, "nc": nc, "qrdrop --classic": classic}


def warmed(folder, amount):
    """Touches and frees as much memory as a run will fill: pages that are new to the machine cost several times as much."""
    path = folder / "warm"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, amount)
    path.unlink()


def measured(bench, root, tool, work, source):
    with tempfile.TemporaryDirectory(dir=root) as folder:
        folder = pathlib.Path(folder)
        target = folder / "target"
        target.mkdir()
        warmed(folder, size(source) + (64 << 20))
        result = (CLASSIC if work == "classic" else TOOLS)[tool](bench, source, target, folder)
        if not same(source, target / source.name):
            raise Failed("what arrived differs from what was sent")
        return result


def row(work, tool, results, reference, amount):
    def median(of):
        return statistics.median(map(of, results))

    seconds = median(lambda result: result.seconds)
    speed = f"{seconds * 1e3:.0f} ms" if work == "W4" else f"{amount / 1e6 / seconds:.0f} MB/s"
    ratios = [theirs.seconds / ours.seconds for theirs, ours in zip(reference, results)]
    gib = amount / (1 << 30)
    cpu = [f"{median(lambda result: getattr(result, side).cpu) / gib:.2f}" if work != "W4" else "" for side in ("sender", "receiver")]
    peak = [f"{median(lambda result: getattr(result, side).peak_kib) / 1024:.1f}" for side in ("sender", "receiver")]
    cells = [work, tool, speed, f"{statistics.median(ratios):.2f}", " + ".join(cpu).strip(" +"), " + ".join(peak)]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--qrdrop", required=True)
    parser.add_argument("--meter", required=True)
    parser.add_argument("--pair", required=True)
    parser.add_argument("--mib", type=int, default=2048, help="size of W1")
    parser.add_argument("--files", type=int, default=10_000, help="files in W3")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--work", default="W1,W3,W4")
    parser.add_argument("--tools", default=",".join({**TOOLS, **CLASSIC}), help="the ones to run, the references always")
    parser.add_argument("--folder", default="/dev/shm", help="where everything is kept: memory or disk")
    bench = parser.parse_args()
    bench.qrdrop, bench.meter, bench.pair = map(os.path.abspath, (bench.qrdrop, bench.meter, bench.pair))
    wanted = set(bench.tools.split(",")) - (set() if shutil.which("sshd") else {"scp AES-GCM"})

    with tempfile.TemporaryDirectory(dir=bench.folder, prefix="qrdrop-bench-") as root:
        root = pathlib.Path(root)
        sources = make_sources(root / "sources", bench.mib, bench.files)
        print("| work | program | median | x reference | CPU s/GiB, send + receive | peak MiB, send + receive |")
        print("| --- | --- | --- | --- | --- | --- |")
        failed = False
        for work in bench.work.split(","):
            reference, *others = CLASSIC if work == "classic" else TOOLS
            tools = [reference, *(tool for tool in others if tool in wanted)]
            source, results = sources[work], {tool: [] for tool in tools}
            for run in range(bench.runs):
                try:
                    round_results = {tool: measured(bench, root, tool, work, source) for tool in tools}
                except Failed as error:
                    print(f"{work}, round {run}: {error}", file=sys.stderr)
                    failed = True
                    continue
                for tool, result in round_results.items():
                    results[tool].append(result)
            for tool in tools:
                if results[tool]:
                    print(row(work, tool, results[tool], results[reference], size(source)), flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\nW1 {bench.mib} MiB, W3 {bench.files} files, {bench.runs} rounds in `{bench.folder}`, {os.cpu_count()} cores, load {load}")
    sys.exit(failed)


main()
