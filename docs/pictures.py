#!/usr/bin/env python3
"""Makes the pictures of the README, terminal.png and status-page.png, from the real program.

    docs/pictures.py

It starts `marwatch run` in a terminal (tmux) on models in every state, and takes both pictures at
the same moment, with Chromium. It needs cargo, tmux, Chromium and Python 3, and takes a minute.
"""

import base64
import html
import http.client
import json
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parent
COLUMNS, ROWS = 88, 24
PAGE_WIDTH = 1180
GOOD = "def handle(data, context):\n    return [{} for _ in data or []]\n"
BROKEN = "import json\n\n\ndef handle(data, context)\n    return [json.dumps(row) for row in data]\n"
SETTINGS = """\
store: model-store
drop_folders: [models]
settle: {{quiet: 50ms, quiet_long: 200ms}}
control: {{listen: '127.0.0.1:{port}'}}
pack: {{level: 9}}
"""
# The sixteen colours of a terminal on a dark ground.
PALETTE = (
    "#1c2025 #ff7b7b #4cc365 #e2b14a #6cb0ff #d58fff #4cc7d6 #c8ced4 "
    "#7d8790 #ff9e9e #7ddb90 #f0c674 #9ccbff #e3b4ff #7fdde8 #ffffff"
).split()
STYLE = """
body { margin: 0; background: #14171a; }
pre { margin: 0; padding: 14px 18px; width: max-content; color: #e6e9ec;
      font: 14px/1.4 "DejaVu Sans Mono", monospace; }
i { display: inline-block; width: 1ch; line-height: 1em; font-style: normal; }
"""


class Browser:
    """Chromium with one page, led through pipes by the DevTools protocol."""

    def __init__(self, folder: Path):
        to_read, self.to = os.pipe()
        self.answers, from_write = os.pipe()
        words = f'exec chromium "$@" 3<&{to_read} 4>&{from_write}'
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        options += ["--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"]
        self.child = subprocess.Popen(
            ["bash", "-c", words, "bash", *options],
            pass_fds=[to_read, from_write],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        self.number, self.session, self.rest = 0, None, b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]

    def call(self, method: str, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                block = os.read(self.answers, 1 << 16)
                assert block, "the browser has ended"
                self.rest += block
            answer, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(answer)
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]

    def value(self, expression: str):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, f"{expression}: {result}"
        return result["result"].get("value")

    def open(self, url: str, width: int, until: str):
        """Opens a page, as wide as this, and waits until an expression is true in it."""
        metrics = {"width": width, "height": 600, "deviceScaleFactor": 1.5, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Page.navigate", url=url)
        wait(lambda: self.value(until), until)

    def picture(self, path: Path, selector: str):
        """Writes what an element shows."""
        box = self.value(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
                         ".toJSON()")
        clip = {key: box[key] for key in ("x", "y", "width", "height")} | {"scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        print(f"{path}: {path.stat().st_size} bytes")

    def close(self):
        self.child.kill()
        self.child.wait()


def wait(check, what):
    """Waits until `check` gives something, and returns it."""
    for _ in range(1200):
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"never so: {what}")


def as_html(screen: str) -> str:
    """What tmux captured, text with the codes of colours, as spans."""
    out, colour, is_bold, is_faint = [], None, False, False
    for part in re.split(r"(\x1b\[[\d;]*m)", screen):
        if not part.startswith("\x1b"):
            style = f"color:{colour};" if colour else ""
            style += "font-weight:bold;" if is_bold else ""
            style += "opacity:.6;" if is_faint else ""
            # Whatever font has a sign that is not ASCII, it takes one cell.
            text = re.sub(r"[^\x00-\x7f]", r"<i>\g<0></i>", html.escape(part))
            out.append(f'<span style="{style}">{text}</span>' if part else "")
            continue
        codes = [int(code or 0) for code in part[2:-1].split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                colour, is_bold, is_faint = None, False, False
            elif code == 1:
                is_bold = True
            elif code == 2:
                is_faint = True
            elif code == 22:
                is_bold, is_faint = False, False
            elif 30 <= code <= 37:
                colour = PALETTE[code - 30]
            elif code == 38 and codes[:1] == [5]:
                colour, codes = PALETTE[codes[1] % 16], codes[2:]
            elif code == 39:
                colour = None
            elif 90 <= code <= 97:
                colour = PALETTE[code - 82]
    return f"<style>{STYLE}</style><pre>{''.join(out)}</pre>"


class Daemon:
    """`marwatch run` in a terminal, in a folder of its own."""

    def __init__(self, program: Path, root: Path):
        self.program, self.root = program, root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (root / "marwatch.yaml").write_text(SETTINGS.format(port=self.port))
        self.tmux = ["tmux", "-L", f"marwatch-{os.getpid()}", "-f", "/dev/null"]
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        command = f"TERM=xterm-256color exec {program} run"
        self.call("new-session", "-d", *size, "-c", str(root), command)

    def call(self, *words) -> str:
        made = subprocess.run([*self.tmux, *words], check=True, stdout=subprocess.PIPE, text=True)
        return made.stdout

    def screen(self) -> str:
        return self.call("capture-pane", "-e", "-p").rstrip()

    def models(self) -> dict:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/models")
            return {model["model"]: model for model in json.load(connection.getresponse())["models"]}
        except OSError:
            return {}

    def is_so(self, model: str, state: str, generation=None) -> bool:
        found = self.models().get(model, {})
        archive = found.get("archive") or {}
        return found.get("state") == state and generation in (None, archive.get("generation"))

    def wait(self, model: str, state: str, generation=None):
        wait(lambda: self.is_so(model, state, generation), (model, state, generation))

    def put(self, model: str, files: dict):
        """Puts a model into the drop folder in one step, or replaces files of it."""
        made = self.root / "new"
        folder = self.root / "models" / model
        for name, content in files.items():
            made.mkdir(exist_ok=True)
            made.joinpath(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        if folder.exists():
            for name in files:
                (made / name).rename(folder / name)
        else:
            made.rename(folder)

    def run(self, *words):
        command = [self.program, *words]
        subprocess.run(command, cwd=self.root, check=True, stdout=subprocess.DEVNULL)

    def close(self):
        self.call("kill-server")


def main():
    subprocess.run(["cargo", "build"], cwd=DOCS.parent, check=True)
    program = DOCS.parent / "target/debug/marwatch"
    chance = random.Random(1)
    # A short path: both pictures show it.
    root = Path(tempfile.gettempdir(), "demo")
    root.mkdir()
    try:
        (root / "models").mkdir()
        browser, daemon = Browser(root), Daemon(program, root)
        try:
            take(browser, daemon, chance)
        finally:
            browser.close()
            daemon.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def take(browser: Browser, daemon: Daemon, chance: random.Random):
    """Brings models into every state, and takes both pictures."""
    weights = {name: chance.randbytes(size << 18) for name, size in
               [("bert", 46), ("detector", 34), ("resnet-50", 38), ("tokenizer", 3)]}
    for name, content in weights.items():
        daemon.put(name, {"service.py": GOOD.format(0), "weights.bin": content})
        daemon.wait(name, "published", 1)
    for edit in range(1, 9):
        for name in ["bert", "detector", "resnet-50"]:
            daemon.put(name, {"service.py": GOOD.format(edit)})
            daemon.wait(name, "published", edit + 1)
    daemon.run("rollback", "detector")
    daemon.wait("detector", "held")
    lines = "".join(f"{chance.random():.6f} layer{chance.randrange(99)}\n" for _ in range(60_000))
    daemon.put("llama", {"service.py": GOOD.format(0), "vocabulary.txt": "small"})
    daemon.wait("llama", "published", 1)
    daemon.put("encoder", {"service.py": GOOD.format(0)})
    daemon.wait("encoder", "published", 1)
    with open(daemon.root / "models/encoder/weights.bin", "wb") as copied:
        copied.write(chance.randbytes(1 << 20))
        copied.flush()
        daemon.wait("encoder", "settling")
        daemon.put("tokenizer", {"service.py": BROKEN})
        daemon.wait("tokenizer", "rejected")
        shows_all = "/rejected/.test(document.body?.innerText)"
        browser.open(f"http://127.0.0.1:{daemon.port}/", PAGE_WIDTH, shows_all)
        daemon.put("llama", {"vocabulary.txt": lines * 120})
        wait(lambda: half_packed(daemon), "llama half packed")
        screen = daemon.screen()
        wait(lambda: browser.value("document.querySelector('progress')?.value > 0"), "progress")
        browser.picture(DOCS / "status-page.png", "body")
    terminal = daemon.root / "terminal.html"
    terminal.write_text(f"<!doctype html><meta charset=utf-8>{as_html(screen)}")
    browser.open(terminal.as_uri(), 1200, "document.querySelector('pre') !== null")
    browser.picture(DOCS / "terminal.png", "pre")


def half_packed(daemon: Daemon) -> bool:
    progress = daemon.models().get("llama", {}).get("progress") or {}
    return progress.get("total", 0) > 0 and progress["done"] / progress["total"] > 0.3


if __name__ == "__main__":
    main()
