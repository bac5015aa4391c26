//! The application of one member: it casts, breaks, replies, and judges every delivery.

use super::options::Options;
use super::traffic::draw_message;
use fastrand::Rng;
use sistrum_transport::id::Rank;
use sistrum_transport::reliable::{Message, Outbound, Refused, Sender};
use std::cell::RefCell;
use std::ops::ControlFlow;

/// What was cast, by sender, in order: the truth that deliveries are compared with.
pub(crate) type Truth = RefCell<Vec<Vec<Vec<u8>>>>;

/// See the module.
pub(crate) struct App {
    pub(crate) me: Rank,
    rng: Rng,
    /// How many messages have been delivered, by sender, those before a stream was entered among them.
    pub(crate) seen: Vec<usize>,
    /// What came first of a stream that was entered in mid-flow, until a message tells where that is.
    entering: Vec<Option<Vec<Vec<u8>>>>,
    /// The message to be cast next, once there is room.
    next: Option<Vec<u8>>,
    pub(crate) left: usize,
    /// Takes nothing, or only so many events in a cycle, or believes everything.
    pub(crate) stalled: bool,
    pub(crate) appetite: Option<usize>,
    pub(crate) is_credulous: bool,
    /// Every event that is no delivery.
    pub(crate) notices: Vec<String>,
    taken: usize,
    pub(crate) tally: Tally,
}

/// What must happen to some application of some run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) full: u64,
    pub(crate) paced: u64,
    pub(crate) too_large: u64,
    pub(crate) broke: u64,
    pub(crate) in_parts: u64,
    pub(crate) empty: u64,
    pub(crate) replies: u64,
}

impl App {
    /// Of the member `me`; it does not know where the streams of `live` senders begin.
    pub(crate) fn new(options: &Options, me: Rank, live: impl Fn(Rank) -> bool) -> Self {
        let entering = |rank| live(Rank(rank)).then(Vec::new);
        Self {
            me,
            rng: Rng::with_seed(options.seed ^ u64::from(me.0) << 32),
            seen: vec![0; options.members as usize],
            entering: (0..options.members).map(entering).collect(),
            next: None,
            left: if me.0 < options.senders { options.messages } else { 0 },
            stalled: false,
            appetite: None,
            is_credulous: false,
            notices: Vec::new(),
            taken: 0,
            tally: Tally::default(),
        }
    }

    /// Whether everything has come that can.
    pub(crate) fn is_complete(&self, truth: &Truth) -> bool {
        let is_whole = |(from, cast): (usize, &Vec<Vec<u8>>)| {
            from == self.me.0 as usize || self.entering[from].is_some() || self.seen[from] == cast.len()
        };
        self.left == 0 && (self.is_credulous || truth.borrow().iter().enumerate().all(is_whole))
    }

    /// A cycle begins. Casts a burst now and then, until it is refused.
    pub(crate) fn begin_cycle<O: Outbound<Class = ()>>(
        &mut self,
        sender: &mut Sender<O>,
        options: &Options,
        truth: &Truth,
    ) -> usize {
        self.taken = 0;
        if self.left == 0 || self.rng.u8(0..3) > 0 {
            return 0;
        }
        let burst = self.rng.usize(1..20);
        (0..burst).take_while(|_| self.cast(sender, options, truth)).count()
    }

    /// Casts the next message; `false` when there is none, or no room for it.
    fn cast<O: Outbound<Class = ()>>(
        &mut self,
        sender: &mut Sender<O>,
        options: &Options,
        truth: &Truth,
    ) -> bool {
        if self.left == 0 {
            return false;
        }
        let message = self.next.take().unwrap_or_else(|| draw_message(&mut self.rng, sender, options.block));
        self.try_too_large(sender);
        match sender.cast(&message) {
            Ok(()) => {
                self.left -= 1;
                truth.borrow_mut()[self.me.0 as usize].push(message);
                true
            }
            Err(Refused::Full { held_by, .. }) => {
                assert!(
                    held_by != self.me && held_by.0 < options.members,
                    "{held_by} cannot hold anybody back"
                );
                self.tally.full += 1;
                self.next = Some(message);
                false
            }
            Err(Refused::Paced { .. }) => {
                self.tally.paced += 1;
                self.next = Some(message);
                false
            }
            Err(other) => panic!("{} bytes: {other}", message.len()),
        }
    }

    fn try_too_large<O: Outbound<Class = ()>>(&mut self, sender: &mut Sender<O>) {
        let limit = sender.max_message();
        if limit > sender.max_claim(()) + 16 && self.rng.u8(0..16) == 0 {
            assert_eq!(sender.cast(&vec![1; limit + 1]), Err(Refused::TooLarge { len: limit + 1, limit }));
            self.tally.too_large += 1;
        }
    }

    /// Judges one delivery: it must be the next one of its sender, to the byte.
    pub(crate) fn deliver<O: Outbound<Class = ()>>(
        &mut self,
        sender: &mut Sender<O>,
        message: &Message<'_>,
        options: &Options,
        truth: &Truth,
    ) -> ControlFlow<()> {
        let from = message.from().0 as usize;
        assert_ne!(message.from(), self.me, "a member does not hear itself");
        let is_sated = self.appetite.is_some_and(|appetite| self.taken >= appetite);
        if self.stalled || is_sated || self.rng.f64() < options.breaks {
            self.tally.broke += 1;
            return ControlFlow::Break(());
        }
        self.taken += 1;
        self.judge(message, from, &truth.borrow()[from]);
        if self.rng.f64() < options.replies && self.cast(sender, options, truth) {
            self.tally.replies += 1;
        }
        ControlFlow::Continue(())
    }

    fn judge(&mut self, message: &Message<'_>, from: usize, truth: &[Vec<u8>]) {
        let parts: usize = message.parts().map(<[u8]>::len).sum();
        assert_eq!(parts, message.len(), "the parts are the whole");
        assert!(message.parts().flatten().eq(message.bytes()), "in parts as in one piece");
        self.tally.in_parts += u64::from(message.parts().count() > 1);
        self.tally.empty += u64::from(message.is_empty());
        if self.is_credulous {
            self.seen[from] += 1;
        } else if self.entering[from].is_some() {
            self.enter(message.bytes(), from, truth);
        } else {
            self.expect(message.bytes(), from, truth);
        }
    }

    fn expect(&mut self, bytes: &[u8], from: usize, truth: &[Vec<u8>]) {
        let at = self.seen[from];
        let expected = truth.get(at).expect("nothing is delivered that was not cast");
        assert!(expected == bytes, "{} got another message than number {at} of {from}", self.me);
        self.seen[from] = at + 1;
    }

    /// Any whole message may be the first, but short ones may be alike: what comes with the first long one is judged then.
    fn enter(&mut self, bytes: &[u8], from: usize, truth: &[Vec<u8>]) {
        let first = self.entering[from].as_mut().expect("it was asked");
        first.push(bytes.to_vec());
        if bytes.len() < DISTINCT {
            return;
        }
        let at = truth.iter().position(|known| known == bytes).expect("a whole message of its sender");
        let first = self.entering[from].take().expect("it was asked");
        self.seen[from] = (at + 1).checked_sub(first.len()).expect("no more than were cast");
        first.iter().for_each(|bytes| self.expect(bytes, from, truth));
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            full: sum.full + one.full,
            paced: sum.paced + one.paced,
            too_large: sum.too_large + one.too_large,
            broke: sum.broke + one.broke,
            in_parts: sum.in_parts + one.in_parts,
            empty: sum.empty + one.empty,
            replies: sum.replies + one.replies,
        })
    }
}

/// Messages of so many random bytes are all different.
const DISTINCT: usize = 12;
