//! All shards of a closed data directory, opened as a server opens them, on one core.

use shard::env::glommio::GlommioEnv;
use shard::options::Options;
use shard::recovery::inspect;
use shard::shard::Shard;

use super::check::shards;
use crate::error::ServerError;
use crate::format::DataDir;
use crate::server::{Looked, none_is_missing};

/// Looks at all of them, then opens them: their logs are replayed. `dir`: what it says of itself decides which they are.
///
/// # Errors
/// As a start: damage, a shard that is gone. Nothing is changed by a look.
pub(crate) async fn open(
    env: &GlommioEnv,
    data_dir: &DataDir,
    options: &Options,
) -> Result<Vec<Shard<GlommioEnv>>, ServerError> {
    let (mut found, mut looked) = (Vec::new(), Vec::new());
    for (index, identity) in shards(data_dir) {
        let dir = data_dir.shard_path(index);
        let inspected = inspect(env, &dir, identity, options.clone()).await?;
        let (is_new, has_data) = (inspected.is_new(), inspected.has_data());
        looked.push(Looked { dir, is_new, has_data });
        found.push(inspected);
    }
    none_is_missing(&looked)?;
    let mut opened = Vec::with_capacity(found.len());
    for inspected in found {
        opened.push(inspected.open(|_, _| {}).await?.0);
    }
    Ok(opened)
}

/// Closes all of them in order.
///
/// # Errors
/// The first one's; the others are closed all the same.
pub(crate) async fn close(shards: Vec<Shard<GlommioEnv>>) -> Result<(), ServerError> {
    let mut result = Ok(());
    for shard in shards {
        let closed = shard.close().await.map_err(ServerError::Shard);
        result = result.and(closed);
    }
    result
}
