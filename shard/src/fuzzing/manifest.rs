//! `CURRENT` and the manifest, edited and read.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::base::{Base, DIR, IDENTITY, base};
use super::script::Script;
use super::{FORGED, forge, names_its_place, on};
use crate::error::Result;
use crate::limits::ALIGN;
use crate::manifest::{Manifest, State};
use crate::wal::SEGMENT_BYTES_MIN;

/// Flag: of a shard whose power was cut.
const CUT: u8 = 2;

thread_local! {
    /// Of each base, the states that its manifest went through.
    static STATES: [OnceCell<BTreeSet<String>>; 2] = const { [OnceCell::new(), OnceCell::new()] };
}

/// The manifest of a real shard, edited.
///
/// # Panics
/// If what is read of damage is no state that the manifest ever had, if a state does not hold what every state does, or if a
/// new manifest does not say the same.
pub fn manifest(input: &[u8]) {
    let mut script = Script::new(input);
    let flags = script.byte();
    let forged = flags & FORGED != 0;
    let base = base(flags & CUT != 0);
    let (paths, mut files) = base.some(|name| name == "CURRENT" || name.starts_with("manifest-"));
    script.edit(&mut files, !forged);
    if forged {
        for file in &mut files {
            forge::frames(file);
        }
    }
    let bytes_max = files.iter().map(Vec::len).max().unwrap_or(0).max(64 << 10);
    match read_all(&paths, &files, base.loaded.number) {
        Err(error) => names_its_place(&error, Path::new(DIR), bytes_max),
        Ok(state) if !forged => {
            let state = format!("{state:?}");
            let was = STATES.with(|all| {
                all[usize::from(flags & CUT != 0)].get_or_init(|| states(&base)).contains(&state)
            });
            assert!(was, "a state that never was: {state}");
        }
        Ok(_) => {}
    }
}

/// What the manifest says, verified; and once more, out of the manifest that a start writes.
fn read_all(paths: &[PathBuf], files: &[Vec<u8>], number: u64) -> Result<State> {
    let files = paths.iter().map(PathBuf::as_path).zip(files.iter().map(Vec::as_slice));
    on(files, async |env| {
        let dir = Path::new(DIR);
        // What a repair reads if `CURRENT` is of no use.
        if let Ok(loaded) = Manifest::read_number(&env, dir, IDENTITY, number).await {
            verify(&loaded.state);
        }
        let loaded = Manifest::read(&env, dir, IDENTITY).await?;
        let state = loaded.state.clone();
        verify(&state);
        let begun = Manifest::start(&env, dir, IDENTITY, loaded).await;
        begun.expect("a disk without faults").close().await.expect("a disk without faults");
        let again = Manifest::read(&env, dir, IDENTITY).await.expect("it was just written").state;
        verify(&again);
        assert!(again.numbers_reserved >= state.numbers_reserved);
        let again = State { numbers_reserved: state.numbers_reserved, ..again };
        assert_eq!(
            format!("{again:?}"),
            format!("{state:?}"),
            "a new manifest says something else"
        );
        Ok(state)
    })
}

/// The invariants at the heads of `state` and `version`, in other words.
fn verify(state: &State) {
    state.version.check().expect("a version that is consistent");
    for (_, table) in state.version.tables() {
        assert!(table.meta.number < state.numbers_reserved);
    }
    assert!(state.wal.is_sorted_by(|one, next| one.number < next.number));
    for segment in &state.wal {
        assert!(segment.number < state.numbers_reserved);
        assert!(segment.bytes >= SEGMENT_BYTES_MIN && segment.bytes.is_multiple_of(ALIGN as u64));
    }
    if let Some(stop) = state.clean_stop.filter(|stop| stop.segment > 0) {
        let segment = state.wal.iter().find(|segment| segment.number == stop.segment);
        assert!(segment.is_some_and(|segment| stop.end <= segment.bytes));
    }
}

/// The states that the manifest went through: what is read of it when its last edits are zeros.
fn states(base: &Base) -> BTreeSet<String> {
    let (paths, files) = base.some(|name| name == "CURRENT" || name.starts_with("manifest-"));
    let blocks = files.iter().map(Vec::len).max().unwrap_or(0) / ALIGN;
    let states = (0..=blocks).filter_map(|whole| {
        let mut cut = files.clone();
        for file in cut.iter_mut().filter(|file| file.len() > ALIGN) {
            file.iter_mut().skip(whole * ALIGN).for_each(|byte| *byte = 0);
        }
        read_all(&paths, &cut, base.loaded.number).ok().map(|state| format!("{state:?}"))
    });
    states.collect()
}
