//! Zips made byte by byte, good ones and odd ones.

use std::io::Write;

use crate::model::manifest::MANIFEST_PATH;

/// One entry: its local header, the bytes around it, and its record in the central directory.
#[derive(Debug, Clone)]
pub struct Item {
    /// Bytes before the local header.
    pub gap: Vec<u8>,
    pub name: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    pub crc32: u32,
    pub size: u32,
    pub packed_size: u32,
    pub extra: Vec<u8>,
    /// The data in the archive.
    pub data: Vec<u8>,
    /// Bytes behind the data.
    pub descriptor: Vec<u8>,
    /// Whether the stream of local headers has it.
    pub present: bool,
    /// Its record in the central directory, if it has one.
    pub listed: Option<Listed>,
}

#[derive(Debug, Clone)]
pub struct Listed {
    pub name: Vec<u8>,
    pub crc32: u32,
    pub size: u32,
    pub packed_size: u32,
    pub mode: u32,
}

impl Item {
    pub fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::new(name.as_ref(), content.as_ref(), 0, content.as_ref().to_vec())
    }

    pub fn deflated(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let level = flate2::Compression::default();
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
        encoder.write_all(content.as_ref()).unwrap();
        Self::new(name.as_ref(), content.as_ref(), 8, encoder.finish().unwrap())
    }

    fn new(name: &[u8], content: &[u8], method: u16, data: Vec<u8>) -> Self {
        let crc32 = crc32fast::hash(content);
        let size = u32::try_from(content.len()).unwrap();
        let packed_size = u32::try_from(data.len()).unwrap();
        Self {
            gap: Vec::new(),
            name: name.to_vec(),
            flags: 1 << 11,
            method,
            crc32,
            size,
            packed_size,
            extra: Vec::new(),
            data,
            descriptor: Vec::new(),
            present: true,
            listed: Some(Listed { name: name.to_vec(), crc32, size, packed_size, mode: 0o100_644 }),
        }
    }

    /// The same with sizes and CRC behind the data, in 32-bit or 64-bit fields.
    pub fn with_descriptor(mut self, signature: bool, wide: bool) -> Self {
        self.flags |= 1 << 3;
        self.descriptor = if signature { b"PK\x07\x08".to_vec() } else { Vec::new() };
        self.descriptor.extend(self.crc32.to_le_bytes());
        for size in [self.packed_size, self.size] {
            if wide {
                self.descriptor.extend(u64::from(size).to_le_bytes());
            } else {
                self.descriptor.extend(size.to_le_bytes());
            }
        }
        (self.crc32, self.size, self.packed_size) = (0, 0, 0);
        self
    }

    /// The same with its sizes in a zip64 field.
    pub fn with_zip64(mut self) -> Self {
        self.extra.extend([1, 0, 16, 0]);
        self.extra.extend(u64::from(self.size).to_le_bytes());
        self.extra.extend(u64::from(self.packed_size).to_le_bytes());
        (self.size, self.packed_size) = (u32::MAX, u32::MAX);
        self
    }

    pub fn edit(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }
}

/// A manifest that the server accepts.
pub const MANIFEST: &str = r#"{"specificationVersion": "1.0", "implementationVersion": "1.0",
"modelServerVersion": "1.0", "runtime": "python3", "engine": {"engineName": "MXNet"},
"model": {"modelName": "cats", "modelVersion": "7", "handler": "service:handle"},
"publisher": {"author": "Ada", "email": "ada@example.org"}}"#;

/// The entries of a good archive.
pub fn good() -> Vec<Item> {
    vec![
        Item::deflated(MANIFEST_PATH, MANIFEST),
        Item::stored("weights.bin", [7; 300]).edit(|item| {
            item.extra = [0x35, 0xd9, 4, 0, 0, 0, 0, 0].to_vec();
        }),
        Item::deflated("labels.txt", "cat\n".repeat(40)),
        Item::stored("service.py", "def handle(data, context):\n    return data\n"),
        Item::stored("empty", ""),
    ]
}

/// The entries of a good archive, and one more.
pub fn good_and(item: Item) -> Vec<Item> {
    let mut items = good();
    items.push(item);
    items
}

/// The bytes of an archive.
pub fn zip(items: &[Item]) -> Vec<u8> {
    let (mut bytes, directory) = parts(items);
    finish(&mut bytes, &directory);
    bytes
}

/// The entries with the bytes between them, and their records in the central directory.
pub fn parts(items: &[Item]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for item in items {
        bytes.extend(&item.gap);
        if let Some(listed) = &item.listed {
            let mut record = Vec::from(*b"PK\x01\x02\x14\x03\x14\x00");
            record.extend(item.flags.to_le_bytes());
            record.extend(item.method.to_le_bytes());
            record.extend([0, 0, 0x21, 0]);
            for number in [listed.crc32, listed.packed_size, listed.size] {
                record.extend(number.to_le_bytes());
            }
            record.extend(u16::try_from(listed.name.len()).unwrap().to_le_bytes());
            record.extend([0; 8]);
            record.extend((listed.mode << 16).to_le_bytes());
            record.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            record.extend(&listed.name);
            directory.push(record);
        }
        if !item.present {
            continue;
        }
        bytes.extend(b"PK\x03\x04\x14\x00");
        bytes.extend(item.flags.to_le_bytes());
        bytes.extend(item.method.to_le_bytes());
        bytes.extend([0, 0, 0x21, 0]);
        for number in [item.crc32, item.packed_size, item.size] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(u16::try_from(item.name.len()).unwrap().to_le_bytes());
        bytes.extend(u16::try_from(item.extra.len()).unwrap().to_le_bytes());
        bytes.extend(&item.name);
        bytes.extend(&item.extra);
        bytes.extend(&item.data);
        bytes.extend(&item.descriptor);
    }
    (bytes, directory)
}

/// Appends the central directory and the end record.
pub fn finish(bytes: &mut Vec<u8>, directory: &[Vec<u8>]) {
    let offset = u32::try_from(bytes.len()).unwrap();
    bytes.extend(directory.concat());
    let size = u32::try_from(bytes.len()).unwrap() - offset;
    let count = u16::try_from(directory.len()).unwrap().to_le_bytes();
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count);
    bytes.extend(count);
    bytes.extend(size.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0, 0]);
}
