"""What the campaigns share: things to send, the two programs, and what must hold after every case.

What must hold carries the numbers of the threat model's oracle: I1 nothing outside the folder changes, I2 no final name
holds anything but one whole sent file, I3 what was told as stored is there and exact, I4 what was there is unchanged,
I5 the next good transfer succeeds, I6 no panic and no unexpected signal, I7 what was held is given back, I9 no secret in
any output, I10 only our own partial files are left.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

PARTIAL = ".qrdrop-partial"
NUMBERED = re.compile(r" \(\d+\)(?=(\.[^.]+)?$)")
AREA = re.compile(r"t-[0-9a-f]{32}")
PIECE = re.compile(r"lock|journal|[0-9a-f]{16}\.part")
PATIENCE_S = 120
# How long what was taken may take to be given back.
SOON_S = 20


class Violation(Exception):
    """Something that must never be."""


def arguments(about, rounds, **more):
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qrdrop", default="target/debug/qrdrop", help="the built binary")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seed", type=int, default=None, help="the same cases again; drawn and shown if it is not given")
    parser.add_argument("--work", default=more.pop("work", "/dev/shm"), help="where the folders are made")
    for name, settings in more.items():
        parser.add_argument(f"--{name}", **settings)
    args = parser.parse_args()
    args.qrdrop = str(pathlib.Path(args.qrdrop).resolve())
    args.seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    return args


class Tally:
    """Counts what happened; says it at the end."""

    def __init__(self, name, args):
        self.name, self.args, self.counts, self.violations = name, args, {}, 0
        self.began = time.monotonic()
        print(f"{name}: seed {args.seed}", flush=True)

    def add(self, what, many=1):
        self.counts[what] = self.counts.get(what, 0) + many

    def case(self, label, run):
        """Runs one case in a scene of its own, which stays if it went wrong."""
        scene = Scene(self, label)
        try:
            run(scene)
            scene.end()
            shutil.rmtree(scene.work)
        except Violation as violation:
            self.violations += 1
            print(f"VIOLATION {label}: {violation}\n  kept: {scene.work}", flush=True)
            scene.abandon()
            return False
        except KeyboardInterrupt:
            scene.abandon()
            shutil.rmtree(scene.work, ignore_errors=True)
            self.add("interrupted")
            self.finish()
        except BaseException:
            scene.abandon()
            raise
        self.add("cases")
        return True

    def finish(self):
        seconds = time.monotonic() - self.began
        counts = ", ".join(f"{many} {what}" for what, many in self.counts.items())
        print(f"{self.name}: {counts}; {self.violations} violations; {seconds:.0f} s", flush=True)
        sys.exit(1 if self.violations else 0)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder):
    """Every file below `folder` by its relative path, with what it holds; folders hold `None`."""
    found = {}
    for base, folders, files in os.walk(folder):
        if pathlib.Path(base) == pathlib.Path(folder) and PARTIAL in folders:
            folders.remove(PARTIAL)
        for name in folders + files:
            path = pathlib.Path(base, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise Violation(f"I2: `{path}` is neither a file nor a folder")
            found[str(path.relative_to(folder))] = digest(path) if path.is_file() else None
    return found


def offered(path):
    """The path that was offered, for one that was numbered because its name was taken."""
    return "/".join(NUMBERED.sub("", part) for part in path.split("/"))


class Program:
    """One that runs; its events as they come."""

    def __init__(self, command, log, stdin=None, stdout=None, parse=True):
        self.command, self.log, self.events, self.news = list(map(str, command)), log, [], threading.Condition()
        self.ended, self.killed, self.free = False, False, None
        env = {name: value for name, value in os.environ.items() if not name.startswith("QRDROP_")}
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(self.command, stdin=stdin or subprocess.DEVNULL, env=env,
                                            stdout=stdout or subprocess.PIPE, stderr=errors, start_new_session=True)
        self.reader = threading.Thread(target=self.read, daemon=True) if parse and not stdout else None
        if self.reader:
            self.reader.start()

    def read(self):
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut by a kill
            self.hear(event)
        with self.news:
            self.ended = True
            self.news.notify_all()

    def hear(self, event):
        with self.news:
            self.events.append(event)
            self.news.notify_all()

    def named(self, name):
        with self.news:
            return [event for event in self.events if event["event"] == name]

    def wait_for(self, fits, seconds=PATIENCE_S):
        """The first event that fits; `None` if it ends before."""
        with self.news:
            self.news.wait_for(lambda: self.ended or any(map(fits, self.events)), seconds)
            return next(filter(fits, self.events), None)

    def traced(self):
        """The program itself, where strace is what was started."""
        process = self.process.pid
        with open(f"/proc/{process}/task/{process}/children") as children:
            return next(map(int, children.read().split()), process)

    def release(self):
        """Lets it run on without strace and its faults. How it ends is then not known any more."""
        self.free = self.traced()
        self.process.kill()
        self.process.wait()

    def interrupt(self):
        """Ctrl-C; strace itself would take none."""
        os.kill(self.free or self.traced(), signal.SIGINT)

    def __str__(self):
        return f"`{pathlib.Path(self.log).name}` {' '.join(word for word in self.command if '#' not in word)[:400]}"

    def alive(self):
        return not self.ended if self.free else self.process.poll() is None

    def kill(self):
        """As the system does when memory is short: the program, and whoever traces it."""
        self.killed = True
        if not self.alive():
            # Its number may be another's by now.
            return self.join()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.join()

    def code(self, seconds=PATIENCE_S):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Violation(f"I5: it hangs: {self}") from None
        self.join(seconds)
        if self.alive():
            raise Violation(f"I5: it hangs: {self}")
        return None if self.free else code

    def join(self, seconds=PATIENCE_S):
        if self.reader:
            self.reader.join(seconds)

    def said(self):
        with open(self.log, errors="replace") as log:
            return log.read()


class Watch:
    """What a receiver holds."""

    def __init__(self, host):
        self.of = f"/proc/{host.traced()}"

    def status(self, field):
        with open(f"{self.of}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:"))

    def peak_mib(self):
        return self.status("VmHWM") / 1024

    def descriptors(self):
        return len(os.listdir(f"{self.of}/fd"))

    def held(self):
        return {"threads": self.status("Threads"), "descriptors": self.descriptors()}

    def cpu_s(self):
        with open(f"{self.of}/stat") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def comes_back_to(self, before):
        """Waits until no more is held than before, but for what a runtime keeps for later."""
        deadline = time.monotonic() + SOON_S
        while any(many > before[what] + 4 for what, many in self.held().items()):
            if time.monotonic() > deadline:
                raise Violation(f"I7: held before: {before}, and {SOON_S} s after: {self.held()}")
            time.sleep(0.1)

    def is_idle(self):
        began = self.cpu_s()
        time.sleep(2)
        if (used := self.cpu_s() - began) > 0.2:
            raise Violation(f"I7: {used:.1f} s of processor in 2 s in which nothing happens")


class Scene:
    """A source, a receive folder, a state folder for each side, and what must stay as it is."""

    def __init__(self, tally, label):
        self.tally, self.label, self.qrdrop = tally, label, tally.args.qrdrop
        self.work = pathlib.Path(tempfile.mkdtemp(dir=tally.args.work, prefix="qrdrop-campaign-"))
        self.source, self.inbox, self.canary = self.work / "source", self.work / "inbox", self.work / "canary"
        self.here, self.there = self.work / "here", self.work / "there"
        for folder in (self.source, self.inbox, self.canary):
            folder.mkdir()
        (self.canary / "bystander").write_text("as it was")
        self.ours = {"source", "inbox", "canary", "here", "there", "other", "invite"}
        self.paths, self.sources, self.before = [], {}, {}
        self.if_exists, self.programs, self.number, self.promised = "rename", [], 0, {}

    # things

    def make(self, path, content, there=False):
        """A file to send, or one that is there already."""
        path = (self.inbox if there else self.source) / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def ready(self):
        """Everything that is to be sent is there."""
        self.paths = sorted(self.source.iterdir())
        self.sources, self.before = listing(self.source), listing(self.inbox)

    def total(self):
        """Bytes to send."""
        return sum((self.source / path).stat().st_size for path, content in self.sources.items() if content)

    # programs

    def start(self, command, **how):
        self.number += 1
        program = Program(command, self.work / f"{self.number}.log", **how)
        self.programs.append(program)
        return program

    def hosting(self, command, port=0, wrap=(), **how):
        """Starts a host; `None` if it ended before it listened."""
        invite = self.work / "invite"
        invite.unlink(missing_ok=True)
        host = self.start([*wrap, self.qrdrop, *command, "--interface", "lo", "--json", "--hidden", "--port", port,
                           "--invite-file", invite], **how)
        event = host.wait_for(lambda event: event["event"] == "listening")
        host.port = event and event["port"]
        return host if event else None

    def receiver(self, port=0, *more, takes="private", **how):
        return self.hosting(["receive", self.inbox, f"--yes={takes}", "--if-exists", self.if_exists, "--state-dir",
                             self.there, *more], port, **how)

    def link(self):
        links = (self.work / "invite").read_text().split()
        return next(link for link in links if link.startswith("qrdrop:"))

    def sender(self, *more, retry="5s"):
        return self.start([self.qrdrop, "send", *self.paths, "--json", "--to", self.link(), "--state-dir", self.here,
                           "--retry", retry, *more])

    # what must hold

    def check(self):
        """What must hold at any moment, whoever has just died."""
        if listing(self.canary) != {"bystander": hashlib.sha256(b"as it was").hexdigest()}:
            raise Violation("I1: something outside the folder changed")
        strangers = {path.name for path in self.work.iterdir()} - self.ours
        # What an invitation is written to before it has its name stays after a kill.
        if strangers := {name for name in strangers if not re.fullmatch(r"\d+\.(log|out)|\.qrdrop-[0-9a-f]{16}", name)}:
            raise Violation(f"I1: {strangers} came to be outside the folder")
        # First what was told: more may come to be meanwhile.
        told, there = self.told(), listing(self.inbox)
        for path, content in there.items():
            if content is None:
                continue
            if path in self.before:
                if content == self.before[path]:
                    continue
                if self.if_exists != "replace":
                    raise Violation(f"I4: `{path}` was there, and changed")
            if self.sources.get(offered(path)) != content:
                size = (self.inbox / path).stat().st_size
                raise Violation(f"I2: `{path}` ({size} bytes) is not what was sent under that name")
        for path in self.before:
            if path not in there:
                raise Violation(f"I4: `{path}` was there, and is gone")
        for name, source in told.items():
            if there.get(name) != self.sources[source]:
                raise Violation(f"I3: `{name}` was told as stored")
        self.check_partials()
        return there

    def told(self):
        """What either side was told as stored, by final name."""
        for program in self.programs:
            for event in program.named("stored"):
                self.promised[event["name"]] = event["offered"] if event["offered"] in self.sources else event["name"]
        return {name: source for name, source in self.promised.items() if source in self.sources}

    def check_partials(self):
        """Returns how many transfers wait to go on."""
        if not (self.inbox / PARTIAL).exists():
            return 0
        areas = list((self.inbox / PARTIAL).iterdir())
        for area in areas:
            if not AREA.fullmatch(area.name):
                raise Violation(f"I10: `{PARTIAL}/{area.name}` is not ours")
            if strange := [piece.name for piece in area.iterdir() if not PIECE.fullmatch(piece.name)]:
                raise Violation(f"I10: {strange} in `{PARTIAL}/{area.name}`")
        return len(areas)

    def check_whole(self):
        """Everything has arrived, and nothing is left over."""
        there, copies = self.check(), {}
        for path, content in there.items():
            copies.setdefault((offered(path), content), []).append(path)
        for path, content in self.sources.items():
            arrived = copies.get((path, content), [])
            if not arrived:
                raise Violation(f"I3: `{path}` has not arrived, though the sender ended with 0")
            if content is not None and len([name for name in arrived if name not in self.before]) > 1:
                self.tally.add("files twice")

    def check_left(self):
        """Every program has ended: what waits in the partial folder is a transfer that could go on."""
        waiting = self.check_partials()
        for area in (self.inbox / PARTIAL).iterdir() if waiting else ():
            if not (area / "journal").exists():
                raise Violation(f"I10: `{PARTIAL}/{area.name}` is left over, and nothing can go on with it")
        self.tally.add("transfers left waiting", waiting)

    def check_next(self):
        """Another sender is served by the host that is there (I5); says in how many seconds."""
        self.here.mkdir(mode=0o700, exist_ok=True)
        hello = self.here / f"hello-{self.number}"
        hello.write_text(f"hello {self.number}")
        began = time.monotonic()
        other = self.start([self.qrdrop, "send", hello, "-q", "--to", self.link(), "--state-dir", self.work / "other"])
        code, seconds = other.code(), time.monotonic() - began
        arrived = self.inbox / hello.name
        if code or not arrived.exists() or digest(arrived) != digest(hello):
            raise Violation(f"I5: the next sender ended with {code}: {other.said()}")
        arrived.unlink()
        hello.unlink()
        return seconds

    def stop(self, host):
        """Ctrl-C of a host that has nothing to do."""
        host.interrupt()
        if (code := host.code()) not in (0, 5, None):
            raise Violation(f"a host that had nothing to do ended with {code}: {host.said()}")

    def end(self):
        for program in self.programs:
            if program.alive():
                program.kill()
            said = program.said()
            if "panicked" in said:
                raise Violation(f"I6: {program.log}: {said[:600]}")
            if program.process.returncode < 0 and not (program.killed or program.free):
                raise Violation(f"I6: {program} ended by signal {-program.process.returncode}")
            secrets = re.findall(r"#1[\w-]{43}", said) + [
                event for event in program.events if re.search(r"#1[\w-]{43}", json.dumps(event))]
            if secrets:
                raise Violation(f"I9: {program.log} shows a link")

    def abandon(self):
        for program in self.programs:
            if program.alive():
                program.kill()
