#!/usr/bin/env python3
"""Instructions that the inner loops take, counted by callgrind: the same on a busy machine as on an idle one.

    cargo bench --bench micro --no-run        # says where the program is
    python3 tests/bench/micro.py PROGRAM [--times 20] [--keep] [WORK ...]

Each work is done so many times and twice so many; the difference, divided, is what one takes, without start and set-up. It is
held against `micro.json` beside this script, which `--keep` writes anew: a ratio above 1 is more work than there was then. Both
compiler and processor count: on another machine or after another release of Rust, measure the commit before, too.
"""
import argparse
import json
import pathlib
import re
import subprocess
import tempfile

KEPT = pathlib.Path(__file__).with_suffix(".json")


def instructions(program, work, times):
    with tempfile.TemporaryDirectory() as folder:
        line = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", program, work, str(times)]
        said = subprocess.run(line, check=True, capture_output=True, text=True).stderr
    return int(re.search(r"Collected : (\d+)", said)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("work", nargs="*")
    chosen = parser.parse_args()
    works = subprocess.run([chosen.program], check=True, capture_output=True, text=True).stdout.splitlines()
    before = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    print("| work | instructions | x before |\n| --- | --- | --- |")
    counted = {}
    for work in [work for work in works if not chosen.work or any(part in work for part in chosen.work)]:
        few, many = (instructions(chosen.program, work, times) for times in (chosen.times, 2 * chosen.times))
        counted[work] = round((many - few) / chosen.times)
        ratio = f"{counted[work] / before[work]:.3f}" if work in before else ""
        print(f"| {work} | {counted[work]:,} | {ratio} |", flush=True)
    if chosen.keep:
        KEPT.write_text(json.dumps(before | counted, indent=2) + "\n")


if __name__ == "__main__":
    main()
