//! Protections that can be taken out, so that a test can show that it would notice.
//!
//! A test of a protection proves something only if it fails without it. In a build with debug
//! assertions, as `cargo test` makes it, and in no other, the environment variable [`VARIABLE`] names
//! protections, separated by commas, that are then left out. No package is built so: in a release
//! build [`is_disabled`] is `false` at compile time, and nothing reads the variable.

/// Names the protections to leave out.
pub const VARIABLE: &str = "MARWATCH_DISABLE";

/// A protection that can be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// An archive is flushed before it takes its place.
    ArchiveFlush,
    /// Nothing is taken over from an archive that somebody has written into.
    ArchiveIdentity,
    /// Nothing outside of a model is opened.
    Confinement,
    /// A file beyond `limits.file_size` is refused.
    FileSizeLimit,
    /// The store's folder is flushed after an archive has taken its place in it.
    FolderFlush,
    /// Records that the disk refuses are kept until it takes them.
    KeptRecords,
    /// The kernel is asked whether a file is open for writing; without, nobody ever writes.
    LeaseProbe,
    /// What a terminal could obey does not get into the log as it is.
    LogEscapes,
    /// An archive is marked as ours before it takes its place.
    Mark,
    /// Lost notifications make marwatch look at everything.
    Overflow,
    /// A model has to be quiet before it is looked at.
    QuietTime,
    /// What was read is held against the listing again before it is published.
    Recheck,
    /// Records are flushed.
    RecordFlush,
    /// What a crash has kept from being recorded is recorded at the next start.
    RecordRecovery,
    /// An archive takes its place by a rename; without, it is copied there.
    Rename,
    /// What is no file is not opened.
    SpecialFiles,
    /// What a crash has left in staging is swept at the start.
    Sweep,
}

impl Protection {
    /// Its name in [`VARIABLE`].
    pub const fn name(self) -> &'static str {
        match self {
            Protection::ArchiveFlush => "archive-flush",
            Protection::ArchiveIdentity => "archive-identity",
            Protection::Confinement => "confinement",
            Protection::FileSizeLimit => "file-size-limit",
            Protection::FolderFlush => "folder-flush",
            Protection::KeptRecords => "kept-records",
            Protection::LeaseProbe => "lease-probe",
            Protection::LogEscapes => "log-escapes",
            Protection::Mark => "mark",
            Protection::Overflow => "overflow",
            Protection::QuietTime => "quiet-time",
            Protection::Recheck => "recheck",
            Protection::RecordFlush => "record-flush",
            Protection::RecordRecovery => "record-recovery",
            Protection::Rename => "rename",
            Protection::SpecialFiles => "special-files",
            Protection::Sweep => "sweep",
        }
    }
}

/// Whether `protection` is to be left out.
#[cfg(debug_assertions)]
pub fn is_disabled(protection: Protection) -> bool {
    use std::sync::LazyLock;

    static OUT: LazyLock<String> = LazyLock::new(|| std::env::var(VARIABLE).unwrap_or_default());
    OUT.split(',').any(|name| name == protection.name())
}

/// Whether `protection` is to be left out: it never is.
#[cfg(not(debug_assertions))]
pub const fn is_disabled(_: Protection) -> bool {
    false
}
