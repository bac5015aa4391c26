//! The stories: a cause, its effect, and who is confused when the effect comes first.

use sistrum_ordering::{GroupId, Order};

use super::world::{Answer, World};

/// What happens, in any order that the group keeps or does not keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Story {
    pub(super) name: &'static str,
    /// Who says what, for people.
    pub(super) plot: &'static str,
    /// What Ann (rank 0) says to all.
    pub(super) cause: &'static str,
    /// What Bob (rank 1) says to all once he knows the cause: he was handed it, or Ann has told him outside the group.
    pub(super) effect: &'static str,
    /// What Eve (rank 2) makes of the effect when she has the cause, and when she has not.
    pub(super) sound: &'static str,
    pub(super) absurd: &'static str,
    pub(super) link: Link,
}

/// How Bob learns of the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Through the group.
    Group,
    /// By telephone, and nothing else.
    Hidden,
    /// By telephone, with Ann's causal context: Bob waits until he has reached it.
    Context,
}

/// What the network does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Schedule {
    /// Nothing of Ann reaches Eve, nor, where she telephones, Bob, before Bob's effect has had its time.
    Adverse,
    /// Loss and delays that follow from this seed.
    Random(u64),
}

impl Story {
    /// What Eve was handed, in her order.
    pub(super) fn at_eve(&self, order: Order, schedule: Schedule) -> Vec<String> {
        let (seed, slowest_ns, loss) = match schedule {
            Schedule::Adverse => (1, 30_000, 0.0),
            // Each story has schedules of its own.
            Schedule::Random(seed) => (seed ^ u64::from(GroupId::of(self.name).0), 2_000_000, 0.1),
        };
        let answers = [Answer { by: BOB, to: self.cause, text: self.effect }];
        let answers = if self.link == Link::Group { &answers[..] } else { &[] };
        let mut world = World::new(MEMBERS, order, seed, slowest_ns, loss, answers);
        if matches!(schedule, Schedule::Adverse) {
            world.cut(ANN, EVE);
            if self.link != Link::Group {
                world.cut(ANN, BOB);
            }
        }
        world.say(ANN, self.cause);
        if self.link != Link::Group {
            self.telephone(&mut world);
        }
        world.pass_ns(LONG_NS);
        world.heal();
        world.until("the story's end", |world| world.handed(EVE).len() == 2);
        world.handed(EVE).to_vec()
    }

    /// Bob acts on what Ann tells him outside the group.
    fn telephone(&self, world: &mut World) {
        let context = world.context(ANN);
        world.pass_ns(CALL_NS);
        if self.link == Link::Context {
            if !world.has_reached(BOB, &context) {
                world.pass_ns(LONG_NS);
                world.heal();
            }
            world.until("the context", |world| world.has_reached(BOB, &context));
        }
        world.say(BOB, self.effect);
    }

    /// Whether Eve has the effect before its cause.
    pub(super) fn is_absurd(&self, handed: &[String]) -> bool {
        handed.first().is_some_and(|first| first == self.effect)
    }
}

/// The anomalies of a group without causal order.
pub(super) const ANOMALIES: [Story; 3] = [
    Story {
        name: "file, then mail",
        plot: "Ann creates a file on all servers; Bob, who sees it, mails its name to all; Eve opens it.",
        cause: "create report.txt",
        effect: "mail: read report.txt",
        sound: "opens report.txt",
        absurd: "report.txt: no such file",
        link: Link::Group,
    },
    Story {
        name: "reply before question",
        plot: "Ann asks all a question; Bob answers to all; Eve reads along.",
        cause: "Ann: is the bridge open?",
        effect: "Bob: no!",
        sound: "the bridge is closed",
        absurd: "an answer to no question",
        link: Link::Group,
    },
    Story {
        name: "derived quote",
        plot: "Ann publishes a price; Bob computes an option's price from it; Eve compares the two.",
        cause: "spot 102",
        effect: "option 7.30, of spot 102",
        sound: "7.30 of 102: in line",
        absurd: "7.30 beside the old spot 95: a false chance",
        link: Link::Group,
    },
];

/// What causal order does not see.
pub(super) const HIDDEN: Story = Story {
    name: "hidden channel",
    plot: "Ann tells all that an order is cancelled, and telephones Bob; he tells all of a refund before he is handed that.",
    cause: "cancel order 7",
    effect: "refund order 7",
    sound: "refunded",
    absurd: "a refund of an order that is not cancelled",
    link: Link::Hidden,
};

/// The same, and Ann says where she stands.
pub(super) const REMEDY: Story = Story { link: Link::Context, ..HIDDEN };

const MEMBERS: u16 = 3;
const ANN: u16 = 0;
const BOB: u16 = 1;
const EVE: u16 = 2;
/// For so long Ann's words do not reach who is cut off from them.
const LONG_NS: u64 = 20_000_000;
/// A telephone call.
const CALL_NS: u64 = 200_000;
