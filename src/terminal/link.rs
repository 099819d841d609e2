//! The way to a server: one that this process runs on a data directory, or one at an address. A connection that breaks is made
//! anew for the next command.

use std::time::Duration;

use super::Interrupt;
use crate::cli::{LoginArgs, StartArgs};
use crate::client::{Client, ClientError, Reply};
use crate::config::{LogLevel, password};
use crate::error::ServerError;
use crate::server::{Connector, Server};
use crate::start;

/// How often a wait for a reply looks whether Ctrl-C was pressed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the server refuses the login: {0}")]
    Login(String),
    #[error("interrupted; what was sent may have been done")]
    Interrupted,
}

/// Who logs in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    user: Option<String>,
    password: Vec<u8>,
}

impl Login {
    /// `None`: nobody, the server needs no password.
    ///
    /// # Errors
    /// The file cannot be read, or others can read it.
    pub(super) fn of(args: &LoginArgs) -> Result<Option<Self>, String> {
        let Some(path) = &args.password_file else { return Ok(None) };
        let password = password(path)
            .map_err(|error| format!("--password-file {}: {error}", path.display()))?;
        Ok(Some(Self { user: args.user.clone(), password }))
    }
}

enum Way {
    Embedded(Box<Server>, Connector),
    Remote { address: String, login: Option<Login> },
}

impl std::fmt::Debug for Way {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Embedded(..) => "Embedded",
            Self::Remote { .. } => "Remote",
        })
    }
}

/// A server that can be asked.
#[derive(Debug)]
pub(super) struct Link {
    way: Way,
    client: Option<Client>,
    /// A word on the newest connection, if there is one to say.
    note: Option<String>,
}

impl Link {
    /// Opens a data directory in this process: no port, no login. `set` are settings as `start --set` has them.
    ///
    /// # Errors
    /// As a start: `Locked`, `DataDir`, `Unavailable`.
    pub(super) fn embedded(data_dir: Option<&str>, set: &[String]) -> Result<Self, ServerError> {
        let args = StartArgs {
            data_dir: data_dir.map(str::to_owned),
            set: set.to_vec(),
            ..StartArgs::default()
        };
        let mut config = args.load()?;
        config.log_level = LogLevel::Error;
        start::init_log(&config);
        let server = start::embedded(config)?;
        let connector = server.connector();
        Ok(Self { way: Way::Embedded(Box::new(server), connector), client: None, note: None })
    }

    /// The server at `address`; not connected yet.
    pub(super) fn remote(address: &str, login: Option<Login>) -> Self {
        let way = Way::Remote { address: address.to_owned(), login };
        Self { way, client: None, note: None }
    }

    /// For a prompt: where it leads.
    pub(super) fn place(&self) -> String {
        match &self.way {
            Way::Embedded(..) => "rusty-lsm".to_owned(),
            Way::Remote { address, .. } => address.clone(),
        }
    }

    pub(super) fn is_embedded(&self) -> bool {
        matches!(self.way, Way::Embedded(..))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// What the newest connection has to say, once.
    pub(super) fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// The connection, made if there is none.
    ///
    /// # Errors
    /// No answer at the address; the login is refused.
    pub(super) fn client(&mut self) -> Result<&mut Client, LinkError> {
        if self.client.is_none() {
            self.client = Some(self.connect()?);
        }
        match &mut self.client {
            Some(client) => Ok(client),
            None => unreachable!("just made"),
        }
    }

    fn connect(&mut self) -> Result<Client, LinkError> {
        let (mut client, login) = match &self.way {
            Way::Embedded(_, connector) => {
                let stream = connector.connect(0).map_err(ClientError::Io)?;
                (Client::over_unix(stream), None)
            }
            Way::Remote { address, login } => (Client::connect(address)?, login.as_ref()),
        };
        self.note = greet(&mut client, login)?;
        Ok(client)
    }

    /// A connection beside this one.
    ///
    /// # Errors
    /// As [`Link::client`].
    pub(super) fn another(&mut self) -> Result<Client, LinkError> {
        self.connect()
    }

    /// Forgets the connection; the next command makes another one.
    pub(super) fn hang_up(&mut self) {
        self.client = None;
    }

    /// Sends a command.
    ///
    /// # Errors
    /// The connection is gone then.
    pub(super) fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<(), LinkError> {
        let client = self.client()?;
        client.queue(words);
        let sent = client.send();
        if sent.is_err() {
            self.hang_up();
        }
        Ok(sent?)
    }

    /// The next reply, or push. Ctrl-C ends the wait, and the connection with it: nobody would read the reply.
    ///
    /// # Errors
    /// The connection is gone then.
    pub(super) fn receive(&mut self, interrupt: &Interrupt) -> Result<Reply, LinkError> {
        loop {
            let received = self.client()?.receive_within(LOOK_INTERVAL);
            match received {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) if !interrupt.was_pressed() => {}
                Ok(None) => {
                    self.hang_up();
                    interrupt.forget();
                    return Err(LinkError::Interrupted);
                }
                Err(error) => {
                    self.hang_up();
                    return Err(error.into());
                }
            }
        }
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// As [`Link::receive`].
    pub(super) fn command<W: AsRef<[u8]>>(
        &mut self,
        words: &[W],
        interrupt: &Interrupt,
    ) -> Result<Reply, LinkError> {
        self.send(words)?;
        loop {
            match self.receive(interrupt)? {
                // A message for a subscription that was left.
                Reply::Push(_) => {}
                // Once it has loaded it closes whoever has agreed on something with it before.
                Reply::Error(text) if text.starts_with("LOADING") => {
                    self.hang_up();
                    return Ok(Reply::Error(text));
                }
                reply => return Ok(reply),
            }
        }
    }

    /// Ends in order: an embedded server closes its directory.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn close(self) -> Result<(), ServerError> {
        drop(self.client);
        match self.way {
            Way::Embedded(server, _) => server.stop(),
            Way::Remote { .. } => Ok(()),
        }
    }
}

/// Logs in and asks for RESP3, which tells maps and texts apart from lists and strings; a server without it is spoken to in
/// RESP2. Answers what there is to say.
fn greet(client: &mut Client, login: Option<&Login>) -> Result<Option<String>, LinkError> {
    let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
    if let Some(login) = login {
        let user = login.user.as_deref().unwrap_or("default");
        hello.extend_from_slice(&[b"AUTH", user.as_bytes(), &login.password]);
    }
    let Reply::Error(refused) = client.command(&hello)? else { return Ok(None) };
    let has_no_hello = refused.starts_with("NOPROTO") || refused.starts_with("ERR unknown command");
    match login {
        Some(login) if has_no_hello => {
            let mut auth: Vec<&[u8]> = vec![b"AUTH"];
            auth.extend(login.user.as_deref().map(str::as_bytes));
            auth.push(&login.password);
            match client.command(&auth)? {
                Reply::Error(text) => Err(LinkError::Login(text)),
                _ => Ok(None),
            }
        }
        Some(_) => Err(LinkError::Login(refused)),
        None if has_no_hello => Ok(None),
        None if refused.starts_with("NOAUTH") => {
            Ok(Some("the server wants a password: AUTH, or --password-file".to_owned()))
        }
        None => Ok(Some(refused)),
    }
}
