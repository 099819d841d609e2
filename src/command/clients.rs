//! CLIENT LIST and CLIENT KILL: what is told of a connection, and which connections are meant.

use std::fmt::Write as _;

use super::connection::shortened;
use super::error::CommandError;
use super::session::Session;
use super::table::{self, CommandId};
use crate::access::DEFAULT_USER;
use crate::resp::{Args, strict_number};

/// What kind of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    Normal,
    PubSub,
    /// There are none.
    Replica,
    Master,
}

impl ClientKind {
    fn named(name: &[u8]) -> Result<Self, CommandError> {
        let kinds = [
            ("normal", Self::Normal),
            ("pubsub", Self::PubSub),
            ("replica", Self::Replica),
            ("slave", Self::Replica),
            ("master", Self::Master),
        ];
        let found = kinds.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let name = String::from_utf8_lossy(&shortened(name)).into_owned();
            CommandError::Text(format!("ERR Unknown client type '{name}'").into())
        })
    }
}

/// One connection, as it is listed.
#[derive(Debug)]
pub struct ClientFacts<'a> {
    pub session: &'a Session,
    /// The name of its user.
    pub user: &'a str,
    pub kind: ClientKind,
    /// Seconds since it came, and since it sent something.
    pub age_s: u64,
    pub idle_s: u64,
    pub monitors: bool,
    /// Channels, patterns, shard channels.
    pub subscriptions: [usize; 3],
    /// Unparsed bytes, and what is reserved for more.
    pub input_bytes: usize,
    pub input_free_bytes: usize,
    /// Replies that have not left, and what is with the kernel.
    pub output_bytes: usize,
    pub sending_bytes: usize,
    pub closes: bool,
    /// Its last command.
    pub command: Option<CommandId>,
}

impl ClientFacts<'_> {
    fn flags(&self) -> String {
        let flags = [
            (self.monitors, 'O'),
            (self.kind == ClientKind::PubSub, 'P'),
            (self.closes, 'c'),
            (self.session.no_evict, 'e'),
            (self.session.no_touch, 'T'),
        ];
        let set: String =
            flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect();
        if set.is_empty() { "N".into() } else { set }
    }

    /// The line, with Redis 7.0's fields in its order and the library's of 7.2.
    pub fn line(&self) -> String {
        let Self { session, subscriptions: [channels, patterns, shard_channels], .. } = self;
        let name = |id| table::by_id(id).map(|spec| spec.name);
        let mut line = String::new();
        // A String takes every write.
        let _ = writeln!(
            line,
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db=0 sub={channels} \
             psub={patterns} ssub={shard_channels} multi=-1 qbuf={} qbuf-free={} argv-mem=0 multi-mem=0 \
             rbs={} rbp={} obl={} oll=0 omem={} tot-mem={} events={} cmd={} user={} redir=-1 resp={} \
             lib-name={} lib-ver={}",
            session.id,
            session.peer,
            session.local,
            session.descriptor,
            String::from_utf8_lossy(&session.name),
            self.age_s,
            self.idle_s,
            self.flags(),
            self.input_bytes,
            self.input_free_bytes,
            self.sending_bytes,
            self.sending_bytes,
            self.output_bytes,
            self.output_bytes,
            self.input_bytes + self.input_free_bytes + self.output_bytes + self.sending_bytes,
            if self.sending_bytes > 0 { "rw" } else { "r" },
            self.command.and_then(name).unwrap_or("NULL"),
            self.user,
            session.protocol.number(),
            String::from_utf8_lossy(&session.lib_name),
            String::from_utf8_lossy(&session.lib_version),
        );
        line
    }
}

/// Which connections are meant: those for which all that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Ascending.
    pub ids: Option<Vec<u64>>,
    pub peer: Option<Vec<u8>>,
    pub local: Option<Vec<u8>>,
    pub kind: Option<ClientKind>,
    /// At least so old.
    pub age_s: Option<u64>,
    /// Who acts as this user.
    pub user: Option<String>,
    /// This one is not meant.
    pub not_id: Option<u64>,
}

impl ClientFilter {
    pub fn means(&self, client: &ClientFacts<'_>) -> bool {
        let Session { id, peer, local, .. } = client.session;
        self.ids.as_ref().is_none_or(|ids| ids.binary_search(id).is_ok())
            && self.peer.as_ref().is_none_or(|wanted| wanted == peer.as_bytes())
            && self.local.as_ref().is_none_or(|wanted| wanted == local.as_bytes())
            && self.kind.is_none_or(|kind| kind == client.kind)
            && self.age_s.is_none_or(|age_s| client.age_s >= age_s)
            && self.user.as_ref().is_none_or(|user| user == client.user)
            && self.not_id != Some(*id)
    }

    /// `CLIENT LIST [TYPE kind | ID id [id ...]]`
    ///
    /// # Errors
    /// As Redis.
    pub fn of_list(args: Args<'_>) -> Result<Self, CommandError> {
        let mut filter = Self::default();
        match (args.len(), args.get(2)) {
            (2, _) => {}
            (4, Some(option)) if option.eq_ignore_ascii_case(b"type") => {
                filter.kind = Some(ClientKind::named(args.arg(3))?);
            }
            (4.., Some(option)) if option.eq_ignore_ascii_case(b"id") => {
                let mut ids = Vec::with_capacity(args.len() - 3);
                for id in args.iter().skip(3) {
                    let Some(id) = strict_number(id) else {
                        return Err(CommandError::Text("ERR Invalid client ID".into()));
                    };
                    // Nobody has a number below one.
                    ids.push(u64::try_from(id).unwrap_or(0));
                }
                ids.sort_unstable();
                filter.ids = Some(ids);
            }
            _ => return Err(CommandError::Syntax),
        }
        Ok(filter)
    }

    /// `CLIENT KILL address`, or `CLIENT KILL option value [option value ...]`, asked for by client `own`. `readonly`: the
    /// name of the read-only user, if there is one.
    ///
    /// # Errors
    /// As Redis.
    pub fn of_kill(args: Args<'_>, own: u64, readonly: Option<&str>) -> Result<Self, CommandError> {
        if args.len() == 3 {
            return Ok(Self { peer: Some(args.arg(2).to_vec()), ..Self::default() });
        }
        let mut filter = Self { not_id: Some(own), ..Self::default() };
        for at in (2..args.len()).step_by(2) {
            let (option, Some(value)) = (args.arg(at), args.get(at + 1)) else {
                return Err(CommandError::Syntax);
            };
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("id") {
                filter.ids = Some(vec![positive(value, "client-id")?]);
            } else if is("maxage") {
                filter.age_s = Some(positive(value, "maxage")?);
            } else if is("type") {
                filter.kind = Some(ClientKind::named(value)?);
            } else if is("addr") {
                filter.peer = Some(value.to_vec());
            } else if is("laddr") {
                filter.local = Some(value.to_vec());
            } else if is("user") {
                let mut known = [Some(DEFAULT_USER), readonly].into_iter().flatten();
                let Some(user) = known.find(|known| known.as_bytes() == value) else {
                    let name = String::from_utf8_lossy(&shortened(value)).into_owned();
                    return Err(CommandError::Text(format!("ERR No such user '{name}'").into()));
                };
                filter.user = Some(user.to_owned());
            } else if is("skipme") {
                filter.not_id = match value {
                    yes if yes.eq_ignore_ascii_case(b"yes") => Some(own),
                    no if no.eq_ignore_ascii_case(b"no") => None,
                    _ => return Err(CommandError::Syntax),
                };
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(filter)
    }
}

fn positive(value: &[u8], what: &'static str) -> Result<u64, CommandError> {
    let number = strict_number(value).and_then(|number| u64::try_from(number).ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| CommandError::Text(format!("ERR {what} should be greater than 0").into()))
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`: milliseconds, and whether all commands are held back.
///
/// # Errors
/// As Redis.
pub fn pause_args(args: Args<'_>) -> Result<(u64, bool), CommandError> {
    let all = match args.get(3) {
        None => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => false,
        Some(_) => {
            let text = "ERR CLIENT PAUSE mode must be WRITE or ALL";
            return Err(CommandError::Text(text.into()));
        }
    };
    let Some(number) = strict_number(args.arg(2)) else {
        let text = "ERR timeout is not an integer or out of range";
        return Err(CommandError::Text(text.into()));
    };
    let millis =
        u64::try_from(number).map_err(|_| CommandError::Text("ERR timeout is negative".into()))?;
    Ok((millis, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn args(line: &str) -> OwnedArgs {
        line.split(' ').map(str::as_bytes).collect()
    }

    fn facts(session: &Session) -> ClientFacts<'_> {
        ClientFacts {
            user: "default",
            session,
            kind: ClientKind::Normal,
            age_s: 10,
            idle_s: 3,
            monitors: false,
            subscriptions: [0; 3],
            input_bytes: 5,
            input_free_bytes: 11,
            output_bytes: 7,
            sending_bytes: 0,
            closes: false,
            command: Some(CommandId::ClientList),
        }
    }

    fn session(id: u64) -> Session {
        Session::new(id, format!("127.0.0.1:{id}"), "127.0.0.1:80".into(), 0)
    }

    #[test]
    fn the_line_has_the_fields_of_redis_in_their_order() {
        let mut session = session(7);
        session.name = b"me".to_vec();
        session.lib_name = b"lib".to_vec();
        assert_eq!(
            facts(&session).line(),
            "id=7 addr=127.0.0.1:7 laddr=127.0.0.1:80 fd=0 name=me age=10 idle=3 flags=N db=0 sub=0 psub=0 \
             ssub=0 multi=-1 qbuf=5 qbuf-free=11 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=7 oll=0 omem=7 \
             tot-mem=23 events=r cmd=client|list user=default redir=-1 resp=2 lib-name=lib lib-ver=\n"
        );
        session.no_evict = true;
        let pubsub = ClientFacts {
            kind: ClientKind::PubSub,
            monitors: true,
            command: None,
            ..facts(&session)
        };
        assert!(pubsub.line().contains(" flags=OPe ") && pubsub.line().contains(" cmd=NULL "));
    }

    #[test]
    fn filters_are_combined() {
        let sessions = [session(1), session(2), session(3)];
        let meant = |line: &str| -> Vec<u64> {
            let filter = ClientFilter::of_kill(args(line).args(), 2, None).unwrap();
            let meant = sessions.iter().filter(|session| filter.means(&facts(session)));
            meant.map(|session| session.id).collect()
        };
        for (line, ids) in [
            ("CLIENT KILL 127.0.0.1:2", &[2][..]),
            ("CLIENT KILL ID 2", &[]),
            ("CLIENT KILL ID 2 SKIPME no", &[2]),
            ("CLIENT KILL TYPE normal", &[1, 3]),
            ("CLIENT KILL TYPE normal ADDR 127.0.0.1:3", &[3]),
            ("CLIENT KILL TYPE pubsub ADDR 127.0.0.1:3", &[]),
            ("CLIENT KILL LADDR 127.0.0.1:80 SKIPME NO", &[1, 2, 3]),
            ("CLIENT KILL LADDR 127.0.0.1:81", &[]),
            ("CLIENT KILL MAXAGE 10", &[1, 3]),
            ("CLIENT KILL MAXAGE 11", &[]),
            ("CLIENT KILL USER default ID 1", &[1]),
        ] {
            assert_eq!(meant(line), ids, "{line}");
        }
        let listed = |line: &str| -> Vec<u64> {
            let filter = ClientFilter::of_list(args(line).args()).unwrap();
            let listed = sessions.iter().filter(|session| filter.means(&facts(session)));
            listed.map(|session| session.id).collect()
        };
        assert_eq!(listed("CLIENT LIST"), [1, 2, 3]);
        assert_eq!(listed("CLIENT LIST ID 3 1 9 -1"), [1, 3]);
        assert_eq!(listed("CLIENT LIST TYPE replica"), [] as [u64; 0]);
    }
}
