//! What running servers want of an archive: that it tells what it holds, and that it works there.

use super::report::BuildError;
use super::validate::ValidModel;
use super::{Attempt, Seen};
use crate::archive::hash::hash;
use crate::archive::plan::manifest_path;
use crate::archive::{Control, PackError};
use crate::archive::{Digest, Entry, Input};
use crate::model::problem::{Code, Problem};
use crate::model::version::marked_version;
use crate::source::files::ListedFiles;
use crate::store::Verified;

impl Attempt<'_> {
    /// The manifest as it goes into the archive. Where servers are configured its version tells the
    /// content, which is read for that before it is packed.
    pub(super) fn manifest(
        &self,
        model: &ValidModel,
        carried: &[Entry],
        inputs: &[Input],
        source: &ListedFiles<'_>,
        control: &Control<'_>,
    ) -> Result<Vec<u8>, PackError> {
        let mut manifest = model.manifest().clone();
        if self.builder.config.servers.is_empty() {
            return Ok(manifest.to_bytes());
        }
        let hashes = hash(inputs, source, control)?;
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

    /// Has the servers that are gates try the archive.
    pub(super) fn pass_gate(
        &self,
        model: &ValidModel,
        seen: &Seen,
        verified: &Verified,
    ) -> Result<(), BuildError> {
        let (Some(gate), Some(file)) = (&self.builder.gate, verified.file()) else { return Ok(()) };
        let Err(refusal) =
            gate.pass(model.name(), file, &seen.settings.serve, &self.builder.cancelled)
        else {
            return Ok(());
        };
        let message =
            format!("the server at {} refused it in a trial: {}", refusal.server, refusal.why);
        let help =
            "mend what the server says; its log has the whole of it. What it serves is untouched";
        let problem = Problem::error(Code::ServerRefused, seen.folder.path(), message, help);
        Err(BuildError::Rejected { problems: vec![problem], fingerprint: self.fingerprint(seen) })
    }
}
