#!/usr/bin/env python3
"""The receiver's system calls that change something on the disk, one after the other: killed at its entry, or failed.

R03, R09. An undisturbed transfer under strace says which calls there are and how many. Then, for each call and each K up
to the most that one thread makes of it (strace counts by thread): kill -9 at the K-th, once in a fresh transfer and once
more in the one that goes on with it; and EIO and ENOSPC from the K-th. `--rounds` of all those points are drawn, 0 for
all of them. After a failed call the same process has to serve the next sender.
"""

import collections
import random
import re
import time

from common import PATIENCE_S, Tally, Violation, arguments
from kills import BEREAVED, serves_on

# Whatever can change a folder or what is in it.
CALLS = ("open openat openat2 creat write writev pwrite64 pwritev pwritev2 splice sendfile copy_file_range fallocate "
         "ftruncate fsync fdatasync syncfs sync_file_range rename renameat renameat2 link linkat symlinkat unlink unlinkat "
         "rmdir mkdir mkdirat fchmod fchmodat utimensat flock").split()
# Also sockets, standard output, and what wakes a thread: what fails there is not the disk.
NOT_OF_THE_DISK = {"write", "writev", "splice", "sendfile"}
ERRORS = ("EIO", "ENOSPC")
BEGUN = re.compile(r"^(\d+) +(\w+)\((.*)")


def make_things(scene):
    rng = random.Random(6)
    scene.make("large.bin", rng.randbytes((2 << 20) + 77))
    for number in range(5):
        scene.make(f"tree/below/file-{number}", b"%d " % number + rng.randbytes(3_000))
    scene.make("tree/empty", b"")
    (scene.source / "tree" / "hollow").mkdir()
    scene.make("tree/empty", b"another", there=True)
    scene.ready()


def traced(trace, *injections):
    return ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={','.join(CALLS)}", *injections]


def count(trace):
    """How often which call is made by the thread that makes most of them; calls that only ever open for reading aside."""
    by_thread, writing = collections.Counter(), set()
    with open(trace) as lines:
        for begun in filter(None, map(BEGUN.match, lines)):
            thread, call, given = begun.groups()
            by_thread[call, thread] += 1
            if not (call.startswith("open") and re.search("O_RDONLY|O_PATH", given)):
                writing.add(call)
    most = collections.Counter()
    for (call, _), many in by_thread.items():
        if call in writing:
            most[call] = max(most[call], many)
    return most


def undisturbed(tally):
    """The calls of a transfer, from the start of the receiver until it leaves."""
    counted = []

    def case(scene):
        make_things(scene)
        host = scene.receiver(wrap=traced(scene.work / "0.out"))
        sender = scene.sender()
        if code := sender.code():
            raise Violation(f"an undisturbed transfer ended with {code}: {sender.said()}")
        scene.check_whole()
        scene.stop(host)
        counted.append(count(scene.work / "0.out"))

    if not tally.case("undisturbed", case):
        tally.finish()
    return counted[0]


def ends(host, sender):
    """Waits until the traced host is dead or the sender has ended; whether the host is dead."""
    deadline = time.monotonic() + PATIENCE_S
    while host.alive() and sender.alive():
        if time.monotonic() > deadline:
            raise Violation(f"I5: neither ends: {sender}")
        time.sleep(0.01)
    time.sleep(0.05)
    host.killed |= not host.alive()
    return host.killed


def inject(scene, port, call, what):
    """A receiver with this fault; `None` if it had it before it listened."""
    scene.number += 1
    trace = scene.work / f"{scene.number}.out"
    host = scene.receiver(port, wrap=traced(trace, "-e", f"inject={call}:{what}"))
    if not host:
        scene.programs[-1].code()
    return host


def killed(scene, call, k):
    """Dies at the K-th, comes back, dies at the K-th of what is left, comes back."""
    make_things(scene)
    port, sender = 0, None
    for attempt in ("fresh", "resumed"):
        host = inject(scene, port, call, f"signal=KILL:when={k}")
        if not host:
            scene.programs[-1].killed = True
            scene.tally.add("deaths at the start")
            scene.check()
            continue
        port = host.port
        if not sender or not sender.alive():
            sender = scene.sender(retry="20s")
        if not ends(host, sender):
            # It has everything: the call is made when it leaves, or not any more.
            scene.check()
            host.kill()
            break
        scene.tally.add(f"deaths, {attempt}")
        scene.check()
    goes_on(scene, port, sender)


def goes_on(scene, port, sender):
    """With an undisturbed receiver, until all is there."""
    host = scene.receiver(port)
    code = None
    if sender and (code := sender.code()) not in BEREAVED:
        raise Violation(f"{sender} ended with {code}: {sender.said()}")
    if code != 0:
        sender = scene.sender()
        if code := sender.code():
            raise Violation(f"nobody died, yet {sender} ended with {code}: {sender.said()}")
    serves_on(scene, host)


def failed(scene, call, error, k):
    """A call fails once in each thread that makes so many of them: told, nothing half stored, and it works again."""
    make_things(scene)
    host = inject(scene, 0, call, f"error={error}:when={k}")
    if not host:
        if not scene.programs[-1].process.returncode or not scene.programs[-1].said().strip():
            raise Violation("a receiver that does not start says nothing")
        scene.tally.add("failures at the start")
        scene.check()
        return goes_on(scene, 0, None)
    sender = scene.sender()
    code = sender.code()
    if not host.alive():
        raise Violation(f"I6: the receiver ended: {host.said()}")
    if code == 0:
        scene.check_whole()
        scene.tally.add("failures that changed nothing")
    else:
        if not sender.named("failed"):
            raise Violation(f"the sender ended with {code} and did not say why")
        scene.check()
        scene.tally.add("failures told")
    # Every thread would fail once, and each sender has some of its own.
    host.release()
    scene.check_next()
    scene.stop(host)
    if code:
        goes_on(scene, host.port, None)


def main():
    args = arguments(__doc__, rounds=60)
    tally, rng = Tally("syscalls", args), random.Random(args.seed)
    most = undisturbed(tally)
    print("calls, by the thread that makes most of them:", ", ".join(f"{call} {k}" for call, k in sorted(most.items())), flush=True)
    points = [("KILL", call, k) for call, many in sorted(most.items()) for k in range(1, many + 1)]
    points += [(error, call, k) for error in ERRORS for call, many in sorted(most.items())
               if call not in NOT_OF_THE_DISK for k in range(1, many + 1)]
    tally.add("points in all", len(points))
    for what, call, k in rng.sample(points, args.rounds or len(points)):
        run = killed if what == "KILL" else lambda scene, call, k: failed(scene, call, what, k)
        tally.case(f"{call} {k}, {what}", lambda scene: run(scene, call, k))
    tally.finish()


if __name__ == "__main__":
    main()
