//! The status page in a browser: Chromium without a window, led through its pipes (the DevTools
//! protocol, one JSON message each, ended by a NUL).

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use marwatch::results::Outcome;
use serde_json::{Value, json};

use crate::common::service;
use crate::common::site::Site;

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
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .envs([("TO", &to), ("FROM", &from)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The shell opens them in this order, and each waits for the other side.
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
            assert_eq!(answer.pop(), Some(0), "the browser has ended");
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
            marwatch::clock::pause(std::time::Duration::from_millis(50));
        }
        let page = self.value("document.body.innerText");
        panic!("never so: {expression}\n{}", page.as_str().unwrap_or_default());
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

/// What a row of the table says.
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
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = Site::quick(&format!("control: {{listen: '{free}'}}\n"));
    site.put_simple("good");
    // Whoever names a folder writes onto the page.
    let hostile = "<img src=x onerror=document.title='taken'>";
    site.put(hostile, &[("service.py", &service("x"))]);
    let mut daemon = site.start();
    daemon.next("good", Outcome::Published);
    let mut browser = Browser::open(&site.root, &format!("http://{free}/"));
    browser.wait(&format!("/published/.test({})", row("good")));
    browser.wait(&format!("/rejected/.test({})", row(hostile)));
    assert_eq!(browser.value("document.querySelectorAll('main img').length"), 0);
    assert!(browser.value("document.title").as_str().unwrap().starts_with("marwatch: "));

    // Shown when it comes, without anything being loaded anew.
    browser.value("window.mark = true");
    fs::write(site.drop.join("good/service.py"), BROKEN).unwrap();
    daemon.next("good", Outcome::Rejected);
    browser.wait(&format!("/rejected[^]*service.py:1/.test({})", row("good")));
    fs::write(site.drop.join("good/service.py"), service("better")).unwrap();
    daemon.next("good", Outcome::Published);
    browser.wait(&format!("/published/.test({})", row("good")));
    browser.wait("document.querySelector('svg title').textContent.includes('the last 2 builds')");
    assert_eq!(browser.value("window.mark"), true);

    // The filter comes first, then model by model.
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
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.call("Emulation.setEmulatedMedia", dark);
    assert_eq!(browser.value(paper), "rgb(20, 23, 26)");

    // Nothing comes from elsewhere.
    let loaded = "performance.getEntriesByType('resource').map((r) => new URL(r.name).host)";
    for host in browser.value(loaded).as_array().unwrap() {
        assert_eq!(host, &json!(free.to_string()));
    }
    daemon.stop();
    browser.wait("!document.getElementById('offline').hidden");
}
