//! Who may use which service: pure
