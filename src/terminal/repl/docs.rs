//! What is known of the commands, from the server's COMMAND DOCS: help, hints and completion are made of it. A server that does
//! not tell (an old one, or before the login) is taken for one of ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::client::{Reply, ReplyReader};
use crate::terminal::render::printable;
use crate::terminal::style::Style;

/// Commands of the REPL itself, beside those of the server or in their place: name, usage, summary.
const OURS: [(&str, &str, &str); 7] = [
    (
        "SCAN",
        "[PREFIX] [LIMIT n]",
        "Keys that begin so, with type, size and TTL; with a cursor first it is the server's SCAN",
    ),
    ("BATCH", "n [VALUE_BYTES]", "Inserts n random records, pipelined; rate and latencies"),
    ("STATS", "", "What the server tells of itself, and a table of its shards"),
    ("DELETE", "key [key ...]", "As DEL: removes keys; answers how many existed"),
    ("HELP", "[COMMAND]", "What there is, and how it is written"),
    ("EXIT", "", "Ends, as Ctrl-D does"),
    ("QUIT", "", "Ends, as Ctrl-D does"),
];

/// An argument that is written twice, `key [key ...]`: in each other, longer ones would double and double again.
const REPEATED_BYTES_MAX: usize = 100;

/// The group under which they are listed.
const OUR_GROUP: &str = "here";

/// One command or subcommand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Doc {
    /// In capitals; a subcommand's with its parent's: `CLIENT KILL`.
    name: String,
    summary: String,
    since: String,
    group: String,
    complexity: String,
    /// How each argument is written.
    arguments: Vec<String>,
    has_subcommands: bool,
}

/// All commands by name.
#[derive(Debug, Default)]
pub(super) struct Docs(BTreeMap<String, Doc>);

impl Docs {
    /// `None`: the reply is no COMMAND DOCS.
    pub(super) fn of(reply: &Reply) -> Option<Self> {
        let commands = fields(reply);
        if commands.is_empty() {
            return None;
        }
        let mut docs = Self::default();
        for (name, command) in commands {
            docs.add(&name.to_ascii_uppercase(), command);
        }
        docs.add_ours();
        Some(docs)
    }

    /// Those of this release.
    pub(super) fn ours() -> Self {
        let mut reader = ReplyReader::default();
        reader.feed(&crate::command::docs());
        match reader.next_reply() {
            Ok(Some(reply)) => Self::of(&reply).unwrap_or_default(),
            _ => unreachable!("a reply of our own making"),
        }
    }

    fn add(&mut self, name: &str, command: &Reply) {
        let mut doc = Doc { name: name.to_owned(), ..Doc::default() };
        for (field, value) in fields(command) {
            let text = || shown(value);
            match field.as_str() {
                "summary" => doc.summary = text(),
                "since" => doc.since = text(),
                "group" => doc.group = text(),
                "complexity" => doc.complexity = text(),
                "arguments" => {
                    doc.arguments = value.items().unwrap_or_default().iter().map(usage).collect();
                }
                "subcommands" => {
                    for (sub, command) in fields(value) {
                        let sub = sub.rsplit('|').next().unwrap_or(&sub).to_ascii_uppercase();
                        self.add(&format!("{name} {sub}"), command);
                        doc.has_subcommands = true;
                    }
                }
                _ => {}
            }
        }
        self.0.insert(name.to_owned(), doc);
    }

    fn add_ours(&mut self) {
        for (name, arguments, summary) in OURS {
            let doc = Doc {
                name: name.to_owned(),
                summary: summary.to_owned(),
                group: OUR_GROUP.to_owned(),
                arguments: arguments
                    .split_inclusive(']')
                    .map(|part| part.trim().to_owned())
                    .filter(|part| !part.is_empty())
                    .collect(),
                ..Doc::default()
            };
            self.0.insert(doc.name.clone(), doc);
        }
    }

    /// The command that `words` begin with, its subcommand if there is one, and how many words are its name.
    fn find(&self, words: &[&str]) -> Option<(&Doc, usize)> {
        let first = words.first()?.to_ascii_uppercase();
        let sub = words.get(1).map(|second| format!("{first} {}", second.to_ascii_uppercase()));
        let sub = sub.and_then(|sub| self.0.get(&sub)).map(|doc| (doc, 2));
        sub.or_else(|| self.0.get(&first).map(|doc| (doc, 1)))
    }

    /// What is still to be written after these words.
    pub(super) fn hint(&self, words: &[&str]) -> Option<String> {
        let (doc, named) = self.find(words)?;
        if doc.has_subcommands && named == words.len() && doc.arguments.is_empty() {
            return Some("<subcommand>".to_owned());
        }
        let written = words.len() - named;
        let left = doc.arguments.iter().skip(written);
        let left: Vec<&str> = left.map(String::as_str).collect();
        (!left.is_empty()).then(|| left.join(" "))
    }

    /// Names that begin as the last of `words` does: commands, or subcommands of the word before it. In the case typed.
    pub(super) fn completions(&self, words: &[&str]) -> Vec<String> {
        let (last, before) = match words {
            [last] => (*last, None),
            [help, last] if help.eq_ignore_ascii_case("help") => (*last, None),
            [help, parent, last] if help.eq_ignore_ascii_case("help") => (*last, Some(*parent)),
            [parent, last] => (*last, Some(*parent)),
            _ => return Vec::new(),
        };
        let is_lower = last.chars().next().map_or_else(
            || before.is_some_and(|before| before.starts_with(|c: char| c.is_ascii_lowercase())),
            |first| first.is_ascii_lowercase(),
        );
        let head =
            before.map_or(String::new(), |before| format!("{} ", before.to_ascii_uppercase()));
        let start = format!("{head}{}", last.to_ascii_uppercase());
        let names = self.0.range(start.clone()..).map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(&start));
        let names =
            names.filter_map(|name| name.strip_prefix(&head)).filter(|name| !name.contains(' '));
        names
            .map(|name| if is_lower { name.to_ascii_lowercase() } else { name.to_owned() })
            .collect()
    }

    /// A name that is written nearly so.
    pub(super) fn like(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_uppercase();
        let near = self.0.keys().map(|known| (strsim::damerau_levenshtein(known, &name), known));
        near.filter(|(distance, _)| *distance <= 2).min().map(|(_, known)| known.as_str())
    }

    /// All commands by group.
    pub(super) fn overview(&self) -> String {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for doc in self.0.values().filter(|doc| !doc.name.contains(' ')) {
            groups.entry(&doc.group).or_default().push(&doc.name);
        }
        let mut out = String::new();
        // Ours first: they are what this place has beyond others. A String takes every write.
        for (name, usage, summary) in OURS {
            let _ = writeln!(out, "{:<24}{summary}", format!("{name} {usage}"));
        }
        for (group, names) in groups.iter().filter(|(group, _)| **group != OUR_GROUP) {
            let _ = writeln!(out, "\n{group}:");
            let mut line = String::from(" ");
            for name in names {
                if line.len() + name.len() >= 100 {
                    let _ = writeln!(out, "{line}");
                    line = String::from(" ");
                }
                let _ = write!(line, " {name}");
            }
            let _ = writeln!(out, "{line}");
        }
        out.push_str("\nHELP <command> tells how one is written.\n");
        out
    }

    /// One command, and its subcommands. `None`: there is none of this name.
    pub(super) fn help(&self, name: &str, style: Style) -> Option<String> {
        let words: Vec<&str> = name.split_whitespace().collect();
        let (doc, named) = self.find(&words)?;
        if named < words.len() {
            return None;
        }
        let mut out = String::new();
        // A String takes every write.
        let _ = writeln!(out, "{} {}", style.bold(&doc.name), doc.arguments.join(" "));
        let _ = writeln!(out, "  {}", doc.summary);
        for (label, text) in
            [("since", &doc.since), ("group", &doc.group), ("cost", &doc.complexity)]
        {
            if !text.is_empty() {
                let _ = writeln!(out, "  {label}: {text}");
            }
        }
        let head = format!("{} ", doc.name);
        for (name, sub) in
            self.0.range(head.clone()..).take_while(|(name, _)| name.starts_with(&head))
        {
            let written = format!("{name} {}", sub.arguments.join(" "));
            let _ = writeln!(out, "  {written}\n      {}", sub.summary);
        }
        Some(out)
    }
}

/// The pairs of a map, or of RESP2's flat array.
fn fields(reply: &Reply) -> Vec<(String, &Reply)> {
    match reply {
        Reply::Map(pairs) => pairs.iter().map(|(name, value)| (shown(name), value)).collect(),
        reply => {
            let pairs = reply.items().unwrap_or_default().chunks_exact(2);
            pairs.map(|pair| (shown(&pair[0]), &pair[1])).collect()
        }
    }
}

/// Text of a server, which may be anybody's: nothing in it moves the cursor.
fn shown(text: &Reply) -> String {
    printable(&String::from_utf8_lossy(text.bytes().unwrap_or_default()))
}

/// How an argument is written: `key`, `[EX seconds]`, `NX | XX`, `key [key ...]`.
fn usage(argument: &Reply) -> String {
    let fields = fields(argument);
    let field =
        |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| *value);
    let text = |name: &str| field(name).map(shown);
    let flags: Vec<&[u8]> = field("flags")
        .and_then(Reply::items)
        .unwrap_or_default()
        .iter()
        .filter_map(Reply::bytes)
        .collect();
    let has = |flag: &str| flags.contains(&flag.as_bytes());
    let kind = text("type").unwrap_or_default();
    let inner: Vec<String> =
        field("arguments").and_then(Reply::items).unwrap_or_default().iter().map(usage).collect();
    let token = text("token").filter(|token| !token.is_empty());
    let body = match kind.as_str() {
        "pure-token" => String::new(),
        "oneof" => inner.join(" | "),
        "block" => inner.join(" "),
        _ => text("display_text").or_else(|| text("name")).unwrap_or_default(),
    };
    let mut written = match (&token, body.is_empty()) {
        (Some(token), true) => token.clone(),
        (Some(token), false) => format!("{token} {body}"),
        (None, _) => body,
    };
    let is_choice = kind == "oneof" && !has("optional");
    if is_choice {
        written = format!("<{written}>");
    }
    if has("multiple") {
        let is_long = written.len() > REPEATED_BYTES_MAX;
        written =
            if is_long { format!("{written} ...") } else { format!("{written} [{written} ...]") };
    }
    if has("optional") { format!("[{written}]") } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_commands_have_help_hints_and_completions() {
        let docs = Docs::ours();
        let plain = Style::of_output();
        let set = docs.help("set", plain).unwrap();
        assert!(
            set.contains("key value") && set.contains("EX seconds") && set.contains("NX | XX"),
            "{set}"
        );
        let kill = docs.help("client kill", plain).unwrap();
        assert!(kill.contains("CLIENT KILL"), "{kill}");
        assert!(docs.help("client", plain).unwrap().contains("CLIENT LIST"));
        assert!(docs.help("nosuch", plain).is_none() && docs.help("get a", plain).is_none());
        assert_eq!(docs.hint(&["GET"]).as_deref(), Some("key"));
        assert_eq!(docs.hint(&["get", "a"]), None);
        assert_eq!(docs.hint(&["batch"]).as_deref(), Some("n [VALUE_BYTES]"));
        assert_eq!(
            docs.completions(&["ge"]),
            ["get", "getbit", "getdel", "getex", "getrange", "getset"]
        );
        assert_eq!(docs.completions(&["CLIENT", "SETN"]), ["SETNAME"]);
        assert_eq!(docs.completions(&["help", "BATC"]), ["BATCH"]);
        assert!(docs.completions(&["client", ""]).contains(&"list".to_owned()));
        assert_eq!(docs.like("DLETE"), Some("DELETE"));
        let all = docs.overview();
        assert!(all.contains("SUBSCRIBE") && all.contains("BATCH n"), "{all}");
    }

    #[test]
    fn redis_flat_arrays_are_read_too() {
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let array = |items: &[Reply]| Reply::Array(items.to_vec());
        let argument = array(&[
            bulk("name"),
            bulk("milliseconds"),
            bulk("type"),
            bulk("integer"),
            bulk("token"),
            bulk("PX"),
            bulk("flags"),
            array(&[Reply::Status("optional".into())]),
        ]);
        let command =
            array(&[bulk("summary"), bulk("Does it"), bulk("arguments"), array(&[argument])]);
        let docs = Docs::of(&array(&[bulk("do"), command])).unwrap();
        assert_eq!(docs.hint(&["do"]).as_deref(), Some("[PX milliseconds]"));
        assert!(Docs::of(&Reply::Error("ERR unknown command".into())).is_none());
    }
}
