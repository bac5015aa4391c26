//! The options of `sistrum group`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use sistrum::{Endpoint, JoinOptions, Order, Rank, Want};

use super::seat::{Answer, Hears};

/// What `sistrum group` was asked to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Joins a group: casts each line of standard input, prints what others cast, and leaves at its end. A line that can never be cast is told of
    /// and left out; then it exits with 1.
    Join {
        #[command(flatten)]
        common: Common,

        #[command(flatten)]
        answers: Answers,

        #[command(flatten)]
        reads: Reads,

        /// The order of what is cast.
        #[arg(long, default_value = "total")]
        order: Order,
    },
    /// Joins a group, says nothing, and prints its views and what is cast until it is stopped. It is a member like all others.
    Watch {
        #[command(flatten)]
        common: Common,

        #[command(flatten)]
        reads: Reads,
    },
    /// Joins a group, casts one message, and leaves when all have it.
    Cast {
        #[command(flatten)]
        common: Common,

        #[command(flatten)]
        reads: Reads,

        /// What is cast.
        message: String,

        /// The order of it.
        #[arg(long, default_value = "total")]
        order: Order,
    },
    /// Joins a group, asks all others or one, prints each reply, says what has become of it everywhere, and leaves. Exits with 0 when enough
    /// have replied, with 1 when nobody is left who could or one has ended the call, and with 3 when it was not over in time.
    Call {
        #[command(flatten)]
        common: Common,

        #[command(flatten)]
        question: Question,
    },
    /// Asks a group as its client, who is no member: all of it, or whichever member it asks by. It is answered once, whoever of the group dies
    /// meanwhile. Exits as `call` does, and with 3 where nobody knows what has become of it.
    Ask {
        /// The group's name.
        name: String,

        #[command(flatten)]
        inquiry: Inquiry,

        #[command(flatten)]
        place: Place,
    },
    /// Shows who is in groups, from outside: one line for each, or for each life of it. Exits with 1 when one is not there.
    List {
        /// The groups' names.
        #[arg(required = true)]
        names: Vec<String>,

        #[command(flatten)]
        place: Place,

        /// It is looked so long; whoever has not answered by then is not there.
        #[arg(long, value_name = "MS", default_value = "500", value_parser = milliseconds)]
        within: Duration,

        /// Goes on, and prints what changes, until it is stopped.
        #[arg(long, conflicts_with = "within")]
        watch: bool,
    },
    /// Prints a group's views and what is cast in it until it is stopped, as a reader: it is no member, and holds nobody up. Where members have
    /// found each other by --seeds nothing is sent to it: `watch` joins there.
    Read {
        /// The group's name.
        name: String,

        /// Prints what is cast at once, and says how much of it nobody else was told when a member has died.
        #[arg(long)]
        eager: bool,

        #[command(flatten)]
        place: Place,
    },
    /// Joins the root of a hierarchy, which knows leaf groups and which of them are up, and serves until it is stopped. Its state is its own: it
    /// needs no --state.
    Root {
        #[command(flatten)]
        common: Common,
    },
    /// Shows the leaf groups of a root, and changes which there are, removes first. Exits with 1 when the root refuses, with 3 when it does not
    /// answer.
    Leaves {
        /// The root's name.
        root: String,

        /// Adds this leaf group, which is found at these places, or by its name where there are none.
        #[arg(long, value_name = "LEAF[=HOST:PORT,..]", value_parser = leaf)]
        add: Vec<Change>,

        /// Removes this one.
        #[arg(long, value_name = "LEAF", value_parser = |leaf: &str| Ok::<_, String>(Change::Remove(leaf.to_owned())))]
        remove: Vec<Change>,

        #[command(flatten)]
        place: Place,

        /// It is waited so long.
        #[arg(long, value_name = "MS", default_value = "5000", value_parser = milliseconds)]
        within: Duration,
    },
    /// Asks the leaf group that a key belongs to, as a root says, and prints each reply. Exits as `call` does.
    Route {
        /// The root's name.
        root: String,

        /// Says which leaf is asked.
        #[arg(long)]
        key: String,

        #[command(flatten)]
        inquiry: Inquiry,

        #[command(flatten)]
        place: Place,
    },
    /// Waits until something is so of a group, seen from outside. Exits with 1 when it is not so in time. That a group is not there is known after
    /// 2 s of silence, so --gone and --ended take as long there.
    Wait {
        /// The group's name.
        name: String,

        #[command(flatten)]
        what: What,

        #[command(flatten)]
        place: Place,

        /// It is waited so long.
        #[arg(long, value_name = "MS", default_value = "60000", value_parser = milliseconds)]
        within: Duration,
    },
}

/// A change of which leaf groups there are.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// With its seeds.
    Add(String, Vec<String>),
    Remove(String),
}

/// What is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Question {
    /// What is asked.
    pub(super) message: String,

    /// How many are to reply; more than there are is all of them.
    #[arg(long, value_name = "none|N|all|majority", default_value = "all", value_parser = want)]
    pub(super) want: Want,

    /// Only this one is asked: a rank in the view, from 0, or a place.
    #[arg(long, value_name = "RANK|ADDR:PORT")]
    pub(super) to: Option<To>,

    /// The order of the request among all casts.
    #[arg(long, default_value = "total", conflicts_with = "to")]
    pub(super) order: Order,

    /// It is waited so long, joining included [default: until it is over].
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(super) timeout: Option<Duration>,

    /// Prints one JSON object at the end, instead of replies.
    #[arg(long)]
    pub(super) json: bool,
}

/// What a client asks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Inquiry {
    /// What is asked, each by itself.
    #[arg(required = true, value_name = "TEXT")]
    pub(super) messages: Vec<String>,

    /// How many are to reply; more than there are is all of them.
    #[arg(long, value_name = "none|N|all|majority", default_value = "all", value_parser = want)]
    pub(super) want: Want,

    /// Only the member that it asks by is asked: where nothing is to change.
    #[arg(long)]
    pub(super) any: bool,

    /// It is waited so long, finding the group included [default: until it is over].
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(super) timeout: Option<Duration>,

    /// Prints one JSON object for each at the end, instead of replies.
    #[arg(long)]
    pub(super) json: bool,
}

/// A member, by one of its names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To {
    Rank(Rank),
    Place(Endpoint),
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank(Rank(rank)) => write!(f, "rank {rank}"),
            Self::Place(place) => write!(f, "{place}"),
        }
    }
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rank = text.parse().map(|rank| Self::Rank(Rank(rank)));
        rank.or_else(|_| text.parse().map(|place| Self::Place(Endpoint(place))))
            .map_err(|_| format!("{text} is neither a rank nor ADDR:PORT"))
    }
}

/// How calls of others are answered.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false, conflicts_with = "raw")]
pub(crate) struct Answers {
    /// Answers each call with this. Without any --answer, calls get a null reply: nobody waits for this member.
    #[arg(long, value_name = "TEXT")]
    answer: Option<String>,

    /// Answers each call with what it says.
    #[arg(long)]
    answer_echo: bool,

    /// Ends each call, for this reason.
    #[arg(long, value_name = "WHY")]
    answer_abort: Option<String>,

    /// Answers no call: who calls waits, as long as this member is there.
    #[arg(long)]
    answer_never: bool,
}

impl Answers {
    /// What was chosen.
    pub(super) fn chosen(&self) -> Answer {
        match self {
            Self { answer: Some(text), .. } => Answer::Text(text.clone()),
            Self { answer_abort: Some(why), .. } => Answer::Abort(why.clone()),
            Self { answer_echo: true, .. } => Answer::Echo,
            Self { answer_never: true, .. } => Answer::Never,
            Self { .. } => Answer::Null,
        }
    }
}

/// How messages are read.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Reads {
    /// Takes all bytes as they are, and no part in calls: for groups that have none, and whose messages may look like them.
    #[arg(long)]
    raw: bool,
}

impl Reads {
    /// What is made of messages, where calls are answered so.
    pub(super) fn hears(self, answer: Answer) -> Hears {
        if self.raw { Hears::Raw } else { Hears::All(answer) }
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// So many members at least, of one life of the group that can go on. Members that have died count until the others go on without them.
    #[arg(long, value_name = "N")]
    pub(super) members: Option<usize>,

    /// Somebody at this place is a member, of a life that can go on.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) r#in: Option<SocketAddr>,

    /// Whoever is a member at this place now is none any more.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) gone: Option<SocketAddr>,

    /// Nobody answers.
    #[arg(long)]
    pub(super) ended: bool,
}

/// Where groups are.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Where somebody of the group may be, names or addresses: casts go by unicast then. Where members find no group, one of these makes it.
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', conflicts_with = "multicast")]
    pub(super) seeds: Vec<String>,

    /// Where casts go, instead of the address that follows from the name.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) multicast: Option<SocketAddr>,

    /// Groups of one name in different clusters have nothing to do with each other.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) cluster: String,
}

impl Place {
    /// To join there.
    pub(super) fn apply(&self, options: JoinOptions) -> JoinOptions {
        let options = options.cluster(self.cluster.clone());
        match self.multicast {
            Some(multicast) => options.multicast(multicast),
            None if !self.seeds.is_empty() => options.seeds(self.seeds.clone()),
            None => options,
        }
    }
}

/// What all members have.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The group's name. By default it also says where its members meet: a multicast address of this host.
    pub(super) name: String,

    #[command(flatten)]
    pub(super) place: Place,

    /// My own UDP port; a seed has to have one that others know.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(super) port: u16,

    /// The first view is told when so many are in it.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(super) expected: usize,

    /// Keeps a state, of lines KEY=VALUE the last value of each key, and takes over that of the group. In a group that keeps one, whoever does not
    /// say so is handed what is cast, and no call and no client comes to it.
    #[arg(long)]
    pub(super) state: bool,

    /// Who is silent for so long is suspected, and the others go on without it.
    #[arg(long, value_name = "MS", default_value = "500", value_parser = silence)]
    pub(super) suspect_after: Duration,
}

fn want(text: &str) -> Result<Want, String> {
    match text {
        "none" => Ok(Want::None),
        "all" => Ok(Want::All),
        "majority" => Ok(Want::Majority),
        number => number.parse().map(Want::N).map_err(|_| format!("{text} is not none, N, all or majority")),
    }
}

fn leaf(text: &str) -> Result<Change, String> {
    let (name, seeds) = text.split_once('=').unwrap_or((text, ""));
    let seeds = seeds.split(',').filter(|seed| !seed.is_empty()).map(str::to_owned).collect();
    Ok(Change::Add(name.to_owned(), seeds))
}

/// What can be suspected of, in milliseconds.
fn silence(text: &str) -> Result<Duration, String> {
    let silence = milliseconds(text)?;
    let bounds = Duration::from_millis(5)..=Duration::from_secs(3_600);
    if bounds.contains(&silence) {
        Ok(silence)
    } else {
        Err(format!("{text} ms is not between 5 ms and an hour, 3600000 ms"))
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| format!("{text} is no number of milliseconds"))
}
