//! Values under small reusable numbers.

/// Grows to the most values held at once, which the callers bound.
#[derive(Debug)]
pub(super) struct Slab<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            assert!(self.values[index as usize].is_none());
            self.values[index as usize] = Some(value);
            return index;
        }
        self.values.push(Some(value));
        u32::try_from(self.values.len() - 1).expect("fewer than 2^32 operations in flight")
    }

    pub(super) fn remove(&mut self, index: u32) -> T {
        let value = self.values[index as usize].take().expect("inserted and not yet removed");
        self.free.push(index);
        value
    }
}
