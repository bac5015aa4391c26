//! Calls in a group of a node.

use crate::{
    CallEvent, CallId, Caster, Event, Group, Node, Order, Promise, Refused, Request, Status, View,
    ViewMember, Want,
};
use sistrum_membership as membership;

/// Requests to a group or to one member, and their replies. Every message of the group goes by it, at all members: what it is handed that is
/// none of them is left to the application.
///
/// ```no_run
/// use sistrum::{CallEvent, Calls, Config, JoinOptions, Node, Order, Want};
///
/// let mut node = Node::open(Config::loopback("prices"))?;
/// let group = node.join("ticks", JoinOptions::peer().expected_members(1))?;
/// let mut calls = Calls::new(group);
/// loop {
///     node.poll(|cx, event| {
///         calls.handle(cx, &event);
///         Ok(())
///     })?;
///     while let Some(event) = calls.poll(&mut node)? {
///         match event {
///             CallEvent::Request(request) => calls.reply(request, b"42"),
///             CallEvent::Done { call, replies, .. } => println!("{call:?}: {replies:?}"),
///             _ => {}
///         }
///     }
/// }
/// # Ok::<(), sistrum::Error>(())
/// ```
#[derive(Debug)]
pub struct Calls {
    group: Group,
    calls: membership::Calls,
}

impl Calls {
    /// In a group that was joined just now: it has to be handed all events from the first view on.
    #[must_use]
    pub fn new(group: Group) -> Self {
        Self { group, calls: membership::Calls::new() }
    }

    /// Likewise, where who is joining is asked too, behind the state.
    pub(crate) fn for_state(group: Group) -> Self {
        Self { group, calls: membership::Calls::for_state() }
    }

    pub(crate) fn pure_mut(&mut self) -> &mut membership::Calls {
        &mut self.calls
    }

    /// Takes an event of the group. Returns whether it was a message of calls, with which there is nothing else to do.
    pub fn handle(&mut self, caster: &Caster<'_>, event: &Event<'_>) -> bool {
        if caster.group() != self.group {
            return false;
        }
        match event {
            Event::View(view) => self.calls.see(view),
            Event::Excluded(_) => self.calls.excluded(),
            Event::Left(rank, _) => self.calls.left(*rank),
            Event::Deliver(message) | Event::Direct(message) => {
                return self.calls.handle(message.from(), message.bytes()).is_ok();
            }
            _ => {}
        }
        false
    }

    /// Sends what waits, and returns what there is to be told: to be called behind each poll, until it is `None`.
    ///
    /// # Errors
    /// As [`Node::send`], where that is none of what passes: what cannot be sent at all ends its call.
    pub fn poll(&mut self, node: &mut Node) -> Result<Option<CallEvent>, Refused> {
        let failed = self.send_waiting(node);
        // What has come is told first.
        match (self.calls.poll_event(), failed) {
            (None, Some(refused)) => Err(refused),
            (event, _) => Ok(event),
        }
    }

    /// Sends what waits; why it cannot, where that does not pass.
    pub(crate) fn send_waiting(&mut self, node: &mut Node) -> Option<Refused> {
        while let Some((to, bytes)) = self.calls.poll_send() {
            match node.send(&self.group, to, bytes) {
                Ok(()) => self.calls.sent(),
                Err(refused @ (Refused::TooLarge { .. } | Refused::NoMember(_))) => {
                    self.calls.refused(&refused.to_string());
                }
                Err(refused) if refused.is_for_now() => break,
                Err(refused) => return Some(refused),
            }
        }
        None
    }

    /// Casts a message that is no call: a [`CallEvent::Plain`] at all.
    ///
    /// # Errors
    /// As [`Node::cast`].
    pub fn cast(
        &mut self,
        node: &mut Node,
        promise: impl Into<Promise>,
        message: &[u8],
    ) -> Result<(), Refused> {
        node.cast(&self.group, promise, &membership::Calls::plain(message))
    }

    /// Calls all members, myself among them: the request is cast so. [`CallEvent::Done`] tells what has become of it.
    ///
    /// # Errors
    /// As [`Node::cast`], and there is no call. But for total order, [`Refused::ViewChanging`] where the cast would be held: who is called has
    /// to be known.
    pub fn call(
        &mut self,
        node: &mut Node,
        promise: impl Into<Promise>,
        want: Want,
        request: &[u8],
    ) -> Result<CallId, Refused> {
        self.start(node, promise.into(), |calls| calls.call_all(want, request))
    }

    /// Calls all members but myself, as a client does: else as [`call`](Self::call).
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_others(
        &mut self,
        node: &mut Node,
        promise: impl Into<Promise>,
        want: Want,
        request: &[u8],
    ) -> Result<CallId, Refused> {
        self.start(node, promise.into(), |calls| calls.call_others(want, request))
    }

    fn start(
        &mut self,
        node: &mut Node,
        promise: Promise,
        begin: impl FnOnce(&mut membership::Calls) -> (CallId, Vec<u8>),
    ) -> Result<CallId, Refused> {
        if !self.calls.has_view() {
            return Err(Refused::NoView);
        }
        // Of my own casts only total ones are handed back to me; the others count as delivered here at once.
        let me = match promise.order {
            Order::Total => None,
            _ if !node.is_steady(&self.group) => return Err(Refused::ViewChanging),
            _ => node.view(&self.group).map(View::me),
        };
        let (call, bytes) = begin(&mut self.calls);
        if let Err(refused) = node.cast(&self.group, promise, &bytes) {
            self.calls.give_up(call);
            return Err(refused);
        }
        if let Some(me) = me {
            let is_mine = self.calls.handle(me, &bytes);
            debug_assert!(is_mine.is_ok(), "I wrote it myself");
        }
        Ok(call)
    }

    /// Calls one member, myself or another; the request goes by the next [`poll`](Self::poll).
    pub fn call_one(&mut self, to: ViewMember, want: Want, request: &[u8]) -> CallId {
        self.calls.call_one(to, want, request)
    }

    /// The call is over for me: when I leave, none of mine comes to an end by itself. Returns whether it was not over.
    pub fn give_up(&mut self, call: CallId) -> bool {
        self.calls.give_up(call)
    }

    /// Answers a request.
    pub fn reply(&mut self, request: Request, reply: &[u8]) {
        self.calls.reply(request, reply);
    }

    /// Says that there will be no reply.
    pub fn null_reply(&mut self, request: Request) {
        self.calls.null_reply(request);
    }

    /// Ends the call, for a reason.
    pub fn abort_reply(&mut self, request: Request, why: &str) {
        self.calls.abort_reply(request, why);
    }

    /// Hands the request on to another member, which answers in my place. Where there is no such member, the call is ended.
    pub fn forward(&mut self, request: Request, to: ViewMember) {
        self.calls.forward(request, to);
    }

    /// Calls of mine that are not over.
    #[must_use]
    pub fn open(&self) -> usize {
        self.calls.open()
    }

    /// What has become of a call of mine so far, where it is not over.
    #[must_use]
    pub fn replies(&self, call: CallId) -> Option<&[(ViewMember, Status)]> {
        self.calls.replies(call)
    }

    /// Replies that came when their call was over.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.calls.late()
    }
}
