//! The text formats and the command file, without a server.

use proptest::prelude::*;

use super::export::Output;
use super::{Entry, Format, Input, Item, Skipped, TransferError, aof, csv, jsonl};

fn entry(key: &[u8], value: &[u8], expires_at_ms: u64) -> Entry {
    Entry { key: key.to_vec(), value: value.to_vec(), expires_at_ms }
}

fn written(format: Format, entries: &[Entry]) -> Vec<u8> {
    let mut output = Output::begin(format, Vec::new()).unwrap();
    for entry in entries {
        output.put(entry).unwrap();
    }
    output.end().unwrap()
}

fn collect(
    mut next: impl FnMut() -> Result<Option<Item>, TransferError>,
) -> Result<Vec<Item>, TransferError> {
    let mut items = Vec::new();
    while let Some(item) = next()? {
        items.push(item);
    }
    Ok(items)
}

fn read(format: Format, bytes: &[u8]) -> Result<Vec<Item>, TransferError> {
    let mut input = Input::new(bytes);
    match format {
        Format::Jsonl => collect(|| jsonl::next_item(&mut input)),
        Format::Csv => {
            let mut reader = csv::Reader::begin(bytes)?;
            collect(|| reader.next_item())
        }
        Format::Aof => {
            let mut reader = aof::Reader::default();
            collect(|| reader.next_item(&mut input))
        }
        Format::Rdb => {
            let mut reader = super::rdb::Reader::begin(&mut input)?;
            collect(|| reader.next_item(&mut input))
        }
    }
}

fn refusal(format: Format, text: &str) -> String {
    read(format, text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn text_formats_look_as_they_should() {
    let entries = [
        entry(b"user:1", b"Ada, \"Countess\"", 0),
        entry(b"bin", b"\xff\n", 1_764_288_000_000),
        entry(b"", "zürich".as_bytes(), 0),
    ];
    let text = String::from_utf8(written(Format::Jsonl, &entries)).unwrap();
    assert_eq!(
        text,
        "{\"key\":\"user:1\",\"value\":\"Ada, \\\"Countess\\\"\",\"encoding\":\"utf8\"}\n\
         {\"key\":\"Ymlu\",\"value\":\"/wo=\",\"encoding\":\"base64\",\"expires_at_ms\":1764288000000}\n\
         {\"key\":\"\",\"value\":\"zürich\",\"encoding\":\"utf8\"}\n"
    );
    let text = String::from_utf8(written(Format::Csv, &entries)).unwrap();
    assert_eq!(
        text,
        "key,value,encoding,expires_at_ms\nuser:1,\"Ada, \"\"Countess\"\"\",utf8,\nYmlu,/wo=,base64,1764288000000\n,zürich,utf8,\n"
    );
    let items: Vec<Item> = entries.into_iter().map(Item::Set).collect();
    assert_eq!(read(Format::Csv, text.as_bytes()).unwrap(), items);
}

#[test]
fn what_people_write_by_hand_is_taken() {
    let items = read(Format::Jsonl, b"\n{\"value\": \"v\", \"key\": \"k\"}\r\n  \n").unwrap();
    assert_eq!(items, [Item::Set(entry(b"k", b"v", 0))]);
    let items = read(Format::Csv, b"value, key\r\n\"a\nb\",k\r\n").unwrap();
    assert_eq!(items, [Item::Set(entry(b"k", b"a\nb", 0))]);
    assert_eq!(read(Format::Csv, b"key,value\n").unwrap(), []);
    assert_eq!(read(Format::Jsonl, b"").unwrap(), []);
}

#[test]
fn what_is_no_entry_is_refused_with_its_place() {
    for (text, part) in [
        (
            "{\"key\":\"a\",\"value\":\"b\"}\n{\"key\":\"a\"}\n",
            "offset 24: the line is no entry: missing field `value`",
        ),
        ("{\"key\":\"a\",\"value\":\"b\",\"ttl\":5}\n", "unknown field `ttl`"),
        ("{\"key\":\"a\",\"key\":\"a\",\"value\":\"b\"}\n", "duplicate field"),
        ("{\"key\":\"a\",\"value\":5}\n", "invalid type"),
        ("{\"key\":\"a\",\"value\":\"!\",\"encoding\":\"base64\"}\n", "no base64"),
        ("{\"key\":\"a\",\"value\":\"b\",\"encoding\":\"hex\"}\n", "unknown variant"),
        ("{\"key\":\"a\",\"value\":\"b\"", "offset 0"),
    ] {
        let refusal = refusal(Format::Jsonl, text);
        assert!(refusal.contains(part), "{text}: {refusal}");
    }
    for (text, part) in [
        ("key,valeu\n", "the first line names 'valeu'"),
        ("key\n", "must name the columns key and value"),
        ("", "must name the columns key and value"),
        ("key,value,key\n", "twice"),
        ("key,value\na,b\nc\n", "offset 14"),
        ("key,value,expires_at_ms\na,b,soon\n", "offset 24: expires_at_ms is no number"),
        ("key,value,encoding\na,b,hex\n", "neither utf8 nor base64"),
    ] {
        let refusal = refusal(Format::Csv, text);
        assert!(refusal.contains(part), "{text}: {refusal}");
    }
}

fn commands(lines: &[&str]) -> Vec<u8> {
    let mut file = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        crate::client::encode(&mut file, &words);
    }
    file
}

fn shown(items: &[Item]) -> Vec<String> {
    let show = |item: &Item| match item {
        Item::Command(words) => String::from_utf8(words.join(&b' ')).unwrap(),
        Item::Skip(why) => format!("skip {why}"),
        Item::Set(entry) => format!("set {}", entry.key.escape_ascii()),
    };
    items.iter().map(show).collect()
}

#[test]
fn commands_that_mean_something_here_are_carried_out() {
    let file = commands(&[
        "SELECT 0",
        "SET a 1",
        "RPUSH l x",
        "MULTI",
        "INCR a",
        "HSET h f v",
        "EXEC",
        "PEXPIREAT a 99",
        "FLUSHDB",
        "GET a",
        "NOSUCH a",
        "SET a",
        "SELECT 3",
        "SET b 1",
        "SELECT 0",
        "DEL a",
    ]);
    assert_eq!(
        shown(&read(Format::Aof, &file).unwrap()),
        [
            "SET a 1",
            "skip lists: only strings are stored here",
            "INCR a",
            "skip hashes: only strings are stored here",
            "PEXPIREAT a 99",
            "FLUSHALL",
            "skip a command that writes nothing: not supported here",
            "skip an unknown command: not supported here",
            "skip a command with a wrong number of arguments: not supported here",
            "skip of another database than 0",
            "DEL a",
        ]
    );
    let noted = [b"#TS:1764288000\r\n".to_vec(), commands(&["SET a 1"])].concat();
    assert_eq!(shown(&read(Format::Aof, &noted).unwrap()), ["SET a 1"]);
}

#[test]
fn a_snapshot_may_come_first() {
    let mut file = written(Format::Rdb, &[entry(b"a", b"1", 0)]);
    file.extend_from_slice(&commands(&["SET b 2"]));
    assert_eq!(shown(&read(Format::Aof, &file).unwrap()), ["set a", "SET b 2"]);
}

#[test]
fn a_cut_or_damaged_command_file_is_told() {
    let file = commands(&["SET a 1", "SET bb 22"]);
    let first = commands(&["SET a 1"]).len();
    for len in 1..file.len() {
        let read = read(Format::Aof, &file[..len]);
        if len == first {
            assert_eq!(read.unwrap().len(), 1);
            continue;
        }
        let error = read.unwrap_err().to_string();
        assert!(error.contains("ends here") || error.contains("expected"), "{len}: {error}");
    }
    let open = commands(&["SET a 1", "MULTI", "SET b 1"]);
    let error = read(Format::Aof, &open).unwrap_err().to_string();
    assert!(error.starts_with(&format!("offset {first}: a transaction begins here")), "{error}");
    for text in [
        "*0\r\n",
        "*-1\r\n",
        "*1\r\n$-1\r\n",
        "SET a 1\r\n",
        "*99999999\r\n",
        "*1\r\n$3\r\nabcde",
        "*1\r\n$99999999999\r\n",
    ] {
        assert!(read(Format::Aof, text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn a_manifest_names_its_files_in_order() {
    let names = |text: &str| aof::manifest(&mut Input::new(text.as_bytes()));
    let text = "file a.aof.2.incr.aof seq 2 type i\nfile a.aof.1.base.rdb seq 1 type b\n\
                file old.aof seq 1 type h\nfile a.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(names(text).unwrap(), ["a.aof.1.base.rdb", "a.aof.1.incr.aof", "a.aof.2.incr.aof"]);
    for text in
        ["file ../a seq 1 type b\n", "file a seq x type b\n", "nonsense\n", "file a seq 1 type z\n"]
    {
        assert!(names(text).is_err(), "{text}");
    }
}

#[test]
fn a_format_is_known_by_its_name() {
    for (name, format) in [
        ("a.jsonl", Some(Format::Jsonl)),
        ("dump.RDB", Some(Format::Rdb)),
        ("x/appendonly.aof.manifest", Some(Format::Aof)),
        ("a.csv", Some(Format::Csv)),
        ("-", None),
        ("a.txt", None),
    ] {
        assert_eq!(Format::of(name.as_ref()), format, "{name}");
    }
    assert_eq!(Skipped::Kind("list").to_string(), "list: only strings are stored here");
}

proptest! {
    #[test]
    fn every_format_keeps_every_entry(
        entries in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..20), proptest::collection::vec(any::<u8>(), 0..60), 0_u64..1 << 62),
            0..12,
        ),
        text in proptest::collection::vec(("\\PC{0,12}", "[\\PC\"',\r\n]{0,20}"), 0..6),
    ) {
        let mut all: Vec<Entry> = entries.iter().map(|(key, value, at)| entry(key, value, *at)).collect();
        all.extend(text.iter().map(|(key, value)| entry(key.as_bytes(), value.as_bytes(), 0)));
        for format in [Format::Jsonl, Format::Csv, Format::Rdb] {
            let items = read(format, &written(format, &all)).unwrap();
            prop_assert_eq!(&items, &all.iter().cloned().map(Item::Set).collect::<Vec<_>>(), "{:?}", format);
        }
        let items = read(Format::Aof, &written(Format::Aof, &all)).unwrap();
        prop_assert_eq!(items.len(), all.len());
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Jsonl, Format::Csv, Format::Aof, Format::Rdb] {
            drop(read(format, &bytes));
        }
        drop(aof::manifest(&mut Input::new(&bytes[..])));
        drop(read(Format::Csv, &[b"key,value\n", &bytes[..]].concat()));
        drop(read(Format::Aof, &[b"*3\r\n$3\r\nSET\r\n", &bytes[..]].concat()));
    }
}
