//! `marwatch run` on a terminal, read back from a terminal emulator.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use marwatch::clock::pause;
use nix::pty::{Winsize, openpty};

use crate::common::site::Site;
use crate::common::{marwatch, service, slow_text};

fn nonzero(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

/// A terminal of 100 columns and 20 rows with a program in it.
struct Terminal {
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
    keyboard: File,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    fn start(site: &Site, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = marwatch();
        command.arg("run").args(args).arg("--config").arg(&site.config);
        Self::start_command(command, environment)
    }

    fn start_command(mut command: Command, environment: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: 20, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let ends = openpty(Some(&size), None).unwrap();
        let inside = || Stdio::from(ends.slave.try_clone().unwrap());
        let child = command
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied())
            .stdin(inside())
            .stdout(inside())
            .stderr(inside())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(nonzero(20), nonzero(100), 100)));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let mut from = File::from(ends.master.try_clone().unwrap());
        let (to_screen, to_raw) = (Arc::clone(&screen), Arc::clone(&raw));
        let reader = thread::spawn(move || {
            let mut block = [0; 4096];
            // Reading fails when the other end is closed.
            while let Ok(length @ 1..) = from.read(&mut block) {
                // In raw mode the terminal does not turn LF into CR LF.
                to_screen.lock().unwrap().process(&block[..length]);
                to_raw.lock().unwrap().extend_from_slice(&block[..length]);
            }
        });
        Self { child, screen, raw, keyboard: File::from(ends.master), reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen shows all of these.
    #[track_caller]
    fn wait(&self, what: &[&str]) {
        for _ in 0..800 {
            let text = self.text();
            if what.iter().all(|what| text.contains(what)) {
                return;
            }
            pause(Duration::from_millis(25));
        }
        panic!("never shown: {what:?}\n{}", self.text());
    }

    fn press_ctrl_c(&mut self) {
        // This is not the child's controlling terminal: send the signal that one would send.
        let _ = self.keyboard.write_all(b"\x03");
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success());
        // The last output may still be on its way to the screen.
        self.reader.take().unwrap().join().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_screen_shows_a_line_per_model_and_the_source_line_of_a_problem() {
    let site = Site::quick("");
    site.put_simple("good");
    let wrong = "import os\n\ndef handle(data, context)\n    return []\n";
    let bad = site.put("bad-one", &[("service.py", wrong)]);
    let mut terminal = Terminal::start(&site, &[], &[]);
    terminal.wait(&[
        "error[handler-syntax]: not valid Python: expected `:`, found newline\n",
        "service.py:3:26\n  |\n3 | def handle(data, context)\n  |                          ^\n",
        "  = help: correct it",
        "✖ bad-one  service.py:3: not valid Python",
        "✔ good     published: generation 1, ",
        "watching 2 models; Ctrl-C stops",
    ]);
    assert!(terminal.raw.lock().unwrap().windows(4).any(|part| part == b"\x1b[32"), "in colour");
    fs::write(bad.join("service.py"), service("mended")).unwrap();
    terminal.wait(&["✔ bad-one  published: generation 1, "]);
    // A long build shows its progress.
    fs::write(site.drop.join("good/vocabulary.txt"), slow_text(1, 8)).unwrap();
    terminal.wait(&[" good     packing ", "MiB"]);
    terminal.wait(&["✔ good     published: generation 2, "]);
    terminal.press_ctrl_c();
    assert!(!terminal.text().contains("Ctrl-C stops"), "{}", terminal.text());
}

#[test]
fn plain_output_and_no_color_are_respected() {
    let site = Site::quick("");
    site.put_simple("good");
    let mut terminal = Terminal::start(&site, &["--plain"], &[]);
    terminal.wait(&["INFO build{model=good generation=1}: published archive=\"good.mar\""]);
    terminal.press_ctrl_c();
    let mut terminal = Terminal::start(&site, &[], &[("NO_COLOR", "1")]);
    terminal.wait(&["✔ good  up to date", "watching 1 model;"]);
    fs::write(site.drop.join("good/service.py"), "def handle(:\n").unwrap();
    terminal.wait(&["error[handler-syntax]", "✖ good  service.py:1"]);
    terminal.press_ctrl_c();
    let raw = terminal.raw.lock().unwrap();
    let text = String::from_utf8_lossy(&raw);
    let colours = text.split("\x1b[").skip(1).filter_map(|code| {
        let end = code.find(|letter: char| letter.is_ascii_alphabetic())?;
        (code.as_bytes()[end] == b'm' && &code[..end] != "0").then(|| code[..end].to_owned())
    });
    assert_eq!(colours.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_default_store_is_named_above_the_models() {
    let site = Site::quick("");
    site.put_simple("good");
    let mut command = marwatch();
    command.current_dir(&site.root).args(["run", "--watch", "drop"]);
    let mut terminal = Terminal::start_command(command, &[]);
    let store = site.root.join("model-store");
    let named = format!("the model store is {}\n", store.display());
    terminal.wait(&[&named, "✔ good  published: generation 1, "]);
    terminal.press_ctrl_c();
    assert!(store.join("good.mar").exists());
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let site = Site::quick("");
    site.put_simple("good");
    let mut terminal = Terminal::start(&site, &[], &[("TERM", "dumb")]);
    terminal.wait(&["INFO build{model=good generation=1}: published"]);
    terminal.press_ctrl_c();
}
