//! A Multi-Model-Server for a test: installed once, started on a store, and killed with its
//! workers.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::run;
use crate::http::{self, Response};

/// The version whose behaviour marwatch knows.
const REQUIREMENT: &str = "multi-model-server==1.1.11";
/// A start takes a few seconds: one Java VM, and a Python process for each model.
const PATIENCE: Duration = Duration::from_secs(120);
/// The interval between checks of the server.
const STEP: Duration = Duration::from_millis(100);

/// A running server; dropping it kills it with all its workers.
pub(crate) struct Server {
    child: Child,
    inference: u16,
    management: u16,
    folder: TempDir,
}

impl Server {
    /// Starts a server with all archives of a store, and waits until it is healthy.
    pub(crate) fn start(store: &Path) -> Self {
        Self::start_at(store, free_ports(), Some("ALL"))
    }

    /// Starts a server at these ports, with the models in `models`, and waits until it is healthy.
    pub(crate) fn start_at(store: &Path, ports: [u16; 2], models: Option<&str>) -> Self {
        let python = installed();
        // The workers' sockets are in the folder for temporary files, under names that two servers
        // would share; and the path of a socket must be short.
        let folder = TempDir::new().unwrap();
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).unwrap();
        let [inference, management] = ports;
        let properties = folder.path().join("mms.properties");
        let settings = format!(
            "inference_address=http://127.0.0.1:{inference}\n\
             management_address=http://127.0.0.1:{management}\n\
             default_workers_per_model=1\n\
             vmargs=-Xmx256m\n"
        );
        fs::write(&properties, settings).unwrap();
        let log = File::create(folder.path().join("server.log")).unwrap();
        let child = Command::new(python)
            .args(["-m", "mms.model_server", "--start", "--foreground"])
            .args(models.into_iter().flat_map(|models| ["--models", models]))
            .arg("--mms-config")
            .arg(&properties)
            .arg("--model-store")
            .arg(store)
            .current_dir(folder.path())
            .env("TMPDIR", &temporary)
            .env("TEMP", &temporary)
            .env("LOG_LOCATION", folder.path())
            .env("METRICS_LOCATION", folder.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut server = Self { child, inference, management, folder };
        server.wait_until_healthy();
        server
    }

    /// The names of the loaded models, sorted.
    pub(crate) fn models(&self) -> Vec<String> {
        let listed: Value = serde_json::from_str(&self.ask(self.management, "GET", "/models", ""))
            .unwrap_or_else(|error| panic!("no list of models: {error}\n{}", self.log()));
        let name = |model: &Value| model["modelName"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = listed["models"].as_array().unwrap().iter().map(name).collect();
        names.sort_unstable();
        names
    }

    /// A model's answer to a request.
    #[track_caller]
    pub(crate) fn predict(&self, model: &str, body: &str) -> String {
        self.ask(self.inference, "POST", &format!("/predictions/{model}"), body)
    }

    /// The server's answer to a request to a model, with any status. It never answers a request
    /// that was in the queue of a worker that stops.
    pub(crate) fn ask_model(&self, model: &str) -> std::io::Result<Response> {
        let path = format!("/predictions/{model}");
        http::ask_within(Duration::from_secs(5), self.inference, "POST", &path, "?")
    }

    /// The working folder of the server and its workers.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it with all its workers.
    pub(crate) fn stop(self) {}

    #[track_caller]
    fn ask(&self, port: u16, method: &str, path: &str, body: &str) -> String {
        match http::ask(port, method, path, body) {
            Ok(Response { status: 200, body }) => body,
            other => panic!("{method} {path}: {other:?}\n{}", self.log()),
        }
    }

    /// The ports open only after the server has tried all models, and its workers start later.
    /// `/ping` answers 200 in every state, so only the body shows it.
    fn wait_until_healthy(&mut self) {
        let clock = Clock::new();
        let start = clock.now();
        loop {
            let pinged = http::ask(self.inference, "GET", "/ping", "");
            if pinged.is_ok_and(|pinged| pinged.body.contains("\"Healthy\"")) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server has ended: {ended:?}\n{}", self.log());
            let in_time = clock.now().since(start) <= PATIENCE;
            assert!(in_time, "the server is not healthy\n{}", self.log());
            thread::park_timeout(STEP);
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        format!("-- server\n{log}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Workers outlive a server that is killed alone, so kill the process group. It exists until
        // the child is waited for, so no other group can have its ID.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Two free ports.
///
/// The server refuses ports from 32767 on, so the system cannot choose them: they are searched
/// below, where no outgoing connection gets its port.
pub(crate) fn free_ports() -> [u16; 2] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Concurrent tests try different ports, in one process and in several.
    let first = 20_000 + u16::try_from(std::process::id() % 600).unwrap() * 20;
    [(); 2].map(|()| {
        (0..20)
            .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed) % 20)
            .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
            .expect("one of twenty ports is free")
    })
}

/// The Python that has the server, which is installed first if it is missing.
fn installed() -> PathBuf {
    let venv = std::env::var_os("MARWATCH_VENV").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("multi-model-server"),
        PathBuf::from,
    );
    fs::create_dir_all(&venv).unwrap();
    // Two tests may get here at the same time, also in two processes.
    let lock = File::create(venv.join("marwatch.lock")).unwrap();
    lock.lock().unwrap();
    let python = venv.join("bin/python");
    if !venv.join("bin/multi-model-server").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", REQUIREMENT]));
    }
    python
}
