//! `rusty-lsm checkpoint`: asks a server for one, makes one of a closed data directory, lists and deletes.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use shard::checkpoint::Checkpoint;
use shard::env::glommio::GlommioEnv;
use shard::options::TableOptions;
use shard::reshard::reading_options;

use super::{Description, Draft, Name, delete, list, refused, root};
use crate::cli::data::CheckpointArgs;
use crate::client::{Client, ClientError, Reply};
use crate::config::{password as password_in, show_size};
use crate::error::ServerError;
use crate::format::DataDir;
use crate::tools::{on_a_core, shards, stamp};

/// Makes, lists or deletes checkpoints, and prints what was done. Answers true.
///
/// # Errors
/// `Backup`: the name is taken, or none; a server that cannot be asked or refuses; `Locked`, `Io`, a shard's error.
pub fn checkpoint(args: &CheckpointArgs) -> Result<bool, ServerError> {
    let place = || {
        let data_dir = args.data_dir.as_deref().unwrap_or(Path::new("."));
        root(data_dir, args.backup_dir.as_deref())
    };
    if args.list {
        show(&place())?;
    } else if let Some(name) = &args.delete {
        let (root, name) = (place(), parse(name)?);
        let gone = delete(&root, &name)?;
        say(&format!("deleted {}: {}", root.join(name.as_str()).display(), held(&gone)));
    } else {
        let name = parse(args.name.as_deref().unwrap_or_default())?;
        let path = match (&args.connect, &args.data_dir) {
            (Some(address), _) => ask(address, &name, args.password_file.as_deref())?,
            (None, Some(data_dir)) => make(data_dir, place(), name)?,
            (None, None) => unreachable!("the command line asks for one of them"),
        };
        say(&path);
    }
    Ok(true)
}

fn parse(name: &str) -> Result<Name, ServerError> {
    let wrong = |what: String| refused(Path::new(name), &what, "use another name");
    Name::parse(name.as_bytes()).map_err(wrong)
}

/// A closed pipe is not our failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn held(found: &Description) -> String {
    // To a kilobyte: a size that is not whole is shown in bytes.
    format!(
        "{} tables, {}",
        found.tables(),
        show_size(found.bytes().div_ceil(1 << 10).saturating_mul(1 << 10))
    )
}

fn show(root: &Path) -> Result<(), ServerError> {
    let found = list(root)?;
    if found.is_empty() {
        say(&format!("no checkpoints in {}", root.display()));
    }
    for (name, description) in found {
        let seqs: Vec<String> =
            description.shards.iter().map(|shard| shard.last_seq.to_string()).collect();
        say(&format!(
            "{name}  {}  {}, {} shards up to operation {}",
            stamp(description.made_s),
            held(&description),
            seqs.len(),
            seqs.join(", ")
        ));
    }
    Ok(())
}

fn ask(address: &str, name: &Name, password: Option<&Path>) -> Result<String, ServerError> {
    let failed =
        |what: String| refused(Path::new(name.as_str()), &what, "look at the server's log");
    let absent = |error: ClientError| {
        let remedy = "start it, or name another --connect, or the closed directory with --data-dir";
        refused(Path::new(name.as_str()), &error.to_string(), remedy)
    };
    let mut client = Client::connect(address).map_err(absent)?;
    let mut command = |words: &[&[u8]]| match client.command(words) {
        Ok(Reply::Error(text)) => Err(failed(format!("{address} answers: {text}"))),
        Ok(reply) => Ok(reply),
        Err(error) => Err(failed(format!("{address}: {error}"))),
    };
    if let Some(path) = password {
        let remedy = "write the password into its first line, and chmod 600";
        let password = password_in(path).map_err(|what| refused(path, &what, remedy))?;
        command(&[b"AUTH", &password])?;
    }
    let reply = command(&[b"CHECKPOINT", name.as_str().as_bytes()])?;
    Ok(String::from_utf8_lossy(reply.bytes().unwrap_or_default()).into_owned())
}

fn make(data_dir: &Path, root: PathBuf, name: Name) -> Result<String, ServerError> {
    let data_dir = DataDir::existing(data_dir, false)?;
    on_a_core(async move |env| {
        let draft = Draft::begin(&root, name, data_dir.format().clone(), false)?;
        let parts = make_parts(&env, &data_dir, &draft).await?;
        let (path, description) = draft.commit(&parts)?;
        Ok(format!("{}: {}", path.display(), held(&description)))
    })?
}

async fn make_parts(
    env: &GlommioEnv,
    data_dir: &DataDir,
    draft: &Draft,
) -> Result<Vec<Checkpoint>, ServerError> {
    let opened = shards::open(env, data_dir, &reading_options(TableOptions::default())).await?;
    let mut parts = Vec::with_capacity(opened.len());
    for (index, shard) in (0..).zip(&opened) {
        match shard.checkpoint(&draft.shard_path(index)).await {
            Ok(part) => parts.push(part),
            Err(error) => {
                // The first error is the one to be told.
                let _closed = shards::close(opened).await;
                return Err(error.into());
            }
        }
    }
    shards::close(opened).await?;
    Ok(parts)
}
