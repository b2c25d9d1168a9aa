//! File systems that do not report changes made on other machines.
//!
//! inotify sees what passes through this kernel. On a file system that other machines write to, or
//! that changes behind the kernel's back, most changes are never reported.

use std::path::Path;

/// `f_type` of statfs(2) → name. The numbers are from linux/magic.h, and for file systems outside
/// the kernel's tree from the list in coreutils' `stat`.
const NETWORK: [(u32, &str); 23] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFE53_4D42, "smb2"),
    (0xFF53_4D42, "cifs"),
    // Local ones exist too, but the number does not distinguish them from sshfs, s3fs and the like.
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564C, "ncp"),
    (0x0116_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
    (0x786F_4256, "vboxsf"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0xAAD7_AAEA, "panfs"),
    (0x6163_6673, "acfs"),
    (0xBACB_ACBC, "vmhgfs"),
    (0x7C7C_6673, "prl_fs"),
    (0xBEEF_DEAD, "snfs"),
    (0x1983_0326, "fhgfs"),
    (0x0131_11A8, "ibrix"),
];

/// The name of the file system at `path` if it has to be polled.
pub(super) fn network(path: &Path) -> Option<&'static str> {
    let magic = rustix::fs::statfs(path).ok()?.f_type;
    // The numbers have 32 bits; some architectures widen them with their sign.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let magic = magic as u32;
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_and_the_root_are_local() {
        assert_eq!(network(Path::new("/proc")), None);
        assert_eq!(network(Path::new("/")), None);
        assert_eq!(network(Path::new("/no/such/path")), None);
    }
}
