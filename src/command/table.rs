//! The one command table: COMMAND, help, routing, arity and tests come from it. The entries are in `specs`.

use super::Flow;
use super::error::CommandError;
use super::specs::TABLE;
use crate::resp::{Args, writer};

/// Which command, for a `match` without strings. Subcommands have their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CommandId {
    // Strings.
    Append,
    Bitcount,
    Bitfield,
    BitfieldRo,
    Bitop,
    Bitpos,
    Decr,
    Decrby,
    Get,
    Getbit,
    Getdel,
    Getex,
    Getrange,
    Getset,
    Incr,
    Incrby,
    Incrbyfloat,
    Lcs,
    Mget,
    Mset,
    Msetnx,
    Psetex,
    Set,
    Setbit,
    Setex,
    Setnx,
    Setrange,
    Strlen,
    Substr,
    // Keys.
    Copy,
    Dbsize,
    Del,
    Dump,
    Exists,
    Expire,
    Expireat,
    Expiretime,
    Flushall,
    Flushdb,
    Keys,
    Move,
    Persist,
    Pexpire,
    Pexpireat,
    Pexpiretime,
    Pttl,
    Randomkey,
    Rename,
    Renamenx,
    Restore,
    Scan,
    Swapdb,
    Touch,
    Ttl,
    Type,
    Unlink,
    // Transactions.
    Discard,
    Exec,
    Multi,
    Unwatch,
    Watch,
    // Publish and subscribe.
    Psubscribe,
    Publish,
    Pubsub,
    PubsubChannels,
    PubsubHelp,
    PubsubNumpat,
    PubsubNumsub,
    PubsubShardchannels,
    PubsubShardnumsub,
    Punsubscribe,
    Spublish,
    Ssubscribe,
    Subscribe,
    Sunsubscribe,
    Unsubscribe,
    // The connection.
    Auth,
    Client,
    ClientCaching,
    ClientGetname,
    ClientGetredir,
    ClientHelp,
    ClientId,
    ClientInfo,
    ClientKill,
    ClientList,
    ClientNoEvict,
    ClientNoTouch,
    ClientPause,
    ClientReply,
    ClientSetinfo,
    ClientSetname,
    ClientTracking,
    ClientTrackinginfo,
    ClientUnblock,
    ClientUnpause,
    Echo,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
    // The server.
    Acl,
    AclCat,
    AclGenpass,
    AclGetuser,
    AclHelp,
    AclList,
    AclLog,
    AclSetuser,
    AclUsers,
    AclWhoami,
    Bgrewriteaof,
    Bgsave,
    Checkpoint,
    Cluster,
    Command,
    CommandCount,
    CommandDocs,
    CommandGetkeys,
    CommandGetkeysandflags,
    CommandHelp,
    CommandInfo,
    CommandList,
    Compact,
    Config,
    ConfigGet,
    ConfigHelp,
    ConfigResetstat,
    ConfigRewrite,
    ConfigSet,
    Debug,
    Failover,
    Function,
    FunctionFlush,
    FunctionHelp,
    FunctionList,
    Info,
    Lastsave,
    Latency,
    LatencyDoctor,
    LatencyGraph,
    LatencyHelp,
    LatencyHistogram,
    LatencyHistory,
    LatencyLatest,
    LatencyReset,
    Lolwut,
    Memory,
    MemoryDoctor,
    MemoryHelp,
    MemoryMallocStats,
    MemoryPurge,
    MemoryStats,
    MemoryUsage,
    Module,
    ModuleHelp,
    ModuleList,
    Monitor,
    Object,
    ObjectEncoding,
    ObjectFreq,
    ObjectHelp,
    ObjectIdletime,
    ObjectRefcount,
    Readonly,
    Readwrite,
    Replicaof,
    Role,
    Save,
    Script,
    ScriptExists,
    ScriptFlush,
    ScriptHelp,
    Shutdown,
    Slaveof,
    Slowlog,
    SlowlogGet,
    SlowlogHelp,
    SlowlogLen,
    SlowlogReset,
    Stats,
    Time,
    Wait,
    // What no client can send: parts of commands over several shards (`multishard`).
    InternalRead,
    InternalWrite,
}

impl CommandId {
    /// How many there are.
    pub const COUNT: usize = Self::InternalWrite as usize + 1;

    /// Its place in a list with one place for each.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Some of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommandSet([u64; CommandSet::WORDS]);

impl CommandSet {
    const WORDS: usize = CommandId::COUNT.div_ceil(64);
    pub const ALL: Self = Self([u64::MAX; Self::WORDS]);

    pub fn insert(&mut self, id: CommandId) {
        self.0[id.index() / 64] |= 1 << (id.index() % 64);
    }

    pub fn has(self, id: CommandId) -> bool {
        self.0[id.index() / 64] >> (id.index() % 64) & 1 == 1
    }
}

/// Who can answer a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The core that read it: [`super::run`].
    Local,
    /// The shards of its keys.
    Keys,
    /// All shards.
    AllShards,
    /// The shard that its cursor names: SCAN.
    Cursor,
    /// The connection's transaction: MULTI, EXEC, WATCH and the like.
    Transaction,
    /// The core that read it, with its connections: SUBSCRIBE, CLIENT LIST, MONITOR and the like (`worker`).
    Core,
    /// Nobody: only its subcommands can be run.
    Container,
}

/// Properties of a command, in the order of Redis' reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub(super) u32);

impl Flags {
    pub const NONE: Self = Self(0);
    pub const WRITE: Self = Self(1);
    pub const READONLY: Self = Self(1 << 1);
    pub const DENYOOM: Self = Self(1 << 2);
    pub const ADMIN: Self = Self(1 << 3);
    pub const NOSCRIPT: Self = Self(1 << 4);
    pub const LOADING: Self = Self(1 << 5);
    pub const STALE: Self = Self(1 << 6);
    pub const FAST: Self = Self(1 << 7);
    pub const NO_AUTH: Self = Self(1 << 8);
    pub const ALLOW_BUSY: Self = Self(1 << 9);
    pub const PUBSUB: Self = Self(1 << 10);
    pub const NO_MULTI: Self = Self(1 << 11);
    pub const SKIP_MONITOR: Self = Self(1 << 12);
    pub const SKIP_SLOWLOG: Self = Self(1 << 13);
    pub const MOVABLE_KEYS: Self = Self(1 << 14);

    const NAMES: [&'static str; 15] = [
        "write",
        "readonly",
        "denyoom",
        "admin",
        "noscript",
        "loading",
        "stale",
        "fast",
        "no_auth",
        "allow_busy",
        "pubsub",
        "no_multi",
        "skip_monitor",
        "skip_slowlog",
        "movablekeys",
    ];

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| name)
    }
}

/// Where the keys stand among the arguments. `last` counts from the end if negative (-1: the last argument).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    pub first: i64,
    pub last: i64,
    pub step: i64,
    /// What is done to a key, in Redis' words.
    pub access: &'static [&'static str],
}

impl Keys {
    pub const NONE: Self = Self { first: 0, last: 0, step: 0, access: &[] };
}

/// One argument, for COMMAND DOCS.
#[derive(Debug, Clone, Copy)]
pub struct ArgDoc {
    pub name: &'static str,
    pub kind: &'static str,
    pub token: Option<&'static str>,
    /// Redis' words: optional, multiple.
    pub flags: &'static [&'static str],
    /// Of a block or a choice.
    pub inner: &'static [ArgDoc],
}

/// One command or subcommand.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// In lower case; a subcommand's is `parent|name`.
    pub name: &'static str,
    pub id: CommandId,
    pub place: Place,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i32,
    pub flags: Flags,
    pub keys: Keys,
    /// Redis' ACL categories, without their `@`.
    pub categories: &'static [&'static str],
    /// Redis' tips for clients of a cluster.
    pub tips: &'static [&'static str],
    pub group: &'static str,
    pub since: &'static str,
    pub summary: &'static str,
    pub complexity: &'static str,
    pub args: &'static [ArgDoc],
    pub subcommands: &'static [Spec],
}

impl Spec {
    /// Whether this many arguments, the name included, are right.
    pub fn takes(&self, args: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { args >= wanted } else { args == wanted }
    }

    /// Positions of the keys among `args` arguments.
    pub fn key_positions(&self, args: usize) -> impl Iterator<Item = usize> + use<> {
        let count = i64::try_from(args).unwrap_or(i64::MAX);
        let last = if self.keys.last < 0 { count + self.keys.last } else { self.keys.last };
        let end = if self.keys.first == 0 { 0 } else { (last + 1).clamp(0, count) };
        let step = usize::try_from(self.keys.step).unwrap_or(0).max(1);
        let first = usize::try_from(self.keys.first).unwrap_or(0);
        (first..usize::try_from(end).unwrap_or(0)).step_by(step)
    }

    pub fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }

    /// The subcommand's own name, or the command's.
    pub fn short_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, name)| name)
    }
}

/// Why a command is not run.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// The name is that of an HTTP line.
    CrossProtocol,
    Unknown,
    UnknownSubcommand(&'static Spec),
    Arity(&'static Spec),
}

impl Refusal {
    /// Appends the error reply, if there is one.
    #[cold]
    pub fn write(self, args: Args<'_>, out: &mut Vec<u8>) -> Flow {
        match self {
            Self::CrossProtocol => return Flow::CloseSilently,
            Self::Unknown => unknown(args, out),
            Self::UnknownSubcommand(parent) => {
                let after = format!("'. Try {} HELP.", parent.name.to_ascii_uppercase());
                let sub = args.get(1).unwrap_or_default();
                writer::error_quoting(out, "ERR unknown subcommand '", sub, &after);
            }
            Self::Arity(spec) => CommandError::Arity(spec.name).write(out),
        }
        Flow::Continue
    }
}

/// `ERR unknown command 'X', with args beginning with: 'a' 'b' `, of the arguments at most `ERROR_ARG_BYTES`.
fn unknown(args: Args<'_>, out: &mut Vec<u8>) {
    let mut shown = String::from("', with args beginning with: ").into_bytes();
    let before = shown.len();
    for arg in args.iter().skip(1) {
        let room = crate::limits::ERROR_ARG_BYTES.saturating_sub(shown.len() - before);
        if room == 0 {
            break;
        }
        shown.push(b'\'');
        shown.extend(writer::shown(arg, room));
        shown.extend_from_slice(b"' ");
    }
    out.extend_from_slice(b"-ERR unknown command '");
    out.extend(writer::shown(args.get(0).unwrap_or_default(), crate::limits::ERROR_ARG_BYTES));
    out.extend_from_slice(&shown);
    if let Some(what) = args.get(0).and_then(super::absent::needs) {
        let why = "(this server stores strings and has no ";
        out.extend_from_slice(why.as_bytes());
        out.extend_from_slice(what.as_bytes());
        out.extend_from_slice(b"; see 'What it is not' in its README)");
    }
    out.extend_from_slice(b"\r\n");
}

/// The command called `name`, in any case.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Spec> {
    let word = fold(name);
    let mut place = home(word);
    loop {
        let spec = TABLE.get(usize::from(PLACES.get(place)?.checked_sub(1)?))?;
        if spec.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(spec);
        }
        place = (place + 1) % PLACES_COUNT;
    }
}

/// The command that `args` name, subcommand and arity checked.
///
/// # Errors
/// As Redis: the name first, then the subcommand's, then the number of arguments.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static Spec, Refusal> {
    let name = args.get(0).unwrap_or_default();
    let Some(spec) = lookup(name) else {
        return Err(if crate::resp::is_http(name) {
            Refusal::CrossProtocol
        } else {
            Refusal::Unknown
        });
    };
    let spec = match args.get(1) {
        Some(sub) if !spec.subcommands.is_empty() => {
            subcommand(spec, sub).ok_or(Refusal::UnknownSubcommand(spec))?
        }
        _ => spec,
    };
    if spec.takes(args.len()) { Ok(spec) } else { Err(Refusal::Arity(spec)) }
}

/// The command or subcommand with this number; `None`: one that this server does not have.
pub fn by_id(id: CommandId) -> Option<&'static Spec> {
    BY_ID[id.index()]
}

/// `TABLE` and its subcommands by their numbers.
static BY_ID: [Option<&Spec>; CommandId::COUNT] = {
    let mut by_id: [Option<&Spec>; CommandId::COUNT] = [None; CommandId::COUNT];
    let mut index = 0;
    while index < TABLE.len() {
        let spec = TABLE[index];
        by_id[spec.id.index()] = Some(spec);
        let mut sub = 0;
        while sub < spec.subcommands.len() {
            by_id[spec.subcommands[sub].id.index()] = Some(&spec.subcommands[sub]);
            sub += 1;
        }
        index += 1;
    }
    by_id
};

/// The number of a reply that travels in a packed transaction as it is.
const READY: u16 = u16::MAX;
/// What stands before a command of a packed transaction.
pub type PackedHead = [u8; 6];

/// The head of a command with so many words; `None`: a reply.
pub fn packed(id: Option<CommandId>, words: usize) -> PackedHead {
    #[expect(clippy::cast_possible_truncation, reason = "fewer than READY")]
    let number = id.map_or(READY, |id| id.index() as u16).to_le_bytes();
    let words = u32::try_from(words).unwrap_or(u32::MAX).to_le_bytes();
    [number[0], number[1], words[0], words[1], words[2], words[3]]
}

/// What [`packed`] has made.
pub fn unpacked(head: &[u8]) -> (Option<CommandId>, usize) {
    let head: PackedHead = head.try_into().expect("made by `packed`");
    let number = u16::from_le_bytes([head[0], head[1]]);
    let words = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
    let spec = BY_ID.get(usize::from(number)).copied().flatten();
    (spec.map(|spec| spec.id), words as usize)
}

/// The commands of a transaction as it travels: the word `EXEC`, then for each command its head ([`packed`]) and its words.
/// `None`: the one word is a reply.
pub fn packed_commands(args: Args<'_>) -> impl Iterator<Item = (Option<CommandId>, Args<'_>)> {
    let mut at = 1;
    std::iter::from_fn(move || {
        let (id, count) = unpacked(args.get(at)?);
        let words = args.part(at + 1, count);
        at += 1 + count;
        Some((id, words))
    })
}

/// The subcommand of `parent` called `name`, in any case.
pub fn subcommand(parent: &'static Spec, name: &[u8]) -> Option<&'static Spec> {
    parent.subcommands.iter().find(|sub| sub.short_name().as_bytes().eq_ignore_ascii_case(name))
}

/// All commands, without subcommands.
pub fn all() -> &'static [&'static Spec] {
    &TABLE
}

/// The same with each command's subcommands behind it.
pub fn all_with_subcommands() -> impl Iterator<Item = &'static Spec> {
    TABLE.iter().flat_map(|spec| std::iter::once(*spec).chain(spec.subcommands))
}

/// The command or `parent|subcommand` of that name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|byte| *byte == b'|') {
        None => lookup(name),
        Some(bar) => {
            let (parent, sub) = name.split_at_checked(bar)?;
            subcommand(lookup(parent)?, sub.get(1..)?)
        }
    }
}

/// A name as one number, whatever its case: what is hashed.
const fn fold(name: &[u8]) -> u64 {
    let mut word = name.len() as u64;
    let mut index = 0;
    while index < name.len() && index < NAME_BYTES_HASHED {
        word = word.wrapping_mul(0x0100_0000_01b3) ^ (name[index] | 0x20) as u64;
        index += 1;
    }
    word
}

/// No name of ours is longer; of longer ones only so much is looked at.
const NAME_BYTES_HASHED: usize = 16;
/// Places of the hash table: enough that a search looks at one place, rarely at two.
const PLACES_COUNT: usize = 1024;

const fn home(word: u64) -> usize {
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

const _: () = assert!(PLACES_COUNT == 1 << (64 - 54) && TABLE.len() < PLACES_COUNT / 2);
const _: () = assert!(TABLE.len() < u8::MAX as usize, "a place is a byte");

/// Where each name lies in `TABLE`, plus one; 0: nowhere. Open addressing, one step at a time.
static PLACES: [u8; PLACES_COUNT] = {
    let mut places = [0_u8; PLACES_COUNT];
    let mut index = 0;
    while index < TABLE.len() {
        let mut place = home(fold(TABLE[index].name.as_bytes()));
        while places[place] != 0 {
            place = (place + 1) % PLACES_COUNT;
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        let number = index as u8 + 1;
        places[place] = number;
        index += 1;
    }
    places
};
