#!/usr/bin/env python3
"""kill -9 of the sender, the receiver or both at a random moment, up to three times, then the same command until all is there.

R01, R02. What is sent (one large file, 300 small ones, deep and empty folders, empty files, names that exist), what
happens to names that exist, and the way (native, fetched from an outbox, the tutorial's protocol, a pipe, standard
output) are drawn anew for each round. What must hold is looked at after each death; see common.py.
"""

import random
import time

from common import Tally, Violation, arguments, digest

MIB = 1 << 20
# What a sender may end with whose receiver died under it: all there, nobody found, incomplete, another key.
BEREAVED = (0, 4, 5, 6)


def draw_things(scene, rng, single):
    """Puts something to send into the scene; a single file where the way takes no more."""
    kind = "large" if single else rng.choice(["large", "many", "deep", "mixed", "mixed"])
    if kind in ("large", "mixed"):
        scene.make("large.bin", rng.randbytes(rng.randrange(2 * MIB, 24 * MIB)))
    if kind in ("many", "mixed"):
        for number in range(300):
            scene.make(f"tree/part {number % 7}/file-{number}.dat", b"%d " % number + rng.randbytes(rng.randrange(9_000)))
    if kind in ("deep", "mixed"):
        deep = "/".join(f"level-{level}" for level in range(20))
        scene.make(f"deep/{deep}/bottom.bin", b"bottom" + rng.randbytes(3 * MIB // 2))
        scene.make(f"deep/{deep}/empty", b"")
        (scene.source / "deep" / "hollow" / "inside").mkdir(parents=True)
        scene.make("empty.txt", b"")
    if rng.random() < 0.4:
        draw_taken(scene, rng)
    scene.ready()


def draw_taken(scene, rng):
    """Some of the names exist already; some of those hold the same."""
    scene.if_exists = rng.choice(["rename", "replace", "skip"])
    files = sorted(path.relative_to(scene.source) for path in scene.source.rglob("*") if path.is_file())
    for path in rng.sample(files, min(len(files), rng.choice([1, 5, 40]))):
        same = scene.if_exists == "skip" and rng.random() < 0.5
        scene.make(path, (scene.source / path).read_bytes() if same else b"was here: %s" % bytes(path), there=True)


def draw_limit(scene, rng):
    """A rate at which the transfer takes up to about a second; now and then none."""
    return [] if rng.random() < 0.2 else ["--limit", f"{max(1, round(scene.total() / MIB / rng.uniform(0.2, 1.2)))}MB"]


def moment(scene, rng, guest):
    """Waits for a random moment of what they do."""
    if rng.random() < 0.5:
        bytes_ = rng.randrange(scene.total() + 1)
        guest.wait_for(lambda event: event["event"] == "progress" and event["bytes"] >= bytes_, 20)
        time.sleep(rng.random() * 0.1)
    else:
        time.sleep(rng.random() * 0.9)


def strike(scene, rng, host, guest):
    """Kills one or both; returns who lives."""
    victims = rng.choice([(host,), (guest,), (host, guest), (guest, host)])
    moment(scene, rng, guest)
    for victim in victims:
        if victim.alive():
            victim.kill()
            scene.tally.add("deaths")
    scene.check()
    return not host.killed, not guest.killed


def until_whole(scene, rng, start_host, start_guest, ends, gave_up=BEREAVED):
    """The guest's command again and again, with deaths in between, until it has ended with 0. Returns the host, and
    whether it is the one that the guest has heard the end from."""
    host = start_host(0)
    port = host.port
    for _ in range(rng.randrange(1, 4)):
        guest = start_guest()
        host_lives, guest_lives = strike(scene, rng, host, guest)
        if not host_lives and guest.alive():
            host = start_host(port)
        if guest_lives:
            if (code := guest.code()) not in gave_up:
                raise Violation(f"{guest} ended with {code}: {guest.said()}")
            scene.check()
            if code == 0 and ends(guest):
                return host, host_lives
        if not host.alive():
            host = start_host(port)
    guest = start_guest()
    if code := guest.code():
        raise Violation(f"nobody died, yet {guest} ended with {code}: {guest.said()}")
    if not ends(guest):
        raise Violation(f"{guest} ended with 0, and not all is there")
    return host, True


def hosted(start):
    """A host on the port it had; the system may take a moment to free it."""
    def again(port):
        for _ in range(50):
            if host := start(port):
                return host
            time.sleep(0.1)
        raise Violation(f"no host can be started on port {port} any more")
    return again


def serves_on(scene, host):
    """Everything has arrived; the next one is served."""
    scene.check_whole()
    scene.check_next()
    scene.stop(host)


def native(scene, rng):
    draw_things(scene, rng, single=False)
    more = rng.choice([[], ["--compress", "always"]]) + draw_limit(scene, rng)
    host, _ = until_whole(scene, rng, hosted(scene.receiver), lambda: scene.sender(*more), lambda guest: True)
    serves_on(scene, host if host.alive() else scene.receiver(host.port))
    # Of a receiver that had nothing to wait for when it was killed, and came back with another key.
    scene.tally.add("tickets left", len(list((scene.here).glob("sent-*[0-9a-f]"))))


def fetched(scene, rng):
    draw_things(scene, rng, single=False)
    limit = draw_limit(scene, rng)
    outbox = hosted(lambda port: scene.hosting(["send", *scene.paths, *limit, "--state-dir", scene.here], port))

    def fetch():
        return scene.start([scene.qrdrop, "receive", scene.inbox, "--json", "--from", scene.link(), "--retry", "5s",
                            "--if-exists", scene.if_exists, "--state-dir", scene.there])

    host, knows = until_whole(scene, rng, outbox, fetch, lambda guest: True)
    scene.check_whole()
    if knows and (code := host.code()) != 0:
        raise Violation(f"an outbox whose taker has everything ended with {code}: {host.said()}")


def classic(scene, rng):
    draw_things(scene, rng, single=True)
    receiver = hosted(lambda port: scene.receiver(port, "--classic", "accept", takes="open"))
    port, limit = [], draw_limit(scene, rng)

    def start(wanted):
        host = receiver(wanted)
        port[:] = [host.port]
        return host

    def send():
        return scene.start([scene.qrdrop, "send", *scene.paths, "--json", "--classic", "--to", f"127.0.0.1:{port[0]}",
                            *limit, "--state-dir", scene.here])

    def arrived(_):
        # This sender is not told; the receiver says it when it is so.
        deadline = time.monotonic() + 10
        while "large.bin" not in {source for source in scene.told().values()} and time.monotonic() < deadline:
            time.sleep(0.02)
        return "large.bin" in scene.told().values()

    host, _ = until_whole(scene, rng, start, send, arrived)
    serves_on(scene, host if host.alive() else start(host.port))


def piped(scene, rng):
    draw_things(scene, rng, single=True)
    limit = draw_limit(scene, rng)

    def send():
        with open(scene.paths[0], "rb") as stdin:
            return scene.start([scene.qrdrop, "send", "-", "--name-as", "large.bin", "--json", "--to", scene.link(),
                                *limit, "--retry", "5s", "--state-dir", scene.here], stdin=stdin)

    host, _ = until_whole(scene, rng, hosted(scene.receiver), send, lambda guest: True)
    serves_on(scene, host if host.alive() else scene.receiver(host.port))


def to_stdout(scene, rng):
    draw_things(scene, rng, single=True)
    # What is told here as stored has gone out, and is under no name.
    scene.told = dict
    out = scene.work / "0.out"
    limit = draw_limit(scene, rng)
    outbox = hosted(lambda port: scene.hosting(["send", *scene.paths, *limit, "--state-dir", scene.here], port))

    def fetch():
        with open(out, "wb") as stdout:
            return scene.start([scene.qrdrop, "receive", scene.inbox, "--stdout", "--from", scene.link(), "--retry", "5s",
                                "--state-dir", scene.there], stdout=stdout)

    host, knows = until_whole(scene, rng, outbox, fetch, lambda guest: digest(out) == digest(scene.paths[0]))
    if knows and (code := host.code()) != 0:
        raise Violation(f"an outbox whose taker has everything ended with {code}: {host.said()}")
    scene.check()


WAYS = [native] * 5 + [fetched] * 3 + [classic, piped, to_stdout]


def main():
    args = arguments(__doc__, rounds=40)
    tally = Tally("kills", args)
    for number in range(args.rounds):
        rng = random.Random(f"{args.seed}/{number}")
        way = rng.choice(WAYS)

        def case(scene):
            way(scene, rng)
            for program in scene.programs:
                if program.alive():
                    program.kill()
            scene.check_left()

        tally.case(f"round {number}, {way.__name__}", case)
        tally.add(way.__name__)
    tally.finish()


if __name__ == "__main__":
    main()
