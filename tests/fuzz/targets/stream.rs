//! The reader of local headers, on bytes in memory.
//!
//! Skipping data and decoding it lead to the same headers wherever both know the end of an entry;
//! decoding never gives more than the stated size; every step goes forward.
use marwatch::archive::read::stream::{End, LocalHeader, LocalHeaders};

fn walk(bytes: &[u8], decode: bool) -> (Vec<LocalHeader>, End, bool) {
    let mut headers = LocalHeaders::new(bytes, bytes.len() as u64);
    let mut seen: Vec<LocalHeader> = Vec::new();
    let mut all_good = true;
    loop {
        let header = match headers.next_header().expect("memory can be read") {
            Ok(header) => header,
            Err(end) => return (seen, end, all_good),
        };
        assert!(header.data_offset >= header.offset + 30 && header.offset < bytes.len() as u64);
        if let Some(last) = seen.last() {
            assert!(header.offset >= last.data_offset, "{header:?} behind {last:?}");
        }
        if decode {
            let mut given = 0u64;
            let mut sink = |part: &[u8]| given += part.len() as u64;
            let decoded = headers.decode(&mut sink).expect("memory can be read");
            let decoded = decoded.expect("its data was not passed");
            assert!(header.has_descriptor() || given <= header.size, "{given} of {header:?}");
            assert!(given <= decoded.size.max(given.min(decoded.size)), "{given}: {decoded:?}");
            all_good &= decoded.fault.is_none();
        } else {
            all_good &= headers.skip().expect("memory can be read").is_none();
        }
        seen.push(header);
    }
}

pub fn check(bytes: &[u8]) {
    let (passed, passed_end, _) = walk(bytes, false);
    let (decoded, decoded_end, good) = walk(bytes, true);
    if good {
        assert_eq!((passed, passed_end), (decoded, decoded_end));
    }
}
