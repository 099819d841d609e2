//! ACL: the users that the settings make, told in Redis' words. Passwords are not told.

use super::error::CommandError;
use super::session::{ServerFacts, Session};
use super::table;
use crate::access::{DEFAULT_USER, Login, Policy};
use crate::format::random_bytes;
use crate::live::Live;
use crate::resp::{Args, Protocol, strict_number, writer};

/// Redis' categories, in its order.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Most bits of a password that GENPASS makes (Redis' figure).
const GENPASS_BITS_MAX: usize = 4096;

const SETTLED: &str = "ERR users are fixed at start: set requirepass, readonly_user and deny_commands in the settings";

pub(super) fn cat(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let names: Vec<&str> = match (args.len(), args.get(2)) {
        (2, _) => CATEGORIES.to_vec(),
        (3, Some(asked)) => {
            let is_it = |name: &&str| asked.eq_ignore_ascii_case(name.as_bytes());
            let Some(category) = CATEGORIES.into_iter().find(is_it) else {
                let asked = String::from_utf8_lossy(asked);
                return Err(CommandError::text(format!("ERR Unknown category '{asked}'")));
            };
            let all = table::all_with_subcommands();
            all.filter(|spec| spec.categories.contains(&category)).map(|spec| spec.name).collect()
        }
        _ => return Err(wrong_arity(args)),
    };
    bulks(&names, out);
    Ok(())
}

pub(super) fn genpass(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let bits = match (args.len(), args.get(2)) {
        (2, _) => 256,
        (3, Some(bits)) => strict_number(bits).ok_or(CommandError::NotInteger)?,
        _ => return Err(wrong_arity(args)),
    };
    let bits = usize::try_from(bits).ok().filter(|bits| (1..=GENPASS_BITS_MAX).contains(bits));
    let bits = bits.ok_or(CommandError::text(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
    ))?;
    let bytes = random_bytes::<{ GENPASS_BITS_MAX / 8 }>()
        .map_err(|error| CommandError::text(format!("ERR {error}")))?;
    let digits = crate::access::hex(&bytes);
    // A digit has four bits.
    writer::bulk(out, digits.get(..bits.div_ceil(4)).unwrap_or(&digits).as_bytes());
    Ok(())
}

/// A user's rights, as Redis writes its rules.
struct User<'a> {
    name: &'a str,
    has_password: bool,
    commands: String,
}

fn users(live: &Live) -> Vec<User<'_>> {
    let policy = live.policy();
    let default = User {
        name: DEFAULT_USER,
        has_password: live.requires_password(),
        commands: rules(policy, Login::Default),
    };
    let readonly = policy.readonly.as_ref().map(|(name, _)| User {
        name,
        has_password: true,
        commands: rules(policy, Login::ReadOnly),
    });
    [default].into_iter().chain(readonly).collect()
}

/// `+@all`, and then what is taken away again.
fn rules(policy: &Policy, login: Login) -> String {
    let mut text = String::from("+@all");
    if login == Login::ReadOnly {
        text.push_str(" -@write -@admin");
    }
    for spec in table::all_with_subcommands() {
        if policy.denied.has(spec.id) {
            text.push_str(" -");
            text.push_str(spec.name);
        }
    }
    text
}

pub(super) fn list(live: &Live, out: &mut Vec<u8>) {
    let lines: Vec<String> = users(live)
        .iter()
        .map(|user| {
            let password = if user.has_password { "#(redacted)" } else { "nopass" };
            format!("user {} on {password} ~* &* {}", user.name, user.commands)
        })
        .collect();
    bulks(&lines, out);
}

pub(super) fn names(live: &Live, out: &mut Vec<u8>) {
    let names: Vec<&str> = users(live).iter().map(|user| user.name).collect();
    bulks(&names, out);
}

pub(super) fn getuser(live: &Live, args: Args<'_>, protocol: Protocol, out: &mut Vec<u8>) {
    let users = users(live);
    let Some(user) = users.iter().find(|user| user.name.as_bytes() == args.arg(2)) else {
        writer::null(out, protocol);
        return;
    };
    writer::map(out, 6, protocol);
    writer::bulk(out, b"flags");
    let flags: &[&str] = if user.has_password { &["on"] } else { &["on", "nopass"] };
    writer::set(out, flags.len(), protocol);
    for flag in flags {
        writer::bulk(out, flag.as_bytes());
    }
    writer::bulk(out, b"passwords");
    let passwords: &[&str] = if user.has_password { &["(redacted)"] } else { &[] };
    bulks(passwords, out);
    for (name, value) in [("commands", user.commands.as_str()), ("keys", "~*"), ("channels", "&*")]
    {
        writer::bulk(out, name.as_bytes());
        writer::bulk(out, value.as_bytes());
    }
    writer::bulk(out, b"selectors");
    writer::array(out, 0);
}

pub(super) fn whoami(session: &Session, server: &ServerFacts, out: &mut Vec<u8>) {
    writer::bulk(out, session.user(&server.live).as_bytes());
}

pub(super) fn log(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    match (args.len(), args.get(2)) {
        (2, _) => writer::array(out, 0),
        (3, Some(word)) if word.eq_ignore_ascii_case(b"reset") => writer::ok(out),
        (3, Some(count)) if strict_number(count).is_some() => writer::array(out, 0),
        (3, Some(_)) => return Err(CommandError::NotInteger),
        _ => return Err(wrong_arity(args)),
    }
    Ok(())
}

pub(super) fn setuser() -> CommandError {
    CommandError::text(SETTLED)
}

fn wrong_arity(args: Args<'_>) -> CommandError {
    let sub = String::from_utf8_lossy(args.arg(1));
    CommandError::text(format!(
        "ERR unknown subcommand or wrong number of arguments for '{sub}'. Try ACL HELP."
    ))
}

fn bulks(texts: &[impl AsRef<str>], out: &mut Vec<u8>) {
    writer::array(out, texts.len());
    for text in texts {
        writer::bulk(out, text.as_ref().as_bytes());
    }
}
