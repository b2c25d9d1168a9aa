//! From the command line to an archive in its place.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::Args;
use super::error::ExportError;
use super::order::{Order, shown};
use super::place::{Existing, write_manifest};
use crate::archive::pack::Before;
use crate::archive::{Control, PackError, Profile, plan, probe};
use crate::config::{Limits, PackDefaults};
use crate::model::problem::{Code, Problem, Severity};
use crate::model::{EntryPath, Exclude, Manifest, Settings};
use crate::pipeline::validate::{check_handler, gather};
use crate::source::files::ListedFiles;
use crate::source::partial;
use crate::source::snapshot;
use crate::source::snapshot::{Request, Snapshot, Transfers};
use crate::store::PublishError;
use crate::text::printable;

/// No limits but those of the archive format.
const UNLIMITED: Limits =
    Limits { total_size: u64::MAX, file_size: u64::MAX, files: usize::MAX, depth: usize::MAX };

/// Makes the archive for `args`.
pub(super) fn export(
    args: &Args,
    cancelled: &AtomicBool,
    warnings: &mut Vec<String>,
) -> Result<(), ExportError> {
    let order = Order::read(args)?;
    order.warn(warnings);
    let exclude = order.exclude();
    let snapshot = order.list(&exclude)?;
    order.check(&snapshot, warnings)?;
    if order.place.existing() == &Existing::Model {
        let write = |source| ExportError::Write { path: order.model.path().to_owned(), source };
        write_manifest(order.model.path(), &order.manifest()).map_err(write)?;
    } else {
        warnings.extend(order.pack(&snapshot, &exclude, cancelled)?);
    }
    if order.place.existing() != &Existing::Nothing {
        warnings.insert(0, format!("Overwriting {} ...", shown(order.place.path())));
    }
    Ok(())
}

impl Order<'_> {
    /// The built-in exclusions, and the old archive if it lies in the model.
    fn exclude(&self) -> Exclude {
        let old = match self.place.existing() {
            Existing::Old { in_model: Some(path), .. } => path.to_str(),
            _ => None,
        };
        let patterns = old.map(|path| format!("/{}", globset::escape(path)));
        Exclude::new(patterns.as_slice(), None).unwrap_or_else(|_| Exclude::built_in())
    }

    fn list(&self, exclude: &Exclude) -> Result<Snapshot, ExportError> {
        let request = Request {
            exclude,
            limits: &UNLIMITED,
            ready_marker: None,
            transfers: Transfers::Packed,
        };
        let snapshot = snapshot::take(&self.model, &request).map_err(ExportError::List)?;
        if snapshot.moving { Err(ExportError::Moved) } else { Ok(snapshot) }
    }

    /// Checks the model. Problems of the handler are only warnings: scripts rely on getting an archive
    /// all the same.
    fn check(&self, snapshot: &Snapshot, warnings: &mut Vec<String>) -> Result<(), ExportError> {
        let settings = self.settings();
        let evidence = gather(&self.model, snapshot, &settings)
            .map_err(|(path, source)| self.unreadable(&path, source))?;
        let verdict = check_handler(&settings, &evidence);
        warnings.extend(verdict.problems.iter().chain(evidence.json()).map(|p| self.line(p)));
        let unfinished =
            |path: &Path| path.file_name().is_some_and(|n| partial::is_partial(n, false));
        for file in snapshot.files.iter().filter(|file| unfinished(file.path.as_path())) {
            let path = shown(&self.model.path().join(file.path.as_path()));
            warnings.push(format!("{path}: this looks like an unfinished transfer; it is packed"));
        }
        // They are in the order of the directory, which is arbitrary.
        let mut problems: Vec<&Problem> = snapshot.problems.iter().collect();
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        let (errors, notes): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|problem| problem.is_error());
        warnings.extend(notes.into_iter().map(|problem| self.line(problem)));
        if errors.is_empty() {
            return Ok(());
        }
        Err(ExportError::Refused(errors.into_iter().map(|problem| self.line(problem)).collect()))
    }

    /// A problem in one line, without its severity, which the caller prints first.
    fn line(&self, problem: &Problem) -> String {
        let help = match problem.code {
            // The daemon suggests a setting, and this command has none.
            Code::SymlinkCircle | Code::SpecialFile => "remove it from the model",
            Code::JsonSyntax => "correct it, or remove it if nothing reads it",
            _ => &problem.help,
        };
        let problem = Problem {
            severity: Severity::Error,
            help: help.to_owned(),
            ..problem.clone().under(self.model.path())
        };
        printable(&problem.to_string())
    }

    fn settings(&self) -> Settings {
        Settings {
            handler: Some(self.handler.clone()),
            runtime: Some(self.args.runtime),
            ..Settings::default()
        }
    }

    fn manifest(&self) -> Vec<u8> {
        let mut manifest = Manifest::new(&self.name, &self.handler, &self.settings());
        // As on the command line: a reader of the manifest may expect exactly that.
        manifest.model.handler.clone_from(&self.args.handler);
        manifest.to_bytes()
    }

    /// Packs, verifies and publishes. Returns a warning if a power cut may undo this.
    fn pack(
        &self,
        snapshot: &Snapshot,
        exclude: &Exclude,
        cancelled: &AtomicBool,
    ) -> Result<Option<String>, ExportError> {
        let profile: Profile = Profile::from(PackDefaults::default());
        let threads = crate::fs::threads::processors();
        let control = Control { threads, durable: true, cancelled, progress: &|_| {} };
        let source = ListedFiles::new(&self.model, snapshot, i64::MIN);
        let packing = |error| self.pack_failed(snapshot, exclude, error);
        let inputs = snapshot.inputs();
        let methods = probe(&inputs, &profile, &source, &control).map_err(packing)?;
        let plan = plan(self.manifest(), &inputs, &methods, vec![]);
        let format = self.args.archive_format;
        let staged = self
            .place
            .stage(&self.name, format)
            .map_err(|source| ExportError::Write { path: self.place.path().to_owned(), source })?;
        let packed =
            staged.pack(&plan, &profile, &source, Before::default(), &control).map_err(packing)?;
        self.unmoved(snapshot, exclude)?;
        let verified = staged.verify(&packed, control.durable).map_err(ExportError::Verify)?;
        if cancelled.load(Ordering::Relaxed) {
            return Err(ExportError::Interrupted);
        }
        self.place.publish(verified).map_err(|error| match error {
            PublishError::Foreign { path } => ExportError::Taken { path },
            error => ExportError::Publish(error),
        })
    }

    /// Lists the model again. Unless it has the same files, unchanged, what was packed may never have
    /// been a state of the model.
    fn unmoved(&self, snapshot: &Snapshot, exclude: &Exclude) -> Result<(), ExportError> {
        let again = self.list(exclude)?;
        if again.files == snapshot.files { Ok(()) } else { Err(ExportError::Moved) }
    }

    fn unreadable(&self, path: &EntryPath, source: io::Error) -> ExportError {
        ExportError::Read { path: self.model.path().join(path.as_path()), source }
    }

    fn pack_failed(&self, snapshot: &Snapshot, exclude: &Exclude, error: PackError) -> ExportError {
        let error = match error {
            PackError::Cancelled => return ExportError::Interrupted,
            PackError::Moved { .. } => return ExportError::Moved,
            PackError::Read { path, source } => self.unreadable(&path, source),
            error => ExportError::Pack(error),
        };
        // If the model changed, the change is taken for the cause of any failure.
        match self.unmoved(snapshot, exclude) {
            Err(moved @ ExportError::Moved) => moved,
            _ => error,
        }
    }
}
