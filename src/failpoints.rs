//! Protections that a test can switch off, to show that it notices.
//!
//! A test of a protection proves something only if it fails without it. In builds with debug
//! assertions, which `cargo test` makes, the environment variable [`VARIABLE`] lists protections
//! that are left out, separated by commas. No package is built so: in a release build
//! [`is_disabled`] is `false` at compile time, and nothing reads the variable.

/// Lists the protections to leave out.
pub const VARIABLE: &str = "MARWATCH_DISABLE";

/// A protection that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// An archive is flushed before it takes its place.
    ArchiveFlush,
    /// Nothing is carried over from an archive that another program has written into.
    ArchiveIdentity,
    /// Nothing outside of a model is opened.
    Confinement,
    /// A file beyond `limits.file_size` is refused.
    FileSizeLimit,
    /// The store's folder is flushed after an archive has taken its place in it.
    FolderFlush,
    /// Records that the disk refuses are kept until it takes them.
    KeptRecords,
    /// The kernel is asked whether a file is open for writing; without, no file ever is.
    LeaseProbe,
    /// What a terminal could obey is escaped in the log.
    LogEscapes,
    /// An archive is marked as ours before it takes its place.
    Mark,
    /// Lost notifications lead to a full rescan.
    Overflow,
    /// A model has to be quiet before it is built.
    QuietTime,
    /// The files that were read are compared with the listing again before anything is published.
    Recheck,
    /// Records are flushed.
    RecordFlush,
    /// The next start records what a crash kept from being recorded.
    RecordRecovery,
    /// An archive takes its place by a rename; without, it is copied there.
    Rename,
    /// Only plain files are opened.
    SpecialFiles,
    /// The start removes what a crash left in staging.
    Sweep,
}

#[cfg(debug_assertions)]
impl Protection {
    /// Its name in [`VARIABLE`].
    const fn name(self) -> &'static str {
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

/// Whether `protection` is left out.
#[cfg(debug_assertions)]
pub(crate) fn is_disabled(protection: Protection) -> bool {
    use std::sync::LazyLock;

    static OUT: LazyLock<String> = LazyLock::new(|| std::env::var(VARIABLE).unwrap_or_default());
    OUT.split(',').any(|name| name == protection.name())
}

/// Whether `protection` is left out: it never is.
#[cfg(not(debug_assertions))]
pub(crate) const fn is_disabled(_: Protection) -> bool {
    false
}
