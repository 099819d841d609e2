//! What people use in a terminal: none of it runs on a core, all of it blocks as it likes.
//!
//! - `repl`: commands typed or piped, on a data directory or a server.
//! - `top`: a server, watched. `demo`: what the server does, told step by step. `doctor`: this machine, looked at.
//! - `clear`, `compact`: a closed data directory, emptied or merged. `manual`: completions and man pages.
//! - `link`: the way to a server, embedded or not. `render`: replies as text. `style`: colours, where they may be.

mod clear;
mod compact;
mod demo;
mod doctor;
mod link;
mod manual;
mod render;
mod repl;
mod style;
mod table;
mod top;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use clear::clear;
pub use compact::compact;
pub use demo::demo;
pub use doctor::doctor;
pub use manual::{completions, man};
pub use repl::repl;
pub use top::top;

/// Lines for people and programs; a closed pipe is not our failure.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line on the error output.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether Ctrl-C was pressed: what runs looks at it and ends by itself, so that terminal and files are left in order.
#[derive(Debug, Clone)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes the signal from here on, for the life of the process.
    fn watch() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&flag))?;
        Ok(Self(flag))
    }

    fn was_pressed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// It was seen to.
    fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Megabytes for people, or what is smaller.
#[expect(clippy::cast_precision_loss, reason = "two digits for people")]
pub(crate) fn size(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x0010_0000 => format!("{:.1} KB", value / 1024.0),
        0x0010_0000..0x4000_0000 => format!("{:.1} MB", value / f64::from(1 << 20)),
        _ => format!("{:.2} GB", value / f64::from(1 << 30)),
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Microseconds for people.
fn micros(us: f64) -> String {
    if us < 1_000.0 {
        format!("{us:.0} us")
    } else if us < 1_000_000.0 {
        format!("{:.2} ms", us / 1_000.0)
    } else {
        format!("{:.2} s", us / 1_000_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [1023, 1536, 64 << 20, 3 << 30].map(size),
            ["1023 B", "1.5 KB", "64.0 MB", "3.00 GB"]
        );
        assert_eq!([9.6, 1_500.0, 2_000_000.0].map(micros), ["10 us", "1.50 ms", "2.00 s"]);
    }
}
