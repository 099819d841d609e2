//! Many keys in one piece of memory, for calls that go to several cores.

/// Keys, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    pub(super) fn copied<K: AsRef<[u8]>>(keys: &[K]) -> Self {
        let mut copied = Self::default();
        copied.bytes.reserve(keys.iter().map(|key| key.as_ref().len()).sum());
        copied.ends.reserve(keys.len());
        for key in keys {
            copied.bytes.extend_from_slice(key.as_ref());
            copied.ends.push(copied.bytes.len());
        }
        copied
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_as_they_went_in() {
        let keys = Keys::copied(&["a", "", "bc"]);
        assert_eq!(keys.len(), 3);
        assert_eq!([keys.get(0), keys.get(1), keys.get(2)], [&b"a"[..], b"", b"bc"]);
    }
}
