//! The manifest: which files make up the shard.
pub mod edit;
pub mod version;
