"""Tables in Markdown, and results compared with targets."""

import statistics
from dataclasses import dataclass


@dataclass
class Target:
    """The median of `subject` should be at most `factor` × the median of `base` plus `plus_ms`."""

    what: str
    subject: str
    base: str
    # Without a factor and a fixed limit there is no target.
    factor: float
    plus_ms: float = 0


def table(title, runs, with_memory=False):
    runs = {name: run for name, run in runs.items() if run.ms}
    bases = [(head, runs[name].median) for head, name in (("Python", "model-archiver"), ("cp", "cp")) if name in runs]
    has_cpu = all(run.cpu_ms for run in runs.values())
    has_size = any(run.size for run in runs.values())
    heads = ["", "median ms", "min–max", "runs", *(f"÷ {head}" for head, _ in bases)]
    heads += ["CPU ms"] if has_cpu else []
    heads += ["MB"] if has_size else []
    heads += ["peak MiB"] if with_memory else []
    print(f"\n### {title}\n\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for name, run in runs.items():
        cells = [name, number(run.median), f"{number(min(run.ms))}–{number(max(run.ms))}", str(len(run.ms))]
        cells += [f"{run.median / base:.3g}" for _, base in bases]
        cells += [number(statistics.median(run.cpu_ms))] if has_cpu else []
        cells += [f"{run.size / 1e6:.3f}"] if has_size else []
        cells += [f"{run.rss_mib:.0f}"] if with_memory else []
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def targets(runs, wanted):
    for target in wanted:
        missing = [name for name in (target.subject, target.base) if name and not (name in runs and runs[name].ms)]
        if missing or (target.factor is None and not target.plus_ms):
            continue
        limit, says = target.plus_ms, []
        if target.factor:
            limit += target.factor * runs[target.base].median
            part = f"{target.factor:g} × " if target.factor >= 0.3 or target.factor == 0.25 else ""
            says.append(f"{part}{target.base}" + ("" if part else f" / {1 / target.factor:.0f}"))
        says += [f"{target.plus_ms:g} ms"] if target.plus_ms else []
        value = runs[target.subject].median
        end = "reached" if value <= limit else f"missed: {number(value)} of {number(limit)} ms"
        remark(f"{target.what} ≤ {' + '.join(says)}: {number(value)} ms of at most {number(limit)} ms: {end}")


def remark(line):
    print(f"- {line}", flush=True)


def number(ms):
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"
