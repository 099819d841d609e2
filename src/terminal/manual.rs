//! Completions and manual pages, made of the command line's own description.

use std::fs;
use std::io;

use clap::CommandFactory as _;

use super::{complain, print};
use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::error::ServerError;

/// Prints what the shell sources. Answers true.
///
/// # Errors
/// None.
pub fn completions(args: &CompletionsArgs) -> Result<bool, ServerError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rusty-lsm", &mut text);
    print(&String::from_utf8_lossy(&text));
    Ok(true)
}

/// Prints the page of the program, or writes a page for each command. Answers whether all could be written.
///
/// # Errors
/// `Io`: the directory, or a page.
pub fn man(args: &ManArgs) -> Result<bool, ServerError> {
    let Some(dir) = &args.dir else {
        let mut text = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
        rendered.map_err(ServerError::Runtime)?;
        print(&String::from_utf8_lossy(&text));
        return Ok(true);
    };
    fs::create_dir_all(dir).map_err(|e| ServerError::io("create", dir, e))?;
    let written: io::Result<()> = clap_mangen::generate_to(Cli::command(), dir);
    written.map_err(|e| ServerError::io("write manual pages to", dir, e))?;
    complain(&format!("the pages are in {}", dir.display()));
    Ok(true)
}
