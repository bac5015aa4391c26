//! Vector time over ranks, told as what has changed since the sender's previous stamp.
//!
//= birman91 §5.1: a message carries the vector time of its sender; §7.3: only the entries that changed since its last one.
//!
//! Entry `k` of a vector counts blocks, not messages: every message of `k` that ends in an earlier block has been delivered.
//! A block is stamped when it is sealed, so the stamp may name deliveries that its first messages did not see: a superset.

use crate::varint;
use crate::wire::{FULL_STAMP, STAMP, numbers};
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::wire::{CONTROL_HEAD, ControlWriter};

/// How stamps are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stamps {
    /// What has changed since my previous stamp: nothing in a burst.
    #[default]
    Compressed,
    /// All of it every time, as the oracle that compression is compared with.
    Full,
}

/// What I have seen, and what of it my previous stamp told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StampWriter {
    me: Rank,
    stamps: Stamps,
    told: Vec<Seq>,
    seen: Vec<Seq>,
    /// Ranks whose entries have changed, in the order in which they did.
    changed: Vec<Rank>,
    /// Stamps until the next one that tells everything, for readers that start in mid-stream.
    until_full: u32,
}

impl StampWriter {
    /// For member `me`, with streams that begin at `starts`.
    #[must_use]
    pub fn new(me: Rank, starts: &[Seq], stamps: Stamps) -> Self {
        let changed = Vec::with_capacity(starts.len());
        let until_full = full_every(starts.len());
        Self { me, stamps, told: starts.to_vec(), seen: starts.to_vec(), changed, until_full }
    }

    /// The full vector as the next stamp tells it.
    #[must_use]
    pub fn seen(&self) -> &[Seq] {
        &self.seen
    }

    /// What I cast from now on may depend on the blocks of `rank` before `to`. My own entry is never told: my stream's order is
    /// its meaning.
    pub fn see(&mut self, rank: Rank, to: Seq) {
        let at = rank.0 as usize;
        if rank == self.me || to <= self.seen[at] {
            return;
        }
        if self.seen[at] == self.told[at] {
            self.changed.push(rank);
        }
        self.seen[at] = to;
    }

    /// Whether the next stamp tells everything.
    fn is_full(&self) -> bool {
        self.stamps == Stamps::Full || self.until_full == 0
    }

    /// Bytes that the entries which have changed take at most.
    fn pending(&self) -> usize {
        self.changed.iter().map(|rank| self.entry_len(rank.0 as usize)).sum()
    }

    /// Bytes that the stamp would take after [`see`](Self::see) of `rank` up to `to`.
    #[must_use]
    pub fn len_with(&self, rank: Rank, to: Seq) -> usize {
        let at = rank.0 as usize;
        if self.is_full() {
            return self.max_len();
        }
        if rank == self.me || to <= self.seen[at] {
            return CONTROL_HEAD + self.pending();
        }
        CONTROL_HEAD + self.pending() - self.entry_len(at) + RANK_BYTES + varint::len(to.since(self.told[at]))
    }

    /// Bytes to keep free for the stamp of a block that is opened now: for what has changed, and some for what will.
    #[must_use]
    pub fn reserve(&self) -> usize {
        match self.is_full() {
            false => (CONTROL_HEAD + self.pending() + SLACK).min(self.max_len()),
            true => self.max_len(),
        }
    }

    /// The most bytes that a stamp takes.
    #[must_use]
    pub fn max_len(&self) -> usize {
        CONTROL_HEAD + (self.seen.len() - 1) * MAX_ENTRY
    }

    /// Writes the stamp, if there is anything to tell; returns whether there was.
    ///
    /// # Panics
    /// When it does not fit: whoever opened the block keeps the room that [`reserve`](Self::reserve) asked for.
    pub fn write(&mut self, writer: &mut ControlWriter<'_>) -> bool {
        let before = writer.written();
        let is_full = self.is_full();
        self.until_full = if is_full { full_every(self.seen.len()) } else { self.until_full - 1 };
        match is_full {
            false if self.changed.is_empty() => return false,
            false => {
                // By rank, so that ranks can be told as distances. In place: sorting allocates nothing.
                self.changed.sort_unstable();
                writer.order(STAMP, |out| self.write_changes(out).unwrap_or(0));
            }
            true => writer.order(FULL_STAMP, |out| self.write_all(out).unwrap_or(0)),
        }
        let is_written = writer.written() > before;
        assert!(self.seen.len() == 1 || is_written, "a stamp has room in its block: {self:?}");
        for rank in self.changed.drain(..) {
            if mutated!(BaseResetLate) {
                continue;
            }
            self.told[rank.0 as usize] = self.seen[rank.0 as usize];
        }
        is_written
    }

    fn write_changes(&self, out: &mut [u8]) -> Option<usize> {
        let (mut at, mut next) = (0, 0);
        for rank in &self.changed {
            let entry = rank.0 as usize;
            at += varint::write(&mut out[at..], u64::from(rank.0) - next)?;
            at += varint::write(&mut out[at..], self.seen[entry].since(self.told[entry]))?;
            next = u64::from(rank.0) + 1;
        }
        Some(at)
    }

    fn write_all(&self, out: &mut [u8]) -> Option<usize> {
        let others = (0..self.seen.len()).filter(|&at| at != self.me.0 as usize);
        others
            .map(|at| self.seen[at].0)
            .try_fold(0, |at, value| Some(at + varint::write(&mut out[at..], value)?))
    }

    /// Bytes that the entry of a rank takes at most; 0 when it has not changed.
    fn entry_len(&self, at: usize) -> usize {
        match self.seen[at].since(self.told[at]) {
            0 => 0,
            distance => RANK_BYTES + varint::len(distance),
        }
    }
}

/// A stamp that says what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadStamp;

/// Adds the stamp `(kind, body)` of `rank` to its previous vector `base`, and gives each entry that it names to `changed`.
///
/// # Errors
/// When it names no rank of the view, or a sequence beyond all; what came before that counts.
pub fn read(
    rank: Rank,
    (kind, body): (u8, &[u8]),
    base: &mut [Seq],
    mut changed: impl FnMut(Rank, Seq),
) -> Result<(), BadStamp> {
    if kind == FULL_STAMP {
        let others = (0..base.len()).filter(|&at| at != rank.0 as usize);
        let mut values = numbers(body);
        for at in others {
            let value = values.next().filter(|value| *value <= Seq::LIMIT.0).ok_or(BadStamp)?;
            // Vectors only grow.
            base[at] = base[at].max(Seq(value));
            changed(Rank(at as u16), base[at]);
        }
        return Ok(());
    }
    let (mut numbers, mut next) = (numbers(body), 0_u64);
    while let Some(distance) = numbers.next() {
        let at = next.checked_add(distance).filter(|at| *at < base.len() as u64).ok_or(BadStamp)?;
        let value = numbers.next().and_then(|value| base[at as usize].0.checked_add(value));
        let value = value.filter(|value| *value <= Seq::LIMIT.0).ok_or(BadStamp)?;
        if at == u64::from(rank.0) {
            return Err(BadStamp);
        }
        base[at as usize] = Seq(value);
        changed(Rank(at as u16), Seq(value));
        next = at + 1;
    }
    Ok(())
}

/// One of so many stamps tells everything: a share of a byte for each block.
const fn full_every(members: usize) -> u32 {
    let members = members as u32;
    if members < 4 { 16 } else { 4 * members }
}

/// A rank's distance takes at most so many bytes: a view has less than 2^14 members.
const RANK_BYTES: usize = 2;
/// An entry takes at most so many: at 5 million blocks a second, 2^49 of them take three years.
const MAX_ENTRY: usize = RANK_BYTES + 7;
/// Kept free for deliveries that come while a block is open. One that exceeds it seals the block first.
const SLACK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames;

    fn pass(writer: &mut StampWriter, base: &mut [Seq]) -> usize {
        let mut out = [0; 1024];
        let mut trailer = ControlWriter::new(&mut out);
        let most = writer.len_with(writer.me, Seq(0));
        writer.write(&mut trailer);
        let written = trailer.written();
        assert!(written <= most);
        if let Some(frame) = frames(&out[..written]).next() {
            read(writer.me, frame, base, |_, _| ()).unwrap();
        }
        written
    }

    #[test]
    fn a_stamp_tells_what_has_changed_and_a_burst_nothing() {
        let starts = [Seq(0); 4];
        let (mut writer, mut base) = (StampWriter::new(Rank(1), &starts, Stamps::Compressed), starts);
        writer.see(Rank(3), Seq(5));
        writer.see(Rank(0), Seq(2));
        writer.see(Rank(1), Seq(9));
        assert_eq!(pass(&mut writer, &mut base), CONTROL_HEAD + 4);
        assert_eq!(base, [Seq(2), Seq(0), Seq(0), Seq(5)]);
        assert_eq!(pass(&mut writer, &mut base), 0, "in a burst nothing changes");
        writer.see(Rank(3), Seq(4));
        assert_eq!(pass(&mut writer, &mut base), 0, "vectors only grow");
    }

    #[test]
    fn compressed_and_full_stamps_decode_to_the_plain_vector() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let members = rng.usize(1..70);
            let me = Rank(rng.u16(0..members as u16));
            let starts: Vec<Seq> = (0..members).map(|_| Seq(rng.u64(0..1 << 40))).collect();
            let modes = [Stamps::Compressed, Stamps::Full];
            let mut sides = modes.map(|stamps| (StampWriter::new(me, &starts, stamps), starts.clone()));
            for _ in 0..50 {
                for _ in 0..rng.usize(0..8) {
                    let (rank, step) = (Rank(rng.u16(0..members as u16)), 1 << rng.u32(0..30));
                    for (writer, _) in &mut sides {
                        let to = writer.seen()[rank.0 as usize].plus(step);
                        let most = writer.len_with(rank, to);
                        writer.see(rank, to);
                        assert!(writer.len_with(me, Seq(0)) <= most && most <= writer.max_len());
                    }
                }
                for (writer, base) in &mut sides {
                    pass(writer, base);
                    assert_eq!(base, writer.seen());
                }
                assert_eq!(sides[0].1, sides[1].1);
            }
        }
    }

    #[test]
    fn stamps_that_cannot_be_are_refused() {
        let mut base = [Seq(1), Seq(2), Seq(Seq::LIMIT.0)];
        for body in [&[3, 1][..], &[2, 1], &[0, 1], &[1], &[1, 1, 0xff], &[0xff; 12]] {
            let before = base;
            let refused = read(Rank(0), (STAMP, body), &mut base, |_, _| ());
            assert!(refused.is_err() || base == before || body == [1, 1, 0xff], "{body:?}");
            base = before;
        }
        assert_eq!(read(Rank(0), (FULL_STAMP, &[7]), &mut base, |_, _| ()), Err(BadStamp));
        assert_eq!(read(Rank(1), (STAMP, &[1, 5]), &mut base, |_, _| ()), Err(BadStamp), "its own entry");
    }
}
