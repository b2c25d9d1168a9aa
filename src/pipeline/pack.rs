//! Planning and packing: the archive is made in staging, on top of the previous one where possible.

use std::fs::File;
use std::sync::atomic::Ordering;

use super::error::{BuildError, PackFailure};
use super::fingerprint::Changes;
use super::snapshot::Scan;
use super::validate::ValidModel;
use super::{Attempt, Progress};
use crate::archive::hash::hash;
use crate::archive::pack::{Before, Packed};
use crate::archive::plan::{manifest_path, plan};
use crate::archive::probe::probe;
use crate::archive::{Control, Digest, Entry, Input, PackError, Plan};
use crate::failpoints::{Protection, is_disabled};
use crate::fs::threads::processors;
use crate::model::ArchiveFormat;
use crate::model::version::marked_version;
use crate::reconcile::End;
use crate::results::Stage;
use crate::store::{Staged, Verified};
use crate::text::chain;

impl Attempt<'_> {
    /// Makes the archive, and a second time with more space if the disk is full.
    pub(super) fn pack(
        &mut self,
        model: &ValidModel,
        scan: &Scan,
    ) -> Result<(Verified, Packed), BuildError> {
        match self.try_pack(model, scan) {
            Err(PackFailure::DiskFull(error)) => {
                if !self.builder.store.make_room(self.builder.config.history) {
                    return Err(error);
                }
                tracing::info!(
                    "the disk is full; removed recycled archives and surplus archives of the histories"
                );
                self.try_pack(model, scan).map_err(PackFailure::into_error)
            }
            done => done.map_err(PackFailure::into_error),
        }
    }

    fn try_pack(
        &mut self,
        model: &ValidModel,
        scan: &Scan,
    ) -> Result<(Verified, Packed), PackFailure> {
        if let Some(previous) = self.previous(model, scan) {
            match self.make(Some(&previous), model, scan) {
                // Damaged without a trace in its stat, or on a failing disk.
                Err(PackFailure::Previous(error)) => {
                    let error = chain(&*error);
                    tracing::warn!(
                        error,
                        "nothing can be carried over from the previous archive; packing everything"
                    );
                }
                done => return done,
            }
        }
        self.make(None, model, scan)
    }

    /// The previous archive, if entries of it can be carried over.
    fn previous(&self, model: &ValidModel, scan: &Scan) -> Option<File> {
        let known = self.known()?;
        let is_any_reusable = self.reuse.as_ref()?.entries.iter().any(Option::is_some);
        let is_alike = scan.changes.as_ref().is_some_and(Changes::is_packed_alike)
            && known.archive.format == scan.format
            && scan.format == ArchiveFormat::Default;
        if !is_any_reusable || !is_alike {
            return None;
        }
        self.builder.store.open_published(model.name(), &known.archive)
    }

    /// Plans, packs and verifies the archive.
    fn make(
        &mut self,
        previous: Option<&File>,
        model: &ValidModel,
        scan: &Scan,
    ) -> Result<(Verified, Packed), PackFailure> {
        let builder = self.builder;
        let total = scan.snapshot.total_size();
        let progress = |done: u64| (builder.progress)(scan.folder.path(), Progress { done, total });
        let control = self.control(&progress);
        let plan = self
            .plan(previous, model, scan, &control)
            .map_err(|error| self.pack_failed(scan, Stage::Plan, &error))?;
        self.timer.done(Stage::Plan);
        let recycled = match previous {
            Some(_) => self.pack_on_recycled(&plan, previous, model, scan, &control),
            None => None,
        };
        let (staged, packed) = match recycled {
            Some(done) => done,
            None => {
                let staged = self.stage(model, scan)?;
                let before = Before { previous, in_place: &[] };
                let packed = staged.pack(&plan, &scan.profile, &scan.files(), before, &control);
                (staged, packed)
            }
        };
        let packed = packed.map_err(|error| match error {
            PackError::Previous { .. } => PackFailure::Previous(error.into()),
            PackError::Write { .. } if error.is_full() => {
                PackFailure::DiskFull(self.pack_failed(scan, Stage::Pack, &error))
            }
            error => self.pack_failed(scan, Stage::Pack, &error).into(),
        })?;
        self.spend(packed.cost);
        self.timer.done(Stage::Pack);
        let verified = self.verify(staged, &packed, previous, scan)?;
        self.timer.done(Stage::Verify);
        Ok((verified, packed))
    }

    fn plan(
        &self,
        previous: Option<&File>,
        model: &ValidModel,
        scan: &Scan,
        control: &Control<'_>,
    ) -> Result<Plan, PackError> {
        let (carried, inputs) = match self.reuse.as_ref().filter(|_| previous.is_some()) {
            Some(reuse) => reuse.divide(&scan.snapshot),
            None => (vec![], scan.snapshot.inputs()),
        };
        let manifest = self.manifest(model, &carried, &inputs, scan, control)?;
        let methods = probe(&inputs, &scan.profile, &scan.files(), control)?;
        Ok(plan(manifest, &inputs, &methods, carried))
    }

    /// The manifest of the archive. If servers are configured, its version is marked with the content,
    /// which is read for that before it is packed.
    fn manifest(
        &self,
        model: &ValidModel,
        carried: &[Entry],
        inputs: &[Input],
        scan: &Scan,
        control: &Control<'_>,
    ) -> Result<Vec<u8>, PackError> {
        let mut manifest = model.manifest().clone();
        if self.builder.config.servers.is_empty() {
            return Ok(manifest.to_bytes());
        }
        let hashes = hash(inputs, &scan.files(), control)?;
        let text = manifest.to_bytes();
        let (path, text_hash) = (manifest_path(), *blake3::hash(&text).as_bytes());
        let packed =
            inputs.iter().zip(&hashes).map(|(input, hash)| (&input.path, input.size, hash));
        let kept = carried.iter().map(|entry| (&entry.path, entry.size, &entry.blake3));
        let content =
            Digest::of(packed.chain(kept).chain([(&path, text.len() as u64, &text_hash)]));
        let version = marked_version(manifest.model.model_version.as_deref(), &content.digits());
        manifest.model.model_version = Some(version);
        Ok(manifest.to_bytes())
    }

    /// Packs over the recycled archive, if there is one that holds the same large entries.
    fn pack_on_recycled(
        &self,
        plan: &Plan,
        previous: Option<&File>,
        model: &ValidModel,
        scan: &Scan,
        control: &Control<'_>,
    ) -> Option<(Staged, Result<Packed, PackError>)> {
        let note = self.known()?.recycled.as_ref()?;
        let staged = self.builder.store.recycle(model.name(), note)?;
        let before = Before { previous, in_place: &note.large };
        let packed = staged.pack(plan, &scan.profile, &scan.files(), before, control);
        // If a large entry differs, nothing was written. The archive is dropped at once, because the
        // new one may need the space.
        (!matches!(packed, Err(PackError::Recycled))).then_some((staged, packed))
    }

    fn stage(&self, model: &ValidModel, scan: &Scan) -> Result<Staged, BuildError> {
        let staging = self.builder.store.staging();
        staging
            .stage(model.name(), scan.format)
            .map_err(|error| BuildError::at(Stage::Pack, staging.folder(), error))
    }

    pub(super) fn control<'c>(&self, progress: &'c (dyn Fn(u64) + Sync)) -> Control<'c>
    where
        Self: 'c,
    {
        Control {
            threads: processors(),
            durable: !is_disabled(Protection::ArchiveFlush),
            cancelled: &self.builder.cancelled,
            progress,
        }
    }

    pub(super) fn pack_failed(&self, scan: &Scan, stage: Stage, error: &PackError) -> BuildError {
        if self.builder.cancelled.load(Ordering::Relaxed) {
            return BuildError::NotAttempted(End::Stopped);
        }
        match error {
            PackError::Write { .. } => {
                let error = self.failed_in_staging(stage, error);
                self.unstable_or(scan, error)
            }
            _ => self.read_failed(scan, stage, error),
        }
    }
}
