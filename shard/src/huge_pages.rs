//! Huge pages for the few buffers that are large.
//!
//! A value of 60 MB goes through three buffers of its size (what its connection has received, the frame of the log, the memtable's
//! arena), each of them fresh from the kernel: 15,000 page faults a buffer, two fifths of the time that such a SET held its core.
//! In pages of 2 MiB they are 30. For the whole heap huge pages cost more than they bring, since 2 MiB are cleared at once
//! (ARCHITECTURE.md has the figures).

/// Smaller buffers keep their pages, in bytes. From here on jemalloc asks the kernel for each allocation and gives it back at
/// once (`oversize_threshold`), so that the wish ends with the buffer.
pub const HUGE_BUFFER_BYTES_MIN: usize = 8 << 20;

const PAGE_BYTES: usize = 4 << 10;

/// Asks for huge pages in `bytes` bytes of memory from `start` that nobody has touched yet. Nothing if they are fewer than
/// [`HUGE_BUFFER_BYTES_MIN`], or if the kernel has none. One system call.
#[inline]
pub fn prefer_huge_pages(start: *const u8, bytes: usize) {
    if bytes >= HUGE_BUFFER_BYTES_MIN {
        advise(start, bytes);
    }
}

#[cold]
fn advise(start: *const u8, bytes: usize) {
    let skipped = start.align_offset(PAGE_BYTES);
    let len = (bytes - skipped) / PAGE_BYTES * PAGE_BYTES;
    #[expect(unsafe_code, reason = "the one system call that this module is for")]
    // SAFETY: this advice changes no byte, whoever owns them, and the kernel refuses what is not mapped.
    unsafe {
        libc::madvise(start.wrapping_add(skipped).cast_mut().cast(), len, libc::MADV_HUGEPAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_memory_may_be_named() {
        let bytes = vec![7_u8; HUGE_BUFFER_BYTES_MIN + 5000];
        prefer_huge_pages(bytes.as_ptr(), 0);
        prefer_huge_pages(bytes.as_ptr().wrapping_add(1), HUGE_BUFFER_BYTES_MIN);
        prefer_huge_pages(bytes.as_ptr().wrapping_add(4095), HUGE_BUFFER_BYTES_MIN + 5);
        prefer_huge_pages(std::ptr::without_provenance(8), HUGE_BUFFER_BYTES_MIN);
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
}
