//! Who may do what: passwords, users, what each may call, and what a wrong password costs.
//!
//! # Invariants
//! - No password is kept, logged or shown: only its SHA-256 is kept.
//! - `permit` is asked once for each command, before anything of it is done, wherever it comes from.
//! - A session that is `free` is one that `permit` refuses nothing but commands of administrators: one look at two flags on the
//!   way of each command.

mod digest;
mod penalty;

pub use digest::PasswordDigest;
pub(crate) use digest::{DigestCell, hex};
pub(crate) use penalty::Penalties;

use crate::command::table::{self, Flags};
use crate::command::{CommandError, CommandId, CommandSet, Session, Spec};
use crate::live::Live;

/// What is answered to other machines while there is no password; then they are closed.
pub(crate) const PROTECTED_MODE: &str = "-DENIED rusty-lsm is running in protected mode because protected_mode is enabled and no \
     password is set for the default user. In this mode connections are only accepted from the loopback interface and the unix \
     socket. To connect from other machines, set a password: start with requirepass_file (--requirepass-file FILE), or send \
     'CONFIG SET requirepass <password>' from this machine and then CONFIG REWRITE. Where a firewall guards the port, \
     protected mode can be turned off instead: 'CONFIG SET protected-mode no', or protected_mode = \"no\".\r\n";

/// The one user that is always there.
pub const DEFAULT_USER: &str = "default";

/// As whom a session acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Login {
    /// Nobody yet: it has to log in.
    #[default]
    None,
    Default,
    /// The user that may only read.
    ReadOnly,
}

/// Who may use DEBUG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DebugCommand {
    #[default]
    No,
    /// From this machine.
    Local,
    Yes,
}

/// What is fixed at start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    /// Name and password of the read-only user.
    pub(crate) readonly: Option<(String, PasswordDigest)>,
    /// Commands that nobody may use.
    pub(crate) denied: CommandSet,
    /// Commands that change the server as a whole are taken from other machines, too.
    pub(crate) allow_remote_admin: bool,
    pub(crate) debug: DebugCommand,
}

impl Policy {
    /// Whether there is anything that nobody may use.
    pub(crate) fn denies(&self) -> bool {
        self.denied != CommandSet::default()
    }
}

/// The user whom `name` and `password` make, if they do.
pub(crate) fn log_in(live: &Live, name: &[u8], password: &[u8]) -> Option<Login> {
    if name == DEFAULT_USER.as_bytes() {
        // Without a password any is right, as in Redis.
        let is_right = live.requirepass().is_none_or(|digest| digest.matches(password));
        return is_right.then_some(Login::Default);
    }
    // A user that is not there takes as long as one that is.
    let digest = PasswordDigest::of(password);
    let (known, wanted) = live.policy().readonly.as_ref()?;
    (known.as_bytes() == name && *wanted == digest).then_some(Login::ReadOnly)
}

/// Whether `session` may use `spec`.
///
/// # Errors
/// In Redis' words: no login yet, or no permission.
#[cold]
pub(crate) fn permit(session: &Session, live: &Live, spec: &Spec) -> Result<(), CommandError> {
    if spec.flags.has(Flags::NO_AUTH) {
        return Ok(());
    }
    if session.must_log_in(live) {
        return Err(CommandError::NoAuth);
    }
    let policy = live.policy();
    let is_denied = policy.denied.has(spec.id);
    if is_denied || (session.login == Login::ReadOnly && !is_for_readers(spec)) {
        return Err(CommandError::NoPermission(spec.name));
    }
    if spec.id == CommandId::Debug {
        let is_allowed = match policy.debug {
            DebugCommand::No => false,
            DebugCommand::Local => session.is_local,
            DebugCommand::Yes => session.is_local || policy.allow_remote_admin,
        };
        return if is_allowed { Ok(()) } else { Err(CommandError::DebugDisabled) };
    }
    if changes_the_server(spec.id) && !session.is_local && !policy.allow_remote_admin {
        return Err(CommandError::RemoteAdmin(spec.name));
    }
    Ok(())
}

/// Whether [`permit`] need not be asked for `spec`.
#[inline]
pub(crate) fn is_free(session: &Session, spec: &Spec) -> bool {
    session.is_free && !spec.flags.has(Flags::ADMIN)
}

/// What the read-only user may use: nothing that changes data or the server, or tells of other clients.
pub(crate) fn is_for_readers(spec: &Spec) -> bool {
    !spec.flags.has(Flags::WRITE) && !spec.flags.has(Flags::ADMIN)
}

fn changes_the_server(id: CommandId) -> bool {
    matches!(id, CommandId::ConfigSet | CommandId::Shutdown)
}

/// The commands that a deny-list names: names, `parent|sub`, and categories as `@name`, between blanks or commas.
///
/// # Errors
/// The first word that is none of them.
pub fn deny_list(text: &str) -> Result<CommandSet, String> {
    let mut denied = CommandSet::default();
    let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    for word in words {
        let word = word.to_ascii_lowercase();
        let mut any = false;
        let mut deny = |spec: &Spec| {
            any = true;
            // Else nobody could log in.
            if !spec.flags.has(Flags::NO_AUTH) {
                denied.insert(spec.id);
            }
        };
        if let Some(category) = word.strip_prefix('@') {
            let is_in = |spec: &&Spec| category == "all" || spec.categories.contains(&category);
            table::all_with_subcommands().filter(is_in).for_each(&mut deny);
        } else if let Some(spec) = table::find(word.as_bytes()) {
            deny(spec);
            spec.subcommands.iter().for_each(&mut deny);
        }
        if !any {
            return Err(format!("'{word}' is no command, and no category as @dangerous"));
        }
    }
    Ok(denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deny_list_names_commands_and_categories() {
        let id = |name: &str| table::find(name.as_bytes()).unwrap().id;
        let denied = deny_list("FLUSHALL, config|set @keyspace").unwrap();
        for name in ["flushall", "config|set", "del", "exists"] {
            assert!(denied.has(id(name)), "{name}");
        }
        for name in ["config|get", "get", "ping"] {
            assert!(!denied.has(id(name)), "{name}");
        }
        let all = deny_list("@all").unwrap();
        assert!(all.has(id("get")) && all.has(id("config|get")));
        for name in ["auth", "hello", "quit", "reset"] {
            assert!(!all.has(id(name)), "{name}: nobody could log in");
        }
        assert!(deny_list("client").unwrap().has(id("client|id")));
        assert_eq!(deny_list(" ,").unwrap(), CommandSet::default());
        for wrong in ["nosuch", "@nosuch", "get @", "config|nosuch"] {
            assert!(deny_list(wrong).is_err(), "{wrong}");
        }
    }
}
