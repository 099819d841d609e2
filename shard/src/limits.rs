//! Every bound of the engine that is not an option, with its reason.

/// Levels of the tree. Seven, as in LevelDB: with a ratio of ten it holds more than any one core's disk.
pub const LEVELS: usize = 7;

/// Alignment of every direct read and write, in bytes. The device's own figure is not asked for:
/// the runtime reads it from the wrong place in sysfs (notes/engine.md), and 4096 satisfies all.
pub const ALIGN: usize = 4096;

/// Largest single read or write handed to the kernel, in bytes. Requests above a device's maximum
/// were seen to hang in kernels 5.15 and 6.1.
pub const IO_BYTES_MAX: usize = 512 << 10;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// Longest value that any option may allow, in bytes (Redis' own limit).
pub const VALUE_BYTES_CAP: usize = 512 << 20;

/// Largest data block before compression, in bytes: one entry of the longest key and value, and its framing.
pub const BLOCK_RAW_BYTES_MAX: usize = VALUE_BYTES_CAP + KEY_BYTES_MAX + 64;

/// Blocks above this are stored as they are: compressing one takes longer than a core may be held (500 us).
pub const COMPRESS_BYTES_MAX: usize = 128 << 10;

/// Largest index, filter and properties region of one table, in bytes.
pub const TABLE_META_BYTES_MAX: usize = 64 << 20;

/// File numbers reserved by one manifest edit. More means fewer edits, and larger gaps after a crash.
pub const NUMBERS_PER_RESERVATION: u64 = 64;

/// Longest stretch of background work between two pauses, in microseconds.
pub const BACKGROUND_SLICE_US: u64 = 500;

/// One manifest edit, in bytes: a snapshot of 100,000 tables with long keys fits.
pub const EDIT_BYTES_MAX: usize = 64 << 20;

/// A manifest is rewritten as one snapshot when it has grown to this, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// Largest sequence number that is believed when it is read: a million operations a second reach it in a thousand years.
/// What follows still fits the 56 bits that a memtable has for one.
pub const SEQ_READ_MAX: u64 = 1 << 55;

/// Longest table or segment that a manifest may name, in bytes: far above any that an option allows, and so far below 64 bits
/// that sums over all files fit.
pub const FILE_BYTES_MAX: u64 = 1 << 40;

const _: () = assert!(IO_BYTES_MAX.is_multiple_of(ALIGN));
const _: () = assert!(ALIGN.is_power_of_two());
const _: () = assert!(KEY_BYTES_MAX < COMPRESS_BYTES_MAX);
const _: () = assert!(BLOCK_RAW_BYTES_MAX < u32::MAX as usize);
