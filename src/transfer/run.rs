//! What `rusty-lsm import` and `export` do: find both ends, show the progress, tell what came of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::export::{Exported, Output, export};
use super::import::{Existing, Importer, Rules, Summary};
use super::{Format, Input, Item, Skipped, TransferError, aof, csv, jsonl, rdb};
use crate::cli::transfer::{ExportArgs, ImportArgs, TargetArgs, Ttl};
use crate::client::{Client, Reply};
use crate::config::LsmConfig;
use crate::error::{ServerError, exit};
use crate::format;
use crate::server::Server;
use crate::start;

type Result<T> = std::result::Result<T, TransferError>;

/// Items between two looks at the clock of the progress bar.
const ITEMS_PER_TICK: u64 = 1024;

/// A server to talk to: another process, or one in this.
struct Target {
    client: Client,
    server: Option<Server>,
}

impl Target {
    /// `must_exist`: a directory that is not there is an error, and not made.
    fn open(args: &TargetArgs, must_exist: bool) -> Result<Self> {
        if let Some(address) = &args.connect {
            let mut client = Client::connect(address)?;
            if let Some(path) = &args.password_file {
                log_in(&mut client, path)?;
            }
            return Ok(Self { client, server: None });
        }
        let Some(dir) = &args.data_dir else {
            return Err(TransferError::Usage(
                "say where: --data-dir DIR or --connect HOST:PORT".into(),
            ));
        };
        if must_exist && !format::is_made(dir) {
            return Err(TransferError::Start(ServerError::DataDir {
                path: dir.clone(),
                what: "there is no database in it".into(),
                remedy: "name the directory of one".into(),
            }));
        }
        let config = LsmConfig { data_dir: dir.clone(), ..LsmConfig::default() };
        let server = start::embedded(config)?;
        let stream = server.connector().connect(0);
        let stream =
            stream.map_err(|source| TransferError::Io { op: "open", path: dir.clone(), source })?;
        Ok(Self { client: Client::over_unix(stream), server: Some(server) })
    }
}

/// With the first line of a file as the password.
fn log_in(client: &mut Client, path: &Path) -> Result<()> {
    let password = crate::config::password(path)
        .map_err(|what| TransferError::Usage(format!("{}: {what}", path.display())))?;
    match client.command(&[b"AUTH", &password[..]])? {
        Reply::Error(error) => Err(TransferError::Server(error)),
        _ => Ok(()),
    }
}

fn format_of(path: &Path, given: Option<Format>) -> Result<Format> {
    given.or_else(|| Format::of(path)).ok_or_else(|| {
        let what =
            format!("{}: which format is it? Say --format jsonl, csv, aof or rdb", path.display());
        TransferError::Usage(what)
    })
}

fn is_pipe(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Imports a file. Answers the exit code.
///
/// # Errors
/// What ended it before its end; how far it came was told.
pub fn run_import(args: &ImportArgs) -> Result<u8> {
    let files = files(&args.file)?;
    let format = if files.len() > 1 { Format::Aof } else { format_of(&args.file, args.format)? };
    let existing = match (args.replace, args.skip_existing) {
        (true, _) => Existing::Replace,
        (_, true) => Existing::Skip,
        _ => Existing::Refuse,
    };
    if format == Format::Aof && existing == Existing::Skip {
        let what =
            "--skip-existing: an AOF holds commands, which build on each other; use --replace";
        return Err(TransferError::Usage(what.into()));
    }
    // Before anything is opened: what is not there makes no directory.
    for file in files.iter().filter(|file| !is_pipe(file)) {
        drop(open(file)?);
    }
    let target = if args.dry_run { None } else { Some(Target::open(&args.target, false)?) };
    let (client, server) = target.map(|target| (target.client, target.server)).unzip();
    let rules = Rules { existing, keeps_ttl: args.ttl == Ttl::Keep };
    let mut importer = Importer::new(client, rules)?;
    if format == Format::Aof && existing == Existing::Refuse && importer.target_has_keys()? {
        let what = "the target has keys, and an AOF holds commands that change them: say --replace if that is meant";
        return Err(TransferError::Usage(what.into()));
    }
    let began = Instant::now();
    let mut result = Ok(());
    for file in &files {
        result = import_file(&mut importer, file, format).map_err(|error| match error {
            error
                if matches!(error, TransferError::Damaged { .. } | TransferError::Read { .. }) =>
            {
                TransferError::In { path: file.clone(), error: Box::new(error) }
            }
            other => other,
        });
        if result.is_err() {
            break;
        }
    }
    // Also behind damage: what came before it is whole.
    let settled = importer.settle();
    let summary = std::mem::take(&mut importer.summary);
    drop(importer);
    tell(&summary, began, args.dry_run, result.is_err());
    result.and(settled)?;
    if let Some(server) = server.flatten() {
        server.stop()?;
    }
    let is_whole = summary.skipped(Skipped::Refused) == 0
        && (existing == Existing::Skip || summary.skipped(Skipped::Exists) == 0);
    Ok(if is_whole { exit::OK } else { exit::FAILURE })
}

/// The files to read in order: one, or those that the manifest of an AOF names.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if is_pipe(path) {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| TransferError::Io { op: "open", path: path.to_owned(), source };
    let mut manifest = path.to_owned();
    if fs::metadata(path).map_err(failed)?.is_dir() {
        let entries = fs::read_dir(path).map_err(failed)?.filter_map(std::result::Result::ok);
        let is_manifest = |path: &PathBuf| path.extension().is_some_and(|e| e == "manifest");
        let mut found: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(is_manifest).collect();
        let one = found.pop();
        let Some(one) = one.filter(|_| found.is_empty()) else {
            let what = format!(
                "{}: a folder is imported by its manifest, and it has none or several",
                path.display()
            );
            return Err(TransferError::Usage(what));
        };
        manifest = one;
    }
    if manifest.extension().is_none_or(|extension| extension != "manifest") {
        return Ok(vec![manifest]);
    }
    let names = aof::manifest(&mut Input::new(open(&manifest)?));
    let names = names
        .map_err(|error| TransferError::In { path: manifest.clone(), error: Box::new(error) })?;
    let dir = manifest.parent().unwrap_or(Path::new("."));
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| TransferError::Io {
        op: "open",
        path: path.to_owned(),
        source,
    })
}

fn import_file(importer: &mut Importer, path: &Path, format: Format) -> Result<()> {
    let (reader, bytes): (Box<dyn Read>, Option<u64>) = if is_pipe(path) {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = open(path)?;
        let bytes = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(file), bytes)
    };
    let bar = bar(bytes);
    let reader = bar.wrap_read(reader);
    let mut source: Box<dyn FnMut() -> Result<Option<Item>>> = match format {
        Format::Csv => {
            let mut reader = csv::Reader::begin(reader)?;
            Box::new(move || reader.next_item())
        }
        Format::Jsonl => {
            let mut input = Input::new(reader);
            Box::new(move || jsonl::next_item(&mut input))
        }
        Format::Aof => {
            let (mut input, mut reader) = (Input::new(reader), aof::Reader::default());
            Box::new(move || reader.next_item(&mut input))
        }
        Format::Rdb => {
            let mut input = Input::new(reader);
            let mut reader = rdb::Reader::begin(&mut input)?;
            Box::new(move || reader.next_item(&mut input))
        }
    };
    let mut items = 0_u64;
    while let Some(item) = source()? {
        importer.take(item)?;
        items += 1;
        if items.is_multiple_of(ITEMS_PER_TICK) {
            bar.set_message(format!("{} keys", importer.summary.keys + importer.summary.commands));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// On a terminal alone.
fn bar(bytes: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(bytes, ProgressDrawTarget::hidden());
    }
    let style = if bytes.is_some() {
        "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left, {msg}"
    } else {
        "{spinner} {bytes}, {bytes_per_sec}, {msg}"
    };
    let bar = bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(error) => unreachable!("a template of ours: {error}"),
    }
}

/// To the error output: the other one may be the file.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn per_second(count: u64, began: Instant) -> u64 {
    let ms = began.elapsed().as_millis().max(1);
    u64::try_from(u128::from(count) * 1000 / ms).unwrap_or(u64::MAX)
}

fn tell(summary: &Summary, began: Instant, is_dry: bool, is_cut: bool) {
    let Summary { keys, commands, bytes, round_trips, .. } = summary;
    let done = if is_dry { "would import" } else { "imported" };
    let so_far = if is_cut { " before the error" } else { "" };
    let commands = if *commands > 0 { format!(" and {commands} commands") } else { String::new() };
    let rate = per_second(keys + summary.commands, began);
    say(&format!(
        "{done}{so_far} {keys} keys{commands}, {} of names and values, {rate} a second, in {round_trips} round trip{}",
        HumanBytes(*bytes),
        if *round_trips == 1 { "" } else { "s" }
    ));
    for (why, count) in &summary.skipped {
        say(&format!("skipped {count}: {why}"));
    }
    if let Some(refusal) = &summary.refusal {
        say(&format!("the first refusal: {refusal}"));
    }
    if summary.skipped(Skipped::Exists) > 0 && !is_dry {
        say(
            "keys that exist stay as they are; --replace overwrites them, --skip-existing takes it as meant",
        );
    }
}

/// Exports all keys. Answers the exit code.
///
/// # Errors
/// What ended it before its end.
pub fn run_export(args: &ExportArgs) -> Result<u8> {
    let format = format_of(&args.file, args.format)?;
    let mut target = Target::open(&args.target, true)?;
    let failed = |op| {
        let path = args.file.clone();
        move |source| TransferError::Io { op, path, source }
    };
    // Into a file beside it, so that a file is there whole or not at all.
    let unfinished = unfinished(&args.file);
    let file: Box<dyn Write> = if is_pipe(&args.file) {
        Box::new(io::stdout().lock())
    } else {
        if args.file.exists() && !args.replace {
            let what = format!("{} exists already; --replace overwrites it", args.file.display());
            return Err(TransferError::Usage(what));
        }
        // Whoever may not read the data directory may not read this.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        Box::new(options.open(&unfinished).map_err(failed("create"))?)
    };
    let began = Instant::now();
    let bar = bar(None);
    let out = bar.wrap_write(BufWriter::new(file));
    let written = write_all(&mut target.client, args, format, out, &bar);
    bar.finish_and_clear();
    if !is_pipe(&args.file) {
        match &written {
            Ok(_) => {
                File::open(&unfinished)
                    .and_then(|file| file.sync_all())
                    .map_err(failed("write"))?;
                fs::rename(&unfinished, &args.file).map_err(failed("rename"))?;
            }
            // What is half there is of no use to anybody.
            Err(_) => drop(fs::remove_file(&unfinished)),
        }
    }
    let exported = written?;
    let Exported { keys, bytes, skipped } = &exported;
    let rate = per_second(*keys, began);
    say(&format!(
        "exported {keys} keys, {} of names and values, {rate} a second",
        HumanBytes(*bytes)
    ));
    for (why, count) in skipped {
        say(&format!("skipped {count}: {why}"));
    }
    drop(target.client);
    if let Some(server) = target.server {
        server.stop()?;
    }
    Ok(exit::OK)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

fn write_all<W: Write>(
    client: &mut Client,
    args: &ExportArgs,
    format: Format,
    out: W,
    bar: &ProgressBar,
) -> Result<Exported> {
    let failed = |source| TransferError::Io { op: "write", path: args.file.clone(), source };
    let mut output = Output::begin(format, out).map_err(failed)?;
    let exported = export(client, args.prefix.as_bytes(), &mut output, |exported| {
        bar.set_message(format!("{} keys", exported.keys));
    })?;
    output.end().and_then(|mut out| out.flush()).map_err(failed)?;
    Ok(exported)
}
