//! Entries for fuzz targets: any bytes may be given; a panic is a bug.

use vestibule_proto::id::UserName;

use crate::credential::{self, Locked};
use crate::fingerprint::{Fingerprint, Source, Sources};
use crate::state;

/// Everything of this crate that decodes bytes: the credential file, the content of its layer 1 as if it had been opened,
/// and the sidecar.
///
/// # Panics
/// Never, or there is a bug.
pub fn credential(bytes: &[u8]) {
    credential::fuzz_content(bytes);
    let _ = state::decode(bytes);
    file(bytes);
    let mut mended = bytes.to_vec();
    credential::mend(&mut mended);
    file(&mended);
}

fn file(bytes: &[u8]) {
    let Ok(locked) = Locked::parse(bytes) else { return };
    assert_eq!(locked.to_bytes(), bytes, "what was read is written alike");
    let machine = Sources::fixed(&[(Source::MachineId, "m"), (Source::ProductUuid, "p"), (Source::FilesystemId, "f")]);
    if let (Ok(user), Ok(fingerprint)) = (UserName::parse("alice"), Fingerprint::gather(&machine)) {
        let _ = locked.unlock_device(&user, &fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            credential(&bytes);
        }

        #[test]
        fn altered_credentials(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            length in any::<prop::sample::Index>(),
        ) {
            let mut bytes = testing::credential(&testing::three_sources(), testing::cheap(10)).as_bytes().to_vec();
            bytes.truncate(bytes.len() - length.index(bytes.len() / 8));
            for (position, value) in changes {
                let position = position.index(bytes.len());
                bytes[position] = value;
            }
            credential(&bytes);
        }
    }
}
