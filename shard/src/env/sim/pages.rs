//! The bytes of a file as shared pages: a copy costs a pointer per 4 KiB, and zeros cost nothing.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use crate::env::{IoBuf, align_up};

const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    len: u64,
    /// `None` is a page of zeros.
    pages: Vec<Option<Rc<[u8; PAGE]>>>,
}

pub(super) fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits in memory")
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Makes the file at least `len` bytes long.
    pub(super) fn extend(&mut self, len: u64) {
        if len > self.len {
            self.len = len;
            self.pages.resize(index(len).div_ceil(PAGE), None);
        }
    }

    pub(super) fn extend_aligned(&mut self) {
        self.extend(align_up(self.len));
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        self.extend(offset + data.len() as u64);
        let (mut at, mut rest) = (index(offset), data);
        while !rest.is_empty() {
            let (page, start) = (at / PAGE, at % PAGE);
            let (piece, later) = rest.split_at(rest.len().min(PAGE - start));
            if self.pages[page].is_some() || piece != &ZEROS[..piece.len()] {
                let slot = self.pages[page].get_or_insert_with(|| Rc::new([0; PAGE]));
                Rc::make_mut(slot)[start..start + piece.len()].copy_from_slice(piece);
            }
            at += piece.len();
            rest = later;
        }
    }

    /// Calls `take` with the pieces of the range, cut at the end of the file.
    fn pieces(&self, offset: u64, len: usize, mut take: impl FnMut(&[u8])) {
        let end = index(self.len).min(index(offset).saturating_add(len));
        let mut at = index(offset);
        while at < end {
            let (page, start) = (at / PAGE, at % PAGE);
            let count = (end - at).min(PAGE - start);
            match &self.pages[page] {
                Some(bytes) => take(&bytes[start..start + count]),
                None => take(&ZEROS[..count]),
            }
            at += count;
        }
    }

    /// Replaces `out` by up to `len` bytes at `offset`.
    pub(super) fn read(&self, offset: u64, len: usize, out: &mut IoBuf) {
        out.clear();
        self.pieces(offset, len, |piece| out.extend_from_slice(piece));
    }

    /// Feeds what the file holds, zeros by their length alone.
    pub(super) fn digest(&self, hasher: &mut impl Hasher) {
        self.len.hash(hasher);
        for (number, page) in self.pages.iter().enumerate() {
            if let Some(bytes) = page {
                (number, xxhash_rust::xxh3::xxh3_64(bytes.as_slice())).hash(hasher);
            }
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(index(self.len));
        self.pieces(0, index(self.len), |piece| all.extend_from_slice(piece));
        all
    }

    /// Takes over the pages of `from` that hold the range; both have the same bytes around it.
    pub(super) fn share(&mut self, from: &Self, offset: u64, len: u64) {
        self.extend((offset + len).min(from.len));
        let last = index(offset + len).div_ceil(PAGE).min(from.pages.len());
        for page in index(offset) / PAGE..last {
            self.pages[page].clone_from(&from.pages[page]);
        }
    }
}
