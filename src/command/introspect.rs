//! COMMAND: the table, told to clients. redis-cli's hints are made from DOCS, cluster clients' routing from INFO.

use std::fmt::Write as _;

use super::error::CommandError;
use super::table::{self, ArgDoc, Keys, Spec};
use crate::glob::{self, Case};
use crate::resp::{Args, Protocol, writer};

pub(super) fn count(out: &mut Vec<u8>) {
    writer::integer(out, i64::try_from(table::all().len()).unwrap_or(i64::MAX));
}

/// COMMAND without arguments.
pub(super) fn all(protocol: Protocol, out: &mut Vec<u8>) {
    writer::array(out, table::all().len());
    for spec in table::all() {
        entry(spec, protocol, out);
    }
}

/// COMMAND INFO: those named, null for an unknown one; all if none is named.
pub(super) fn info(args: Args<'_>, protocol: Protocol, out: &mut Vec<u8>) {
    if args.len() == 2 {
        return all(protocol, out);
    }
    writer::array(out, args.len() - 2);
    for name in args.iter().skip(2) {
        match table::find(name) {
            Some(spec) => entry(spec, protocol, out),
            None => writer::null_array(out, protocol),
        }
    }
}

/// COMMAND DOCS: those named that exist; all if none is named.
pub(super) fn docs(args: Args<'_>, protocol: Protocol, out: &mut Vec<u8>) {
    let named: Vec<&Spec> = if args.len() == 2 {
        table::all().to_vec()
    } else {
        args.iter().skip(2).filter_map(table::find).collect()
    };
    writer::map(out, named.len(), protocol);
    for spec in named {
        doc(spec, protocol, out);
    }
}

/// COMMAND LIST [FILTERBY (MODULE name | ACLCAT category | PATTERN glob)]
pub(super) fn list(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let filter = match (args.len(), args.get(2), args.get(3), args.get(4)) {
        (2, ..) => None,
        (5, Some(by), Some(kind), Some(value)) if by.eq_ignore_ascii_case(b"filterby") => {
            Some((kind, value))
        }
        _ => return Err(CommandError::Syntax),
    };
    let passes: &dyn Fn(&Spec) -> bool = match filter {
        None => &|_| true,
        Some((kind, _)) if kind.eq_ignore_ascii_case(b"module") => &|_| false,
        Some((kind, value)) if kind.eq_ignore_ascii_case(b"aclcat") => {
            &|spec| spec.categories.iter().any(|name| value.eq_ignore_ascii_case(name.as_bytes()))
        }
        Some((kind, value)) if kind.eq_ignore_ascii_case(b"pattern") => {
            &|spec| glob::matches(value, spec.name.as_bytes(), Case::Ignored)
        }
        Some(_) => return Err(CommandError::Syntax),
    };
    let names: Vec<&str> = table::all_with_subcommands()
        .filter(|spec| passes(spec) && (filter.is_some() || !spec.name.contains('|')))
        .map(|spec| spec.name)
        .collect();
    writer::array(out, names.len());
    for name in names {
        writer::bulk(out, name.as_bytes());
    }
    Ok(())
}

/// COMMAND GETKEYS: the keys of the command that follows.
pub(super) fn getkeys(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let (spec, inner) = inner_command(args)?;
    writer::array(out, spec.key_positions(inner.len()).count());
    for position in spec.key_positions(inner.len()) {
        writer::bulk(out, inner.arg(position));
    }
    Ok(())
}

/// COMMAND GETKEYSANDFLAGS: the same, each with what is done to it.
pub(super) fn getkeysandflags(
    args: Args<'_>,
    protocol: Protocol,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let (spec, inner) = inner_command(args)?;
    writer::array(out, spec.key_positions(inner.len()).count());
    for position in spec.key_positions(inner.len()) {
        writer::array(out, 2);
        writer::bulk(out, inner.arg(position));
        statuses(spec.keys.access, "", protocol, out);
    }
    Ok(())
}

/// The command that stands behind the subcommand's name, and has keys.
fn inner_command(args: Args<'_>) -> Result<(&'static Spec, Args<'_>), CommandError> {
    let inner = Args::new(args.data(), args.ranges().get(2..).unwrap_or_default());
    let name = inner.get(0).unwrap_or_default();
    let spec = table::lookup(name).ok_or(CommandError::NoSuchCommand)?;
    let spec = match inner.get(1) {
        Some(sub) if !spec.subcommands.is_empty() => {
            table::subcommand(spec, sub).ok_or(CommandError::NoSuchCommand)?
        }
        _ => spec,
    };
    if spec.keys == Keys::NONE {
        return Err(CommandError::NoKeys);
    }
    if !spec.takes(inner.len()) {
        return Err(CommandError::WrongCount);
    }
    Ok((spec, inner))
}

/// HELP of the command whose subcommand `help` is.
pub(super) fn help(help: &Spec, out: &mut Vec<u8>) {
    let parent = help.name.split('|').next().and_then(|name| table::lookup(name.as_bytes()));
    let Some(parent) = parent else { unreachable!("a HELP without its command") };
    writer::array(out, 1 + 2 * parent.subcommands.len());
    let name = parent.name.to_ascii_uppercase();
    writer::simple(out, &format!("{name} <subcommand> [<arg> ...]. Subcommands are:"));
    for sub in parent.subcommands {
        let mut line = sub.short_name().to_ascii_uppercase();
        sub.args.iter().for_each(|argument| usage(argument, &mut line));
        writer::simple(out, &line);
        writer::simple(out, &format!("    {}.", sub.summary));
    }
}

/// Appends one argument as a person reads it: `<name>`, `TOKEN <name>`, `(a|b)`, `[...]` if optional.
fn usage(argument: &ArgDoc, line: &mut String) {
    let mut text = String::new();
    if let Some(token) = argument.token {
        text.push_str(token);
    }
    if !argument.inner.is_empty() {
        let mut inner: Vec<String> = Vec::new();
        for part in argument.inner {
            let mut piece = String::new();
            usage(part, &mut piece);
            inner.push(piece.trim_start().to_owned());
        }
        let between = if argument.kind == "oneof" { "|" } else { " " };
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}({})", inner.join(between));
    } else if argument.kind != "pure-token" {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}<{}>", argument.name);
    }
    if argument.flags.contains(&"multiple") {
        text.push_str(" ...");
    }
    if argument.flags.contains(&"optional") {
        text = format!("[{text}]");
    }
    line.push(' ');
    line.push_str(&text);
}

/// The ten elements of COMMAND INFO.
fn entry(spec: &Spec, protocol: Protocol, out: &mut Vec<u8>) {
    writer::array(out, 10);
    writer::bulk(out, spec.name.as_bytes());
    writer::integer(out, i64::from(spec.arity));
    statuses(&spec.flags.names().collect::<Vec<_>>(), "", protocol, out);
    for position in [spec.keys.first, spec.keys.last, spec.keys.step] {
        writer::integer(out, position);
    }
    statuses(spec.categories, "@", protocol, out);
    writer::array(out, spec.tips.len());
    for tip in spec.tips {
        writer::bulk(out, tip.as_bytes());
    }
    if spec.keys == Keys::NONE {
        writer::array(out, 0);
    } else {
        writer::array(out, 1);
        key_spec(&spec.keys, protocol, out);
    }
    writer::array(out, spec.subcommands.len());
    for sub in spec.subcommands {
        entry(sub, protocol, out);
    }
}

fn statuses(names: &[&str], prefix: &str, protocol: Protocol, out: &mut Vec<u8>) {
    writer::set(out, names.len(), protocol);
    for name in names {
        writer::simple(out, &format!("{prefix}{name}"));
    }
}

/// Keys by index and range, in the newer form.
fn key_spec(keys: &Keys, protocol: Protocol, out: &mut Vec<u8>) {
    writer::map(out, 3, protocol);
    writer::bulk(out, b"flags");
    statuses(keys.access, "", protocol, out);
    let last = if keys.last < 0 { keys.last } else { keys.last - keys.first };
    let index: &[(&str, i64)] = &[("index", keys.first)];
    let range: &[(&str, i64)] = &[("lastkey", last), ("keystep", keys.step), ("limit", 0)];
    for (name, kind, fields) in [("begin_search", "index", index), ("find_keys", "range", range)] {
        writer::bulk(out, name.as_bytes());
        writer::map(out, 2, protocol);
        writer::bulk(out, b"type");
        writer::bulk(out, kind.as_bytes());
        writer::bulk(out, b"spec");
        writer::map(out, fields.len(), protocol);
        for (field, value) in fields {
            writer::bulk(out, field.as_bytes());
            writer::integer(out, *value);
        }
    }
}

fn doc(spec: &Spec, protocol: Protocol, out: &mut Vec<u8>) {
    let texts = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group),
        ("complexity", spec.complexity),
    ];
    let extra = usize::from(!spec.args.is_empty()) + usize::from(!spec.subcommands.is_empty());
    writer::bulk(out, spec.name.as_bytes());
    writer::map(out, texts.len() + extra, protocol);
    for (name, text) in texts {
        writer::bulk(out, name.as_bytes());
        writer::bulk(out, text.as_bytes());
    }
    if !spec.args.is_empty() {
        writer::bulk(out, b"arguments");
        writer::array(out, spec.args.len());
        spec.args.iter().for_each(|argument| argument_doc(argument, protocol, out));
    }
    if !spec.subcommands.is_empty() {
        writer::bulk(out, b"subcommands");
        writer::map(out, spec.subcommands.len(), protocol);
        spec.subcommands.iter().for_each(|sub| doc(sub, protocol, out));
    }
}

fn argument_doc(argument: &ArgDoc, protocol: Protocol, out: &mut Vec<u8>) {
    let is_key = argument.kind == "key";
    let extra =
        [is_key, argument.token.is_some(), !argument.flags.is_empty(), !argument.inner.is_empty()];
    writer::map(out, 2 + extra.iter().filter(|present| **present).count(), protocol);
    for (name, text) in [("name", argument.name), ("type", argument.kind)] {
        writer::bulk(out, name.as_bytes());
        writer::bulk(out, text.as_bytes());
    }
    if is_key {
        writer::bulk(out, b"key_spec_index");
        writer::integer(out, 0);
    }
    if let Some(token) = argument.token {
        writer::bulk(out, b"token");
        writer::bulk(out, token.as_bytes());
    }
    if !argument.flags.is_empty() {
        writer::bulk(out, b"flags");
        statuses(argument.flags, "", protocol, out);
    }
    if !argument.inner.is_empty() {
        writer::bulk(out, b"arguments");
        writer::array(out, argument.inner.len());
        argument.inner.iter().for_each(|inner| argument_doc(inner, protocol, out));
    }
}
