//! The UDP endpoint that answers nobody without a tag
