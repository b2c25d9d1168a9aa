"""Finds and installs the programs that marwatch is compared with, and probes the file system."""

import os
import shutil
import subprocess
from pathlib import Path

from .measure import say

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / "target"
MARWATCH = TARGET / "release" / "marwatch"
PYTHON = "model-archiver"
# Each program, and the Debian package that contains it.
PACKAGES = {
    "zip": "zip",
    "bsdtar": "libarchive-tools",
    "javac": "openjdk-17-jdk-headless",
    "strace": "strace",
    "mkfs.xfs": "xfsprogs",
}


class Tools:
    """The programs that were found; `remarks` lists what is skipped because one is missing."""

    def __init__(self, install):
        self.remarks = []
        self.found = {name: self._find(name) for name in PACKAGES}
        missing = [PACKAGES[name] for name, path in self.found.items() if path is None]
        if install and missing:
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
                subprocess.run(["apt-get", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
            self.found = {name: self._find(name) for name in PACKAGES}
        for name, path in self.found.items():
            if path is None:
                self.remarks.append(f"`{name}` (package {PACKAGES[name]}) is missing: its rows are skipped")
        self.archiver = self._archiver()

    def __getitem__(self, name):
        return self.found[name]

    @staticmethod
    def _find(name):
        return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

    def _archiver(self):
        """model-archiver from PyPI, in a separate virtual environment."""
        venv = TARGET / "bench-venv"
        program = venv / "bin" / "model-archiver"
        try:
            if not program.exists():
                say("installing model-archiver 1.0.3")
                subprocess.run(["python3", "-m", "venv", "--clear", venv], check=True, capture_output=True)
                pip = [venv / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "model-archiver==1.0.3"]
                subprocess.run(pip, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(venv, ignore_errors=True)
            self.remarks.append(f"model-archiver cannot be installed ({error}): its rows are skipped")
            return None
        return program


def build_marwatch():
    """`cargo build --release`; this script builds nothing else."""
    say("cargo build --release")
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPOSITORY, check=True)


def takes(key, folder):
    """Whether this marwatch accepts a key in its configuration; `key` is a line of YAML."""
    (folder / "drop").mkdir(parents=True, exist_ok=True)
    config = folder / "probe.yaml"
    config.write_text(f"store: store\ndrop_folders: [drop]\n{key}\n")
    return subprocess.run([MARWATCH, "check", "--config", config], capture_output=True).returncode == 0


def file_system(path):
    """The type of the file system that holds `path`."""
    device = f"{os.major(os.stat(path).st_dev)}:{os.minor(os.stat(path).st_dev)}"
    best = ("", "unknown")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        front, back = line.split(" - ")
        mount = front.split()[4]
        # On btrfs, stat reports a different device number; there the longest matching path decides.
        is_above = Path(path).resolve().is_relative_to(mount)
        if (front.split()[2] == device or is_above) and is_above and len(mount) >= len(best[0]):
            best = (mount, back.split()[0])
    return best[1]


def shares_blocks(folder):
    """Whether files in `folder` can share blocks."""
    (folder / "a").write_bytes(b"x" * 65536)
    command = ["cp", "--reflink=always", folder / "a", folder / "b"]
    return subprocess.run(command, capture_output=True).returncode == 0
