//! `BATCH n [VALUE_BYTES]`: n random records, pipelined over one connection, with what it took. A batch is sent as a whole and its
//! replies are read; then the next. So a command's latency has the wait behind those before it in its batch.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Format, Outcome, Session};
use crate::client::Client;
use crate::format::random_bytes;
use crate::terminal::link::LinkError;
use crate::terminal::{grouped, micros, print, size, table};

/// Records that one BATCH may insert.
const RECORDS_MAX: u64 = 1_000_000_000;

/// Bytes of a value, unless they are given, and at most.
const VALUE_BYTES: usize = 100;
const VALUE_BYTES_MAX: usize = 16 << 20;

/// Commands of a batch, and bytes after which one ends early: both sides' buffers hold so much while they write.
const COMMANDS_AT_ONCE: u64 = 256;
const BYTES_AT_ONCE: usize = 128 << 10;

/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Between two looks at the rate on the terminal.
const SHOW_INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn run(session: &mut Session, line: &[u8], words: &[Vec<u8>]) -> Outcome {
    let (records, value_bytes) = match parse(words) {
        Ok(parsed) => parsed,
        Err(what) => return Outcome::Failed(what),
    };
    let random = match random_bytes::<8>() {
        Ok(random) => Random(u64::from_le_bytes(random)),
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let mut run = Run::new(records, value_bytes, random);
    let done = run.insert(session);
    run.bar.finish_and_clear();
    if let Err(error) = done {
        session.link.hang_up();
        return error.into();
    }
    if session.format == Format::Json {
        let command = String::from_utf8_lossy(line.trim_ascii());
        print(&format!("{}\n", run.json(&command)));
    } else {
        print(&run.text());
    }
    match run.first_error {
        Some(text) => {
            Outcome::Failed(format!("{} of the writes were refused; the first: {text}", run.errors))
        }
        None => Outcome::Done,
    }
}

fn parse(words: &[Vec<u8>]) -> Result<(u64, usize), String> {
    let number = |word: &[u8]| {
        std::str::from_utf8(word).ok().and_then(|word| word.replace('_', "").parse::<u64>().ok())
    };
    let (records, value_bytes) = match words {
        [records] => (number(records), Some(VALUE_BYTES as u64)),
        [records, bytes] => (number(records), number(bytes)),
        _ => return Err("BATCH n [VALUE_BYTES]".into()),
    };
    let records = records.filter(|records| (1..=RECORDS_MAX).contains(records));
    let records = records.ok_or_else(|| format!("BATCH takes 1 to {RECORDS_MAX} records"))?;
    let value_bytes = value_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let value_bytes = value_bytes.filter(|bytes| *bytes <= VALUE_BYTES_MAX);
    let value_bytes =
        value_bytes.ok_or_else(|| format!("a value has 0 to {VALUE_BYTES_MAX} bytes"))?;
    Ok((records, value_bytes))
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Letters and digits: 6 bits a byte, so that a value compresses as little as text of its kind can.
    fn fill(&mut self, value: &mut [u8]) {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for chunk in value.chunks_mut(10) {
            let mut bits = self.next();
            for byte in chunk {
                *byte = LETTERS[(bits & 63) as usize];
                bits >>= 6;
            }
        }
    }
}

struct Run {
    records: u64,
    value: Vec<u8>,
    random: Random,
    /// In every key.
    name: String,
    done: u64,
    errors: u64,
    first_error: Option<String>,
    /// Ctrl-C.
    was_cut: bool,
    batches: Histogram<u64>,
    commands: Histogram<u64>,
    took: Duration,
    bar: ProgressBar,
}

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LATENCY_MAX_US, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("bounds that are constants: {error}"),
    }
}

impl Run {
    fn new(records: u64, value_bytes: usize, mut random: Random) -> Self {
        let name = format!("{:08x}", random.next() >> 32);
        let bar =
            ProgressBar::with_draw_target(Some(records), ProgressDrawTarget::stderr_with_hz(10));
        let template = "{bar:32} {human_pos}/{human_len}  {per_sec}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            records,
            value: vec![0; value_bytes],
            random,
            name,
            done: 0,
            errors: 0,
            first_error: None,
            was_cut: false,
            batches: histogram(),
            commands: histogram(),
            took: Duration::ZERO,
            bar,
        }
    }

    fn insert(&mut self, session: &mut Session) -> Result<(), LinkError> {
        let interrupt = session.interrupt.clone();
        let client = session.link.client()?;
        let began = Instant::now();
        let mut shown = began;
        while self.done + self.errors < self.records {
            if interrupt.was_pressed() {
                interrupt.forget();
                self.was_cut = true;
                break;
            }
            self.batch(client)?;
            if shown.elapsed() >= SHOW_INTERVAL {
                shown = Instant::now();
                self.bar.set_position(self.done + self.errors);
                self.bar.set_message(format!("p99 {}", at(&self.commands, 0.99)));
            }
        }
        self.took = began.elapsed();
        Ok(())
    }

    fn batch(&mut self, client: &mut Client) -> Result<(), LinkError> {
        let first = self.done + self.errors;
        let mut sent = 0;
        while sent < COMMANDS_AT_ONCE.min(self.records - first)
            && client.queued_bytes() < BYTES_AT_ONCE
        {
            self.random.fill(&mut self.value);
            let key = format!("batch:{}:{:09}", self.name, first + sent);
            client.queue(&[&b"SET"[..], key.as_bytes(), &self.value]);
            sent += 1;
        }
        let began = Instant::now();
        client.send()?;
        let us = |began: Instant| u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        for _ in 0..sent {
            let reply = client.receive()?;
            self.commands.saturating_record(us(began).max(1));
            match reply.error() {
                None => self.done += 1,
                Some(text) => {
                    self.errors += 1;
                    self.first_error.get_or_insert_with(|| text.to_owned());
                }
            }
        }
        self.batches.saturating_record(us(began).max(1));
        Ok(())
    }

    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "three digits for people")]
        let done = self.done as f64;
        done / self.took.as_secs_f64().max(1e-9)
    }

    fn text(&self) -> String {
        let bytes = self.done * self.value.len() as u64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is no negative number"
        )]
        let rate = grouped(self.rate() as u64);
        let cut = if self.was_cut { "; ended by Ctrl-C" } else { "" };
        let mut out = format!(
            "{} records of {} bytes in {:.2} s: {rate} a second, {} of values; keys batch:{}:000000000 and on{cut}\n",
            grouped(self.done),
            self.value.len(),
            self.took.as_secs_f64(),
            size(bytes),
            self.name,
        );
        let row = |label: &str, histogram: &Histogram<u64>| {
            let mut row = vec![label.to_owned(), grouped(histogram.len())];
            row.extend([0.5, 0.9, 0.99, 0.999, 1.0].map(|quantile| at(histogram, quantile)));
            row
        };
        out.push_str(&table::lines(
            &["latency of", ">count", ">p50", ">p90", ">p99", ">p99.9", ">max"],
            vec![row("a command", &self.commands), row("a batch", &self.batches)],
        ));
        out
    }

    fn json(&self, command: &str) -> serde_json::Value {
        let us = |histogram: &Histogram<u64>| {
            let at = |quantile| histogram.value_at_quantile(quantile);
            json!({
                "count": histogram.len(), "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99),
                "p999_us": at(0.999), "max_us": at(1.0),
            })
        };
        json!({
            "command": command,
            "reply": {
                "records": self.done, "refused": self.errors, "value_bytes": self.value.len(),
                "seconds": self.took.as_secs_f64(), "records_per_second": self.rate(),
                "key_prefix": format!("batch:{}:", self.name), "was_cut": self.was_cut,
                "command_latency": us(&self.commands), "batch_latency": us(&self.batches),
            },
        })
    }
}

fn at(histogram: &Histogram<u64>, quantile: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits for people")]
    micros(histogram.value_at_quantile(quantile) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_batch_and_their_limits() {
        let ok = |line: &str| parse(&crate::resp::words(line.as_bytes()).unwrap());
        assert_eq!(ok("1000"), Ok((1000, 100)));
        assert_eq!(ok("1_000_000 0"), Ok((1_000_000, 0)));
        assert_eq!(ok("1 16777216"), Ok((1, VALUE_BYTES_MAX)));
        for wrong in ["", "0", "-1", "x", "1 x", "1000000001", "1 16777217", "1 2 3"] {
            assert!(ok(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_text_and_differ() {
        let mut random = Random(7);
        let (mut one, mut other) = ([0; 25], [0; 25]);
        random.fill(&mut one);
        random.fill(&mut other);
        assert!(
            one != other
                && one.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        );
    }
}
