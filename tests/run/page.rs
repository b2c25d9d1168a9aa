//! The status page in headless Chromium, driven through pipes (the DevTools protocol: JSON messages,
//! each ended by a NUL).
//!
//! With `MARWATCH_PICTURES=FOLDER` the tests leave screenshots of the page there, to look at.
//! `docs/pictures.py` makes those of the README.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use marwatch::results::Outcome;
use serde_json::{Value, json};

use crate::common::random::Random;
use crate::common::site::Site;
use crate::common::{service, slow_text};

const BROKEN: &str = "def handle(data, context)\n    return []\n";

/// A browser with one page.
struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    number: u64,
}

impl Browser {
    fn open(folder: &Path, url: &str) -> Self {
        let (to, from) = (folder.join("to"), folder.join("from"));
        let made = Command::new("mkfifo").args([&to, &from]).status().unwrap();
        assert!(made.success());
        let child = Command::new("sh")
            .args(["-c", r#"exec chromium "$@" 3<"$TO" 4>"$FROM""#, "sh"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-quic", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .envs([("TO", &to), ("FROM", &from)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The shell opens them in this order, and each open blocks until the other side opens.
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = BufReader::new(File::open(from).unwrap());
        let mut browser = Self { child, to, from, session: None, number: 0 };
        let target = browser.call("Target.createTarget", json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        browser
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser exited");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    fn wait(&mut self, expression: &str) {
        for _ in 0..400 {
            if self.value(expression) == true {
                return;
            }
            marwatch::clock::pause(Duration::from_millis(50));
        }
        let page = self.value("document.body.innerText");
        panic!("never true: {expression}\n{}", page.as_str().unwrap_or_default());
    }

    /// Gives the page a screen of this size in CSS pixels.
    fn resize(&mut self, width: u32, height: u32) {
        let screen = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false
        });
        self.call("Emulation.setDeviceMetricsOverride", screen);
        self.wait(&format!("innerWidth === {width} && innerHeight === {height}"));
    }

    /// Chooses `light` or `dark`.
    fn prefer(&mut self, scheme: &str) {
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme);
    }

    /// Writes a screenshot of the whole page.
    fn picture(&mut self, path: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let mut decode = Command::new("base64")
            .arg("--decode")
            .stdin(Stdio::piped())
            .stdout(File::create(path).unwrap())
            .spawn()
            .unwrap();
        let data = picture["data"].as_str().unwrap();
        decode.stdin.take().unwrap().write_all(data.as_bytes()).unwrap();
        assert!(decode.wait().unwrap().success());
    }

    /// The roles and names of what a screen reader finds.
    fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let text =
            |node: &Value, key: &str| node[key]["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(node, "role"), text(node, "name"))).collect()
    }

    fn press(&mut self, key: &str) {
        let code = if key == "Tab" { 9 } else { 13 };
        let text = if key == "Tab" { "" } else { "\r" };
        for kind in ["keyDown", "keyUp"] {
            let key = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text
            });
            self.call("Input.dispatchKeyEvent", key);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where screenshots go, if anywhere.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("MARWATCH_PICTURES").map(PathBuf::from)
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The text of a row of the table.
fn row(model: &str) -> String {
    format!(
        "[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)\
         .find((text) => text.startsWith({}))",
        json!(model)
    )
}

#[test]
#[ignore = "needs Chromium; run by .ci/run"]
fn the_page_shows_models_as_they_change_and_needs_no_mouse() {
    let free = free_port();
    let site = Site::quick(&format!("control: {{listen: '{free}'}}\n"));
    site.put_simple("good");
    // The name of a folder is text on the page, not HTML.
    let hostile = "<img src=x onerror=document.title='taken'>";
    site.put(hostile, &[("service.py", &service("x"))]);
    let mut daemon = site.start();
    daemon.next("good", Outcome::Published);
    let mut browser = Browser::open(&site.root, &format!("http://{free}/"));
    browser.wait(&format!("/published/.test({})", row("good")));
    browser.wait(&format!("/rejected/.test({})", row(hostile)));
    assert_eq!(browser.value("document.querySelectorAll('main img').length"), 0);
    assert!(browser.value("document.title").as_str().unwrap().starts_with("marwatch: "));

    // The page shows changes without a reload.
    browser.value("window.mark = true");
    fs::write(site.drop.join("good/service.py"), BROKEN).unwrap();
    daemon.next("good", Outcome::Rejected);
    browser.wait(&format!("/rejected[^]*service.py:1/.test({})", row("good")));
    fs::write(site.drop.join("good/service.py"), service("better")).unwrap();
    daemon.next("good", Outcome::Published);
    browser.wait(&format!("/published/.test({})", row("good")));
    browser.wait("document.querySelector('svg title').textContent.includes('the last 2 builds')");
    assert_eq!(browser.value("window.mark"), true);

    // The Tab key reaches the filter first, then each model.
    browser.press("Tab");
    assert_eq!(browser.value("document.activeElement.id"), "filter");
    browser.call("Input.insertText", json!({ "text": "GOOD" }));
    browser.wait("document.querySelectorAll('tbody tr').length === 1");
    browser.press("Tab");
    browser.press("Enter");
    browser.wait("/Digest[^]*b3:/.test(document.querySelector('tr.more').innerText)");
    assert_eq!(browser.value("document.activeElement.textContent"), "good");
    assert_eq!(browser.value("document.activeElement.getAttribute('aria-expanded')"), "true");

    let paper = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.value(paper), "rgb(255, 255, 255)");
    browser.prefer("dark");
    assert_eq!(browser.value(paper), "rgb(20, 23, 26)");

    // The page loads nothing from other hosts.
    let loaded = "performance.getEntriesByType('resource').map((r) => new URL(r.name).host)";
    for host in browser.value(loaded).as_array().unwrap() {
        assert_eq!(host, &json!(free.to_string()));
    }
    // Its policy would not let it.
    browser.value(
        "addEventListener('securitypolicyviolation', (event) => window.blocked = event.effectiveDirective); \
         new Image().src = 'http://127.0.0.2:9/'; undefined",
    );
    browser.wait("window.blocked === 'img-src'");
    daemon.stop();
    browser.wait("!document.getElementById('offline').hidden");
}

/// The left, top, right and bottom edges of the lines of text in each row that a reader can see.
const LAYOUT: &str = r#"
(() => [...document.querySelectorAll("tbody tr")].map((row) => {
  const box = row.getBoundingClientRect();
  const lines = [];
  const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (getComputedStyle(walker.currentNode.parentElement.closest("td, th")).clipPath !== "none") continue;
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    lines.push(...[...range.getClientRects()].map(({ left, top, right, bottom }) => [left, top, right, bottom]));
  }
  return { model: row.querySelector("button").innerText, state: row.querySelector(".state").innerText,
    reason: row.querySelector(".reason").innerText, box: [box.left, box.top, box.right, box.bottom], lines };
}))()
"#;

/// The height of the largest part of a row without text.
fn largest_gap(row: &Value) -> f64 {
    let edge = |line: &Value, index: usize| line[index].as_f64().unwrap();
    let mut lines: Vec<_> = row["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (edge(line, 1), edge(line, 3)))
        .collect();
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (top, bottom) = (edge(&row["box"], 1), edge(&row["box"], 3));
    let mut gap = 0_f64;
    let mut covered = top;
    for (top, bottom) in lines.into_iter().chain([(bottom, bottom)]) {
        gap = gap.max(top - covered);
        covered = covered.max(bottom);
    }
    gap
}

#[test]
#[ignore = "needs Chromium; run by .ci/run"]
fn the_page_fits_narrow_screens_and_shows_problems_first() {
    let free = free_port();
    let site = Site::with(&format!(
        "settle: {{quiet: 80ms, quiet_long: 150ms, max_wait: 2min}}\n\
         retry: {{initial: 1min, max: 1min}}\ncontrol: {{listen: '{free}'}}\n"
    ));
    site.put_simple("accepted");
    site.put_simple("paused");
    // Words that no line can hold, and names that are markup or change the direction of the text.
    let long = format!("z{}", "-long-name".repeat(18));
    let settings = format!("handler: {}:handle\n", "endless_word_".repeat(30));
    site.put("refused", &[("service.py", BROKEN)]);
    site.put(&long, &[(".mar.yaml", &settings), ("service.py", &service("x"))]);
    site.put("<img src=x onerror=document.title='taken'>", &[("service.py", &service("x"))]);
    site.put("\u{202e}backwards", &[("service.py", &service("x"))]);
    let files: Vec<_> = ["con\\1", "con\\2", "con\\3", "con\\4"].map(|name| (name, "")).into();
    site.put("several", &files);
    let mut daemon = site.start();
    for name in ["accepted", "paused"] {
        daemon.next(name, Outcome::Published);
    }
    daemon.next(&long, Outcome::Rejected);
    assert!(site.run(&["pause", "paused"]).status.success());
    // A transfer that goes on.
    site.put("settling", &[("service.py", &service("x")), ("weights.bin", "half")]);
    let writer = OpenOptions::new().append(true).open(site.drop.join("settling/weights.bin"));
    fs::rename(site.hidden().join("staging"), site.hidden().join("away")).unwrap();
    fs::write(site.hidden().join("staging"), "").unwrap();
    site.put_simple("retrying");
    daemon.next("retrying", Outcome::Failed);

    let mut browser = Browser::open(&site.root, &format!("http://{free}/"));
    browser.wait("document.querySelectorAll('tbody tr').length === 9");
    browser.wait(&format!("/still being written/.test({})", row("settling")));
    for (width, scheme) in [1280, 1024, 768, 700, 420, 360]
        .into_iter()
        .flat_map(|width| ["light", "dark"].map(|scheme| (width, scheme)))
    {
        browser.resize(width, 860);
        browser.prefer(scheme);
        let at = format!("{width} px, {scheme}");
        if let Some(folder) = pictures() {
            browser.picture(&folder.join(format!("status-page-{width}-{scheme}.png")));
        }
        let needed = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(needed <= width.into(), "{at}: the page is {needed} px wide");
        let rows = browser.value(LAYOUT);
        let rows = rows.as_array().unwrap();
        let is_bad = |row: &&Value| row["state"] == "rejected" || row["state"] == "retrying";
        assert_eq!(rows.iter().take_while(is_bad).count(), 6, "{at}: {rows:#?}");
        for row in rows {
            for line in row["lines"].as_array().unwrap() {
                let [left, right] = [0, 2].map(|index| line[index].as_f64().unwrap());
                assert!(left >= 0.0 && right <= width.into(), "{at}: off the screen: {row:#}");
            }
            let gap = largest_gap(row);
            assert!(gap <= 20.0, "{at}: {gap} px of a row are empty: {row:#}");
        }
        let refused = rows.iter().find(|row| row["model"] == "refused").unwrap();
        let bottom = refused["box"][3].as_f64().unwrap();
        assert!(bottom <= 860.0, "{at}: below the first screen: {refused:#}");
        let reason = refused["reason"].as_str().unwrap();
        for part in ["service.py:1:26", "not valid Python", "handler-syntax"] {
            assert!(reason.contains(part), "{at}: {part:?} is missing in {reason:?}");
        }
        // Screen readers find a table, also where the rows are cards. Not every browser keeps the
        // roles of a table that is displayed as blocks, so the markup names them.
        let accessible = browser.accessible();
        let count = |role: &str| accessible.iter().filter(|(found, _)| found == role).count();
        let columns = if (705..992).contains(&width) { 5 } else { 7 };
        let without = "main :is(table, thead, tbody, tr, th, td):not([role])";
        let without = browser.value(&format!("document.querySelectorAll('{without}').length"));
        assert_eq!(without, 0, "{at}: elements without a role");
        assert_eq!(count("table"), 1, "{at}: {accessible:#?}");
        assert_eq!(count("columnheader"), columns, "{at}: {accessible:#?}");
        assert_eq!(count("row"), 10, "{at}: {accessible:#?}");
        assert_eq!(count("cell"), 9 * (columns - 1), "{at}: {accessible:#?}");
        assert!(accessible.iter().any(|(role, name)| role == "rowheader" && name == "refused"));
    }
    assert!(browser.value("document.title").as_str().unwrap().starts_with("marwatch: 5 rejected"));

    // A closed row shows the first problems, an open one shows all.
    let problems = "document.querySelectorAll('.problem').length";
    let before = browser.value(problems).as_u64().unwrap();
    let click = "[...document.querySelectorAll('button')].find((b) => b.innerText === 'several')";
    browser.value(&format!("{click}.click()"));
    let after = browser.value(problems).as_u64().unwrap();
    assert!(after > before, "{before} problems, then {after}");
    if let Some(folder) = pictures() {
        browser.picture(&folder.join("status-page-open.png"));
    }
    let needed = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
    assert!(needed <= 360, "the opened page is {needed} px wide");

    // A row that does not change stays in place, with the selection, while the page polls.
    browser.value(
        "getSelection().selectAllChildren(document.querySelector('.bad .reason')); \
         window.before = [last.time, getSelection().toString()]; undefined",
    );
    browser.wait("last.time !== before[0]");
    assert_eq!(browser.value("before[1] !== '' && getSelection().toString() === before[1]"), true);

    // The reasons of a build are text, and a server that refuses an archive is a problem.
    let shown = browser.value(
        r#"(() => {
            const status = structuredClone(last);
            const model = status.models.find(({ model }) => model === "accepted");
            model.last.why = ["service.py changed", "<b>exclude</b> changed"];
            model.archive.servers = { "http://s:8081": { state: "rolled_back", error: "it <i>died</i>" } };
            open.add(`accepted\0${model.folder}`);
            show(status);
            const table = document.querySelector("tbody");
            return [table.querySelectorAll("b, i").length, table.innerText.replace(/\n+/g, "\n")];
        })()"#,
    );
    assert_eq!(shown[0], 0);
    let text = shown[1].as_str().unwrap();
    let accepted = &text[text.find("accepted").unwrap()..text.find("paused").unwrap()];
    for part in [
        "Built because\nservice.py changed\n<b>exclude</b> changed",
        "http://s:8081: rolled back: it <i>died</i>",
    ] {
        assert!(accepted.contains(part), "{part:?} is missing in {accepted}");
    }
    assert!(text.find("accepted") < text.find("refused"), "{text}");
    drop(writer);
}

#[test]
#[ignore = "needs Chromium; run by .ci/run"]
fn the_documentation_has_a_picture_of_each_kind_of_state() {
    let free = free_port();
    let site = Site::quick(&format!("control: {{listen: '{free}'}}\n"));
    let mut daemon = site.start();
    let mut random = Random::new(1);
    for (model, builds) in
        [("bert", 12), ("detector", 12), ("resnet-50", 12), ("sentiment", 1), ("tokenizer", 1)]
    {
        let folder = site.put_simple(model);
        daemon.next(model, Outcome::Published);
        for _ in 1..builds {
            let length = usize::try_from(500_000 + random.below(2_000_000)).unwrap();
            fs::write(site.root.join("new"), random.noise(length)).unwrap();
            fs::rename(site.root.join("new"), folder.join("weights.bin")).unwrap();
            daemon.next(model, Outcome::Published);
        }
    }
    assert!(site.run(&["rollback", "detector"]).status.success());
    assert!(site.run(&["pause", "sentiment"]).status.success());
    let broken = "def handle(data, context):\n    tokens = []\n    for text in data\n";
    fs::write(site.drop.join("tokenizer/service.py"), broken).unwrap();
    daemon.next("tokenizer", Outcome::Rejected);
    // Weights that take long to compress.
    site.put("llama", &[("service.py", &service("one")), ("weights.txt", &slow_text(1, 96))]);
    let mut browser = Browser::open(&site.root, &format!("http://{free}/"));
    browser.resize(1200, 440);
    browser.wait("(document.querySelector('progress') || {}).position > 0.2");
    let path = pictures().unwrap_or_else(|| site.root.clone()).join("status-page.png");
    browser.picture(&path);
    let states = browser.value(
        "[...document.querySelectorAll('tr')].slice(1).map((row) => row.cells[1].innerText)",
    );
    let order = ["rejected", "published", "held", "building", "published", "paused"];
    assert_eq!(states, json!(order));
    assert_eq!(browser.value("document.querySelectorAll('svg').length"), 3);
    assert!(fs::read(path).unwrap().starts_with(b"\x89PNG"));
}
