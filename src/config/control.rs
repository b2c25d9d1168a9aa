//! `control:`

use std::net::SocketAddr;
use std::path::Path;

use super::cursor::Cursor;
use super::field::Field;
use super::leaf::Text;
use super::raw::RawControl;
use super::reader::Reader;
use super::{Control, SocketAccess};

/// `control:`
pub(super) fn control(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawControl>,
    base: &Path,
) -> Control {
    let Some(raw) = reader.section(at, field) else { return Control::default() };
    let listen_at = at.member("listen");
    let listen = reader.take(&listen_at, raw.listen).and_then(|Text(text)| {
        let address = text.parse::<SocketAddr>().ok();
        if address.is_none() {
            let help = "write an address and a port: `127.0.0.1:8170`, or `[::1]:8170`";
            reader.wrong(&listen_at, "is no address with a port", help);
        }
        address
    });
    let token_file = reader.path(&at.member("token_file"), raw.token_file, base);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && token_file.is_none() {
        let help = "name a `token_file` beside it, or listen at `127.0.0.1`";
        reader.wrong(&listen_at, "can be reached from elsewhere, and there is no token", help);
    }
    let access = reader.choice(&at.member("access"), raw.access, SocketAccess::default());
    Control { access, listen, token_file }
}
