//! A server that does with archives what the real one does, and with calls what it is told to.
//!
//! As far as it is of use here it is the management API of Multi-Model-Server 1.1.11: a name that is
//! taken is answered by 409, a start that fails by 500 with the name free again, or taken by nothing
//! that works. An archive works unless its handler says that it is broken.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::common::archives;

/// What a handler says that does not start.
pub(crate) const BROKEN: &str = "# BROKEN";
const TRIAL: &str = "--marwatch-trial";
/// Models on one page of a list, as with the real one.
const PAGE: usize = 100;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not done, and answered by this status.
    Status(u16),
    /// It is not done, and the connection is reset.
    Reset,
    /// It is done, and the connection is closed without an answer.
    Lost,
    /// Nothing is done, and the connection stays open.
    Silence,
}

/// How an archive that does not work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It is refused, and the name is free again.
    Clean,
    /// It is refused, and the name stays taken.
    Zombie,
}

/// Something that holds a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) version: String,
    pub(crate) works: bool,
    pub(crate) workers: usize,
    pub(crate) query: BTreeMap<String, String>,
}

/// What is to happen to one model.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Which call about the model goes wrong, counted from 0 on once the store holds another version
    /// than this.
    pub(crate) after: String,
    pub(crate) call: usize,
    pub(crate) fault: Fault,
    pub(crate) manner: Manner,
    /// How many calls there were.
    pub(crate) calls: usize,
    /// Whether it has happened.
    pub(crate) fired: bool,
}

#[derive(Debug, Default)]
struct State {
    holders: BTreeMap<String, Holder>,
    scripts: BTreeMap<String, Script>,
    /// Every request, as `METHOD PATH`, and its headers.
    asked: Vec<(String, String)>,
    /// Connections that are left without an answer.
    open: Vec<TcpStream>,
}

/// The server.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    port: u16,
    store: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// One that serves archives of this store.
    pub(crate) fn start(store: &Path) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, store: store.to_owned(), state: Arc::default() };
        let server = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let server = server.clone();
                // Whoever asks may go at any time.
                thread::spawn(move || stream.and_then(|stream| server.answer(stream)));
            }
        });
        fake
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What holds a name.
    pub(crate) fn holder(&self, name: &str) -> Option<Holder> {
        self.state.lock().unwrap().holders.get(name).cloned()
    }

    /// The names that are taken.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().holders.keys().cloned().collect()
    }

    /// Takes or gives a name, as somebody else does.
    pub(crate) fn set(&self, name: &str, holder: Option<Holder>) {
        let mut state = self.state.lock().unwrap();
        state.holders.remove(name);
        state.holders.extend(holder.map(|holder| (name.to_owned(), holder)));
    }

    /// Has something go wrong.
    pub(crate) fn play(&self, model: &str, script: Script) {
        self.state.lock().unwrap().scripts.insert(model.to_owned(), script);
    }

    /// What was played for a model.
    pub(crate) fn script(&self, model: &str) -> Script {
        self.state.lock().unwrap().scripts[model].clone()
    }

    /// The requests so far, and their headers.
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
            // What was not read is what makes it a reset.
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
            Some(Fault::Status(status)) => (status, json!({"message": "as it was told"})),
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

    /// What is to go wrong with this call.
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
        // The archive is read before anything is held.
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

    /// The version in an archive of the store, and whether it works.
    fn read(&self, url: &str) -> Option<(String, bool)> {
        let path = self.store.join(url);
        // It may be replaced at any time.
        let members = path.exists().then(|| std::panic::catch_unwind(|| archives::zip(&path)))?;
        let members = members.ok()?;
        let manifest: Value = serde_json::from_slice(members.get("MAR-INF/MANIFEST.json")?).ok()?;
        let version = manifest["model"]["modelVersion"].as_str()?.to_owned();
        let service = String::from_utf8_lossy(members.get("service.py")?).into_owned();
        Some((version, !service.contains(BROKEN)))
    }
}

/// The name that a request is about, and what is behind the `?`.
fn asked_for(path: &str) -> (String, BTreeMap<String, String>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let plain = |text: &str| text.replace("%2F", "/");
    let query: BTreeMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), plain(value))).collect();
    let name = path.trim_start_matches("/models").trim_start_matches('/');
    let name = query.get("model_name").map_or(name, String::as_str).to_owned();
    (name, query)
}
