//! The fuzzer's input as a list of edits: what somebody with a file editor would do, or a disk.

use crate::limits::ALIGN;

/// Edits of one input.
const EDITS_MAX: usize = 24;
/// No file grows beyond this, in bytes.
pub(super) const FILE_BYTES_MAX: usize = 128 << 10;
/// What a mild edit mixes into the bytes it writes. A fuzzer that sees a checksum being compared writes the right one; mixed,
/// it never arrives.
const MIX: u8 = 0xa7;

/// Numbers at which code goes wrong.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    ALIGN as u64 - 1,
    ALIGN as u64,
    2 * ALIGN as u64,
    u16::MAX as u64,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 32,
    1 << 62,
    u64::MAX - 1,
    u64::MAX,
];

/// A position in the input. What is used up gives zeros.
#[derive(Debug)]
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(super) fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, index| number | u64::from(self.byte()) << (8 * index))
    }

    /// Below `end`, which is above 0; takes as many bytes as it needs.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let width = (usize::BITS - (end - 1).leading_zeros()).div_ceil(8) as usize;
        usize::try_from(self.number(width) % end as u64).expect("below a length")
    }

    /// Up to `max` bytes, as the next byte or two say.
    fn bytes(&mut self, max: usize) -> &'a [u8] {
        let len = self.below(max + 1).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// Edits `file` until the script ends. `mild`: as damage does; else as an editor does, frames' payloads and fields too.
    pub(super) fn edit(&mut self, files: &mut [Vec<u8>], mild: bool) {
        for _ in 0..EDITS_MAX {
            if self.0.is_empty() || files.is_empty() {
                break;
            }
            let one = self.below(files.len());
            let what = self.byte() % if mild { 6 } else { 10 };
            // Disjoint, so that one may be copied from the other.
            let other = if what == 4 { files.get(self.below(files.len())).cloned() } else { None };
            let Some(file) = files.get_mut(one) else { break };
            self.one(file, what, other.as_deref(), mild);
            file.truncate(FILE_BYTES_MAX);
        }
    }

    fn one(&mut self, file: &mut Vec<u8>, what: u8, other: Option<&[u8]>, mild: bool) {
        let len = file.len();
        match what {
            // Bits of one byte.
            0 if len > 0 => {
                let at = self.below(len);
                let mask = self.byte().max(1);
                file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
            }
            // A few bytes.
            1 if len > 0 => {
                let at = self.below(len);
                let bytes = self.bytes(31);
                let mix = if mild { MIX } else { 0 };
                put(file, at, bytes.iter().map(|byte| byte ^ mix));
            }
            2 => file.truncate(self.below(len + 1)),
            // A block that was never written.
            3 if len > 0 => {
                let at = self.below(len.div_ceil(ALIGN)) * ALIGN;
                put(file, at, std::iter::repeat_n(0, ALIGN));
            }
            // A block of another place.
            4 if len > 0 => {
                let other = other.unwrap_or_default();
                let from = self.below(other.len() / ALIGN + 1) * ALIGN;
                let at = self.below(len.div_ceil(ALIGN)) * ALIGN;
                put(file, at, other.iter().skip(from).take(ALIGN).copied());
            }
            // Something behind the end.
            5 => {
                let again = self.below(64) + 1;
                let bytes = self.bytes(255);
                for _ in 0..again {
                    file.extend(bytes.iter().map(|byte| byte ^ MIX));
                }
            }
            // A field: a number of 1, 2, 4 or 8 bytes; one at which code goes wrong, or near what stands there.
            6 | 7 if len > 0 => {
                let at = self.below(len);
                let width = 1 << self.below(4);
                let value = if what == 6 {
                    NUMBERS.get(self.below(NUMBERS.len())).copied().unwrap_or_default()
                } else {
                    let old = file.iter().skip(at).take(width).rev();
                    let old = old.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                    old.wrapping_add(u64::from(self.byte())).wrapping_sub(128)
                };
                put(file, at, value.to_le_bytes().into_iter().take(width));
            }
            // The payload of a frame, its length with it.
            8 if len > ALIGN => {
                let at = self.below(len / ALIGN) * ALIGN;
                let payload = self.bytes(4000);
                let whole = u32::try_from(payload.len() + 48).expect("below the limit");
                put(file, at + 4, whole.to_le_bytes().into_iter());
                put(file, at + 48, payload.iter().copied());
            }
            // A field of a frame's head, or of a header.
            9 if len > 0 => {
                let at = self.below(len.div_ceil(ALIGN)) * ALIGN + self.below(9) * 8;
                let value = match self.byte() {
                    small @ ..0x80 => u64::from(small),
                    index => NUMBERS.get(usize::from(index) % 16).copied().unwrap_or_default(),
                };
                let width = if self.byte() & 1 == 0 { 8 } else { 4 };
                put(file, at, value.to_le_bytes().into_iter().take(width));
            }
            _ => {}
        }
    }
}

/// Writes over what stands at `at`; what does not fit is left out.
fn put(file: &mut [u8], at: usize, bytes: impl Iterator<Item = u8>) {
    file.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = new);
}
