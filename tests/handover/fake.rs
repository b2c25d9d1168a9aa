//! A scripted server: it treats archives as the real one does, and calls as the script says.
//!
//! It has the part of the management API of Multi-Model-Server 1.1.11 that marwatch uses.
//! Registering a name that exists gives 409. A model that does not start gives 500, and its name is
//! free again or stays taken by a model without workers. An archive works unless its handler says
//! that it is broken.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::common::archives;

/// Marks a handler that does not start.
pub(crate) const BROKEN: &str = "# BROKEN";
const TRIAL: &str = "--marwatch-trial";
/// Models on one page of a list, as in the real server.
const PAGE: usize = 100;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server does nothing and answers with this status.
    Status(u16),
    /// The server does nothing and resets the connection.
    Reset,
    /// The server does it and closes the connection without an answer.
    Lost,
    /// The server does nothing and leaves the connection open.
    Silence,
}

/// How the server refuses an archive that does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The name is free again.
    Clean,
    /// The name stays taken.
    Zombie,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) version: String,
    pub(crate) works: bool,
    pub(crate) workers: usize,
    pub(crate) query: BTreeMap<String, String>,
}

/// The fault of one model.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// The call that fails, counted from 0 after the store holds a version other than this.
    pub(crate) after: String,
    pub(crate) call: usize,
    pub(crate) fault: Fault,
    pub(crate) manner: Manner,
    /// The calls about the model so far.
    pub(crate) calls: usize,
    /// Whether the fault has happened.
    pub(crate) fired: bool,
}

#[derive(Debug, Default)]
struct State {
    holders: BTreeMap<String, Holder>,
    scripts: BTreeMap<String, Script>,
    /// Every request as `METHOD PATH`, with its headers.
    asked: Vec<(String, String)>,
    /// Connections that stay open without an answer.
    open: Vec<TcpStream>,
}

#[derive(Debug, Clone)]
pub(crate) struct Fake {
    port: u16,
    store: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Starts a server for archives of this store.
    pub(crate) fn start(store: &Path) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, store: store.to_owned(), state: Arc::default() };
        let server = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let server = server.clone();
                // A client may close the connection at any time.
                thread::spawn(move || stream.and_then(|stream| server.answer(stream)));
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The model that has a name.
    pub(crate) fn holder(&self, name: &str) -> Option<Holder> {
        self.state.lock().unwrap().holders.get(name).cloned()
    }

    /// The registered names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().holders.keys().cloned().collect()
    }

    /// Registers or removes a model, as another client does.
    pub(crate) fn set(&self, name: &str, holder: Option<Holder>) {
        let mut state = self.state.lock().unwrap();
        state.holders.remove(name);
        state.holders.extend(holder.map(|holder| (name.to_owned(), holder)));
    }

    /// Sets the fault of a model.
    pub(crate) fn play(&self, model: &str, script: Script) {
        self.state.lock().unwrap().scripts.insert(model.to_owned(), script);
    }

    /// The fault of a model, with its state.
    pub(crate) fn script(&self, model: &str) -> Script {
        self.state.lock().unwrap().scripts[model].clone()
    }

    /// The requests so far, with their headers.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.state.lock().unwrap().asked.clone()
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let fault = self.fault(method, path);
        if fault == Some(Fault::Reset) {
            // A close with unread data is a reset.
            return Ok(());
        }
        let mut headers = String::new();
        while reader.read_line(&mut headers)? > 2 {}
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        io::copy(&mut reader.take(length), &mut io::sink())?;
        let (status, body) = match fault {
            Some(Fault::Silence) => {
                self.state.lock().unwrap().open.push(stream);
                return Ok(());
            }
            Some(Fault::Status(status)) => (status, json!({"message": "as the script says"})),
            _ => self.carry_out(method, path, headers),
        };
        if fault == Some(Fault::Lost) {
            return Ok(());
        }
        let body = body.to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes())
    }

    /// The fault of this call, if it has one.
    fn fault(&self, method: &str, path: &str) -> Option<Fault> {
        let (name, _) = asked_for(path);
        let model = name.strip_suffix(TRIAL).unwrap_or(&name);
        let mut state = self.state.lock().unwrap();
        let script = state.scripts.get_mut(model)?;
        if self.read(&format!("{model}.mar"))?.0 == script.after {
            return None;
        }
        let number = script.calls;
        script.calls += 1;
        let is_now = number == script.call && !script.fired;
        script.fired |= is_now;
        let _ = method;
        is_now.then_some(script.fault)
    }

    fn carry_out(&self, method: &str, path: &str, headers: String) -> (u16, Value) {
        let (name, query) = asked_for(path);
        // Read the archive before taking the lock.
        let archive = query.get("url").and_then(|url| self.read(url));
        let mut state = self.state.lock().unwrap();
        state.asked.push((format!("{method} {path}"), headers));
        let model = name.strip_suffix(TRIAL).unwrap_or(&name);
        let manner = state.scripts.get(model).map_or(Manner::Clean, |script| script.manner);
        let number = |key: &str| query.get(key).and_then(|number| number.parse().ok());
        match method {
            "GET" if name.is_empty() => {
                let from: usize = number("next_page_token").unwrap_or(0);
                let names = state.holders.keys().skip(from).take(PAGE);
                let models: Vec<_> = names.map(|name| json!({"modelName": name})).collect();
                let next = from + models.len();
                let mut list = json!({"models": models});
                if next < state.holders.len() {
                    list["nextPageToken"] = json!(next.to_string());
                }
                (200, list)
            }
            "GET" => match state.holders.get(&name) {
                None => (404, json!({"message": "no such model"})),
                Some(holder) => {
                    let status = if holder.works { "READY" } else { "UNLOADING" };
                    let workers = vec![json!({"status": status}); holder.workers];
                    let batch_size: usize =
                        holder.query.get("batch_size").map_or(1, |size| size.parse().unwrap());
                    let version = &holder.version;
                    (
                        200,
                        json!({"modelVersion": version, "batchSize": batch_size, "workers": workers}),
                    )
                }
            },
            "POST" if state.holders.contains_key(&name) => (409, json!({"message": "taken"})),
            "POST" => {
                let Some((version, works)) = archive else {
                    return (404, json!({"message": "no such archive"}));
                };
                let workers = number("initial_workers").unwrap_or(0);
                if works || manner == Manner::Zombie {
                    state.holders.insert(name, Holder { version, works, workers, query });
                }
                if works { (200, json!({})) } else { (500, json!({"message": "no workers"})) }
            }
            "PUT" => {
                let workers = number("min_worker").unwrap_or(0);
                match state.holders.get_mut(&name) {
                    None => (404, json!({})),
                    Some(holder) => {
                        holder.workers = workers;
                        (200, json!({}))
                    }
                }
            }
            "DELETE" => match state.holders.remove(&name) {
                None => (404, json!({})),
                Some(_) => (200, json!({})),
            },
            _ => (405, json!({})),
        }
    }

    /// The version of an archive in the store, and whether it works.
    fn read(&self, url: &str) -> Option<(String, bool)> {
        let path = self.store.join(url);
        // The daemon may replace it at any time.
        let members = path.exists().then(|| std::panic::catch_unwind(|| archives::zip(&path)))?;
        let members = members.ok()?;
        let manifest: Value = serde_json::from_slice(members.get("MAR-INF/MANIFEST.json")?).ok()?;
        let version = manifest["model"]["modelVersion"].as_str()?.to_owned();
        let service = String::from_utf8_lossy(members.get("service.py")?).into_owned();
        Some((version, !service.contains(BROKEN)))
    }
}

/// The name in the path of a request, and its query.
fn asked_for(path: &str) -> (String, BTreeMap<String, String>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let plain = |text: &str| text.replace("%2F", "/");
    let query: BTreeMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), plain(value))).collect();
    let name = path.trim_start_matches("/models").trim_start_matches('/');
    let name = query.get("model_name").map_or(name, String::as_str).to_owned();
    (name, query)
}
