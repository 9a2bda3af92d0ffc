//! The blind broker
