//! The first stage: reads the settings and lists the files.

use std::io;

use super::Attempt;
use super::check::{settings_file, unreadable};
use super::error::BuildError;
use super::fingerprint::{Changes, parts};
use crate::archive::plan::Profile;
use crate::clock;
use crate::config::Config;
use crate::model::problem::any_error;
use crate::model::{ArchiveFormat, Exclude, ModelName, Settings};
use crate::reconcile::End;
use crate::results::Stage;
use crate::source::confined::Confined;
use crate::source::discover;
use crate::source::files::ListedFiles;
use crate::source::readiness::WriterProbe;
use crate::source::resolve::{Resolved, resolve};
use crate::source::snapshot;
use crate::source::snapshot::{Request, Snapshot, Transfers};
use crate::store::Parts;

/// The model as the first stage found it.
pub(super) struct Scan {
    pub folder: Confined,
    pub resolved: Resolved,
    pub settings: Settings,
    pub name: Option<ModelName>,
    pub exclude: Exclude,
    pub snapshot: Snapshot,
    /// When the listing began, in nanoseconds since 1970.
    pub listed_at: i64,
    /// What the kernel said about writers, once it was asked.
    pub writers: WriterProbe,
    pub parts: Parts,
    /// How the parts differ from those of the last build, if they are known.
    pub changes: Option<Changes>,
    pub format: ArchiveFormat,
    pub profile: Profile,
}

impl Scan {
    pub fn files(&self) -> ListedFiles<'_> {
        ListedFiles::new(&self.folder, &self.snapshot, self.listed_at)
    }

    /// Whether the settings or the listing have errors.
    pub fn has_errors(&self) -> bool {
        any_error(&self.resolved.problems) || any_error(&self.snapshot.problems)
    }
}

impl Attempt<'_> {
    pub(super) fn snapshot(&mut self) -> Result<Scan, BuildError> {
        let request = &self.job.request;
        let config = &*self.builder.config;
        let gone = || BuildError::NotAttempted(End::Gone);
        let Some(path) = &request.folder else { return Err(gone()) };
        let folder = discover::open(path, config).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => gone(),
            _ => BuildError::at(Stage::Snapshot, path, error),
        })?;
        let configured = config.entry(path).map(|entry| entry.settings.clone());
        let texts = self.known().map(|known| known.settings.as_slice());
        let resolved = resolve(&folder, &configured.unwrap_or_default(), texts.unwrap_or_default());
        let resolved = resolved.map_err(|source| {
            let path = settings_file(&folder);
            if source.kind() == io::ErrorKind::PermissionDenied {
                self.problems.push(unreadable(&path, &source));
            }
            BuildError::at(Stage::Snapshot, path, source)
        })?;
        if resolved.name != request.name && resolved.name.is_some() {
            return Err(BuildError::NotAttempted(End::Renamed(resolved.name)));
        }
        let settings = resolved.settings.clone();
        let exclude = exclude_of(&settings);
        let listed_at = i64::try_from(clock::timestamp().as_nanosecond()).unwrap_or(i64::MAX);
        let snapshot = snapshot::take(&folder, &listing_request(&exclude, config, &settings));
        let snapshot = snapshot.map_err(|error| {
            // Removed since it was opened: not a failure.
            if error.source.kind() == io::ErrorKind::NotFound && error.path == *path {
                return gone();
            }
            if error.source.kind() == io::ErrorKind::PermissionDenied {
                self.problems.push(unreadable(&error.path, &error.source));
            }
            BuildError::failed(Stage::Snapshot, &error)
        })?;
        let format = settings.archive_format.unwrap_or_default();
        let profile = Profile {
            compression: settings.compression.unwrap_or(config.pack.compression),
            ..Profile::from(config.pack)
        };
        let parts = parts(&settings, format, &profile, config);
        let last = self.known().and_then(|known| known.fingerprint.as_ref());
        let changes =
            last.map(|last| Changes::since(last, &parts, &settings, format, &profile, config));
        Ok(Scan {
            folder,
            resolved,
            settings,
            name: request.name.clone(),
            exclude,
            snapshot,
            listed_at,
            writers: WriterProbe::default(),
            parts,
            changes,
            format,
            profile,
        })
    }
}

pub(super) fn exclude_of(settings: &Settings) -> Exclude {
    let patterns = settings.exclude.as_deref().unwrap_or_default();
    // Each pattern was checked when it was read.
    Exclude::new(patterns, settings.ready_marker.as_deref()).unwrap_or_else(|_| Exclude::built_in())
}

pub(super) fn listing_request<'a>(
    exclude: &'a Exclude,
    config: &'a Config,
    settings: &'a Settings,
) -> Request<'a> {
    Request {
        exclude,
        limits: &config.limits,
        ready_marker: settings.ready_marker.as_deref(),
        transfers: Transfers::Awaited,
    }
}
