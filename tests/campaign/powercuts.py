#!/usr/bin/env python3
"""The power of the receiver's disk fails: at the moment of `stored`, and at random; then it is mounted again.

R04, R05. As root. The folder and the state folder are on an ext4 whose disk writes down what reaches it (disk.py). One
transfer in three goes on undisturbed; in one both sides are killed at random; in one the receiver is killed at one of
its syncs, started again, and found by the sender. From each several disks are made as a power cut would have left them:
right when somebody was told `stored`, and at random places; writes since the last flush are kept, or lost, or some of
each. On each: every file told by then is there and exact, no final name holds anything but a whole file, and a new
receiver takes the rest. `--rounds` counts the power cuts.
"""

import os
import random
import shutil
import sys

from common import Tally, Violation, arguments, listing, offered
from disk import Disk, Mounted, command
from kills import draw_things, hosted
from syscalls import ends, traced

CUTS_OF_ONE = 8


def hearing(program, disk, told):
    """Notes where the log was when it told that something is stored; what it told before counts as told now."""
    before, hear = list(program.events), program.hear

    def note(event):
        if event["event"] == "stored":
            told.append((disk.now(), event["name"], event["offered"]))
        hear(event)

    program.hear = note
    for event in before:
        if event["event"] == "stored":
            told.append((disk.now(), event["name"], event["offered"]))


def transfer(scene, rng, disk):
    """One way to come to a disk with something on it; returns what was told as stored and when, and what of it by a
    receiver that came back."""
    told, again, way = [], [], rng.choice(["undisturbed", "killed", "killed at a sync"])
    scene.tally.add(way)
    wrap = ()
    if way == "killed at a sync":
        scene.number += 1
        trace = scene.work / f"{scene.number}.out"
        wrap = traced(trace, "-e", f"inject=fsync,syncfs:signal=KILL:when={rng.randrange(1, 9)}")
    host = scene.receiver(wrap=wrap)
    if not host:
        scene.programs[-1].killed = True
        host = scene.receiver()
    hearing(host, disk, told)
    sender = scene.sender(retry="20s")
    hearing(sender, disk, told)
    if way == "killed":
        bytes_ = rng.randrange(scene.total() + 1)
        sender.wait_for(lambda event: event["event"] == "progress" and event["bytes"] >= bytes_)
        for victim in rng.sample([host, sender], 2):
            victim.kill()
        return told, again
    if way == "killed at a sync" and ends(host, sender):
        host = hosted(scene.receiver)(host.port)
        hearing(host, disk, again)
    if sender.code() == 0:
        # The journal of the file system is written when it pleases: not for the sake of what comes next.
        scene.check_whole()
    host.kill()
    sender.join()
    return told + again, again


def must_hold(inbox, scene, told, at):
    """What is there after the cut; `told` are the promises."""
    there = listing(inbox) if inbox.exists() else {}
    for path, content in there.items():
        if content is not None and scene.sources.get(offered(path)) != content and scene.before.get(path) != content:
            raise Violation(f"I2: after a cut `{path}` ({(inbox / path).stat().st_size} bytes) is not what was sent")
    promised = {name: source for mark, name, source in told if mark <= at}
    for name, source in promised.items():
        if there.get(name) != scene.sources[source]:
            raise Violation(f"I3: `{name}` was told as stored before the cut, and is not there")
    for path, content in scene.before.items():
        if there.get(path, "gone") != content and scene.if_exists != "replace":
            raise Violation(f"I4: `{path}` was there before, and is not as it was")
        if path not in there:
            raise Violation(f"I4: `{path}` was there before, and is gone")
    return promised


def take_the_rest(scene, mounted, before):
    """A new receiver on what is left, and the sender as it was: everything arrives."""
    was = scene.inbox, scene.here, scene.there, scene.programs
    scene.inbox, scene.there, scene.programs, scene.promised = mounted / "inbox", mounted / "there", [], {}
    scene.here = scene.work / "after-here"
    shutil.rmtree(scene.here, ignore_errors=True)
    if before.exists():
        shutil.copytree(before, scene.here)
    try:
        host = scene.receiver()
        if not host:
            raise Violation(f"no receiver starts after a cut: {scene.programs[-1].said()}")
        sender = scene.sender()
        if code := sender.code():
            raise Violation(f"after a cut the sender ended with {code}: {sender.said()}")
        scene.check_whole()
        if sender.named("retry"):
            scene.tally.add("gone on")
        scene.stop(host)
    finally:
        for program in scene.programs:
            if program.alive():
                program.kill()
        scene.inbox, scene.here, scene.there, programs = was
        scene.programs = programs + scene.programs


def one(scene, rng, cuts):
    disk = Disk(scene.work, 160)
    scene.ours |= {"base.img", "cut.img", "disk", "log", "mounted", "after", "after-here"}
    try:
        draw_things(scene, rng, single=False)
        # What was there before is there for good.
        shutil.move(scene.inbox, disk.folder / "inbox")
        scene.inbox = disk.folder / "inbox"
        scene.there = disk.folder / "there"
        command("sync", "-f", disk.folder)
        began = disk.now()
        told, again = transfer(scene, rng, disk)
        end = disk.now()
        marks, first = [mark for mark, _, _ in told], [mark for mark, _, _ in again[:1]]
        for number in range(cuts):
            image, at = scene.work / "cut.img", rng.randrange(began, end + 1)
            if marks and number % 5 < 2:
                at = rng.choice(first if first and number % 5 else marks)
                scene.tally.add("cuts at `stored`")
            else:
                scene.tally.add("cuts at random")
            scene.tally.add("writes lost", disk.cut(rng, at, image))
            with Mounted(image, scene.work / "after") as mounted:
                scene.tally.add("files told", len(must_hold(mounted / "inbox", scene, told, at)))
                if rng.random() < 0.4:
                    take_the_rest(scene, mounted, scene.here)
                    scene.tally.add("taken up")
    finally:
        for program in scene.programs:
            if program.alive():
                program.kill()
        disk.close()
        scene.inbox = scene.work / "inbox"


def main():
    args = arguments(__doc__, rounds=40)
    if os.geteuid():
        sys.exit("powercuts: this mounts file systems, and needs root")
    tally = Tally("powercuts", args)
    for number in range(-(-args.rounds // CUTS_OF_ONE)):
        rng = random.Random(f"{args.seed}/{number}")
        cuts = min(CUTS_OF_ONE, args.rounds - number * CUTS_OF_ONE)
        tally.case(f"transfer {number}", lambda scene: one(scene, rng, cuts))
    tally.finish()


if __name__ == "__main__":
    main()
