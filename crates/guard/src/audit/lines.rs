//! The file of JSON lines.

use super::AuditSettings;
use super::entry::Entry;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use vestibule_store::StoreError;

/// How much of the end of a file is looked at for what the store lacks: more than can have waited.
const TAIL: u64 = 32 << 20;

/// One line: an entry with its number.
#[derive(Serialize, Deserialize)]
struct Line<E> {
    id: i64,
    #[serde(flatten)]
    entry: E,
}

/// The file being written, and those before it.
pub(super) struct Lines {
    file: File,
    size: u64,
    path: PathBuf,
    limit: u64,
    older: u32,
}

impl Lines {
    /// Opens the file and returns the entries after `known`, in order.
    pub(super) fn open(settings: &AuditSettings, known: i64) -> Result<(Self, Vec<(i64, Entry)>), StoreError> {
        let path = settings.file.clone();
        let open = || {
            let missed = missed(&path, known)?;
            let mut file = append(&path)?;
            let size = end_line(&mut file, &path)?;
            Ok((file, size, missed))
        };
        let (file, size, missed) = open().map_err(|error: io::Error| StoreError::from_io(&error, &path))?;
        Ok((Self { file, size, path, limit: settings.file_limit, older: settings.older_files }, missed))
    }

    /// Adds a line by one write.
    pub(super) fn write(&mut self, id: i64, entry: &Entry) -> Result<(), StoreError> {
        self.put(id, entry).map_err(|error| StoreError::from_io(&error, &self.path))
    }

    fn put(&mut self, id: i64, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { id, entry })?;
        line.push(b'\n');
        if self.size > 0 && self.size + line.len() as u64 > self.limit {
            self.turn()?;
        }
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    /// Begins a new file; the oldest goes.
    fn turn(&mut self) -> io::Result<()> {
        for n in (1..self.older).rev() {
            rename_if_there(&older(&self.path, n), &older(&self.path, n + 1))?;
        }
        if self.older > 0 {
            rename_if_there(&self.path, &older(&self.path, 1))?;
        } else {
            std::fs::remove_file(&self.path)?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A line that a crash cut off is ended, so that the next stands alone; returns the file's size.
fn end_line(file: &mut File, path: &Path) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        let mut reading = File::open(path)?;
        reading.seek(SeekFrom::Start(size - 1))?;
        reading.read_exact(&mut last)?;
    }
    if last == [b'\n'] {
        return Ok(size);
    }
    file.write_all(b"\n")?;
    Ok(size + 1)
}

/// Entries after `known`, in order; the file may have been turned just before the end.
fn missed(path: &Path, known: i64) -> io::Result<Vec<(i64, Entry)>> {
    let mut missed = after(&older(path, 1), known)?;
    missed.extend(after(path, known)?);
    missed.sort_by_key(|(id, _)| *id);
    missed.dedup_by_key(|(id, _)| *id);
    Ok(missed)
}

/// Entries after `known` in the last part of a file; lines that are none are passed over.
fn after(path: &Path, known: i64) -> io::Result<Vec<(i64, Entry)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let lines = tail.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line<Entry>>(line).ok());
    Ok(lines.filter(|line| line.id > known).map(|line| (line.id, line.entry)).collect())
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn older(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}
