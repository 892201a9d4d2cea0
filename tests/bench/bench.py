"""The harness behind tests/bench/run.

Works: W1 one file that can't be compressed; W2 lines of a log; W3 a tree of small files; W4 one byte, from start to exit; W5
eight files of an eighth of W1 at once; classic the file of W1 in the classic dialect.
Networks: N1 loopback; N2 1 Gbit/s with 1 ms there and back; N3 100 Mbit/s with 10 ms, jitter and 0.5 % loss each way. N2 and N3
are two network namespaces and link.c between them, and need root. For root N1 is a namespace, too: so all programs have the
same congestion control, cubic as on most systems, and can't choose another.
A round runs each program once, in turn, so that every figure has a reference from the same minute: machines differ, and
so does one machine from hour to hour. The clock runs from the start of the side that connects, with the other one ready,
until both have ended (a server: until the client has). Ratios are to the reference of the same round, which is nc, and
for classic pair.c, sendfile to splice; figures are medians over the rounds. The pause that the classic dialect asks of a
sender is taken off both programs that make it. What arrived is compared byte for byte with what was sent, every time.
"""
import argparse
import collections
import contextlib
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
import threading
import time

from compress import log_lines
from memory import warm

# MBIT DELAY_US JITTER_US LOSS_PERCENT QUEUE_KIB of link.c.
NETWORKS = {"N1": None, "N2": "1000 500 0 0 1024", "N3": "100 5000 2000 0.5 256"}
AT_ONCE = 8

# Only what is listed there may be the default of a namespace.
ALLOWED = pathlib.Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")

Side = collections.namedtuple("Side", "start end cpu peak_kib code")


class Result(collections.namedtuple("Result", "start end sender receiver")):
    @property
    def seconds(self):
        return self.end - self.start


def together(results):
    """Transfers that ran at once, as one: processor time in sum, memory of the largest."""
    def sides(of):
        return Side(None, None, sum(of(result).cpu for result in results), max(of(result).peak_kib for result in results), 0)

    return Result(min(result.start for result in results), max(result.end for result in results),
                  sides(lambda result: result.sender), sides(lambda result: result.receiver))


class Failed(Exception):
    pass


class Network:
    """Where sender and receiver are."""

    def __init__(self, bench):
        self.link, self.allowed, self.names, self.address = None, None, (None, None), "127.0.0.1"
        if os.geteuid():
            if NETWORKS[bench.net]:
                sys.exit(f"{bench.net} needs root")
            return
        self.allowed = ALLOWED.read_text()
        ALLOWED.write_text(f"reno {bench.congestion}")
        self.names = [f"qrdrop-bench-{os.getpid()}{side}" for side in ("sr" if NETWORKS[bench.net] else "nn")]
        try:
            self.join(bench)
        except BaseException:
            self.close()
            raise

    def join(self, bench):
        for name in sorted({*self.names}):
            sh(f"ip netns add {name}; ip -n {name} link set lo up; "
               f"ip netns exec {name} sysctl -qw net.ipv4.tcp_congestion_control={bench.congestion}")
        if not NETWORKS[bench.net]:
            return
        self.address = "10.83.9.2"
        self.link = subprocess.Popen([bench.link, *self.names, "link0", *NETWORKS[bench.net].split()], stdout=subprocess.PIPE)
        self.link.stdout.readline()
        for name, address in zip(self.names, ("10.83.9.1", self.address)):
            sh(f"ip -n {name} addr add {address}/24 dev link0; ip -n {name} link set link0 up mtu 1500")

    def inside(self, side):
        """What a command line begins with to run at the sender or the receiver."""
        name = self.names[side == "receiver"]
        # With that capability a program could choose what is not allowed.
        return ["ip", "netns", "exec", name, "setpriv", "--bounding-set", "-net_admin"] if name else []

    def close(self):
        if self.link:
            self.link.terminate()
            self.link.wait(10)
        if self.allowed is not None:
            ALLOWED.write_text(self.allowed)
        for name in filter(None, {*self.names}):
            subprocess.run(["ip", "netns", "del", name], check=False)


def sh(line):
    subprocess.run(line, shell=True, check=True)


def make_sources(folder, mib, files):
    """The same bytes every time, for each work its path and its size."""
    folder.mkdir()
    chance = random.Random(1)
    big, tree, byte, text = folder / "big.bin", folder / "tree", folder / "byte.bin", folder / "log.txt"
    with big.open("wb") as out:
        for _ in range(mib):
            out.write(chance.randbytes(1 << 20))
    for n in range(files):
        leaf = tree / f"{n // 100:03}" / f"{n:05}.bin"
        leaf.parent.mkdir(parents=True, exist_ok=True)
        leaf.write_bytes(chance.randbytes(chance.randint(1 << 10, 16 << 10)))
    byte.write_bytes(b"1")
    lines = log_lines(chance, min(mib, 64) << 20)
    with text.open("wb") as out:
        # Far enough apart that no compressor's window sees the same lines twice.
        for start in range(0, mib, 64):
            out.write(lines[:min(64, mib - start) << 20])
    parts = [folder / f"part-{n}.bin" for n in range(AT_ONCE)]
    with big.open("rb") as whole:
        for part in parts:
            part.write_bytes(whole.read((mib << 20) // AT_ONCE))
    return {"W1": [big], "W2": [text], "W3": [tree], "W4": [byte], "W5": parts, "classic": [big]}


def size(paths):
    return sum(leaf.stat().st_size for path in paths for leaf in ([path] if path.is_file() else path.rglob("*")) if leaf.is_file())


def same(source, copy):
    return subprocess.run(["diff", "-rq", source, copy], stdout=subprocess.DEVNULL).returncode == 0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def listens(bench, port):
    """Whether something listens there; asked of the kernel, since a one-shot listener must not be woken."""
    asked = [*bench.network.inside("receiver"), "cat", "/proc/net/tcp", "/proc/net/tcp6"]
    rows = [row.split() for row in subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


class Running:
    """A command line under the meter."""

    def __init__(self, bench, folder, name, line):
        self.report, self.log = folder / f"{name}.report", folder / f"{name}.log"
        argv = ["sh", "-c", line] if isinstance(line, str) else [str(arg) for arg in line]
        argv = [*bench.network.inside(name), bench.meter, self.report, *argv]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

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


def nc(bench, source, target, folder, shrink="", expand=""):
    port, there = free_port(), bench.network.address
    if source.is_dir():
        taking = f"nc -l -N {there} {port} | {expand} tar xf - -C {shlex.quote(str(target))}"
        giving = f"tar cf - -C {shlex.quote(str(source.parent))} {source.name} | {shrink} nc -N {there} {port}"
    elif shrink:
        taking = f"nc -l -N {there} {port} | zstd -dqc > {shlex.quote(str(target / source.name))}"
        giving = f"zstd -1 -qc {shlex.quote(str(source))} | nc -N {there} {port}"
    else:
        taking = f"exec nc -l -N {there} {port} > {shlex.quote(str(target / source.name))}"
        giving = f"exec nc -N {there} {port} < {shlex.quote(str(source))}"
    return one_shot(bench, folder, taking, lambda: listens(bench, port), giving)


def sealed(bench, source, target, folder, by_file=False):
    """sealed.rs: what nc does, with the hash and the cipher of qrdrop in between."""
    port = free_port()
    verbs = ("unpack", "pack") if by_file and source.is_dir() else ("take", "give")
    take, give = (shlex.join([bench.sealed, verb, f"{bench.network.address}:{port}"]) for verb in verbs)
    if source.is_dir():
        there = shlex.quote(str(target))
        taking = f"exec {take} {there}" if by_file else f"{take} /dev/stdout | tar xf - -C {there}"
        giving = f"tar cf - -C {shlex.quote(str(source.parent))} {source.name} | {give} /dev/stdin"
    else:
        taking = f"exec {take} {shlex.quote(str(target / source.name))}"
        giving = f"exec {give} {shlex.quote(str(source))}"
    return one_shot(bench, folder, taking, lambda: listens(bench, port), giving)


def sealed_by_file(bench, source, target, folder):
    """The same for a tree, each file hashed by itself, and under a name that goes away until it is whole."""
    return sealed(bench, source, target, folder, by_file=True)


def zstd_nc(bench, source, target, folder):
    return nc(bench, source, target, folder, "zstd -1 -qc |", "zstd -dqc |")


def rsyncd(bench, source, target, folder, *options):
    port, there = free_port(), bench.network.address
    (folder / "rsyncd.conf").write_text(f"use chroot = no\n[target]\npath = {target}\nread only = no\nuid = {os.geteuid()}\ngid = {os.getegid()}\n")
    serving = ["rsync", "--daemon", "--no-detach", f"--config={folder}/rsyncd.conf", f"--port={port}", f"--address={there}", "--log-file=/dev/null"]
    return served(bench, folder, port, serving, ["rsync", "-a", "-W", *options, source, f"rsync://{there}:{port}/target/"])


def rsyncd_durable(bench, source, target, folder):
    return rsyncd(bench, source, target, folder, "--fsync")


def rsyncd_then_sync(bench, source, target, folder):
    """The least that makes what rsync has stored survive a power cut: all at once, and nobody is told of a file before."""
    result = rsyncd(bench, source, target, folder)
    start = time.monotonic()
    subprocess.run(["sync", "-f", target], check=True)
    return result._replace(end=result.end + time.monotonic() - start)


def scp(bench, source, target, folder):
    port, there = free_port(), bench.network.address
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "sshd.conf").write_text(
        f"ListenAddress {there}\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # sshd insists on it
    return served(bench, folder, port, [shutil.which("sshd"), "-D", "-e", "-f", folder / "sshd.conf"], [
        "scp", "-q", "-r", "-c", "aes128-gcm@openssh.com", "-i", folder / "user", "-P", port,
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        "-o", "IdentitiesOnly=yes", "-F", "none", source, f"{getpass.getuser()}@{there}:{target}/"])


def qrdrop(bench, source, target, folder):
    invite = folder / "invite"
    taking = [bench.qrdrop, "receive", target, "--once", "--yes", "--hidden", "--qr", "never", "--interface",
              bench.network.address, "--port", "0", "--invite-file", invite, "--state-dir", folder / "receiver-state", "--json"]
    giving = [bench.qrdrop, "send", source, "--to", f"@{invite}", "--state-dir", folder / "sender-state", "--json"]
    said = folder / "receiver.log"
    return one_shot(bench, folder, taking, lambda: b'"listening"' in said.read_bytes(), giving)


PAUSE = 0.1  # seconds between header and data, docs/protocol.md 10.2


def without_pause(result):
    return result._replace(end=result.end - PAUSE)


def pair(bench, source, target, folder):
    port = free_port()
    taking = [bench.pair, "take", port, target / source.name]
    giving = [bench.pair, "give", port, source, f"{source.name}<SEPARATOR>{source.stat().st_size}"]
    return without_pause(one_shot(bench, folder, taking, lambda: listens(bench, port), giving))


def pair_hashed(bench, source, target, folder):
    """The same, while something else hashes as many bytes that are in memory."""
    port = free_port()
    taking = [bench.pair, "take", port, target / source.name]
    hashing = shlex.join([bench.sealed, "hash", str(source)])
    giving = shlex.join([bench.pair, "give", str(port), str(source), f"{source.name}<SEPARATOR>{source.stat().st_size}"])
    giving = f"{{ sleep {PAUSE}; {hashing}; }} & {giving}; wait"
    return without_pause(one_shot(bench, folder, taking, lambda: listens(bench, port), giving))


def classic(bench, source, target, folder):
    port = free_port()
    taking = [bench.qrdrop, "receive", target, "--once", "--classic", "accept", "--hidden", "--qr", "never", "--interface",
              "127.0.0.1", "--port", port, "--state-dir", folder / "receiver-state", "--json"]
    giving = [bench.qrdrop, "send", source, "--classic", "--to", f"127.0.0.1:{port}", "--state-dir", folder / "sender-state",
              "--json"]
    said = folder / "receiver.log"
    return without_pause(one_shot(bench, folder, taking, lambda: b'"listening"' in said.read_bytes(), giving))


def served(bench, folder, port, serving, giving):
    """A server that stays, and the client that is timed."""
    server = Running(bench, folder, "receiver", serving)
    try:
        server.until(lambda: listens(bench, port))
        client = Running(bench, folder, "sender", giving).side()
    finally:
        server.stop()
    if client.code:
        raise Failed((folder / "sender.log").read_text()[-500:])
    return Result(client.start, client.end, client, server.side())


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
    return Result(sender.start, max(sender.end, receiving.end), sender, receiving)


# For each work its programs; the first is the reference.
TOOLS = {"nc": nc, "scp AES-GCM": scp, "rsyncd": rsyncd, "rsyncd --fsync": rsyncd_durable, "rsyncd, sync -f": rsyncd_then_sync,
         "zstd -1, nc": zstd_nc, "nc, sealed": sealed, "nc, sealed, by file": sealed_by_file, "qrdrop": qrdrop}
CLASSIC = {"sendfile -> splice": pair, "sendfile -> splice, hash": pair_hashed, "qrdrop --classic": classic}


def measured(bench, root, tool, work, sources):
    """One run of each source, all at once."""
    run = (CLASSIC if work == "classic" else TOOLS)[tool]
    results, failures = [], []

    def one(source, folder):
        target = folder / "target"
        target.mkdir(parents=True)
        try:
            results.append(run(bench, source, target, folder))
        except Failed as error:
            failures.append(error)
        else:
            if not same(source, target / source.name):
                failures.append(Failed("what arrived differs from what was sent"))

    with contextlib.ExitStack() as end:
        folder = tempfile.mkdtemp(dir=root)
        if not bench.keep:
            end.callback(shutil.rmtree, folder)
        threads = [threading.Thread(target=one, args=(source, pathlib.Path(folder) / source.name)) for source in sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return together(results)


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
    for program in ("qrdrop", "meter", "pair", "link", "sealed"):
        parser.add_argument(f"--{program}", required=True, type=os.path.abspath)
    parser.add_argument("--mib", type=int, default=2048, help="size of W1, W2 and W5")
    parser.add_argument("--files", type=int, default=10_000, help="files in W3")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--work", default="W1,W3,W4")
    parser.add_argument("--net", default="N1", choices=NETWORKS)
    parser.add_argument("--congestion", default="cubic", help="congestion control of everybody, if root runs this")
    parser.add_argument("--tools", default="nc/scp AES-GCM/nc, sealed/qrdrop/sendfile -> splice/sendfile -> splice, hash/qrdrop --classic",
                        help=f"the ones to run, the references always; there are {'/'.join({**TOOLS, **CLASSIC})}")
    parser.add_argument("--folder", default="/dev/shm", help="where everything is kept: memory or disk")
    parser.add_argument("--keep", action="store_true", help="remove nothing before the end: ext4 without a journal is slow to give out "
                                                            "again what was freed in the last minutes")
    bench = parser.parse_args()
    needed = {"scp AES-GCM": "sshd", "rsyncd": "rsync", "rsyncd --fsync": "rsync", "rsyncd, sync -f": "rsync", "zstd -1, nc": "zstd"}
    wanted = {tool for tool in bench.tools.split("/") if shutil.which(needed.get(tool, "nc"))}

    with tempfile.TemporaryDirectory(dir=bench.folder, prefix="qrdrop-bench-") as root, contextlib.ExitStack() as network:
        root = pathlib.Path(root)
        sources = make_sources(root / "sources", bench.mib, bench.files)
        warm(root, 2 * max(size(of) for of in sources.values()))
        bench.network = Network(bench)
        network.callback(bench.network.close)
        print("| work | program | median | x reference | CPU s/GiB, send + receive | peak MiB, send + receive |")
        print("| --- | --- | --- | --- | --- | --- |")
        failed = False
        for work in bench.work.split(","):
            reference, *others = CLASSIC if work == "classic" else TOOLS
            tools = [reference, *(tool for tool in others if tool in wanted)]
            results = {tool: [] for tool in tools}
            for run in range(bench.runs):
                try:
                    round_results = {tool: measured(bench, root, tool, work, sources[work]) for tool in tools}
                except Failed as error:
                    print(f"{work}, round {run}: {error}", file=sys.stderr)
                    failed = True
                    continue
                for tool, result in round_results.items():
                    results[tool].append(result)
            for tool in tools:
                if results[tool]:
                    print(row(work, tool, results[tool], results[reference], size(sources[work])), flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    where = f"{bench.net} with {bench.congestion if bench.network.allowed else 'the congestion control of this system'} in `{bench.folder}`"
    print(f"\n{bench.mib} MiB, {bench.files} files, {bench.runs} rounds on {where}, {os.cpu_count()} cores, load {load}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
