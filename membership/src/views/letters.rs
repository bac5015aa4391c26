//! Letters of who is in no view, to be told to the application, and its answers. Nothing here is done in a group that nobody writes to.

use super::seat::Seat;
use super::{Hands, Views};
use crate::agreement::Letter;
use crate::event::{Caster, Event};
use crate::mail::Mail;
use sistrum_ordering::{Endpoint, GroupId, ViewNumber};
use sistrum_transport::protocol::{Payload, Transmit};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

/// Letters go out of another slot than messages of agreement.
pub(super) const SLOT: u16 = 1;
/// Letters that wait for the application, and their bytes; what is beyond will be said again.
const MAX_WAITING: usize = 1024;
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Letters {
    pub(super) mail: Mail,
    /// Whose letters may be longer than a block.
    admitted: BTreeSet<Endpoint>,
    waiting: VecDeque<(Endpoint, Vec<u8>)>,
    bytes: usize,
    /// Letters that there was no room for.
    dropped: u64,
}

impl Letters {
    pub(super) fn new(local: Endpoint, block: usize) -> Self {
        let (admitted, waiting) = (BTreeSet::new(), VecDeque::new());
        Self { mail: Mail::new(local, block), admitted, waiting, bytes: 0, dropped: 0 }
    }

    pub(super) fn admit(&mut self, from: Endpoint) {
        self.admitted.insert(from);
    }

    pub(super) fn dismiss(&mut self, from: Endpoint) {
        self.admitted.remove(&from);
    }

    pub(super) fn admits(&self, from: Endpoint) -> bool {
        self.admitted.contains(&from)
    }

    /// Nobody is written to any more, and what has come is forgotten.
    pub(super) fn clear(&mut self) {
        self.mail.clear();
        self.admitted.clear();
        self.waiting.clear();
        self.bytes = 0;
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Keeps a letter for the application.
    pub(super) fn take(&mut self, from: Endpoint, Letter(bytes): Letter) {
        if self.waiting.len() >= MAX_WAITING || self.bytes + bytes.len() > MAX_WAITING_BYTES {
            self.dropped += 1;
            return;
        }
        self.bytes += bytes.len();
        self.waiting.push_back((from, bytes));
    }

    /// Tells the application what has come.
    pub(super) fn tell<H>(
        &mut self,
        caster: &mut Caster<'_>,
        handler: &mut H,
        events: &mut usize,
    ) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        while let Some((from, bytes)) = self.waiting.front() {
            handler(caster, Event::Letter { from: *from, bytes })?;
            self.bytes -= bytes.len();
            self.waiting.pop_front();
            *events += 1;
        }
        ControlFlow::Continue(())
    }
}

impl Views {
    /// Takes what somebody says who is not in my view, to this life of the group.
    pub(super) fn take_letter(
        &mut self,
        hands: &mut Hands<'_>,
        from: Endpoint,
        header: &Header,
        letter: Letter,
    ) {
        let is_here =
            |seat: &Seat| seat.instance == header.instance && seat.agreement.roster().rank_of(from).is_none();
        match &self.seat {
            Some(seat) if seat.left_at.is_none() && is_here(seat) => self.letters.take(from, letter),
            _ => *hands.early += 1,
        }
    }

    /// Answers somebody who is not in my view; tells whether there was room for it.
    pub(crate) fn send_letter(&mut self, id: GroupId, to: Endpoint, bytes: &[u8]) -> bool {
        let Some(seat) = &self.seat else { return false };
        let names = (id, seat.instance, seat.agreement.roster().number, seat.agreement.me());
        self.letters.mail.send(to, names, bytes.to_vec())
    }

    /// Takes letters of whoever is there that are longer than a block.
    pub(crate) fn admit(&mut self, from: Endpoint) {
        self.letters.admit(from);
    }

    /// Takes no more of those.
    pub(crate) fn dismiss(&mut self, from: Endpoint) {
        self.letters.dismiss(from);
    }

    /// Letters that there was no room for.
    pub(crate) fn dropped_letters(&self) -> u64 {
        self.letters.dropped()
    }

    /// What is answered to who is not in the view: last of all.
    pub(crate) fn poll_letter(&mut self, index: u16, now: Instant) -> Option<Transmit> {
        let to = self.letters.mail.take(now)?;
        let (view, payload) = (ViewNumber(0), Payload::Setup { slot: SLOT });
        Some(Transmit { to, group: index, view, lane: 0, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_told_once_and_what_is_too_much_is_counted() {
        let client = Endpoint(([127, 0, 0, 1], 9).into());
        let mut letters = Letters::new(client, 1408);
        let letter = |len| Letter(vec![0; len]);
        (0..=MAX_WAITING).for_each(|_| letters.take(client, letter(1)));
        assert_eq!(letters.dropped(), 1);
        let (mut told, mut events) = (0, 0);
        let flow = letters.tell(
            &mut Caster::default(),
            &mut |_: &mut Caster<'_>, event: Event<'_>| match event {
                Event::Letter { from, .. } if told < 10 => {
                    assert_eq!(from, client);
                    told += 1;
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            },
            &mut events,
        );
        assert!(flow.is_break() && events == 10);
        // One that was refused is there still.
        assert_eq!((letters.waiting.len(), letters.bytes), (MAX_WAITING - 10, MAX_WAITING - 10));
        letters.take(client, letter(MAX_WAITING_BYTES));
        assert_eq!(letters.dropped(), 2);
    }
}
