//! Telling the processor what will be read soon.

/// Bytes that one [`prefetch`] fetches, of lines of 64.
pub(crate) const PREFETCHED_BYTES: usize = 128;

/// Fetches the cache line at `address` and the one behind it. Costs two instructions, and nobody waits.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = address.cast::<i8>();
        #[expect(unsafe_code, reason = "the one instruction that this module is for")]
        // SAFETY: a hint: any address may be given, none is read.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line);
            _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(64));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The same for `bytes[at]`; nothing if `at` is past the end.
#[inline]
pub(crate) fn prefetch_in(bytes: &[u8], at: usize) {
    if at < bytes.len() {
        prefetch(bytes.as_ptr().wrapping_add(at));
    }
}
