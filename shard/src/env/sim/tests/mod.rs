//! Tests of the simulation itself: what it claims to model, it must model.

mod contract;
mod crash;
mod executor;
mod facts;
mod faults;

use std::future::Future;
use std::io;
use std::path::Path;

use super::cut::SPOILT;
use super::*;
use crate::env::{Env, File, IoBuf, Lane, Open, Sync, read_exact_at, write_all_at};

const BLOCK: usize = 4096;

fn blocks(byte: u8, count: usize) -> IoBuf {
    let mut buf = IoBuf::with_capacity(count * BLOCK);
    buf.resize(count * BLOCK, byte);
    buf
}

/// Runs a program that must not fail.
fn run<T, F: Future<Output = io::Result<T>>>(sim: &Sim, program: impl FnOnce(SimEnv) -> F) -> T {
    sim.run(program).expect("no fault is armed")
}

async fn create(env: &SimEnv, path: &str) -> io::Result<SimFile> {
    env.open(Path::new(path), Open::CreateNew, Lane::Cold).await
}

async fn open(env: &SimEnv, path: &str, sync: Sync) -> io::Result<SimFile> {
    env.open(Path::new(path), Open::Write(sync), Lane::Hot).await
}

async fn write(file: &SimFile, block: u64, byte: u8, count: usize) -> io::Result<()> {
    write_all_at(file, blocks(byte, count), block * BLOCK as u64).await.0
}

async fn sync_root(env: &SimEnv) -> io::Result<()> {
    env.sync_dir(Path::new("/")).await
}

/// A file with its name, durable, one byte value per block.
fn given(sim: &Sim, path: &str, values: &[u8]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| [*value; BLOCK]).collect();
    sim.write_raw(path, &bytes);
}

/// All files as text: `a: 1 torn spoilt 0; b:` with one word for each block.
fn picture(sim: &Sim) -> String {
    let file = |(path, _): &(PathBuf, u64)| {
        let mut text = format!("{}:", path.strip_prefix("/").unwrap_or(path).display());
        for block in sim.read_raw(path).chunks(BLOCK) {
            let whole = block.len() == BLOCK && block.iter().all(|byte| *byte == block[0]);
            text.push(' ');
            text += &match block[0] {
                _ if !whole => "torn".to_owned(),
                byte if byte == SPOILT[0] => "spoilt".to_owned(),
                byte => byte.to_string(),
            };
        }
        text
    };
    sim.files().iter().map(file).collect::<Vec<_>>().join("; ")
}
