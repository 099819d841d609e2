//! `notify-keyspace-events`: which events are published, in Redis' letters.

/// Published to `__keyspace@0__:key`, and to `__keyevent@0__:event`; one of both is needed.
pub const KEYSPACE: u32 = 1;
pub const KEYEVENT: u32 = 1 << 1;
/// Commands on keys of any type: DEL, EXPIRE, RENAME.
pub const GENERIC: u32 = 1 << 2;
/// Commands on strings.
pub const STRING: u32 = 1 << 3;
/// A key's time was up.
pub const EXPIRED: u32 = 1 << 8;
/// A key was made that was not there.
pub const NEW: u32 = 1 << 14;
/// A key was asked for that is not there.
pub const KEY_MISS: u32 = 1 << 11;

/// What `A` stands for.
const ALL: &str = "g$lshzxetd";
/// Every letter and its flag, in the order in which Redis prints them. Lists, sets and the like have no events here, but their
/// letters are taken, as tools set `KEA` and compare what they read back.
const LETTERS: [(char, u32); 14] = [
    ('g', GENERIC),
    ('$', STRING),
    ('l', 1 << 4),
    ('s', 1 << 5),
    ('h', 1 << 6),
    ('z', 1 << 7),
    ('x', EXPIRED),
    ('e', 1 << 9),
    ('t', 1 << 10),
    ('d', 1 << 13),
    ('n', NEW),
    ('K', KEYSPACE),
    ('E', KEYEVENT),
    ('m', KEY_MISS),
];

fn flag(letter: char) -> Option<u32> {
    LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, flag)| *flag)
}

fn all() -> u32 {
    ALL.chars().filter_map(flag).sum()
}

/// The flags that `letters` stand for; `None`: one of them is no letter of Redis'.
pub(crate) fn parse(letters: &str) -> Option<u32> {
    letters.chars().try_fold(0, |flags, letter| {
        Some(flags | if letter == 'A' { all() } else { flag(letter)? })
    })
}

/// As Redis writes them: `A` for all, which then also hides `n`.
pub(crate) fn show(flags: u32) -> String {
    let has_all = flags & all() == all();
    let hidden = if has_all { all() | NEW } else { 0 };
    let letters = LETTERS.iter().filter(|(_, flag)| flags & flag != 0 && hidden & flag == 0);
    has_all.then_some('A').into_iter().chain(letters.map(|(letter, _)| *letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis-server 7.0.15 answers to CONFIG GET after CONFIG SET.
    #[test]
    fn letters_are_read_and_written_as_redis_does() {
        for (set, get) in [
            ("", ""),
            ("KEA", "AKE"),
            ("KEAmn", "AKEm"),
            ("Kg", "gK"),
            ("EK", "KE"),
            ("g$lshzxetd", "A"),
            ("g$lshzxetdn", "A"),
            ("KEx", "xKE"),
            ("mK", "Km"),
            ("nE", "nE"),
            ("Kz", "zK"),
        ] {
            assert_eq!(parse(set).map(show).as_deref(), Some(get), "{set}");
        }
        assert_eq!(parse("KEq"), None);
        assert_eq!(parse("Kx"), Some(KEYSPACE | EXPIRED));
    }
}
