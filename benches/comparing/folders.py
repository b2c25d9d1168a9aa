"""Creates the model folders: S, M, L, F and Q, and many small models. The bytes are the same each time.

32 MiB of float32 weights are drawn once and then repeated, each time from another offset. DEFLATE
looks back 32 KB, so it finds no repeats, and no tool here looks back further.

This runs as a program (`python3 -m comparing.folders DATA NAME...`), because a process inherits the
peak memory of its parent: the memory used here would count for the programs that are measured later.
"""

import array
import json
import random
import shutil
import statistics
import sys
from pathlib import Path

MIB = 1 << 20
HANDLER = '''"""Answers requests."""

GREETING = "hello"


def handle(data, context):
    if data is None:
        return None
    return [GREETING for _ in data]
'''
WORDS = (
    "the a model layer weight bias learning rate batch epoch loss gradient token vocabulary import self return "
    "for if else None True False data context request response label score tensor shape float int str list dict "
    "of in to and with from as is not at by on or be this that it cat dog bird tree house river mountain sky"
).split()

ABOUT = {
    "S": "8 small files, 40 KB",
    "M": "98 MB of float32 weights and 30 small files",
    "L": "1 GB of float32 weights and 30 small files",
    "F": "20,000 text files of 2 KB",
    "Q": "200 MB of int8 weights, 60 % zeros",
}


def make(folder, name):
    """Creates the folder `name` completely, or not at all."""
    staged = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    rng = random.Random(f"marwatch {name}")
    (staged / "service.py").write_text(HANDLER)
    if name == "S":
        small_files(staged, rng, 7, 5700)
    elif name == "F":
        text_files(staged, rng, 20_000 - 1)
    elif name == "Q":
        with open(staged / "weights.int8", "wb") as out:
            write_int8(out, rng, 200_000_000)
    else:
        with open(staged / "weights.f32", "wb") as out:
            write_float32(out, rng, 98_000_000 if name == "M" else 1_000_000_000)
        small_files(staged, rng, 29, 4000)
    staged.rename(folder)


def text(rng, size):
    """Lines as repetitive as code and logs: DEFLATE shrinks 2 KB to a quarter."""
    phrases = [" ".join(rng.choices(WORDS, k=4)) for _ in range(48)]
    lines = [" ".join(rng.choices(phrases, k=3)) for _ in range(size // 40 + 1)]
    return "\n".join(lines)[: size - 1] + "\n"


def small_files(folder, rng, count, size):
    (folder / "signature.json").write_text(json.dumps({"inputs": [{"name": "data", "shape": [0, 3, 224, 224]}]}))
    for i in range(count - 1):
        (folder / f"notes-{i:02}.txt").write_text(text(rng, size))


def text_files(folder, rng, count):
    for i in range(count):
        path = folder / f"part-{i // 100:03}" / f"file-{i:05}.txt"
        if i % 100 == 0:
            path.parent.mkdir()
        path.write_text(text(rng, 2048))


def write_float32(out, rng, size):
    gauss = rng.gauss
    base = array.array("f", (gauss(0.0, 0.02) for _ in range(8 * MIB))).tobytes()
    while size > 0:
        start = 4 * rng.randrange(len(base) // 4)
        turn = (base[start:] + base[:start])[:size]
        out.write(turn)
        size -= len(turn)


def write_int8(out, rng, size):
    """Every byte is drawn: a table of quantiles maps random bytes to weights. DEFLATE shrinks them to 37 %."""
    dense = statistics.NormalDist(0.0, 3.0)
    zeros = round(256 * 0.6)
    steps = 256 - zeros
    values = [round(dense.inv_cdf((i + 0.5) / steps)) or 1 for i in range(steps)]
    table = bytes([0] * zeros + [value & 0xFF for value in values])
    while size > 0:
        block = rng.randbytes(min(size, 4 * MIB)).translate(table)
        out.write(block)
        size -= len(block)


def make_many(drop, models=1000, files=100):
    """Creates many models in a drop folder, each a handler and small text files."""
    rng = random.Random("marwatch many")
    for m in range(models):
        folder = drop / f"m{m:04}"
        folder.mkdir(parents=True)
        (folder / "service.py").write_text(HANDLER)
        for i in range(files - 1):
            (folder / f"f{i:02}.txt").write_text(text(rng, 200))


def main():
    data = Path(sys.argv[1])
    for name in sys.argv[2:]:
        folder = data / name
        if not folder.exists():
            print(f"making {folder}: {ABOUT[name]}", file=sys.stderr)
            make(folder, name)


if __name__ == "__main__":
    main()
