//! SUBSCRIBE and MONITOR: what comes is shown until Ctrl-C, which gives the connection up; the next command makes another.

use std::time::Duration;

use super::{Format, Outcome, Session};
use crate::client::Reply;
use crate::terminal::link::LinkError;
use crate::terminal::{complain, print, render};

pub(super) fn run(session: &mut Session, line: &[u8], words: &[Vec<u8>]) -> Outcome {
    if let Err(error) = session.link.send(words) {
        return error.into();
    }
    if session.is_interactive {
        complain("(Ctrl-C ends it)");
    }
    loop {
        match session.link.receive(&session.interrupt) {
            // The command itself is refused.
            Ok(reply @ Reply::Error(_)) => return session.show(line, &reply, Duration::ZERO),
            Ok(reply) => show(session, &reply),
            Err(LinkError::Interrupted) if session.is_interactive => {
                print("\n");
                // One that cannot be made is told of by the next command.
                let _ = session.link.client();
                return Outcome::Done;
            }
            Err(error) => return error.into(),
        }
    }
}

fn show(session: &Session, reply: &Reply) {
    match session.format {
        Format::Json => print(&format!("{}\n", render::json(reply))),
        Format::Pretty => print(&format!("{}\n", render::pretty(reply))),
        Format::Raw => {
            let mut out = Vec::new();
            render::raw(reply, &mut out);
            out.push(b'\n');
            session.write(&out);
        }
    }
}
