//! `top`: a server, watched. Everything shown comes from STATS JSON, two looks of it for rates, and from SLOWLOG.
//!
//! - `rates`: what happened between two looks. `draw`: a frame.

mod draw;
mod rates;

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::rates::Rates;
use super::link::{Link, LinkError, Login};
use super::{Interrupt, complain, print, table};
use crate::cli::TopArgs;
use crate::client::{Client, Reply};
use crate::command::Report;
use crate::error::ServerError;

/// Seconds between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// How long an answer may take: the keys are not read meanwhile.
const REPLY_TIME_MAX: Duration = Duration::from_secs(2);

/// Entries of the slow log that are asked for.
const SLOW_COUNT: &str = "8";

/// Of a frame that is printed; lines beyond its content are left out.
const ONCE_COLUMNS_MAX: u16 = 120;
const ONCE_LINES: u16 = 80;

/// A command of the slow log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slow {
    unix_s: i64,
    took_us: i64,
    command: String,
}

/// What a frame is made of.
#[derive(Debug)]
struct View {
    address: String,
    interval: Duration,
    is_paused: bool,
    has_colours: bool,
    /// The newest look.
    report: Option<Report>,
    seen: Instant,
    rates: Rates,
    slow: Vec<Slow>,
    /// Why there is no newer one.
    error: Option<String>,
}

impl View {
    fn new(address: &str, interval: Duration, has_colours: bool) -> Self {
        Self {
            address: address.to_owned(),
            interval,
            is_paused: false,
            has_colours,
            report: None,
            seen: Instant::now(),
            rates: Rates::default(),
            slow: Vec::new(),
            error: None,
        }
    }

    fn took(&mut self, looked: Result<(Report, Vec<Slow>), LookError>) {
        match looked {
            Ok((report, slow)) => {
                let now = Instant::now();
                // Of another process there is nothing to subtract.
                let before =
                    self.report.take().filter(|old| old.server.run_id == report.server.run_id);
                let elapsed = now.duration_since(self.seen);
                self.rates = before
                    .map_or_else(Rates::default, |old| Rates::between(&old, &report, elapsed));
                (self.report, self.slow, self.seen, self.error) = (Some(report), slow, now, None);
            }
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    /// Longer or shorter, in steps that feel even.
    fn change_interval(&mut self, is_longer: bool) {
        let next = if is_longer { self.interval * 2 } else { self.interval / 2 };
        self.interval = next.clamp(INTERVAL_MIN, INTERVAL_MAX);
    }
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("no answer within {} s", REPLY_TIME_MAX.as_secs())]
    Late,
    #[error("the server says: {0}")]
    Refused(String),
    #[error("STATS JSON was answered with something that is no report of this version")]
    Foreign,
}

/// Shows a server until q. Answers whether it was seen at all.
///
/// # Errors
/// The terminal.
pub fn top(args: &TopArgs) -> Result<bool, ServerError> {
    let started =
        interval(&args.interval).and_then(|interval| Ok((interval, Login::of(&args.login)?)));
    let (interval, login) = match started {
        Ok(started) => started,
        Err(error) => {
            complain(&format!("rusty-lsm: {error}"));
            return Ok(false);
        }
    };
    let mut link = Link::remote(&args.connect, login);
    let style = super::style::Style::of_output();
    let mut view = View::new(&args.connect, interval, style.has_colours());
    if args.once {
        return Ok(once(&mut link, &mut view));
    }
    // A terminal that is switched over to an error is of no use to anyone.
    if let Err(error) = look(&mut link) {
        complain(&format!("rusty-lsm: {error}"));
        return Ok(false);
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        complain("rusty-lsm: the output is no terminal; --once prints one frame");
        return Ok(false);
    }
    watch(&mut link, &mut view).map_err(ServerError::Runtime)?;
    Ok(true)
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds =
        text.trim_end_matches('s').parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let interval = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    interval
        .filter(|interval| (INTERVAL_MIN..=INTERVAL_MAX).contains(interval))
        .ok_or_else(|| format!("--interval {}: seconds from 0.2 to 60", text.escape_debug()))
}

/// Two looks, for the rates, and one frame as text.
fn once(link: &mut Link, view: &mut View) -> bool {
    view.took(look(link));
    if view.error.is_none() {
        #[expect(
            clippy::disallowed_methods,
            reason = "no core's thread: a command that waits to measure"
        )]
        std::thread::sleep(view.interval);
        view.took(look(link));
    }
    if let Some(error) = &view.error {
        complain(&format!("rusty-lsm: {error}"));
        return false;
    }
    let columns = table::columns().min(ONCE_COLUMNS_MAX);
    // A buffer in memory: nothing can fail.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, ONCE_LINES));
    let Ok(_) = terminal.draw(|frame| draw::frame(frame, view));
    print(&draw::text(terminal.backend().buffer()));
    true
}

fn watch(link: &mut Link, view: &mut View) -> std::io::Result<()> {
    let interrupt = Interrupt::watch()?;
    let mut terminal = ratatui::try_init()?;
    let result = frames(&mut terminal, link, view, &interrupt);
    ratatui::restore();
    result
}

fn frames(
    terminal: &mut ratatui::DefaultTerminal,
    link: &mut Link,
    view: &mut View,
    interrupt: &Interrupt,
) -> std::io::Result<()> {
    let mut due = Instant::now();
    loop {
        if !view.is_paused && Instant::now() >= due {
            view.took(look(link));
            due = Instant::now() + view.interval;
        }
        terminal.draw(|frame| draw::frame(frame, view))?;
        let wait = due.saturating_duration_since(Instant::now()).min(INTERVAL_MIN);
        if event::poll(wait)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c' | 'd') if is_control => return Ok(()),
                KeyCode::Char('p' | ' ') => view.is_paused = !view.is_paused,
                KeyCode::Char('+' | '=') => view.change_interval(true),
                KeyCode::Char('-') => view.change_interval(false),
                _ => {}
            }
            due = due.min(Instant::now() + view.interval);
        }
        if interrupt.was_pressed() {
            return Ok(());
        }
    }
}

/// Asks the server. After an error the next look connects again.
fn look(link: &mut Link) -> Result<(Report, Vec<Slow>), LookError> {
    let looked = ask(link.client()?);
    if looked.is_err() {
        link.hang_up();
    }
    looked
}

fn ask(client: &mut Client) -> Result<(Report, Vec<Slow>), LookError> {
    client.queue(&["STATS", "JSON"]);
    client.queue(&["SLOWLOG", "GET", SLOW_COUNT]);
    client.send().map_err(LinkError::Client)?;
    let mut next = || {
        let reply = client.receive_within(REPLY_TIME_MAX).map_err(LinkError::Client)?;
        reply.ok_or(LookError::Late)
    };
    let (stats, slow) = (next()?, next()?);
    if let Reply::Error(text) = stats {
        return Err(LookError::Refused(text));
    }
    let report = stats.bytes().and_then(|text| Report::from_json(text).ok());
    let report = report.ok_or(LookError::Foreign)?;
    let slow = slow.items().unwrap_or_default().iter().filter_map(entry).collect();
    Ok((report, slow))
}

/// An entry of the slow log: id, time, duration, words, client.
fn entry(reply: &Reply) -> Option<Slow> {
    let [_, unix_s, took_us, words, ..] = reply.items()? else { return None };
    let words = words.items()?.iter().filter_map(Reply::bytes);
    let words: Vec<String> =
        words.map(|word| String::from_utf8_lossy(word).escape_debug().to_string()).collect();
    Some(Slow { unix_s: unix_s.integer()?, took_us: took_us.integer()?, command: words.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_their_limits() {
        assert_eq!(interval("0.5").unwrap(), Duration::from_millis(500));
        assert_eq!(interval("60s").unwrap(), INTERVAL_MAX);
        for wrong in ["0.1", "61", "-1", "x", "nan", "inf", ""] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
        let mut view = View::new("a", Duration::from_millis(300), false);
        view.change_interval(false);
        assert_eq!(view.interval, INTERVAL_MIN);
        (0..20).for_each(|_| view.change_interval(true));
        assert_eq!(view.interval, INTERVAL_MAX);
    }

    #[test]
    fn a_restarted_server_is_not_subtracted_from() {
        let report = |run_id: &str, commands: u64| {
            let mut report = Report::default();
            report.server.run_id = run_id.to_owned();
            report.stats.commands_processed = commands;
            Ok((report, Vec::new()))
        };
        let mut view = View::new("a", INTERVAL_MIN, false);
        view.took(report("one", 1_000));
        view.took(Err(LookError::Late));
        assert!(view.error.is_some() && view.report.is_some(), "the last frame stays");
        view.took(report("two", 5_000));
        assert!(view.error.is_none() && view.rates.commands.abs() < 1e-9);
        view.took(report("two", 9_000));
        assert!(view.rates.commands > 0.0);
    }
}
