//! What a group hands to the application, and what that may cast into meanwhile.

use crate::flush::FlushId;
use crate::group::Sender;
use crate::handshake::Conflict;
use crate::holdup::Holdup;
use crate::looking::Sighting;
use crate::pairs::Outgoing;
use crate::transfer::{Snapshot, StateBlock, TransferError};
use sistrum_ordering::{Endpoint, Promise, Rank, Seq, View, ViewMember, ViewNumber};
use sistrum_transport::reliable::{Message, Refused};
use std::time::Duration;

/// What a group hands to the application.
#[derive(Debug)]
pub enum Event<'a> {
    /// A view was installed: casts are possible from here on. Of the view before, everything has been handed over.
    View(&'a View),
    /// A message.
    Deliver(Message<'a>),
    /// A message that was sent to me alone.
    Direct(Message<'a>),
    /// A cast that is ordered against everything: all who are handed it have been handed the same before it.
    Sync {
        /// Who cast it.
        from: ViewMember,
        /// The view that begins behind it. It is told by [`View`](Self::View) where its members are others.
        next: ViewNumber,
        /// What it says.
        bytes: &'a [u8],
    },
    /// A process cannot be in one group with me, for this reason. Said once for each.
    Conflict(Endpoint, Conflict),
    /// A member of a static list has said goodbye, and all that it cast has been delivered: it gates nobody any more.
    Left(Rank),
    /// Every member holds what this flush covers.
    Flushed(FlushId),
    /// The state is wanted, for those who join in the next view: write down what there is of it now, that is behind all that was handed
    /// over and before the view. Only members that [keep state](crate::Peers::state) are asked.
    Snapshot(&'a mut Snapshot),
    /// I join a group that has a state, and this is some of it. Behind the last of it comes [`View`](Self::View).
    State(StateBlock<'a>),
    /// I could not take the state over: I leave the group.
    TransferFailed(&'a TransferError),
    /// Only these of the view are heard, and they are too few to go on, or nobody among them holds what is lacking here of the view that
    /// was decided: casts are refused, and nothing more is delivered than what was held by then, until [`Resumed`](Self::Resumed).
    Wedged(&'a [Rank]),
    /// It goes on again.
    Resumed,
    /// I look for the group to join it, and this is how it is: it cannot go on, and takes nobody in. I wait for it. Told again where that has
    /// changed.
    Stuck(&'a Sighting),
    /// Casts were refused because of this member for as long as [`held_back_ns`](sistrum_transport::reliable::Tuning::held_back_ns) says;
    /// told again each time that it has lasted twice as long.
    HeldBack(Holdup),
    /// They are not any more, after so long: told where that was. A new view ends it without a word.
    Released(Rank, Duration),
    /// Somebody who is no member says this: a client, for whom [`Clients`](crate::Clients) are. It may be lost, repeated or come out of order.
    Letter {
        /// Where it comes from.
        from: Endpoint,
        /// What it says.
        bytes: &'a [u8],
    },
    /// The others have gone on without me, to this view: what I have cast since may be lost, and what I had taken over of the state so far
    /// counts for nothing. There is no view here until the next one,
    /// to which I come as somebody new.
    Excluded(ViewNumber),
}

/// Casts into the group whose event is being handled; there is nothing to cast into before the first view.
#[derive(Debug, Default)]
pub struct Caster<'a>(Option<Open<'a>>);

/// A view that casts go into.
#[derive(Debug)]
struct Open<'a> {
    view: ViewNumber,
    sender: &'a mut Sender,
    /// Not where the application does not know the view yet: it cannot name a member of it.
    outgoing: Option<&'a mut Outgoing>,
}

impl<'a> Caster<'a> {
    /// Into the view of `sender`.
    pub(crate) fn new(view: ViewNumber, sender: &'a mut Sender, outgoing: &'a mut Outgoing) -> Self {
        Self(Some(Open { view, sender, outgoing: Some(outgoing) }))
    }

    /// Into a view that the application was not told of yet.
    pub(crate) fn ahead(view: ViewNumber, sender: &'a mut Sender) -> Self {
        Self(Some(Open { view, sender, outgoing: None }))
    }

    /// The view that casts go into; none before the first one.
    #[must_use]
    pub fn view(&self) -> Option<ViewNumber> {
        self.0.as_ref().map(|open| open.view)
    }

    /// Whether that is one that the application was not told of yet: the view before it is decided, and being handed over to its end.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.outgoing.is_none())
    }

    /// The same caster, for a shorter time.
    pub fn reborrow(&mut self) -> Caster<'_> {
        Caster(self.0.as_mut().map(|open| Open {
            view: open.view,
            sender: open.sender,
            outgoing: open.outgoing.as_deref_mut(),
        }))
    }

    /// Sends one message to one other member, as [`Group::send`](crate::Group::send).
    ///
    /// # Errors
    /// Likewise.
    pub fn send(&mut self, to: Rank, message: &[u8]) -> Result<(), Refused> {
        let Open { sender, outgoing, .. } = self.0.as_mut().ok_or(Refused::NoView)?;
        outgoing.as_mut().ok_or(Refused::ViewChanging)?.send(sender, to, message)
    }

    /// The block that casts go into at present; the first one before there is a view.
    #[must_use]
    pub fn open(&self) -> Seq {
        self.0.as_ref().map_or(Seq(0), |open| open.sender.open())
    }

    /// Casts that wait for the next view.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |open| open.sender.held())
    }

    /// Casts one message in this order.
    ///
    /// # Errors
    /// As [`Sender::cast_as`](sistrum_transport::reliable::Sender::cast_as), and [`Refused::NoView`].
    #[inline]
    pub fn cast(&mut self, promise: impl Into<Promise>, message: &[u8]) -> Result<(), Refused> {
        self.0.as_mut().ok_or(Refused::NoView)?.sender.cast_as(promise.into(), message)
    }
}
