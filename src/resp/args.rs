//! The arguments of one command, borrowed from where they lie.

/// Start and end of one argument in its command's bytes.
pub type ArgRange = (u32, u32);

/// The arguments of one command, its name first: bytes and the ranges in them. The same shape on the core that read
/// the command and on the core that it was sent to.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    data: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// Ranges must lie in `data`, each with start <= end: they come from the parser, or were copied with their bytes.
    pub fn new(data: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        debug_assert!(
            ranges.iter().all(|&(start, end)| start <= end && end as usize <= data.len())
        );
        Self { data, ranges }
    }

    /// Arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `index`; 0 is the command's name.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index).map(|&range| self.slice(range))
    }

    /// Argument `index`, which the caller knows to be there (the arity was checked).
    #[inline]
    #[track_caller]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        assert!(index < self.len(), "argument {index} of {}", self.len());
        self.get(index).unwrap_or_default()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let data = self.data;
        self.ranges.iter().map(move |&range| Self { data, ranges: &[] }.slice(range))
    }

    /// `count` arguments from `from` on, as arguments of their own.
    #[must_use]
    #[track_caller]
    pub fn part(&self, from: usize, count: usize) -> Self {
        let ranges = self.ranges.get(from..from + count);
        assert!(ranges.is_some(), "arguments {from}..{} of {}", from + count, self.len());
        Self { data: self.data, ranges: ranges.unwrap_or_default() }
    }

    /// Bytes of all arguments.
    pub fn data_bytes(&self) -> usize {
        self.ranges.iter().map(|(start, end)| (end - start) as usize).sum()
    }

    /// The bytes that the ranges point into.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    pub fn ranges(&self) -> &'a [ArgRange] {
        self.ranges
    }

    #[inline]
    fn slice(&self, (start, end): ArgRange) -> &'a [u8] {
        let slice = self.data.get(start as usize..end as usize);
        assert!(slice.is_some(), "a range outside of its command's bytes");
        slice.unwrap_or_default()
    }
}

/// Arguments that are kept when their bytes go: the same shape, owned. Memory: the arguments and eight bytes for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    data: Vec<u8>,
    ranges: Vec<ArgRange>,
}

impl From<Args<'_>> for OwnedArgs {
    fn from(args: Args<'_>) -> Self {
        args.iter().collect()
    }
}

impl<'a> FromIterator<&'a [u8]> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(words: I) -> Self {
        let mut owned = Self::default();
        let offset =
            |len| u32::try_from(len).expect("the input limits forbid 4 GiB in one command");
        for word in words {
            let start = offset(owned.data.len());
            owned.data.extend_from_slice(word);
            owned.ranges.push((start, offset(owned.data.len())));
        }
        owned
    }
}

impl OwnedArgs {
    /// Adds an argument.
    pub fn push(&mut self, word: &[u8]) {
        let offset =
            |len| u32::try_from(len).expect("the input limits forbid 4 GiB in one command");
        let start = offset(self.data.len());
        self.data.extend_from_slice(word);
        self.ranges.push((start, offset(self.data.len())));
    }

    pub fn args(&self) -> Args<'_> {
        Args::new(&self.data, &self.ranges)
    }

    /// Bytes of all arguments.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }
}
