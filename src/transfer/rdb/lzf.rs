//! LZF, as RDB files have it: reading alone.
//!
//! ```text
//! control 000LLLLL                       L + 1 bytes follow as they are
//! control LLLddddd [n if L = 7] d        L + 2 bytes (L = 7: n + 9) from d + 1 bytes back, which may overlap what they make
//! ```

/// Decompresses `packed` to exactly `len` bytes; `None` if it is no such thing. Memory: what `packed` really makes, at most
/// `len`, which the caller has compared with what it takes.
pub(super) fn decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = packed.iter();
    while let Some(&control) = rest.next() {
        if control < 32 {
            let count = usize::from(control) + 1;
            let literal = rest.as_slice().get(..count)?;
            if out.len() + count > len {
                return None;
            }
            out.extend_from_slice(literal);
            rest = rest.as_slice().get(count..)?.iter();
            continue;
        }
        let mut count = usize::from(control >> 5);
        if count == 7 {
            count += usize::from(*rest.next()?);
        }
        count += 2;
        let distance = (usize::from(control & 31) << 8 | usize::from(*rest.next()?)) + 1;
        let start = out.len().checked_sub(distance)?;
        if out.len() + count > len {
            return None;
        }
        for at in start..start + count {
            out.push(*out.get(at)?);
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_and_repetitions() {
        assert_eq!(decompress(b"\x02abc", 3).unwrap(), b"abc");
        // "a", then 8 more of it from one back.
        assert_eq!(decompress(&[0, b'a', 6 << 5, 0], 9).unwrap(), b"aaaaaaaaa");
        // A long one: 7 + 1 + 2.
        assert_eq!(decompress(&[0, b'a', 7 << 5, 1, 0], 11).unwrap(), b"aaaaaaaaaaa");
        assert_eq!(decompress(b"", 0).unwrap(), b"");
    }

    #[test]
    fn what_is_none_is_refused() {
        for (packed, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x02abc", 2),
            (b"\x02abc", 4),
            (&[0, b'a', 6 << 5, 1], 9),
            (&[0, b'a', 6 << 5], 9),
            (&[0, b'a', 7 << 5, 1], 11),
            (&[0, b'a', 6 << 5, 0], 8),
        ] {
            assert_eq!(decompress(packed, len), None, "{packed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(packed in proptest::collection::vec(any::<u8>(), 0..200), len in 0_usize..2_000) {
            if let Some(out) = decompress(&packed, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
