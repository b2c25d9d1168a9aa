"""Runs programs and takes their time and memory, one after the other in turns."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

# What took longer than this in the warm-up is run only twice more: its ratios are far from any limit.
PATIENCE_S = 10
FEW = 2


@dataclass
class Contender:
    """One of the programs that are held against each other."""

    name: str
    # Runs before each measured run, outside of the time; returns nothing.
    prepare: callable
    argv: list
    cwd: str = None
    # The archive that it makes, for its size.
    result: str = None


@dataclass
class Runs:
    """The measured runs of a contender: milliseconds, those of all processors, the peak of memory in MiB."""

    ms: list = field(default_factory=list)
    cpu_ms: list = field(default_factory=list)
    rss_mib: float = 0.0
    size: int = 0

    @property
    def median(self):
        return statistics.median(self.ms)


class Failed(Exception):
    """A program that was to be measured did not end well."""


def run(argv, cwd=None):
    """Runs a program to its good end; milliseconds, milliseconds of processors, peak memory in MiB."""
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
    """Runs all contenders once to warm up, then `rounds` times in turns; their `Runs` by name.

    Everything is flushed before each run, so that none pays for what another one left to write."""
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
    """Progress, on standard error: standard output is the report's."""
    print(line, file=sys.stderr, flush=True)
