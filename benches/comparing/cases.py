"""The measured cases; each prints a table and compares it with its targets."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from . import folders, tools
from .measure import Contender, Runs, in_turns, run, say
from .report import Target, remark, table, targets

MIB = 1 << 20
CORES = os.cpu_count() or 1
# They create the history and the recycled archive that later edits use.
FIRST_EDITS = 3
# Two changes this far apart have different times.
REST_S = 0.15
NO_SPARE = "history: {spare: off}\n"


class Bench:
    """The working folder, the tools, and the number of rounds."""

    def __init__(self, work, data, found, rounds):
        self.work, self.data, self.tools, self.rounds = work, data, found, rounds
        self.shares_blocks = tools.shares_blocks(work)
        self.file_system = tools.file_system(work)
        # Where files share blocks, marwatch never recycles an archive.
        self.has_spare = not self.shares_blocks and tools.takes(NO_SPARE, work)

    def folder(self, name):
        """A working copy of a folder, to be edited. Returns the drop folder and the model."""
        drop = self.work / f"drop-{name}"
        if not drop.exists():
            drop.mkdir()
            subprocess.run(["cp", "-r", self.data / name, drop / name], check=True)
        return drop, drop / name

    def config(self, name, drop, store, more=""):
        path = self.work / f"{name}.yaml"
        # The minimum: a pass waits until the model is this old, and here it always is.
        settle = "settle: {quiet: 10ms, quiet_long: 10ms}\n" if "settle" not in more else ""
        path.write_text(f"store: {store}\ndrop_folders: [{drop}]\n{settle}{more}")
        return path

    def archivers(self, name, keep):
        """All programs that pack the folder; with `keep`, over their previous results."""
        drop, model = self.folder(name)

        def marwatch(label, more=""):
            store = self.work / f"store-{name}-{label.replace(', ', '-')}"
            config = self.config(store.name, drop, store, more)
            argv = [tools.MARWATCH, "build", "--config", config]
            return Contender(label, remover(store, keep), argv, None, store / f"{name}.mar")

        yield marwatch("marwatch")
        if self.has_spare and keep:
            yield marwatch("marwatch, no spare", NO_SPARE)
        if self.tools.archiver:
            out = self.work / "python"
            out.mkdir(exist_ok=True)
            argv = [self.tools.archiver, "--model-name", name, "--model-path", model, "--handler", "service:handle"]
            argv += ["--runtime", "python", "--export-path", out, "--force"]
            result = out / f"{name}.mar"
            yield Contender(tools.PYTHON, remover(result, keep), argv, None, result)
        if self.tools["zip"]:
            result = self.work / f"{name}.zip"
            flag = "-u" if keep else "-r"
            argv = ["zip", "-q", "-r", *(["-u"] if keep else []), result, "."]
            yield Contender(f"zip {flag}", remover(result, keep), argv, model, result)
        if self.tools["bsdtar"]:
            result = self.work / f"{name}.bsdtar.zip"
            argv = ["bsdtar", "-c", "--format", "zip", "--options", "zip:compression=store", "-f", result, "."]
            yield Contender("bsdtar, stored", remover(result, False), argv, model, result)
        archive, copy = self.work / f"store-{name}-marwatch" / f"{name}.mar", self.work / "copy"
        # Where files can share blocks, a plain `cp` shares them and copies nothing.
        plain = ["--reflink=never"] if self.shares_blocks else []
        yield Contender("cp", remover(copy), ["cp", *plain, archive, copy], None, copy)
        yield Contender("cp --reflink=auto", remover(copy), ["cp", "--reflink=auto", archive, copy], None, copy)
        synced = ["sh", "-c", 'cp "$@" && sync "$2"', "sh", archive, copy]
        yield Contender("cp and sync", remover(copy), synced, None, copy)

    def cold(self, name):
        contenders = list(self.archivers(name, keep=False))
        runs = in_turns(contenders, self.rounds)
        checks = [
            Target(f"cold {name}", "marwatch", "cp", {"M": 1.5, "L": 1.2}.get(name)),
            Target(f"cold {name}", "marwatch", tools.PYTHON, {"S": 1 / 10, "M": 1 / 40, "L": 1 / 60}.get(name, 1 / 6)),
        ]
        if name == "L" and self.file_system == "xfs":
            checks.append(Target("cold L on xfs", "marwatch", None, None, 250))
        table(f"Cold {name}: {folders.ABOUT[name]}", runs, with_memory=True)
        targets(runs, checks)
        archives = {key: runs[key].size for key in ("marwatch", tools.PYTHON) if key in runs}
        if name in "FQ" and len(archives) == 2:
            ours, theirs = archives.values()
            remark(f"size of {name}: {ours:,} bytes of at most {theirs:,}: " + verdict(ours, theirs, "{:,.0f} bytes"))
        peak = runs["marwatch"].rss_mib
        remark(f"memory of cold {name} ≤ 64 MiB: {peak:.0f} MiB: " + verdict(peak, 64, "{:.0f} MiB"))

    def edit(self, name):
        """Runs after the cold case, over the archives of that case."""
        _, model = self.folder(name)
        contenders = list(self.archivers(name, keep=True))

        def before_round(_=None):
            edit(model)
            time.sleep(REST_S)

        # A recycled archive exists from the third archive on.
        for contender in [c for c in contenders if c.name.startswith("marwatch")] * (FIRST_EDITS + 1):
            before_round()
            run(contender.argv)
        runs = in_turns(contenders, self.rounds, before_round)
        way, is_copying = carried_over(self.work / f"store-{name}-marwatch", name)
        table(f"After a one-line edit of the handler of {name}; marwatch carried over: {way}", runs)
        checks = {
            "S": [Target("edit S", "marwatch", "cp", 2, 5)],
            "M": [
                Target(f"edit M, {way}", "marwatch", "cp", 1.1 if is_copying else 0.3),
                Target("edit M, copying", "marwatch, no spare", "cp", 1.1),
            ],
            "F": [Target("edit F", "marwatch", "zip -u", 1 / 2)],
            "Q": [Target(f"edit Q, {way}", "marwatch", "cp", 1.5)],
        }
        targets(runs, checks.get(name, []))
        return runs

    def resident(self, name, cp_ms, more=""):
        """The daemon's time for an edit, from its records and from the inode in the store."""
        drop, model = self.folder(name)
        store = self.work / f"store-{name}-resident"
        remover(store)()
        quiet_ms = 50
        settle = f"settle: {{quiet: {quiet_ms}ms, quiet_long: {quiet_ms}ms}}\n{more}"
        config = self.config(f"resident-{name}", drop, store, settle)
        archive = store / f"{name}.mar"
        with daemon(config):
            wait(lambda: len(records(store, name)) == 1, "the first build")
            walls, stages = [], []
            for number in range(3 * self.rounds + FIRST_EDITS):
                os.sync()
                time.sleep(0.3)
                before = os.stat(archive).st_ino
                start = edit(model)
                wait(lambda: os.stat(archive).st_ino != before, "the new archive", 0.0002)
                wall = (time.perf_counter() - start) * 1e3 - quiet_ms
                wait(lambda: len(records(store, name)) == number + 2, "its record")
                record = records(store, name)[-1]
                if number >= FIRST_EDITS:
                    walls.append(wall)
                    # The archive is live at the end of `publish`; later stages delay nothing.
                    took = [s["ms"] for s in record["stages_ms"] if s["stage"] != "retire"]
                    stages.append(sum(took))
        way, is_copying = carried_over(store, name)
        key = "stages, settled to live"
        rows = {key: Runs(stages), "edit to new inode, without the quiet time": Runs(walls), "cp": Runs([cp_ms])}
        table(f"Resident, {name}, {3 * self.rounds} edits; carried over: {way}", rows)
        checks = {"S": [Target("resident S", key, None, None, 1)], "F": [Target("resident F", key, "cp", 4)]}
        limits = ("cp", 1.2, 0) if is_copying else (None, None, 5)
        checks["L"] = [Target(f"resident L, {way}", key, *limits)]
        targets(rows, checks.get(name, []))

    def load(self, name):
        """Loads the archive as the server does, in Java."""
        if not self.tools["javac"] or not shutil.which("java"):
            remark("the server-like load is skipped: it needs `javac`")
            return
        classes = self.work / "classes"
        subprocess.run(["javac", "-d", classes, Path(__file__).with_name("Load.java")], check=True)
        unpacked = self.work / "unpacked"
        archives = {"marwatch": self.work / f"store-{name}-marwatch" / f"{name}.mar"}
        if self.tools.archiver:
            archives[tools.PYTHON] = self.work / "python" / f"{name}.mar"
        contenders = [
            Contender(label, remover(unpacked), ["java", "-cp", classes, "Load", archive, unpacked])
            for label, archive in archives.items()
        ]
        runs = in_turns(contenders, self.rounds)
        table(f"Server-like load of {name} (Java: unzip, SHA-1, write)", runs)
        targets(runs, [Target(f"load {name}", "marwatch", tools.PYTHON, 0.25)] if name == "L" else [])

    def restart(self):
        """1,000 unchanged models of 100 files, compared with a parallel stat walk."""
        drop, store = self.work / "drop-many", self.work / "store-many"
        say("making 1,000 models of 100 files")
        folders.make_many(drop)
        config = self.config("many", drop, store)
        argv = [tools.MARWATCH, "build", "--config", config]
        for _ in range(2):  # files too young for the first pass are settled in the second
            time.sleep(REST_S)
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        # No file has this size: `find` stats every file and prints nothing.
        find = "sh -c 'find \"$@\" -size +9999G' sh"
        walk = f"printf '%s\\0' {drop}/* | xargs -0 -P {CORES} -n {-(-1000 // CORES)} {find}"
        nothing = lambda: None
        contenders = [Contender("marwatch build", nothing, argv), Contender("stat walk", nothing, ["sh", "-c", walk])]
        runs = in_turns(contenders, self.rounds)
        table(f"Restart: 1,000 models × 100 files, nothing changed; stat walk: `find` in {CORES} processes", runs, True)
        targets(runs, [Target("restart", "marwatch build", "stat walk", 3)])
        if self.tools["strace"]:
            opened = files_opened(argv, drop, self.work / "trace")
            remark(f"model files opened, target 0: {opened}: " + verdict(opened, 0, "{:.0f}"))
        with daemon(self.config("many-resident", drop, store)) as pid:
            at_rest(pid)
            before, rss = switches(pid), status(pid, "VmRSS")
            time.sleep(20)
            # A thread started since then counts from its start; one that has ended does not count.
            rate = sum(count - before.get(task, 0) for task, count in switches(pid).items()) / 20
        rss /= 1024
        remark(f"idle daemon at 100,000 files ≤ 40 MiB: {rss:.1f} MiB: " + verdict(rss, 40, "{:.1f} MiB"))
        remark(f"its wake-ups a second, target 0: {rate:.1f}: " + verdict(rate, 0, "{:.1f}"))


def verdict(value, limit, form):
    return "reached" if value <= limit else f"missed: {form.format(value)} of {form.format(limit)}"


def remover(path, keep=False):
    def remove():
        if keep:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return remove


def edit(model):
    """Changes one line of the handler in place, and returns the time when it was done.

    Each edit moves the modification time by four seconds: `zip -u` misses a difference below two."""
    path = model / "service.py"
    stat = path.stat()
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("GREETING"))
    lines[at] = f'GREETING = "hello {stat.st_mtime_ns:x}"'
    with open(path, "w") as out:
        out.write("\n".join(lines) + "\n")
        out.flush()
        os.utime(out.fileno(), ns=(stat.st_atime_ns, stat.st_mtime_ns + 4_000_000_000))
    return time.perf_counter()


def records(store, model):
    try:
        lines = (store / ".marwatch" / "results.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [record for record in map(json.loads, lines) if record["model"] == model]


def carried_over(store, model):
    """How the last build carried unchanged data over, and whether it copied most of it."""
    over = records(store, model)[-1].get("cost", {}).get("carried_over", {})
    ways = [f"{size / MIB:.1f} MiB {way.replace('_', ' ')}" for way, size in over.items() if size >= MIB / 20]
    return ", ".join(ways) or "next to nothing", max(over, key=over.get, default="copied") == "copied"


class daemon:
    """`marwatch run` while the block runs."""

    def __init__(self, config):
        self.argv = [tools.MARWATCH, "run", "--config", config]

    def __enter__(self):
        self.child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.child.pid

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(60)


def wait(until, what, step=0.005, patience=120):
    give_up = time.monotonic() + patience
    while not until():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {patience} s for {what}")
        time.sleep(step)


def at_rest(pid, still_s=15):
    """Waits until a process has used no CPU for longer than the lifetime of its idle threads (10 s)."""
    used, since = processor_time(pid), time.monotonic()
    while time.monotonic() - since < still_s:
        time.sleep(0.5)
        if used != (used := processor_time(pid)):
            since = time.monotonic()


def status(pid, key):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(key + ":")))


def switches(pid):
    """The number of voluntary context switches of each thread of a process."""
    tasks = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            tasks[task] = status(f"{pid}/task/{task}", "voluntary_ctxt_switches")
        except FileNotFoundError:  # the thread has just ended
            pass
    return tasks


def processor_time(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def files_opened(argv, drop, trace):
    """The number of files below `drop` that a program opens for reading, from strace."""
    trace.mkdir()
    # One file per thread: in a common file, strace splits overlapping calls.
    calls = ["strace", "-ff", "-y", "-qq", "-o", trace / "of", "-e", "trace=open,openat,openat2", *argv]
    subprocess.run(calls, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    count = 0
    for path in trace.iterdir():
        for line in path.read_text(errors="replace").splitlines():
            opened = f"<{drop}/" in line.rsplit(" = ", 1)[-1]
            count += opened and not any(flag in line for flag in ("O_DIRECTORY", "O_PATH"))
    shutil.rmtree(trace)
    return count
