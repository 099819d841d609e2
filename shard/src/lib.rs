//! The storage engine of one core.
#![warn(missing_docs)]
pub mod batch;
pub mod coding;
pub mod cursor;
pub mod env;
pub mod error;
pub mod event;
pub mod key;
pub mod limits;
pub mod manifest;
pub mod options;
