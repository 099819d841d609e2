//! Publish and subscribe.

use super::*;

const SUBSCRIBER: Flags = Flags::PUBSUB.with(PRIVATE);
const PUBLISHER: Flags = Flags::PUBSUB.with(ANYTIME);
const PER_NAME: &str = "O(N) in the number of names";

const fn of(name: &'static str, id: Id, arity: i32, flags: Flags) -> Spec {
    Spec {
        categories: &["pubsub", "slow"],
        group: "pubsub",
        since: "2.0.0",
        complexity: PER_NAME,
        ..spec(name, id, Place::Core, arity, flags)
    }
}

const CHANNELS: &[ArgDoc] = &[ArgDoc { flags: MULTIPLE, ..arg("channel", "string") }];
const PATTERNS: &[ArgDoc] = &[ArgDoc { flags: MULTIPLE, ..arg("pattern", "pattern") }];
const SHARD_CHANNELS: &[ArgDoc] = &[ArgDoc { flags: MULTIPLE, ..arg("shardchannel", "string") }];
const ANY_CHANNELS: &[ArgDoc] = &[ArgDoc { flags: ANY_NUMBER, ..arg("channel", "string") }];
const ANY_PATTERNS: &[ArgDoc] = &[ArgDoc { flags: ANY_NUMBER, ..arg("pattern", "pattern") }];
const ANY_SHARD_CHANNELS: &[ArgDoc] =
    &[ArgDoc { flags: ANY_NUMBER, ..arg("shardchannel", "string") }];
const ONE_PATTERN: &[ArgDoc] = &[ArgDoc { flags: OPTIONAL, ..arg("pattern", "pattern") }];

pub(super) static TABLE: &[Spec] = &[
    Spec {
        categories: &["pubsub", "fast"],
        summary: "Sends a message to who listens to the channel; answers how many these are",
        complexity: "O(N+M) in the number of subscribers and of patterns",
        args: &[arg("channel", "string"), arg("message", "string")],
        ..of("publish", Id::Publish, 3, PUBLISHER.with(FAST))
    },
    Spec {
        summary: "Listens to channels",
        args: CHANNELS,
        ..of("subscribe", Id::Subscribe, -2, SUBSCRIBER)
    },
    Spec {
        summary: "Listens no longer to these channels, or to none",
        args: ANY_CHANNELS,
        ..of("unsubscribe", Id::Unsubscribe, -1, SUBSCRIBER)
    },
    Spec {
        summary: "Listens to all channels that match a pattern",
        args: PATTERNS,
        ..of("psubscribe", Id::Psubscribe, -2, SUBSCRIBER)
    },
    Spec {
        summary: "Listens no longer to these patterns, or to none",
        args: ANY_PATTERNS,
        ..of("punsubscribe", Id::Punsubscribe, -1, SUBSCRIBER)
    },
    Spec {
        categories: &["pubsub", "fast"],
        since: "7.0.0",
        summary: "Sends a message to who listens to the shard channel; answers how many these are",
        complexity: "O(N) in the number of subscribers",
        args: &[arg("shardchannel", "string"), arg("message", "string")],
        ..of("spublish", Id::Spublish, 3, PUBLISHER.with(FAST))
    },
    Spec {
        since: "7.0.0",
        summary: "Listens to shard channels",
        args: SHARD_CHANNELS,
        ..of("ssubscribe", Id::Ssubscribe, -2, SUBSCRIBER)
    },
    Spec {
        since: "7.0.0",
        summary: "Listens no longer to these shard channels, or to none",
        args: ANY_SHARD_CHANNELS,
        ..of("sunsubscribe", Id::Sunsubscribe, -1, SUBSCRIBER)
    },
    Spec {
        categories: &["slow"],
        since: "2.8.0",
        summary: "Who listens to what",
        complexity: "By subcommand",
        subcommands: PUBSUB,
        place: Place::Container,
        ..of("pubsub", Id::Pubsub, -2, Flags::NONE)
    },
];

static PUBSUB: &[Spec] = &[
    Spec {
        since: "2.8.0",
        summary: "The channels that someone listens to, or those that match a pattern",
        args: ONE_PATTERN,
        ..of("pubsub|channels", Id::PubsubChannels, -2, PUBLISHER)
    },
    Spec {
        categories: &["slow"],
        since: "6.2.0",
        summary: "Lists the subcommands",
        place: Place::Local,
        ..of("pubsub|help", Id::PubsubHelp, 2, ANYTIME)
    },
    Spec {
        since: "2.8.0",
        summary: "The number of patterns that someone listens to",
        ..of("pubsub|numpat", Id::PubsubNumpat, 2, PUBLISHER)
    },
    Spec {
        since: "2.8.0",
        summary: "How many listen to each of these channels",
        args: ANY_CHANNELS,
        ..of("pubsub|numsub", Id::PubsubNumsub, -2, PUBLISHER)
    },
    Spec {
        since: "7.0.0",
        summary: "The shard channels that someone listens to, or those that match a pattern",
        args: ONE_PATTERN,
        ..of("pubsub|shardchannels", Id::PubsubShardchannels, -2, PUBLISHER)
    },
    Spec {
        since: "7.0.0",
        summary: "How many listen to each of these shard channels",
        args: ANY_SHARD_CHANNELS,
        ..of("pubsub|shardnumsub", Id::PubsubShardnumsub, -2, PUBLISHER)
    },
];
