#!/usr/bin/env python3
"""How time and memory grow: with the size of a file, the number of files, of senders, and of lanes; one picture (SVG) for each.

    tests/bench/curves.py --qrdrop target/release/qrdrop --meter target/release/qrdrop-bench-meter \\
        --link target/release/qrdrop-bench-link [--curves size,files,senders,lanes] [--most 1000000] [--out docs/pictures]

Everything goes over loopback into `/dev/shm`, but lanes, for which sender and receiver are on N3 of bench.py (as root). Files can't be
compressed; the largest sizes are holes but for a few MiB. Figures are medians of `--runs`. The pictures are drawn from
`growth.json` beside them, which `--draw` does alone.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import tempfile

from bench import Failed, Network, Running, same
from memory import warm

MIB = 1 << 20


def receiver(bench, folder, target, *more):
    invite = folder / "invite"
    line = [bench.qrdrop, "receive", target, "--yes", "--hidden", "--qr", "never", "--interface", bench.network.address, "--port", "0",
            "--invite-file", invite, "--state-dir", folder / "receiver-state", "--json", *more]
    running = Running(bench, folder, "receiver", line)
    running.until(lambda: b'"listening"' in running.log.read_bytes())
    return running, ["--to", f"@{invite}", "--json"]


def transfer(bench, source, *how):
    """Seconds, and the peak of either side in MiB."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        folder = pathlib.Path(folder)
        (folder / "target").mkdir()
        taking, to = receiver(bench, folder, folder / "target", "--once")
        try:
            giving = Running(bench, folder, "sender", [bench.qrdrop, "send", source, *to, "--state-dir", folder / "s", *how]).side(1200)
            taken = taking.side(60)
        finally:
            taking.stop()
        if giving.code or taken.code or (source.stat().st_size < 1 << 33 and not same(source, folder / "target" / source.name)):
            raise Failed((folder / "sender.log").read_text()[-500:])
        return max(giving.end, taken.end) - giving.start, giving.peak_kib / 1024, taken.peak_kib / 1024


def at_once(bench, sources):
    """Seconds for one sender for each source, the largest peak of a sender, and the receiver's, in MiB."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        folder = pathlib.Path(folder)
        (folder / "target").mkdir()
        taking, to = receiver(bench, folder, folder / "target")
        try:
            senders = []
            for number, source in enumerate(sources):
                own = folder / f"{number}"
                own.mkdir()
                senders.append(Running(bench, own, "sender", [bench.qrdrop, "send", source, *to, "--state-dir", own / "s"]))
            ended = [sender.side(600) for sender in senders]
            if any(side.code for side in ended) or not all(same(source, folder / "target" / source.name) for source in sources):
                raise Failed("a sender failed")
        finally:
            taking.stop()
        seconds = max(side.end for side in ended) - min(side.start for side in ended)
        return seconds, max(side.peak_kib for side in ended) / 1024, taking.side().peak_kib / 1024


def noise(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        for start in range(0, min(size, 4 << 30), MIB):
            out.write(os.urandom(min(MIB, size - start)))
        out.truncate(size)
    return path


def median(bench, run):
    rounds = [run() for _ in range(bench.runs)]
    return [statistics.median(values) for values in zip(*rounds)]


def steps(least, most, factor):
    while least <= most:
        yield least
        least *= factor


def measure_size(bench, root):
    for mib in [*steps(1, 4096, 4), 16 << 10, 100 << 10]:
        source = noise(root / "file.bin", mib * MIB)
        warm(root, min(mib * MIB, 4 << 30))
        yield mib, median(bench, lambda: transfer(bench, source))
        source.unlink()


def measure_files(bench, root):
    for count in steps(10, bench.most, 10):
        tree = root / f"tree-{count}"
        for number in range(count):
            leaf = tree / f"{number // 1000:04}" / f"{number % 1000:03}"
            leaf.parent.mkdir(parents=True, exist_ok=True)
            leaf.write_bytes(number.to_bytes(4, "big") * 256)
        warm(root, count * 8 << 10)  # a page of content, and what names and inodes take
        yield count, (median(bench, lambda: transfer(bench, tree)) if count <= 10_000 else list(transfer(bench, tree)))
        subprocess.run(["rm", "-rf", tree], check=True)


def measure_senders(bench, root):
    for count in [1, 5, 20, 50, 100, 200, 500]:
        sources = [noise(root / "sources" / f"{number:03}.bin", MIB) for number in range(count)]
        yield count, median(bench, lambda: at_once(bench, sources))


def measure_lanes(bench, root):
    bench.net = "N3"
    far = Network(bench)
    near, bench.network = bench.network, far
    try:
        source = noise(root / "lanes.bin", 32 * MIB)
        for lanes in [1, 2, 4, 8, 16]:
            yield lanes, median(bench, lambda: transfer(bench, source, "--lanes", lanes))
    finally:
        far.close()
        bench.network = near


# For each curve: what it is over, what a unit of it moves, and how fast that is called.
CURVES = {
    "size": (measure_size, "size of the file, MiB", lambda x, seconds: x * MIB / 1e6 / seconds, "MB/s"),
    "files": (measure_files, "files of 1 KiB", lambda x, seconds: x / seconds, "files a second"),
    "senders": (measure_senders, "senders at once, 1 MiB each", lambda x, seconds: x / seconds, "senders a second"),
    "lanes": (measure_lanes, "lanes at most, 32 MiB over 100 Mbit/s with 0.5 % loss", lambda x, seconds: 32 * MIB / 1e6 / seconds, "MB/s"),
}

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 300, 64, 44, 34, 64
SPEED, SENDER, RECEIVER = "#2563eb", "#d97706", "#059669"


def axis(values):
    """A round number above all of them, and where to draw lines."""
    top = max(values) * 1.05
    step = 10 ** math.floor(math.log10(top))
    step = next(step * part for part in (0.2, 0.5, 1, 2, 5) if top / (step * part) <= 6)
    ticks = [step * n for n in range(math.ceil(top / step) + 1)]
    return ticks[-1], ticks


def short(value):
    if value >= 1000:
        return f"{value / 1000:g}k" if value < 1e6 else f"{value / 1e6:g}M"
    return f"{value:g}"


def picture(name, points):
    _, over, rate, unit = CURVES[name]
    xs = [math.log(x) for x, _ in points]
    across = lambda x: LEFT + (math.log(x) - xs[0]) / (xs[-1] - xs[0]) * (WIDTH - LEFT - RIGHT)
    speeds, memory = [rate(x, seconds) for x, (seconds, _, _) in points], [peak for _, (_, *peaks) in points for peak in peaks]
    (most_speed, speed_ticks), (most_memory, memory_ticks) = axis(speeds), axis(memory)
    up = lambda value, most: HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - TOP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="11">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']

    def text(x, y, words, colour="#444444", anchor="middle"):
        out.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{words}</text>')

    for tick in speed_ticks:
        y = up(tick, most_speed)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        text(LEFT - 6, y + 4, short(tick), SPEED, "end")
    for tick in memory_ticks:
        text(WIDTH - RIGHT + 6, up(tick, most_memory) + 4, short(tick), "#444444", "start")
    for x, _ in points:
        text(across(x), HEIGHT - BOTTOM + 16, short(x))
    text(WIDTH / 2, HEIGHT - 8, over)
    text(LEFT - 40, 18, unit, SPEED, "start")
    text(WIDTH - 12, 18, f'peak MiB: <tspan fill="{SENDER}">sender</tspan>, <tspan fill="{RECEIVER}">receiver</tspan>', anchor="end")
    lines = [(SPEED, speeds, most_speed, "")]
    lines += [(colour, [peaks[side] for _, (_, *peaks) in points], most_memory, ' stroke-dasharray="5 3"')
              for side, colour in enumerate((SENDER, RECEIVER))]
    for colour, values, most, dashes in lines:
        places = [(across(x), up(value, most)) for (x, _), value in zip(points, values)]
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dashes} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for program in ("qrdrop", "meter", "link"):
        parser.add_argument(f"--{program}", type=os.path.abspath)
    parser.add_argument("--curves", default=",".join(CURVES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--most", type=int, default=1_000_000, help="files")
    parser.add_argument("--congestion", default="cubic")
    parser.add_argument("--folder", default="/dev/shm")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/pictures"))
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    bench = parser.parse_args()
    bench.net = "N1"
    bench.network = Network(bench)
    figures = bench.out / "growth.json"
    measured = json.loads(figures.read_text()) if figures.exists() else {}
    for name in [] if bench.draw else bench.curves.split(","):
        with tempfile.TemporaryDirectory(dir=bench.folder, prefix="qrdrop-bench-") as root:
            points = []
            for x, (seconds, sender, taker) in CURVES[name][0](bench, pathlib.Path(root)):
                points.append([x, [round(seconds, 4), round(sender, 1), round(taker, 1)]])
                rate, unit = CURVES[name][2](x, seconds), CURVES[name][3]
                print(f"{name} {x}: {seconds:.3f} s, {rate:.0f} {unit}, peak {sender:.1f} + {taker:.1f} MiB", flush=True)
            measured[name] = points
    figures.write_text(json.dumps(measured, indent=None).replace("]], ", "]],\n") + "\n")
    for name, points in measured.items():
        (bench.out / f"growth-{name}.svg").write_text(picture(name, points))


main()
