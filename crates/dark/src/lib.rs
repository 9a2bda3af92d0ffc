//! The UDP endpoint that answers nobody without a tag

pub mod framed;
pub mod splice;
