//! Reliable FIFO streams from each member of a fixed list to all others, as one pure state machine.
//!
//! Every member numbers its blocks; receivers detect gaps as ranges, ask for them with NAKs (`nak`), and acknowledge
//! what they hold; the sender repairs (`retransmit`) from its log, finds lost tails by heartbeats, and is bounded by its
//! window (`flow`). [`Session`] composes it all and is what the engine drives.

mod cause;
#[cfg(debug_assertions)]
pub mod checked;
mod config;
mod congestion;
mod control;
mod departures;
mod firm;
mod flow;
mod gaps;
mod layer;
mod message;
mod nak;
mod pace;
mod rank_set;
mod reader;
mod retransmit;
mod sender;
mod session;
mod stream;

pub use cause::{Cause, LostBlocks, Suspect};
pub use config::{Entry, Member, RunLimits, SessionConfig};
pub use control::{CONTROL_BLOCK_LEN, ControlQueue};
pub use flow::Refused;
pub use gaps::{Gap, Holder, PeerLosses};
pub use layer::{Blocks, Fifo, Layer, Outbound};
pub use message::{Message, Parts};
pub use pace::Pace;
pub use reader::{Admission, OwnOrder, Reader, ReaderConfig, ReaderEvent, ReaderOrder, ReaderView};
pub use sender::{HeldBack, Refusal, Sender, max_message};
pub use session::{Event, Session};

/// Sizes and times of the reliable layer. Times are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Blocks that a sender may have in its log, not yet delivered by all: a power of two.
    pub window: usize,
    /// The longest that an ack waits for a data block to ride in.
    pub ack_delay_ns: u64,
    /// With several receivers, a NAK waits a random time up to this, so that one of them asks for all.
    pub nak_delay_ns: u64,
    /// A NAK that was not answered is repeated after this time, doubled for each repetition.
    pub nak_retry_ns: u64,
    /// The longest time between two repetitions of a NAK.
    pub nak_retry_max_ns: u64,
    /// A block is not sent again within this time of its last repair.
    pub repair_holdoff_ns: u64,
    /// The first heartbeat after the last block, doubled for each further one while something is not acknowledged.
    pub heartbeat_ns: u64,
    /// The longest time between two heartbeats, and their distance when all is acknowledged.
    pub heartbeat_max_ns: u64,
    /// Whether checksums cover the payload too.
    pub check_payload: bool,
    /// How fast I may send; `None` is as fast as the receivers take it.
    pub pace: Option<Pace>,
    /// Whether less is sent at a time while losses repeat and that helps.
    pub congestion: bool,
    /// Who has held back casts for so long is told of by name, while it lasts and when it is over; 0 tells nothing.
    pub held_back_ns: u64,
}

/// What a session counted since its view began. Counts of blocks, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCounters {
    /// Messages handed to the application.
    pub delivered: u64,
    /// Blocks that filled a gap: they came as repairs, or late.
    pub repaired: u64,
    /// Blocks sent again on request.
    pub repairs_sent: u64,
    /// Blocks of others that were sent to those who asked for them at the end of a view.
    pub repairs_lent: u64,
    /// Blocks that had come before.
    pub duplicates: u64,
    /// Blocks beyond the window: their sender does not keep to it.
    pub beyond: u64,
    /// Blocks refused because receive memory ran short; they are repaired later.
    pub refused_low: u64,
    /// Blocks that are no blocks of ours.
    pub malformed_blocks: u64,
    /// Those of them whose checksum was wrong.
    pub wrong_checksums: u64,
    /// Frames that could not be read in blocks that could.
    pub malformed_frames: u64,
    /// Blocks of another group, instance or view.
    pub foreign: u64,
    /// Blocks from endpoints that are no members, or claim another's rank.
    pub strangers: u64,
    /// NAKs sent.
    pub naks_sent: u64,
    /// NAKs heard.
    pub naks_received: u64,
    /// Acks sent in blocks of their own.
    pub acks_sent: u64,
    /// How often less was allowed under way because losses repeated.
    pub reductions: u64,
    /// How often that did not help, and was taken back.
    pub reductions_undone: u64,
}

impl std::iter::Sum for SessionCounters {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters.fold(Self::default(), |sum, one| Self {
            delivered: sum.delivered + one.delivered,
            repaired: sum.repaired + one.repaired,
            repairs_sent: sum.repairs_sent + one.repairs_sent,
            repairs_lent: sum.repairs_lent + one.repairs_lent,
            duplicates: sum.duplicates + one.duplicates,
            beyond: sum.beyond + one.beyond,
            refused_low: sum.refused_low + one.refused_low,
            malformed_blocks: sum.malformed_blocks + one.malformed_blocks,
            wrong_checksums: sum.wrong_checksums + one.wrong_checksums,
            malformed_frames: sum.malformed_frames + one.malformed_frames,
            foreign: sum.foreign + one.foreign,
            strangers: sum.strangers + one.strangers,
            naks_sent: sum.naks_sent + one.naks_sent,
            naks_received: sum.naks_received + one.naks_received,
            acks_sent: sum.acks_sent + one.acks_sent,
            reductions: sum.reductions + one.reductions,
            reductions_undone: sum.reductions_undone + one.reductions_undone,
        })
    }
}

impl Tuning {
    /// For processes of one host.
    #[must_use]
    pub const fn loopback() -> Self {
        Self {
            window: 2048,
            ack_delay_ns: 200_000,
            nak_delay_ns: 100_000,
            nak_retry_ns: 2_000_000,
            nak_retry_max_ns: 8_000_000,
            repair_holdoff_ns: 500_000,
            heartbeat_ns: 1_000_000,
            heartbeat_max_ns: 100_000_000,
            check_payload: false,
            pace: None,
            congestion: true,
            held_back_ns: 0,
        }
    }

    /// Whether the values fit together: which one does not, and why, when they do not.
    ///
    /// # Errors
    /// The name of the field, and what is wrong with it.
    pub const fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.window.is_power_of_two() {
            return Err(("window", "it is no power of two"));
        }
        // What is repeated without a pause would fill the network.
        if self.heartbeat_ns == 0 || self.nak_retry_ns == 0 {
            let field = if self.heartbeat_ns == 0 { "heartbeat_ns" } else { "nak_retry_ns" };
            return Err((field, "it is 0: what is repeated needs some time in between"));
        }
        if self.heartbeat_max_ns < self.heartbeat_ns {
            return Err(("heartbeat_max_ns", "it is less than heartbeat_ns"));
        }
        if self.nak_retry_max_ns < self.nak_retry_ns {
            return Err(("nak_retry_max_ns", "it is less than nak_retry_ns"));
        }
        if self.ack_delay_ns >= self.heartbeat_ns {
            return Err((
                "ack_delay_ns",
                "it is not less than heartbeat_ns: every ack would be asked for first",
            ));
        }
        if self.repair_holdoff_ns >= self.nak_retry_ns {
            return Err((
                "repair_holdoff_ns",
                "it is not less than nak_retry_ns: a NAK that is repeated would find no answer",
            ));
        }
        Ok(())
    }
}

const _: () = assert!(Tuning::loopback().check().is_ok());
