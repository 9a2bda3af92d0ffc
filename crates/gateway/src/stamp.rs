//! The highest stamp that the gateway has put into a knock of its own: the next one must be higher, also after the clock
//! fell back and after a restart (PROTOCOL.md §3.5).

use std::path::{Path, PathBuf};
use vestibule_proto::id::Stamp;
use vestibule_store::secret_file;

/// The file `gateway.stamp`. It holds no secret; it is written as carefully as if it did.
pub(crate) struct LastStamp(PathBuf);

impl LastStamp {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.join("gateway.stamp"))
    }

    /// The stamp; the epoch if none was written or it can't be read: at worst the controller stays silent until the
    /// clock is right.
    pub(crate) async fn read(&self) -> Stamp {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || secret_file::read(&path));
        let bytes = read.await.ok().and_then(Result::ok);
        let millis = bytes.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_slice().try_into().ok()?)));
        millis.map(Stamp::from_millis).unwrap_or_default()
    }

    /// Writes an accepted stamp down.
    pub(crate) async fn write(&self, stamp: Stamp) {
        let path = self.0.clone();
        let written =
            tokio::task::spawn_blocking(move || secret_file::replace(&path, &stamp.as_millis().to_be_bytes())).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the last stamp can't be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stamp_is_read_back_and_nonsense_is_the_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = LastStamp::new(dir.path());
        assert_eq!(stamps.read().await, Stamp::default());
        stamps.write(Stamp::from_millis(7)).await;
        assert_eq!(LastStamp::new(dir.path()).read().await, Stamp::from_millis(7));
        secret_file::replace(&dir.path().join("gateway.stamp"), b"nonsense!").unwrap();
        assert_eq!(stamps.read().await, Stamp::default());
    }
}
