//! The sources of the device fingerprint and how each is read on Linux.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustix::fs::{statfs, statvfs};
use zeroize::Zeroizing;

use super::Source;

/// Longest file that is read for a source, in bytes.
const VALUE_LIMIT: u64 = 256;

/// One source of the fingerprint.
pub trait ReadSource: Send + Sync {
    /// Which source this is.
    fn source(&self) -> Source;

    /// Its value now, in a form that is the same at each reading; `None` where it is missing, not readable by this
    /// user, or a placeholder that many machines share.
    fn read(&self) -> Option<Zeroizing<Vec<u8>>>;
}

/// Where a fingerprint is gathered from, and where this machine's TPM is.
pub struct Sources {
    readers: Vec<Box<dyn ReadSource>>,
    tpm: Option<PathBuf>,
}

impl Sources {
    /// The sources of the machine that the program runs on, and the device of its TPM. No variable of the environment changes
    /// them.
    #[must_use]
    pub fn system() -> Self {
        Self::rooted(Path::new("/")).with_tpm(vestibule_tpm::DEVICE)
    }

    /// The sources under another root directory, without a TPM: for tests and for scenarios that play several machines on one.
    #[must_use]
    pub fn rooted(root: &Path) -> Self {
        let machine_ids = [root.join("etc/machine-id"), root.join("var/lib/dbus/machine-id")];
        Self::none()
            .with(MachineId { paths: machine_ids })
            .with(ProductUuid { path: root.join("sys/class/dmi/id/product_uuid") })
            .with(FilesystemId { path: root.to_owned() })
    }

    /// Sources that always say the same, and no TPM: for tests.
    #[must_use]
    pub fn fixed(values: &[(Source, &str)]) -> Self {
        values.iter().fold(Self::none(), |sources, (source, value)| sources.with(Fixed::new(*source, value)))
    }

    /// Adds a source; it takes the place of an earlier reader of the same one.
    #[must_use]
    pub fn with(mut self, reader: impl ReadSource + 'static) -> Self {
        self.readers.retain(|earlier| earlier.source() != reader.source());
        self.readers.push(Box::new(reader));
        self
    }

    /// With the TPM whose device, or emulator's socket, is there. It need not be there: that is found out at its use.
    #[must_use]
    pub fn with_tpm(mut self, path: impl Into<PathBuf>) -> Self {
        self.tpm = Some(path.into());
        self
    }

    /// Where this machine's TPM would be.
    #[must_use]
    pub fn tpm(&self) -> Option<&Path> {
        self.tpm.as_deref()
    }

    fn none() -> Self {
        Self { readers: Vec::new(), tpm: None }
    }

    pub(super) fn readers(&self) -> impl Iterator<Item = &dyn ReadSource> {
        self.readers.iter().map(AsRef::as_ref)
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::system()
    }
}

/// A source that always says the same: for tests.
pub struct Fixed {
    source: Source,
    value: Zeroizing<Vec<u8>>,
}

impl Fixed {
    /// A reader of `source` that says `value`.
    #[must_use]
    pub fn new(source: Source, value: &str) -> Self {
        Self { source, value: Zeroizing::new(value.as_bytes().to_vec()) }
    }
}

impl ReadSource for Fixed {
    fn source(&self) -> Source {
        self.source
    }

    fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(self.value.clone())
    }
}

/// `machine-id(5)`, from the first path that has one.
struct MachineId {
    paths: [PathBuf; 2],
}

impl ReadSource for MachineId {
    fn source(&self) -> Source {
        Source::MachineId
    }

    fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.paths.iter().find_map(|path| hexadecimal(path, &[]))
    }
}

/// The UUID that the firmware or the hypervisor gives the machine.
struct ProductUuid {
    path: PathBuf,
}

impl ReadSource for ProductUuid {
    fn source(&self) -> Source {
        Source::ProductUuid
    }

    fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        hexadecimal(&self.path, &SHARED_UUIDS)
    }
}

/// UUIDs that boards bear whose maker never set one.
const SHARED_UUIDS: [&str; 2] = ["03000200040005000006000700080009", "00020003000400050006000700080009"];

/// The 32 hexadecimal digits in the file, lower-case and without dashes; `None` for anything else (an empty file, the
/// word `uninitialized`), for 32 equal digits and for the `shared` ones.
fn hexadecimal(path: &Path, shared: &[&str]) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path).ok()?.take(VALUE_LIMIT).read_to_end(&mut text).ok()?;
    let mut digits = Zeroizing::new(text.trim_ascii().to_ascii_lowercase());
    digits.retain(|digit| *digit != b'-');
    let proper = digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
    let one_digit_repeated = digits.windows(2).all(|pair| pair[0] == pair[1]);
    let known = shared.iter().any(|shared| shared.as_bytes() == digits.as_slice());
    (proper && !one_digit_repeated && !known).then_some(digits)
}

/// `f_fsid` of the filesystem that `path` is on, for the kinds of filesystem in [`LASTING_IDS`].
struct FilesystemId {
    path: PathBuf,
}

/// Magic numbers (`statfs(2)`) of the filesystems that keep their id on the disk: ext2/3/4, btrfs, bcachefs, ZFS; and
/// overlayfs, which passes on the id of its upper layer or keeps one there (a container that is made anew is another
/// device). Others (XFS, F2FS, FAT) report the number of the device, which changes with the order of discovery and is alike
/// on many machines; tmpfs a new one at each mount; NFS none.
const LASTING_IDS: [u32; 5] = [0xef53, 0x9123_683e, 0xca45_1a4e, 0x2fc1_2fc1, 0x794c_7630];

impl ReadSource for FilesystemId {
    fn source(&self) -> Source {
        Source::FilesystemId
    }

    fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        let kind = statfs(&self.path).ok()?.f_type;
        let id = statvfs(&self.path).ok()?.f_fsid;
        lasting_id(kind as u32, id)
    }
}

fn lasting_id(kind: u32, id: u64) -> Option<Zeroizing<Vec<u8>>> {
    (LASTING_IDS.contains(&kind) && id != 0).then(|| Zeroizing::new(id.to_be_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{Fingerprint, NoSource};
    use std::fs;

    const ID: &str = "3d1219c7c4c5404aaa1f6d2a48adfda4";

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// All but the filesystem id, which is that of wherever temporary files lie.
    fn named_sources(root: &Path) -> Vec<(Source, Vec<u8>)> {
        let sources = Sources::rooted(root);
        let readings = sources.readers().filter(|reader| reader.source() != Source::FilesystemId);
        readings.filter_map(|reader| Some((reader.source(), reader.read()?.to_vec()))).collect()
    }

    #[test]
    fn reads_machine_id_and_product_uuid() {
        let root = machine(&[
            ("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n"),
            ("sys/class/dmi/id/product_uuid", "4C4C4544-0051-3510-8052-B4C04F4A3132\n"),
        ]);
        let uuid = b"4c4c45440051351080 52b4c04f4a3132".iter().filter(|digit| **digit != b' ').copied().collect();
        let expected = vec![(Source::MachineId, ID.into()), (Source::ProductUuid, uuid)];
        assert_eq!(named_sources(root.path()), expected);
    }

    #[test]
    fn falls_back_to_the_machine_id_of_dbus() {
        let root = machine(&[("etc/machine-id", "uninitialized\n"), ("var/lib/dbus/machine-id", ID)]);
        assert_eq!(named_sources(root.path()), [(Source::MachineId, ID.into())]);
    }

    #[test]
    fn placeholders_are_no_sources() {
        for placeholder in ["", "\n", "uninitialized", "00000000000000000000000000000000", "3d12", &ID.repeat(2)] {
            let root = machine(&[("etc/machine-id", placeholder)]);
            assert_eq!(named_sources(root.path()), [], "{placeholder:?}");
        }
        for placeholder in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
            "Not Settable",
        ] {
            let root = machine(&[("sys/class/dmi/id/product_uuid", placeholder)]);
            assert_eq!(named_sources(root.path()), [], "{placeholder:?}");
        }
    }

    #[test]
    fn a_missing_root_has_no_fingerprint() {
        let sources = Sources::rooted(Path::new("/nonexistent"));
        assert_eq!(Fingerprint::gather(&sources), Err(NoSource));
    }

    #[test]
    fn only_ids_that_lie_on_the_disk_count() {
        assert_eq!(lasting_id(0xef53, 0x0102).as_deref(), Some(&vec![0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(lasting_id(0xef53, 0), None, "an id of zero is none");
        assert_eq!(lasting_id(0x0102_1994, 7), None, "tmpfs invents one at each mount");
        assert_eq!(lasting_id(0x5846_5342, 7), None, "XFS reports the device's number");
    }

    #[test]
    fn a_later_reader_takes_the_place_of_an_earlier() {
        let sources = Sources::fixed(&[(Source::MachineId, "a")]).with(Fixed::new(Source::MachineId, "b"));
        let values: Vec<_> = sources.readers().map(|reader| reader.read().unwrap().to_vec()).collect();
        assert_eq!(values, [b"b"]);
    }
}
