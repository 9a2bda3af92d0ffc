//! Device fingerprint and the sealed local credential
