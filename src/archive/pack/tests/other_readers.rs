//! Archives at the limits of the format, and our archives read by other programs.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::*;

const GIB: u64 = 1 << 30;

/// Runs a program, which must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The CRC of every entry as Python reads it: `path crc`, one per line.
fn read_with_python(archive: &Path) -> String {
    let script = "
import sys, zipfile, zlib
with zipfile.ZipFile(sys.argv[1]) as z:
    for info in z.infolist():
        crc = 0
        with z.open(info) as f:
            while block := f.read(1 << 20):
                crc = zlib.crc32(block, crc)
        assert info.date_time == (1980, 1, 1, 0, 0, 0), info
        assert info.external_attr >> 16 == 0o100644, info
        print(info.filename, format(crc, '08x'))
";
    let path = archive.to_str().unwrap();
    run("python3", &["-X", "utf8", "-c", script, path])
}

fn sums_of(packed: &Packed) -> String {
    packed.entries.iter().fold(String::new(), |mut lines, entry| {
        writeln!(lines, "{} {:08x}", entry.path, entry.crc32).unwrap();
        lines
    })
}

fn check_with_all(archive: &Path, packed: &Packed) {
    assert_eq!(read_with_python(archive), sums_of(packed));
    run("unzip", &["-tqq", archive.to_str().unwrap()]);
}

#[test]
#[ignore = "needs python3 and unzip"]
fn python_and_info_zip_read_an_archive() {
    let files = varied();
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("m.mar");
    for compression in [Compression::Auto, Compression::Store] {
        let profile = Profile { compression, ..PROFILE };
        let plan = files.plan(&files.inputs(), &profile, &quiet(2)).unwrap();
        let out = File::create(&archive).unwrap();
        let packed = pack_zip(&plan, &profile, &files, &out, Before::default(), &quiet(2)).unwrap();
        check_with_all(&archive, &packed);
    }
}

#[test]
#[ignore = "needs python3 and tar"]
fn python_and_tar_read_a_tarball() {
    let files = varied();
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("m.tar.gz");
    let plan = files.plan(&files.inputs(), &PROFILE, &quiet(2)).unwrap();
    let out = File::create(&archive).unwrap();
    let name = ModelName::parse("cats").unwrap();
    pack_tgz(&plan, &PROFILE, &files, &name, &out, &quiet(2)).unwrap();
    let (archive, target) = (archive.to_str().unwrap(), folder.path().to_str().unwrap());
    run("tar", &["xzf", archive, "-C", target]);
    for (path, content) in files.expected() {
        assert!(
            std::fs::read(folder.path().join("cats").join(&path)).unwrap() == content,
            "{path}"
        );
    }
    run("python3", &["-c", "import sys, tarfile; tarfile.open(sys.argv[1]).getmembers()", archive]);
}

/// Every file is the same empty one.
struct Empty(TempDir);

impl Source for Empty {
    fn open(&self, _: &EntryPath) -> io::Result<File> {
        File::open(self.0.path().join("empty"))
    }
}

#[test]
fn an_archive_can_have_more_than_65535_entries() {
    let empty = Empty(TempDir::new().unwrap());
    File::create(empty.0.path().join("empty")).unwrap();
    for count in [65_533, 65_534, 65_600] {
        let inputs: Vec<_> = (0..count)
            .map(|i| Input { path: EntryPath::parse(&format!("f{i}")).unwrap(), size: 0 })
            .collect();
        let plan = plan(MANIFEST.into(), &inputs, &vec![Method::Stored; count], vec![]);
        let out = tempfile::tempfile().unwrap();
        let packed = pack_zip(&plan, &PROFILE, &empty, &out, Before::default(), &quiet(2)).unwrap();
        let end = bytes_of(&out).split_off(usize::try_from(packed.bytes).unwrap() - 22 - 20);
        assert_eq!(end.starts_with(b"PK\x06\x07"), count + 1 > 65_534, "{count}");
        assert_eq!(::zip::ZipArchive::new(&out).unwrap().len(), count + 1);
        if count == 65_600 {
            layout::check(&out, &packed);
        }
    }
}

/// `MARWATCH_KEEP_LARGE=PATH` keeps the archive for other readers.
#[test]
#[ignore = "writes 5 GB"]
fn entries_can_be_larger_than_4_gib() {
    let folder = TempDir::new_in(".").unwrap();
    let files = Files { folder, content: BTreeMap::new() };
    let sparse = |name: &str, size: u64, mark: &[u8]| {
        let path = files.folder.path().join(name);
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, mark, size - 9).unwrap();
        Input { path: EntryPath::parse(name).unwrap(), size }
    };
    let limit = 0xffff_ffff;
    let inputs = [
        sparse("stored", 4 * GIB + 5000, b"stored"),
        sparse("deflated", 4 * GIB + 7000, b"deflated"),
        // Not at the limit itself: behind a file of that length, unzip takes an offset for a length.
        sparse("deflated-above-the-limit", limit + 1, b"above"),
        sparse("deflated-below-the-limit", limit - 1, b"below"),
        sparse("small", 700, b"small"),
    ];
    let methods =
        [Method::Stored, Method::Deflated, Method::Deflated, Method::Deflated, Method::Stored];
    let plan = plan(MANIFEST.into(), &inputs, &methods, vec![]);
    let kept = std::env::var_os("MARWATCH_KEEP_LARGE");
    let archive = kept.map_or_else(|| files.folder.path().join("m.mar"), Into::into);
    let out = File::options().read(true).write(true).create(true).truncate(true).open(&archive);
    let out = out.unwrap();
    let profile = Profile { level: 1, ..PROFILE };
    let packed = pack_zip(&plan, &profile, &files, &out, Before::default(), &quiet(2)).unwrap();
    let methods: Vec<_> = packed.entries.iter().map(|e| (e.path.as_str(), e.method)).collect();
    assert_eq!(methods[1], ("stored", Method::Stored));
    assert_eq!(methods[2], ("deflated", Method::Deflated));
    layout::check(&out, &packed);
    check_with_all(&archive, &packed);
}
