//! Total order: a layer above causal order that delivers the total casts of all in one order.
//!
//! Who decides that order is a `Sequencer`: the holder of a token (`token.rs`), or the turn of the ranks (`rotating.rs`). Both read
//! the streams in their order, without waiting for deliveries, and say whose block is next. It is delivered when its stamp is
//! satisfied too; the order never contradicts the stamps.

mod places;
mod rotating;
#[cfg(test)]
mod tests;
mod token;

use crate::causal::{Stamper, Turn};
use crate::cut;
use crate::order::{Order, Promise, TotalMode};
use crate::stack::{CausalOrder, CausalStack};
use crate::timestamp::Stamps;
use crate::wire::{SAFE, TOTAL};
use places::Places;
use rotating::{Rotating, Rounds};
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::reliable::{Blocks, Layer, Outbound, SessionConfig};
use sistrum_transport::wire::ControlWriter;
use token::{Duty, Token};

/// What a total order is told from outside: all members alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TotalOptions {
    /// How the order is found.
    pub mode: TotalMode,
    /// How stamps are told.
    pub stamps: Stamps,
    /// Total blocks, at least one, after which the token may move: one member must have made three quarters of them.
    pub hand_over_after: u32,
}

impl Default for TotalOptions {
    fn default() -> Self {
        Self { mode: TotalMode::default(), stamps: Stamps::default(), hand_over_after: 64 }
    }
}

/// The receiving half.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Total<C: CausalOrder = CausalStack> {
    causal: C,
    sequencer: Sequencer,
    safe: SafeCut,
}

/// What all must hold before a safe total is delivered: everything that gave it its place, and all that has one before it. What had
/// been read when its turn came is enough.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SafeCut {
    cut: Vec<Seq>,
    taken_for: Option<(Rank, Seq)>,
}

/// The sending half.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sequenced {
    stamper: Stamper,
    duty: Role,
}

/// Who says which total block is next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is one in a group")]
// Each block asks which one it is: a tag of its own is read faster than one that lies in a niche.
#[repr(u8)]
enum Sequencer {
    Token(Token),
    Rotating(Rotating),
    /// The view ends, and all has its place.
    Cut(Places),
}

/// The same, where blocks are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Role {
    Token(Duty),
    Rotating(Rounds),
}

impl<C: CausalOrder> Total<C> {
    /// Both halves, for member `me` of streams that begin at `starts`; all members have at most `unstable` blocks under way.
    #[must_use]
    pub fn halves(me: Rank, starts: &[Seq], unstable: usize, options: TotalOptions) -> (Self, Sequenced) {
        let (causal, stamper) = C::halves(me, starts, options.stamps);
        let (sequencer, duty) = match options.mode {
            TotalMode::Token => (
                Sequencer::Token(Token::new(me, starts, unstable)),
                Role::Token(Duty::new(me, starts.len(), unstable, options.hand_over_after)),
            ),
            TotalMode::Rotating => {
                (Sequencer::Rotating(Rotating::new(starts, unstable)), Role::Rotating(Rounds::default()))
            }
        };
        let safe = SafeCut { cut: starts.to_vec(), taken_for: None };
        (Self { causal, sequencer, safe }, Sequenced { stamper, duty })
    }

    /// The causal layer below.
    #[must_use]
    pub fn causal(&self) -> &C {
        &self.causal
    }

    /// Places in the order that are remembered, because their blocks are not delivered.
    #[must_use]
    pub fn queued(&self) -> usize {
        match &self.sequencer {
            Sequencer::Token(token) => token.queued(),
            Sequencer::Rotating(rotating) => rotating.queued(),
            Sequencer::Cut(places) => places.runs(),
        }
    }

    /// Whose total block is next, if that is known.
    #[inline]
    fn head(&self) -> Option<(Rank, Seq)> {
        match &self.sequencer {
            Sequencer::Token(token) => token.head(),
            Sequencer::Rotating(rotating) => rotating.head(),
            Sequencer::Cut(places) => places.head(),
        }
    }

    /// Looks at the stream again whose total block has become the next one.
    fn wake_head(&mut self, before: Option<(Rank, Seq)>) {
        let head = self.head();
        if let Some((rank, _)) = head
            && head != before
        {
            self.causal.wake(rank);
        }
    }
}

impl SafeCut {
    fn is_reached(&mut self, block: (Rank, Seq), read: impl Iterator<Item = Seq>, stable: &[Seq]) -> bool {
        if self.taken_for != Some(block) {
            self.taken_for = Some(block);
            self.cut.iter_mut().zip(read).for_each(|(cut, read)| *cut = read);
        }
        self.cut.iter().zip(stable).all(|(cut, stable)| stable >= cut)
    }
}

impl<C: CausalOrder> Layer for Total<C> {
    type Outbound = Sequenced;
    type Options = TotalOptions;
    const ORDERS: bool = true;
    const COMES_BACK: u8 = TOTAL;

    fn new(config: &SessionConfig, options: &TotalOptions) -> (Self, Sequenced) {
        let starts: Vec<Seq> = config.members.iter().map(|member| member.start).collect();
        let unstable = config.members.iter().map(|member| member.window).sum();
        Self::halves(config.me, &starts, unstable, *options)
    }

    #[inline]
    fn passes(&mut self, rank: Rank, seq: Seq, order: u8) -> bool {
        order == 0
            && self.causal.queue().next(rank) == seq
            && match &mut self.sequencer {
                Sequencer::Token(token) => token.passes(rank, seq),
                Sequencer::Rotating(rotating) => rotating.passes(rank, seq),
                Sequencer::Cut(_) => true,
            }
            && self.causal.passes(rank, seq, order)
    }

    fn held(&mut self, rank: Rank, blocks: &impl Blocks, out: &mut Sequenced) {
        let before = self.head();
        match (&mut self.sequencer, &mut out.duty) {
            (Sequencer::Token(token), Role::Token(duty)) => {
                if token.held(rank, blocks, self.causal.queue(), duty) {
                    self.causal.wake_all();
                }
            }
            (Sequencer::Rotating(rotating), Role::Rotating(rounds)) => rotating.held(rank, blocks, rounds),
            // Everything was read before.
            (Sequencer::Cut(_), _) => {}
            _ => unreachable!("both halves were made for one mode"),
        }
        self.wake_head(before);
    }

    fn admit(&mut self, rank: Rank, blocks: &impl Blocks) -> Seq {
        let Self { causal, sequencer, safe } = self;
        causal.admit_if(rank, blocks, |seq, order, stable| {
            let is_turn = match sequencer {
                // What is delivered here and held by all is forgotten: not before it was read.
                Sequencer::Token(token) if !token.has_read(rank, seq) => false,
                _ if order & TOTAL == 0 => true,
                Sequencer::Token(token) => token.is_turn(rank, seq),
                Sequencer::Rotating(rotating) => rotating.head() == Some((rank, seq)),
                Sequencer::Cut(places) => places.is_turn(rank, seq),
            };
            if !is_turn {
                return Turn::Waits;
            }
            if order & (TOTAL | SAFE) != TOTAL | SAFE {
                return Turn::Come;
            }
            let is_placed = match sequencer {
                Sequencer::Token(token) => safe.is_reached((rank, seq), token.read_up_to(), stable),
                Sequencer::Rotating(rotating) => safe.is_reached((rank, seq), rotating.read_up_to(), stable),
                Sequencer::Cut(_) => true,
            };
            if is_placed { Turn::Come } else { Turn::Unstable }
        })
    }

    #[inline]
    fn delivered(&mut self, rank: Rank, to: Seq) {
        self.causal.delivered(rank, to);
        let before = self.head();
        if before.is_none_or(|(whose, _)| whose != rank) {
            return;
        }
        match &mut self.sequencer {
            Sequencer::Token(token) => token.delivered(rank, to),
            Sequencer::Rotating(rotating) => rotating.delivered(rank, to),
            Sequencer::Cut(places) => places.delivered(rank, to),
        }
        self.wake_head(before);
    }

    fn stable(&mut self, rank: Rank, to: Seq) {
        self.causal.stable(rank, to);
    }

    fn woken(&mut self) -> Option<Rank> {
        self.causal.woken()
    }

    fn has_woken(&self) -> bool {
        self.causal.has_woken()
    }

    fn departed(&mut self, rank: Rank, blocks: &impl Blocks, out: &mut Sequenced) {
        let before = self.head();
        self.causal.departed(rank, blocks, &mut out.stamper);
        match (&mut self.sequencer, &mut out.duty) {
            (Sequencer::Token(token), Role::Token(duty)) => {
                if token.departed(rank, blocks, self.causal.queue(), duty) {
                    self.causal.wake_all();
                }
            }
            (Sequencer::Rotating(rotating), _) => rotating.departed(rank),
            (Sequencer::Cut(_), _) => {}
            _ => unreachable!("both halves were made for one mode"),
        }
        self.wake_head(before);
    }

    fn cut(&mut self, end: &mut [Seq], blocks: &impl Blocks) {
        self.causal.cut(end, blocks);
        let blocks: Vec<(Rank, Seq)> = match &self.sequencer {
            Sequencer::Token(token) => {
                let rest = cut::rest(self.causal.queue().clone(), token.me(), (token.placed(), end), blocks);
                token.places().chain(rest).collect()
            }
            Sequencer::Rotating(rotating) => rotating.turns(),
            Sequencer::Cut(_) => return,
        };
        self.sequencer = Sequencer::Cut(Places::within(end, blocks));
    }

    fn misbehaved(&self) -> u64 {
        let orders = match &self.sequencer {
            Sequencer::Token(token) => token.misbehaved(),
            Sequencer::Rotating(_) | Sequencer::Cut(_) => 0,
        };
        self.causal.misbehaved() + orders
    }
}

impl Sequenced {
    /// The full vector as the next stamp tells it.
    #[must_use]
    pub fn seen(&self) -> &[Seq] {
        self.stamper.seen()
    }

    /// Whether I hold the token; always false where there is none.
    #[must_use]
    pub fn holds_token(&self) -> bool {
        matches!(&self.duty, Role::Token(duty) if duty.is_mine())
    }
}

impl Outbound for Sequenced {
    type Class = Promise;
    const RESERVED_BLOCKS: u64 = 4;

    #[inline]
    fn joins(&self, class: Promise) -> bool {
        self.stamper.joins_as(class)
    }

    fn open(&mut self, class: Promise) -> usize {
        self.stamper.open_as(class)
    }

    fn max_reserve(&self, class: Promise) -> usize {
        self.stamper.max_reserve_as(class)
    }

    fn fits(&self, rank: Rank, to: Seq) -> bool {
        self.stamper.fits(rank, to)
    }

    #[inline]
    fn depend(&mut self, rank: Rank, to: Seq) {
        self.stamper.depend(rank, to);
    }

    fn seal(&mut self, seq: Seq, bare: bool, writer: &mut ControlWriter<'_>) -> u8 {
        let is_total = !bare && self.stamper.open_for() == Order::Total;
        let stamp = self.stamper.seal(seq, bare, writer);
        let order = match &mut self.duty {
            Role::Token(duty) => duty.seal(is_total, writer),
            Role::Rotating(rounds) => rounds.seal(is_total, writer),
        };
        stamp | order | if is_total { TOTAL } else { 0 }
    }

    fn wants_block(&self) -> bool {
        match &self.duty {
            Role::Token(duty) => duty.wants_block(),
            Role::Rotating(rounds) => rounds.wants_block(),
        }
    }

    fn retire(&mut self) {
        match &mut self.duty {
            Role::Token(duty) => duty.retire(),
            Role::Rotating(rounds) => rounds.retire(),
        }
    }
}
