//! Every bound of the server that is not an option, with its reason. Options are fields of `LsmConfig`.

use std::time::Duration;

/// Longest inline request, or count line without its end, in bytes (Redis' figure).
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Most arguments of one command. Redis allows 2^31 - 1: nothing real needs it, and each costs eight bytes before its data.
pub const ARGS_MAX: u32 = 1 << 20;
/// Argument slots reserved from a claimed count; more are added as arguments arrive.
pub const ARG_SLOTS_RESERVED: usize = 1024;
/// Slots and scratch bytes kept from one command to the next; a larger command gives its memory back.
pub const PARSER_KEEP: usize = 4 << 10;
/// Longest bulk string that any option may allow, in bytes (Redis' own limit).
pub const BULK_BYTES_CAP: u32 = 512 << 20;
/// What one request may hold above its longest bulk string, in bytes.
pub const REQUEST_SLACK_BYTES: u32 = 1 << 20;

/// Most arguments of one command before login (Redis' figure).
pub const ARGS_BEFORE_AUTH_MAX: u32 = 10;
/// Longest bulk string before login, in bytes (Redis' figure).
pub const BULK_BYTES_BEFORE_AUTH_MAX: u32 = 16 << 10;
/// Longest request before login, in bytes.
pub const REQUEST_BYTES_BEFORE_AUTH_MAX: u32 = 1 << 20;
/// Unread replies before login at which a connection is no longer read, in bytes (CVE-2025-21605); it is closed when its time
/// to log in is over.
pub const OUTPUT_BYTES_BEFORE_AUTH_MAX: usize = 1 << 10;
/// Time from accept to login, in all.
pub const AUTH_TIME_MAX: Duration = Duration::from_secs(10);

/// How late the first wrong password of an address is answered; each further one twice as late, up to the longest.
pub const AUTH_DELAY_MIN: Duration = Duration::from_millis(100);
pub const AUTH_DELAY_MAX: Duration = Duration::from_secs(5);
/// Time after which an address' last wrong password is forgotten.
pub const AUTH_FAILURES_KEPT: Duration = Duration::from_secs(60);
/// Addresses whose wrong passwords are counted.
pub const AUTH_ADDRESSES_MAX: usize = 1 << 10;
/// Longest file of a password, in bytes.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 4 << 10;

/// Unread replies at which a connection is no longer read, in bytes.
pub const OUTPUT_BYTES_STOP_READING: usize = 1 << 20;
/// Unread replies at which a connection is closed, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 256 << 20;
/// Time without progress of unread replies after which a connection is closed.
pub const OUTPUT_STALL_MAX: Duration = Duration::from_secs(60);

/// Bytes taken and thrown away behind the last reply to a client that still sends, so that it can read that reply: a close
/// with unread input resets the connection. The longest value of any Redis client, and what may lie around it.
pub const LINGER_BYTES_MAX: u64 = BULK_BYTES_CAP as u64 + REQUEST_SLACK_BYTES as u64;
/// Time in which that client must have sent it all.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(5);

/// Replies in one response of another core, in bytes, and replies that one round of a connection expects from its own
/// core's disk; one reply more than that. The rest of the commands follows when these have left.
pub const RESPONSE_BYTES_MAX: usize = OUTPUT_BYTES_STOP_READING;

/// Unparsed input held while a round of a connection is under way, in bytes; then its socket is not read.
pub const INPUT_BYTES_HELD: usize = 256 << 10;
/// A request of which this much is still to come, in bytes, is received in large pieces; one of which this much is here grows in
/// larger steps.
pub const LONG_REQUEST_BYTES: usize = 64 << 10;
/// Largest output buffer that a connection keeps for its next replies, in bytes.
pub const OUTPUT_BUFFER_KEPT_BYTES: usize = 16 << 10;
/// Replies above this, in bytes, wait for the memory of connections, and until those before them have left.
pub const LARGE_REPLY_BYTES: usize = 64 << 10;
/// While others wait for the memory of connections: time in which one that holds some must have sent
/// [`HOLD_PROGRESS_BYTES`] more of its request, or taken some of its replies; else it is closed.
pub const HOLD_STALL_MAX: Duration = Duration::from_secs(5);
pub const HOLD_PROGRESS_BYTES: usize = 16 << 10;
/// Messages of other cores handled in one pass.
pub const MESSAGES_PER_PASS: usize = 256;
/// Between two looks at all connections of a core.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// How long an address in use is waited for at start, and how often it is looked at. The ring of a process that was killed
/// holds its listeners for 30 to 170 ms after the process is gone, until a thread of the kernel has taken it apart.
pub const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(2);
pub const ADDRESS_LOOK: Duration = Duration::from_millis(20);
/// Connections that the kernel holds until they are accepted.
pub const LISTEN_BACKLOG: i32 = 1024;

/// Connections that are answered while the shards are opened; more wait to be accepted.
pub const LOADING_CLIENTS_MAX: usize = 256;
/// Input held of each of them, in bytes; longer requests wait in the kernel.
pub const LOADING_INPUT_BYTES_MAX: usize = 64 << 10;

/// Commands that one connection may run before the others get their turn.
pub const COMMANDS_PER_TURN: usize = 1_000;
/// Time that one connection may take before the others get their turn, in microseconds.
pub const TURN_US: u64 = 500;

/// Most commands of one transaction.
pub const TRANSACTION_COMMANDS_MAX: usize = 1 << 20;
/// What the commands of one transaction may hold together, in bytes: what one request may.
pub const TRANSACTION_BYTES_MAX: usize = BULK_BYTES_CAP as usize;

/// Latencies are told apart from here to there, in nanoseconds; what is shorter or longer counts as these.
pub const LATENCY_NS_MIN: u64 = 1_000;
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant digits of a latency: what is shown is above what was measured by a 128th at most, or by [`LATENCY_NS_MIN`].
pub const LATENCY_DIGITS: u8 = 2;
/// What one core's histograms may take, in bytes: 21 KiB for each command that was ever answered.
pub const LATENCY_BYTES_MAX: usize = 4 << 20;
/// Arrivals that a connection tells apart among the bytes that wait to be parsed; later ones count from the last of these.
pub const ARRIVALS_MAX: usize = 32;
/// Places that a connection keeps for the kinds of commands whose replies have not left; beyond it they are given back.
pub const KINDS_KEPT: usize = 4 << 10;

/// Bytes of one argument, and of all arguments together, that an error text or a log line shows.
pub const ERROR_ARG_BYTES: usize = 128;
/// Longest error text, in bytes.
pub const ERROR_BYTES_MAX: usize = 1 << 10;
/// Longest name that a client may give itself or its library, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 1 << 10;
/// Longest glob pattern, in bytes. Matching costs at most pattern x text steps.
pub const GLOB_BYTES_MAX: usize = 1 << 10;

/// Channels and patterns that one connection may listen to, and the bytes of their names with what each costs.
pub const SUBSCRIPTIONS_MAX: usize = 64 << 10;
pub const SUBSCRIPTION_BYTES_MAX: usize = 16 << 20;
/// Longest name of a channel, in bytes: that of a key, as changes of keys are published under it.
pub const CHANNEL_BYTES_MAX: usize = shard::limits::KEY_BYTES_MAX;
/// What waits for a subscriber or a monitor that does not read, in bytes, at which it is closed (Redis' figures) ..
pub const PUSH_BYTES_MAX: usize = 32 << 20;
/// .. and at which it is closed once that has been so for [`PUSH_TIME_MAX`].
pub const PUSH_BYTES_FOR_A_WHILE: usize = 8 << 20;
pub const PUSH_TIME_MAX: Duration = Duration::from_secs(60);
/// Subscribers that are sent something in one pass; the others follow in the next.
pub const PUSHED_PER_PASS: usize = 256;

/// Messages of one connection that other cores have not confirmed: then its next command waits.
pub const PUBLISHES_MAX: u32 = 256;
/// Changes of keys that wait for the queue to another core; later ones are not told there, and counted.
pub const EVENTS_BACKLOG_MAX: usize = 64 << 10;

/// Slow commands that a core keeps, whatever is set, and what it keeps of each (Redis' figures).
pub const SLOWLOG_ENTRIES_MAX: usize = 4 << 10;
pub const SLOWLOG_ARGS_MAX: usize = 32;
pub const SLOWLOG_ARG_BYTES_MAX: usize = 128;
/// Commands with more arguments, or more bytes of them, are timed: they hold their core.
pub const TIMED_ARGS_MIN: usize = 64;
pub const TIMED_BYTES_MIN: usize = 64 << 10;
/// What MONITOR shows of one command, in bytes; one argument in escapes more than that.
pub const MONITOR_LINE_BYTES_MAX: usize = 64 << 10;
/// Keys that one SCAN looks at if it does not say (Redis' figure).
pub const SCAN_COUNT_DEFAULT: u64 = 10;
/// Keys in the reply to one SCAN, in bytes; then it ends early, and its cursor goes on.
pub const SCAN_REPLY_BYTES_MAX: usize = 1 << 20;
/// Keys of one shard in the reply to KEYS, in bytes; more is refused: that is what SCAN is for.
pub const KEYS_REPLY_BYTES_MAX: usize = 64 << 20;

/// Connections of HTTP at a time; more are told 503 and closed. A quarter of the descriptors at most.
pub const HTTP_CONNECTIONS_MAX: usize = 1024;
/// Longest head of a request, in bytes, and its headers.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
pub const HTTP_HEADERS_MAX: usize = 100;
/// Time from accept, or from a head's first byte, to its end.
pub const HTTP_HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Time that a connection may be open without a request.
pub const HTTP_IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// A body has this time, and a second more for each so many bytes that have come, and no more than that in all.
pub const HTTP_BODY_TIME: Duration = Duration::from_secs(10);
pub const HTTP_BODY_BYTES_PER_S_MIN: u64 = 16 << 10;
pub const HTTP_BODY_TIME_MAX: Duration = Duration::from_secs(300);
/// Time without progress of a response after which its connection is closed.
pub const HTTP_OUTPUT_STALL_MAX: Duration = OUTPUT_STALL_MAX;
/// Time, and bytes, for which a refused request is still read, so that its sender sees the answer.
pub const HTTP_LINGER_TIME_MAX: Duration = Duration::from_secs(2);
pub const HTTP_LINGER_BYTES_MAX: usize = 16 << 20;
/// Longest line of a chunk's length, and longest trailer, in bytes.
pub const HTTP_CHUNK_LINE_BYTES_MAX: usize = 64;
pub const HTTP_TRAILER_BYTES_MAX: usize = 1 << 10;
/// Names of `http_hosts`.
pub const HTTP_HOSTS_MAX: usize = 64;
/// Connections from HTTP to each core: for what is answered at once, and for what takes its time (pages, telemetry, backups).
pub const HTTP_LINKS_QUICK: usize = 4;
pub const HTTP_LINKS_SLOW: usize = 2;
/// Requests under way on one of them, and on all together; more are told 429. Those that wait no longer count until their
/// replies have come.
pub const HTTP_LINK_REQUESTS_MAX: usize = 1024;
pub const HTTP_SLOW_LINK_REQUESTS_MAX: usize = 64;
pub const HTTP_REQUESTS_MAX: usize = 8 << 10;
/// Time in which a core must answer, and in which a backup must be done.
pub const HTTP_REPLY_TIME_MAX: Duration = Duration::from_secs(30);
pub const HTTP_BACKUP_TIME_MAX: Duration = Duration::from_secs(600);
/// Time in which the cores must tell how they are; else the server is not ready.
pub const HTTP_REPORT_TIME_MAX: Duration = Duration::from_secs(3);
/// Operations of one batch.
pub const HTTP_BATCH_OPS_MAX: usize = 1000;
/// Values in the reply to one batch, in bytes; later ones are refused.
pub const HTTP_BATCH_REPLY_BYTES_MAX: usize = 64 << 20;
/// Keys of one page of a search, and rounds of SCAN that one page takes at most; its cursor goes on.
pub const HTTP_SEARCH_LIMIT_DEFAULT: u64 = 100;
pub const HTTP_SEARCH_LIMIT_MAX: u64 = 1000;
pub const HTTP_SEARCH_ROUNDS_MAX: usize = 256;
/// Who listens to events at a time, and the events that wait for one of them; later ones are left out.
pub const HTTP_LISTENERS_MAX: usize = 64;
pub const HTTP_EVENTS_WAITING_MAX: usize = 2;
/// Entries of the slow log that HTTP shows.
pub const HTTP_SLOWLOG_ENTRIES: usize = 128;
/// Time in which requests under way are finished when the server stops.
pub const HTTP_STOP_TIME_MAX: Duration = Duration::from_secs(3);

/// Most shards of one data directory.
pub const SHARDS_MAX: u32 = 256;
/// Largest format file of a data directory that is read, in bytes.
pub const FORMAT_BYTES_MAX: u64 = 64 << 10;
/// Largest configuration file that is read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Descriptors kept from clients: WAL, tables, rings, log, and for each shard what flush and compaction hold.
pub const DESCRIPTORS_RESERVED: u64 = 64;
/// Descriptors reserved for each shard: open tables and segments.
pub const DESCRIPTORS_PER_SHARD: u64 = 128;
/// Locked memory that the rings need at least, in bytes.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

const _: () = assert!(BULK_BYTES_CAP as u64 + (REQUEST_SLACK_BYTES as u64) < u32::MAX as u64);
const _: () = assert!(BULK_BYTES_CAP as usize == shard::limits::VALUE_BYTES_CAP);
const _: () = assert!(BULK_BYTES_BEFORE_AUTH_MAX < REQUEST_BYTES_BEFORE_AUTH_MAX);
const _: () = assert!(OUTPUT_BYTES_STOP_READING < OUTPUT_BYTES_MAX);
const _: () = assert!(ARG_SLOTS_RESERVED <= PARSER_KEEP);
const _: () = assert!(AUTH_DELAY_MAX.as_secs() < AUTH_TIME_MAX.as_secs());
