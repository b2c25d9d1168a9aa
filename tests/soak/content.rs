//! The content that the writers write, which shows in an archive which state it holds.
//!
//! Every state of a model has a token. Every file of the state begins with the token, its path and
//! its length; the rest follows from these, so every byte is known. `service.py` lists the files of
//! the state. So an archive alone shows whether it holds exactly one state.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::archives::Members;
use crate::common::random::Random;

/// The handler of every model.
pub const SERVICE: &str = "service.py";
/// The manifest that marwatch adds.
const MANIFEST: &str = "MAR-INF/MANIFEST.json";
/// In content that must never be published.
pub const FORBIDDEN: &str = "NEVER TO BE PUBLISHED";

/// The files of a state except the handler, with their lengths.
pub type Files = BTreeMap<String, usize>;

/// The content of a file in the state `token`.
pub fn file(token: &str, path: &str, length: usize) -> Vec<u8> {
    let mut content = format!("# soak {token} {path} {length}\n").into_bytes();
    let seed = content.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = Random::new(seed);
    while content.len() < length {
        // Half of it compresses, half does not.
        let number = random.next();
        if number.is_multiple_of(2) {
            content.extend_from_slice(&number.to_le_bytes());
        } else {
            content.extend_from_slice(b"weights ");
        }
    }
    content
}

/// The handler in the state `token`, with these files; `described` if the settings have the token,
/// too.
pub fn service(token: &str, files: &Files, described: bool) -> Vec<u8> {
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    format!(
        "# soak {token} {SERVICE}\n# files {}\n# described {described}\n\
         def handle(data, context):\n    return [{token:?} for _ in data or []]\n# end {token}\n",
        names.join(",")
    )
    .into_bytes()
}

/// A handler that marwatch refuses.
pub fn broken_service(token: &str) -> Vec<u8> {
    format!("# soak {token} {SERVICE}\n# {FORBIDDEN}\ndef handle(data, context:\n").into_bytes()
}

/// An archive that holds no state.
#[derive(Debug, Clone)]
pub struct Torn {
    pub why: String,
    /// The states of which it holds a part.
    pub tokens: BTreeSet<String>,
}

/// The state that these members are, if they are exactly one.
pub fn judge(members: &Members) -> Result<String, Torn> {
    let mut tokens = BTreeSet::new();
    let head_of = |content: &[u8]| -> Option<(String, usize)> {
        let line = content.split(|&byte| byte == b'\n').next()?;
        let mut parts = std::str::from_utf8(line).ok()?.strip_prefix("# soak ")?.split(' ');
        let token = parts.next()?.to_owned();
        Some((token, parts.nth(1).and_then(|length| length.parse().ok()).unwrap_or(0)))
    };
    let mut found = Files::new();
    let mut why = Vec::new();
    for (path, content) in members {
        if path == MANIFEST {
            continue;
        }
        let Some((token, length)) = head_of(content) else {
            why.push(format!("{path} of {} bytes is of no state", content.len()));
            continue;
        };
        if path != SERVICE {
            if *content != file(&token, path, length) {
                why.push(format!("{path} is not what {token} wrote"));
            }
            found.insert(path.clone(), length);
        }
        tokens.insert(token);
    }
    if tokens.len() != 1 {
        why.push(format!("it holds parts of {tokens:?}"));
    }
    match (members.get(SERVICE), tokens.first()) {
        (Some(handler), Some(token)) => {
            let said = |described| *handler == service(token, &found, described);
            let described = said(true);
            if !described && !said(false) {
                let handler = String::from_utf8_lossy(handler);
                why.push(format!("{:?} are not the files of\n{handler}", found.keys()));
            }
            let manifest = members.get(MANIFEST).cloned().unwrap_or_default();
            let manifest = String::from_utf8_lossy(&manifest).into_owned();
            if described != manifest.contains(&format!("\"soak {token}\"")) {
                why.push(format!("the manifest is of another state: {manifest}"));
            }
        }
        _ => why.push("it has no handler".to_owned()),
    }
    if why.is_empty() {
        return Ok(tokens.into_iter().next().unwrap());
    }
    Err(Torn { why: why.join("; "), tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(token: &str) -> Members {
        let files = Files::from([("a".to_owned(), 500), ("b/c".to_owned(), 1)]);
        let mut members: Members =
            files.iter().map(|(path, &length)| (path.clone(), file(token, path, length))).collect();
        members.insert(SERVICE.to_owned(), service(token, &files, true));
        let manifest = format!("{{\"description\": \"soak {token}\"}}");
        members.insert(MANIFEST.to_owned(), manifest.into_bytes());
        members
    }

    #[test]
    fn mixed_and_missing_members_are_noticed() {
        assert_eq!(judge(&state("t1")).unwrap(), "t1");
        let other = state("t2");
        for (path, content) in &other {
            let mut mixed = state("t1");
            mixed.insert(path.clone(), content.clone());
            assert!(judge(&mixed).is_err(), "{path}");
            let mut missing = state("t1");
            missing.remove(path);
            assert!(judge(&missing).is_err(), "{path}");
            let mut cut = state("t1");
            cut.get_mut(path).unwrap().pop();
            assert!(judge(&cut).is_err() || path == MANIFEST, "{path}");
        }
        let mut more = state("t1");
        more.insert("d".to_owned(), file("t1", "d", 10));
        assert!(judge(&more).is_err());
    }
}
