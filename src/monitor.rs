//! The line that MONITOR shows of a command.

use crate::command::{CommandId, Spec, table::Flags};
use crate::limits::MONITOR_LINE_BYTES_MAX;
use crate::resp::Args;
use crate::slowlog::{HIDDEN, is_secret};

/// Whether monitors are shown this command: not those of operators.
pub(crate) fn is_shown(spec: &Spec) -> bool {
    !spec.flags.has(Flags::ADMIN)
        && !spec.flags.has(Flags::SKIP_MONITOR)
        && spec.id != CommandId::Monitor
}

/// Appends the line of a command of the client at `peer`, as Redis writes it; beyond a bound it ends early.
pub(crate) fn line(out: &mut Vec<u8>, now_us: u64, peer: &str, spec: &Spec, args: Args<'_>) {
    let head = format!("+{}.{:06} [0 {peer}]", now_us / 1_000_000, now_us % 1_000_000);
    out.extend_from_slice(head.as_bytes());
    let end = out.len() + MONITOR_LINE_BYTES_MAX;
    for (at, arg) in args.iter().enumerate() {
        if out.len() >= end {
            out.extend_from_slice(format!(" ... ({} more arguments)", args.len() - at).as_bytes());
            break;
        }
        out.extend_from_slice(b" \"");
        let room = end.saturating_sub(out.len());
        let arg = if is_secret(spec, args, at) { HIDDEN } else { arg };
        let shown = arg.get(..room).unwrap_or(arg);
        for byte in shown {
            escaped(out, *byte);
        }
        out.push(b'"');
        if shown.len() < arg.len() {
            let more = arg.len() - shown.len();
            out.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn escaped(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        7 => out.extend_from_slice(b"\\a"),
        8 => out.extend_from_slice(b"\\b"),
        b' '..=b'~' => out.push(byte),
        _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{lookup, resolve};
    use crate::resp::OwnedArgs;

    fn shown(words: &[&[u8]]) -> String {
        let args: OwnedArgs = words.iter().copied().collect();
        let mut out = Vec::new();
        line(
            &mut out,
            1_700_000_000_000_042,
            "1.2.3.4:5",
            resolve(args.args()).unwrap(),
            args.args(),
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_command_is_quoted_and_hides_secrets() {
        let head = "+1700000000.000042 [0 1.2.3.4:5]";
        assert_eq!(
            shown(&[b"Set", b"a b", b"\\\"\r\n\t\x07\x08\x00\xff~"]),
            format!("{head} \"Set\" \"a b\" \"\\\\\\\"\\r\\n\\t\\a\\b\\x00\\xff~\"\r\n")
        );
        let hello = shown(&[b"hello", b"3", b"auth", b"me", b"secret"]);
        assert_eq!(
            hello,
            format!("{head} \"hello\" \"3\" \"auth\" \"(redacted)\" \"(redacted)\"\r\n")
        );
        assert!(is_shown(lookup(b"get").unwrap()) && !is_shown(lookup(b"monitor").unwrap()));
    }

    #[test]
    fn a_line_is_bounded() {
        let long = vec![b'\n'; 10 << 20];
        assert!(
            shown(&[b"mset", &long, &long, &long, &long]).len() < 2 * MONITOR_LINE_BYTES_MAX + 200
        );
    }
}
