//! The shortest part of a sequence that still shows a difference (delta debugging, ddmin).

/// A shrink ends after this many runs, with what it has.
const RUNS_MAX: usize = 250;

/// Takes away what `fails` does not need: halves first, then ever smaller pieces, at last single items. `items` must fail.
pub(crate) fn shrink<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = items.to_vec();
    let mut pieces = 2;
    let mut runs = 0;
    while left.len() > 1 && runs < RUNS_MAX {
        let size = left.len().div_ceil(pieces);
        let mut from = 0;
        let mut taken = false;
        while from < left.len() && runs < RUNS_MAX {
            let to = (from + size).min(left.len());
            let rest = [&left[..from], &left[to..]].concat();
            runs += 1;
            if !rest.is_empty() && fails(&rest) {
                left = rest;
                taken = true;
            } else {
                from = to;
            }
        }
        if !taken && size == 1 {
            break;
        }
        if !taken {
            pieces = (pieces * 2).min(left.len());
        }
        pieces = pieces.min(left.len().max(1));
    }
    left
}

#[test]
fn only_what_is_needed_is_left() {
    let items: Vec<u32> = (0..1000).collect();
    let needs = |part: &[u32]| part.contains(&17) && part.contains(&600) && part.contains(&999);
    assert_eq!(shrink(&items, needs), [17, 600, 999]);
    assert_eq!(shrink(&[5], |_| true), [5]);
}
