#!/usr/bin/env python3
"""Compares marwatch with model-archiver, zip, bsdtar and cp, and prints a report in Markdown.

    benches/compare.py --quick            the folders M, F and Q, in a few minutes
    benches/compare.py                    all five folders: an hour, as the other tools take long for a gigabyte
    benches/compare.py --restart          1,000 unchanged models
    benches/compare.py --quick --xfs      M, F and Q on a loop-mounted xfs, as root

Needs Python 3.9, cargo and Linux. Other missing tools are reported and skipped, or installed with
`--install`. `docs/performance.md` explains the cases.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from comparing import tools  # noqa: E402
from comparing.cases import NO_SPARE, Bench  # noqa: E402
from comparing.measure import say  # noqa: E402
from comparing.report import remark  # noqa: E402

# Room for several copies of the largest folder's working files.
XFS_BYTES = 16 << 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="M, F and Q only")
    parser.add_argument("--folders", default="", help="the folders to measure, such as SL")
    parser.add_argument("--restart", action="store_true", help="1,000 unchanged models; only those unless --folders is given")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each program [5]")
    data = tools.TARGET / "bench-data"
    parser.add_argument("--data", type=Path, default=data, help="where the folders are kept [target/bench-data]")
    parser.add_argument("--fs", type=Path, help="run in this folder, on its file system [the one of --data]")
    parser.add_argument("--xfs", action="store_true", help="create a loop-mounted xfs and run there (root)")
    parser.add_argument("--marwatch", type=Path, help="measure this program instead of building one")
    parser.add_argument("--install", action="store_true", help="install missing programs with apt-get (root)")
    chosen = parser.parse_args()
    if not chosen.folders and not chosen.restart:
        chosen.folders = "MFQ" if chosen.quick else "SMLFQ"
    return chosen


def main():
    chosen = arguments()
    if chosen.marwatch:
        tools.MARWATCH = chosen.marwatch.resolve()
    else:
        tools.build_marwatch()
    found = tools.Tools(chosen.install)
    data = chosen.data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "comparing.folders", data, *chosen.folders]
    subprocess.run(command, cwd=HERE, check=True)
    place, unmount = chosen.fs or data, None
    if chosen.xfs:
        if not found["mkfs.xfs"] or os.geteuid() != 0:
            sys.exit("--xfs needs root and mkfs.xfs (--install)")
        place, unmount = mounted_xfs(data, found["mkfs.xfs"])
    work = place.resolve() / f"work-{os.getpid()}"
    try:
        work.mkdir()
        measure(Bench(work, data, found, chosen.rounds), chosen)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if unmount:
            unmount()


def measure(bench, chosen):
    version = subprocess.run([tools.MARWATCH, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    shares = "shares blocks" if bench.shares_blocks else "does not share blocks"
    print(f"{version}; {os.cpu_count()} cores ({processor()}), {memory:.0f} GiB, Linux {platform.release()}, ", end="")
    print(f"{bench.file_system} ({shares}). Medians of {chosen.rounds} rounds in turns.\n")
    for line in bench.tools.remarks:
        remark(line)
    if not bench.has_spare and not bench.shares_blocks:
        remark("this marwatch has no `history.spare`: the rows without a spare are skipped")
    for name in chosen.folders:
        say(f"{name}: cold")
        bench.cold(name)
        say(f"{name}: after an edit")
        runs = bench.edit(name)
        say(f"{name}: resident")
        bench.resident(name, runs["cp"].median)
        if bench.has_spare and name in "ML":
            say(f"{name}: resident, without recycling")
            bench.resident(name, runs["cp"].median, NO_SPARE)
        if name in "ML":
            say(f"{name}: load")
            bench.load(name)
        for path in bench.work.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if chosen.restart:
        bench.restart()


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def mounted_xfs(data, mkfs):
    image, mount = data / "xfs.img", data / "xfs"
    mount.mkdir(exist_ok=True)
    with open(image, "wb") as out:
        out.truncate(XFS_BYTES)
    subprocess.run([mkfs, "-q", "-f", "-m", "reflink=1", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)

    def unmount():
        subprocess.run(["umount", mount], check=True)
        mount.rmdir()
        image.unlink()

    return mount, unmount


if __name__ == "__main__":
    main()
