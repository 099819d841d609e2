//! Error replies by their first word, for INFO errorstats.
//!
//! # Invariants
//! - The list is fixed: what clients send cannot make it grow. A word that is not in it counts as the last one.

/// First words of our error replies.
const WORDS: [&str; 16] = [
    "ERR",
    "WRONGTYPE",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "NOPROTO",
    "LOADING",
    "EXECABORT",
    "OOM",
    "READONLY",
    "MISCONF",
    "BUSYKEY",
    "NOTBUSY",
    "NOSCRIPT",
    "DENIED",
    "OTHER",
];

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorClasses([u64; WORDS.len()]);

impl ErrorClasses {
    /// Counts an error reply (`-WORD text`).
    #[cold]
    pub(crate) fn count(&mut self, reply: &[u8]) {
        let text = reply.get(1..).unwrap_or_default();
        let end = text.iter().position(|byte| !byte.is_ascii_uppercase()).unwrap_or(text.len());
        let (word, other) = (text.get(..end).unwrap_or_default(), WORDS.len() - 1);
        let class = WORDS.iter().position(|known| known.as_bytes() == word).unwrap_or(other);
        self.0[class] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }

    /// Those that there were.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        WORDS.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_their_first_word() {
        let mut classes = ErrorClasses::default();
        for reply in [
            "-ERR x\r\n",
            "-ERR syntax error\r\n",
            "-NOAUTH Authentication required.\r\n",
            "-Odd\r\n",
            "-",
        ] {
            classes.count(reply.as_bytes());
        }
        let mut sum = classes;
        sum.add(&classes);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("ERR", 4), ("NOAUTH", 2), ("OTHER", 4)]);
    }
}
