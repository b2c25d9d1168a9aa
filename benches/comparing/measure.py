"""Runs programs in turns and measures their time and memory."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

# A program that took longer than this in the warm-up runs only twice more: its ratios are far from any target.
PATIENCE_S = 10
FEW = 2


@dataclass
class Contender:
    """One of the programs that are compared."""

    name: str
    # Called before each run; its time is not measured.
    prepare: callable
    argv: list
    cwd: str = None
    # The archive that it writes; its size is reported.
    result: str = None


@dataclass
class Runs:
    """The measured runs of a contender: milliseconds, CPU milliseconds, peak memory in MiB, archive size."""

    ms: list = field(default_factory=list)
    cpu_ms: list = field(default_factory=list)
    rss_mib: float = 0.0
    size: int = 0

    @property
    def median(self):
        return statistics.median(self.ms)


class Failed(Exception):
    """A measured program failed."""


def run(argv, cwd=None):
    """Runs a program, which must succeed; returns milliseconds, CPU milliseconds and peak memory in MiB."""
    with open(os.devnull, "w") as null:
        start = time.perf_counter()
        child = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=null, stderr=subprocess.PIPE)
        stderr = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        ms = (time.perf_counter() - start) * 1e3
    child.stderr.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: exit {child.returncode}: {stderr.decode(errors='replace').strip()}")
    return ms, (usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_maxrss / 1024


def in_turns(contenders, rounds, before_round=lambda _: None):
    """Runs all contenders once to warm up, then `rounds` times in turns; returns their `Runs` by name.

    `sync` comes before each run, so that no program pays for another's unwritten data."""
    runs = {contender.name: Runs() for contender in contenders}
    slow = set()
    for number in range(rounds + 1):
        before_round(number)
        for contender in contenders:
            name = contender.name
            if name in slow and number > FEW:
                continue
            contender.prepare()
            os.sync()
            ms, cpu_ms, rss = run(contender.argv, contender.cwd)
            say(f"    round {number} {name}: {ms:.1f} ms")
            if number == 0:
                if ms > PATIENCE_S * 1e3:
                    slow.add(name)
            else:
                runs[name].ms.append(ms)
                runs[name].cpu_ms.append(cpu_ms)
                runs[name].rss_mib = max(runs[name].rss_mib, rss)
            if contender.result:
                runs[name].size = os.stat(contender.result).st_size
    return runs


def say(line):
    """Prints progress to standard error; the report goes to standard output."""
    print(line, file=sys.stderr, flush=True)
