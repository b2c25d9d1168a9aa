//! A minimal HTTP/1.1 client for the server on this machine.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The limit of a read or write: the first request to a model waits for its worker.
const PATIENCE: Duration = Duration::from_secs(30);
/// More bytes than any answer has.
const LARGEST: usize = 1 << 20;

/// An answer of the server.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Makes one request on a new connection.
///
/// # Errors
/// When there is no connection, no answer in time, or an answer that is not HTTP.
pub(crate) fn ask(port: u16, method: &str, path: &str, body: &str) -> io::Result<Response> {
    ask_within(PATIENCE, port, method, path, body)
}

/// The same, with another limit.
pub(crate) fn ask_within(
    patience: Duration,
    port: u16,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let length = body.len();
    stream.write_all(
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .as_bytes(),
    )?;
    read_response(&mut BufReader::new(stream.take(LARGEST as u64)))
}

fn read_response(stream: &mut impl BufRead) -> io::Result<Response> {
    let not_http = |line: &str| io::Error::new(io::ErrorKind::InvalidData, line.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| not_http(&line))?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| not_http(&line))?;
        }
    }
    let mut body = vec![0; usize::min(length, LARGEST)];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body).map_err(|error| not_http(&error.to_string()))?;
    Ok(Response { status, body })
}
