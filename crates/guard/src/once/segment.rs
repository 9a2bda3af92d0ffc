//! The files of the log: written with zeros beforehand, so that a record overwrites bytes that the file system has already
//! placed and one `fdatasync` is all that it costs.

use super::record::{Found, HEADER, Header, Record, read};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vestibule_store::{StoreError, StoreErrorKind};

/// Bytes of a segment.
pub(crate) const SIZE: usize = 4 << 20;
/// The next segment while it isn't in use yet.
const SPARE: &str = "next.log";

/// The segment that is written to.
pub(crate) struct Segment {
    file: File,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    /// Where the next record goes.
    pub(crate) end: usize,
}

/// What was read of a segment of an earlier run.
pub(crate) struct Read {
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    pub(crate) records: Vec<Record>,
    /// Where the first byte stands that is no record.
    pub(crate) end: usize,
    /// Nothing but zeros follows.
    clean: bool,
}

impl Segment {
    /// Puts the spare file, or a fresh one, into use.
    pub(crate) fn begin(directory: &Path, header: Header) -> Result<Self, StoreError> {
        let (spare, path) = (directory.join(SPARE), directory.join(file_name(header.number)));
        let put = || -> io::Result<File> {
            let file = match OpenOptions::new().write(true).open(&spare) {
                Ok(file) if file.metadata()?.len() == SIZE as u64 => file,
                Ok(_) | Err(_) => make_spare(directory)?,
            };
            file.write_all_at(&header.bytes(), 0)?;
            file.sync_data()?;
            std::fs::rename(&spare, &path)?;
            File::open(directory)?.sync_all()?;
            Ok(file)
        };
        let file = put().map_err(|error| StoreError::from_io(&error, &path))?;
        Ok(Self { file, path, header, end: HEADER })
    }

    /// Whether this many bytes still fit.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.end + bytes <= SIZE
    }

    /// Writes framed records at the end; on the disk only after [`sync`](Self::sync).
    pub(crate) fn write(&mut self, framed: &[u8]) -> io::Result<()> {
        self.file.write_all_at(framed, self.end as u64)?;
        self.end += framed.len();
        Ok(())
    }

    /// Everything written is on the disk afterwards.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Makes the file for the next segment: zeros, on the disk, 0600. Takes some milliseconds.
pub(crate) fn make_spare(directory: &Path) -> io::Result<File> {
    let path = directory.join(SPARE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&vec![0; SIZE])?;
    file.sync_all()?;
    Ok(file)
}

/// Reads all segments, oldest first.
///
/// # Errors
/// A file can't be read; or one is damaged: a segment is missing, or ends before the place up to which it was known to be good
/// when the next was begun. Claims would be lost with it, so nothing goes on until somebody has looked.
pub(crate) fn read_all(directory: &Path) -> Result<Vec<Read>, StoreError> {
    let mut all = paths(directory)?.into_iter().map(read_one).collect::<Result<Vec<_>, _>>()?;
    for pair in all.windows(2) {
        let (one, next) = (&pair[0], &pair[1]);
        if next.header.number != one.header.number + 1 {
            return Err(damaged(&next.path, "the segment before it is missing"));
        }
        if (one.end as u64) < next.header.before {
            return Err(damaged(&one.path, "a record in it is damaged"));
        }
    }
    all.last().map_or(Ok(()), Read::give_back_space)?;
    // Whoever is started again and again must not fill the disk with nothing.
    all.pop_if(|last| last.clean && last.end == HEADER && std::fs::remove_file(&last.path).is_ok());
    Ok(all)
}

impl Read {
    /// Cuts off the zeros: nothing more will be put here. What a crash left half written stays to be looked at.
    fn give_back_space(&self) -> Result<(), StoreError> {
        if !self.clean {
            tracing::warn!(path = %self.path.display(), at = self.end, "the log of claims ends in a part that is no record");
            return Ok(());
        }
        let cut = || OpenOptions::new().write(true).open(&self.path)?.set_len(self.end as u64);
        cut().map_err(|error| StoreError::from_io(&error, &self.path))
    }
}

fn read_one(path: PathBuf) -> Result<Read, StoreError> {
    let bytes = std::fs::read(&path).map_err(|error| StoreError::from_io(&error, &path))?;
    let header = Header::read(&bytes).ok_or_else(|| damaged(&path, "its header is damaged"))?;
    if path.file_name() != Some(file_name(header.number).as_ref()) {
        return Err(damaged(&path, "it bears another segment's name"));
    }
    let (mut end, mut records) = (HEADER, Vec::new());
    while let Found::Record(record, next) = read(&header.id, &bytes, end) {
        records.push(*record);
        end = next;
    }
    let clean = bytes[end..].iter().all(|byte| *byte == 0);
    Ok(Read { path, header, records, end, clean })
}

fn paths(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut paths = list().map_err(|error| StoreError::from_io(&error, directory))?;
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_segment));
    // The number has a fixed width: the order of names is the order of time.
    paths.sort();
    Ok(paths)
}

fn is_segment(name: &str) -> bool {
    name.starts_with("claims-") && name.ends_with(".log")
}

fn file_name(number: u64) -> String {
    format!("claims-{number:016x}.log")
}

fn damaged(path: &Path, detail: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, detail).at(path)
}
