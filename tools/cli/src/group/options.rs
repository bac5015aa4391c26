//! The options of `sistrum group`.

use std::net::SocketAddr;
use std::time::Duration;

use sistrum::{JoinOptions, Order};

/// What `sistrum group` was asked to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Joins a group: casts each line of standard input, prints what others cast, and leaves at its end.
    Join {
        #[command(flatten)]
        common: Common,

        /// The order of what is cast.
        #[arg(long, default_value = "total")]
        order: Order,
    },
    /// Joins a group, says nothing, and prints its views and what is cast until it is stopped. It is a member like all others.
    Watch {
        #[command(flatten)]
        common: Common,
    },
    /// Joins a group, casts one message, and leaves when all have it.
    Cast {
        #[command(flatten)]
        common: Common,

        /// What is cast.
        message: String,

        /// The order of it.
        #[arg(long, default_value = "total")]
        order: Order,
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
    /// Prints a group's views and what is cast in it until it is stopped, as a reader: it is no member, and holds nobody up.
    Read {
        /// The group's name.
        name: String,

        /// Prints what is cast at once, and says how much of it nobody else was told when a member has died.
        #[arg(long)]
        eager: bool,

        #[command(flatten)]
        place: Place,
    },
    /// Waits until something is so of a group, seen from outside. Exits with 1 when it is not so in time.
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

/// What is waited for.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// So many members at least.
    #[arg(long, value_name = "N")]
    pub(super) members: Option<usize>,

    /// Somebody at this place is a member.
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

    /// Who is silent for so long is suspected, and the others go on without it.
    #[arg(long, value_name = "MS", default_value = "500", value_parser = milliseconds)]
    pub(super) suspect_after: Duration,
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| format!("{text} is no number of milliseconds"))
}
