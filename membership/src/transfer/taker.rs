//! Who joins takes the state over: it asks one who gives, and goes on with the next where that one is gone.
//!
//! ```text
//!   loading    blocks go to the application, what is told meanwhile to the spool; over its bound the transfer fails, never the group
//!   loaded     it asks to be counted as ready; the application is handed what was kept, first the view that it has joined in
//!   caught up  the spool is empty: everything is told as it comes
//! ```

use super::kept::Kept;
use super::message::{Message, Place, Print};
use super::spool::Spool;
use super::stream::{Ends, Stream};
use super::{StateBlock, TransferError, Transfers};
use crate::agreement::Introduction;
use crate::event::{Caster, Event};
use crate::running::Running;
use crate::step::{Step, reached};
use sistrum_ordering::{GroupInstance, View, ViewMember, ViewNumber};
use sistrum_transport::log::RxPool;
use sistrum_transport::mutated;
use sistrum_transport::reliable::Refused;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::checksum_behind;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Taking {
    pub(super) cut: ViewNumber,
    mine: Introduction,
    /// Who may give it, the present one first.
    givers: Vec<Introduction>,
    pub(super) stream: Option<Stream>,
    /// The giver was not asked yet.
    is_to_ask: bool,
    /// How far it has come, and with what.
    at: Place,
    begun: Print,
    name: String,
    digest: u32,
    phase: Phase,
    pub(super) spool: Spool<Kept>,
    /// The view that what is kept ends in.
    kept_to: Option<ViewNumber>,
    /// The view that the application was handed last.
    pub(super) told: Option<ViewNumber>,
    pub(super) told_view: Option<Box<View>>,
    /// It was handed something of the state.
    has_handed: bool,
    /// It has refused what it was handed last.
    is_refused: bool,
    /// When the giver was asked, of which nothing has come.
    asked_at: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Loading,
    Loaded,
    /// It is over, and the application is to be told why.
    Failed(TransferError),
    Over,
}

impl Taking {
    /// As `mine`, who has joined in the view `cut`.
    pub(super) fn new(cut: ViewNumber, mine: Introduction, givers: Vec<Introduction>, spool: usize) -> Self {
        Self {
            cut,
            mine,
            givers,
            stream: None,
            is_to_ask: true,
            at: Place::default(),
            begun: Print::default(),
            name: String::new(),
            digest: 0,
            phase: Phase::Loading,
            spool: Spool::new(spool),
            kept_to: None,
            told: None,
            told_view: None,
            has_handed: false,
            is_refused: false,
            asked_at: None,
        }
    }

    /// Who is asked, while anybody is.
    pub(super) fn giver(&self) -> Option<&Introduction> {
        self.givers.first().filter(|_| self.phase == Phase::Loading)
    }

    /// The ends of the stream from the present giver.
    pub(super) fn ends(&self, instance: GroupInstance, lane: u16) -> Option<Ends> {
        let (giver, taker) = (*self.giver()?, self.mine);
        Some(Ends { instance, cut: self.cut, giver, taker, i_give: false, lane })
    }

    /// Whether there is a stream to be opened.
    pub(super) fn wants_stream(&self) -> bool {
        self.stream.is_none() && self.giver().is_some()
    }

    /// Only these go on: who gave may be gone. Whether somebody is left to ask, where anybody is to be.
    pub(super) fn keep_givers(&mut self, goes_on: impl Fn(ViewMember) -> bool, pool: &mut RxPool) -> bool {
        let asked = self.givers.first().map(|giver| giver.member);
        self.givers.retain(|giver| goes_on(giver.member));
        if asked != self.givers.first().map(|giver| giver.member) {
            reached(Step::TakenOver);
            self.is_to_ask = true;
            self.stream.take().into_iter().for_each(|stream| stream.retire(pool));
        }
        self.phase != Phase::Loading || !self.givers.is_empty()
    }

    /// Whether the state is here, and the group may be told so.
    pub(crate) fn is_loaded(&self) -> bool {
        self.phase == Phase::Loaded
    }

    /// Whether it has failed: nothing more is told, and the group is to be left.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed(_) | Phase::Over)
    }

    /// Whether it has failed, and that was told.
    pub(super) fn is_told_failed(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether everything was handed over that came meanwhile: the view that it has joined in at least, which may be told only once enough
    /// have come to it.
    pub(super) fn has_caught_up(&self) -> bool {
        self.phase == Phase::Loaded && self.spool.is_empty() && (self.knows_view() || mutated!(ForgetHanded))
    }

    /// Whether something may be handed over to the application without anything coming.
    pub(super) fn has_pending(&self) -> bool {
        match self.phase {
            Phase::Loading => false,
            Phase::Loaded => !self.is_refused && !self.spool.is_empty(),
            Phase::Failed(_) => true,
            Phase::Over => false,
        }
    }

    /// Whether what is told next may be kept: behind the state there is no hurry, and who is slow holds the others back as everybody does.
    pub(crate) fn may_keep(&self) -> bool {
        self.phase != Phase::Loaded || !self.spool.is_over_full()
    }

    /// Keeps what is told.
    pub(crate) fn keep(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if self.has_failed() {
            return ControlFlow::Continue(());
        }
        if let Event::View(view) = &event {
            self.kept_to = Some(view.id().number);
        }
        Kept::of(event).into_iter().for_each(|kept| self.spool.push(kept));
        if self.phase == Phase::Loading && self.spool.is_over_full() {
            self.fail(TransferError::SpoolFull { limit: self.spool.limit() });
        }
        ControlFlow::Continue(())
    }

    /// So many bytes are kept.
    pub(crate) fn kept(&self) -> usize {
        self.spool.bytes()
    }

    /// So many bytes were handed over behind the state. Less and less is kept: else it would never catch up with those who never rest.
    pub(crate) fn narrow(&mut self, told: usize) {
        if self.phase == Phase::Loaded && told > 0 && !mutated!(NeverNarrow) {
            self.spool.narrow(told / 2);
        }
    }

    fn fail(&mut self, why: TransferError) {
        self.phase = Phase::Failed(why);
        self.spool.clear();
    }

    /// Asks the giver, if that was not done; one of whom nothing comes is not waited for where there is another.
    pub(super) fn ask(&mut self, now: Instant, pool: &mut RxPool) {
        let is_over = self.asked_at.is_some_and(|at| now.since_ns(at) >= GIVER_PATIENCE_NS);
        if is_over && self.givers.len() > 1 && self.phase == Phase::Loading {
            self.givers.rotate_left(1);
            (self.is_to_ask, self.asked_at) = (true, None);
            return self.stream.take().into_iter().for_each(|stream| stream.retire(pool));
        }
        let Some(stream) = self.stream.as_mut().filter(|_| self.is_to_ask) else { return };
        let want = Message::Want { place: self.at, begun: self.begun };
        match stream.send(&want) {
            Ok(()) => (self.is_to_ask, self.asked_at) = (false, Some(now)),
            Err(Refused::Full { .. } | Refused::Paced { .. }) => {}
            Err(refused) => debug_assert!(false, "{refused}"),
        }
    }

    /// Hands over what has come of the state.
    pub(crate) fn poll<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Some(mut stream) = self.stream.take() else { return 0 };
        let mut events = 0;
        if self.phase == Phase::Loading {
            events = stream.poll(pool, |message| self.take(message, handler));
        }
        if self.phase == Phase::Loading {
            self.stream = Some(stream);
        } else {
            stream.retire(pool);
        }
        events
    }

    fn take<H>(&mut self, message: Message<'_>, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        self.asked_at = None;
        match message {
            _ if self.phase != Phase::Loading => {}
            Message::Begin { place, print, name } => return self.begin(place, print, name, handler),
            Message::Block { place, bytes } if place == self.at => return self.go_on(bytes, handler),
            Message::End { domains } if self.at == (Place { domain: domains, offset: 0 }) => {
                reached(Step::Loaded);
                self.phase = Phase::Loaded;
            }
            Message::Refuse { why } => {
                let by = self.givers.first().map_or(self.mine.member, |giver| giver.member);
                self.fail(TransferError::Refused { by, why: why.to_owned() });
            }
            // What is of another place was on its way when I asked for this one.
            Message::Block { .. } | Message::End { .. } | Message::Want { .. } | Message::From { .. } => {}
        }
        ControlFlow::Continue(())
    }

    fn begin<H>(&mut self, place: Place, print: Print, name: &str, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let is_on = place == self.at;
        let again = place == Place { offset: 0, ..self.at } || place == Place::default();
        if !is_on && !again {
            return ControlFlow::Continue(());
        }
        if print.len == 0 {
            let block = StateBlock { domain: name, offset: 0, len: 0, bytes: &[] };
            handler(&mut Caster::default(), Event::State(block))?;
            self.has_handed = true;
            self.at = place.next_domain();
        } else {
            self.at = place;
        }
        if place.offset == 0 {
            self.digest = 0;
        }
        self.begun = print;
        name.clone_into(&mut self.name);
        ControlFlow::Continue(())
    }

    fn go_on<H>(&mut self, bytes: &[u8], handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Place { domain, offset } = self.at;
        let end = offset + bytes.len() as u64;
        if end > self.begun.len {
            return ControlFlow::Continue(());
        }
        let digest = checksum_behind(self.digest, bytes);
        let is_last = end == self.begun.len;
        if is_last && digest != self.begun.digest {
            let by = self.givers.first().map_or(self.mine.member, |giver| giver.member);
            self.fail(TransferError::Corrupt { by, domain: self.name.clone() });
            return ControlFlow::Continue(());
        }
        let block = StateBlock { domain: &self.name, offset, len: self.begun.len, bytes };
        handler(&mut Caster::default(), Event::State(block))?;
        reached(Step::BlockTaken);
        self.has_handed = true;
        self.digest = digest;
        self.at = Place { domain, offset: end };
        if is_last {
            self.at = self.at.next_domain();
        }
        ControlFlow::Continue(())
    }

    /// Says why it has failed, where nobody else does; counts the events.
    pub(super) fn tell_failure<H>(&mut self, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Phase::Failed(why) = &self.phase else { return 0 };
        if handler(&mut Caster::default(), Event::TransferFailed(why)).is_break() {
            return 0;
        }
        self.phase = Phase::Over;
        1
    }

    /// Why it has failed, once.
    pub(crate) fn take_failure(&mut self) -> Option<TransferError> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Failed(why) => Some(why),
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// Hands over the next of what was kept, behind the state; whether there is more for now. What is cast meanwhile goes into the present
    /// view, of `running`; `givings` write the state down for those who join in a view that comes now.
    pub(crate) fn tell_next<H>(
        &mut self,
        running: &mut Running,
        givings: &mut Transfers,
        handler: &mut H,
    ) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Some(kept) = self.spool.front().filter(|_| self.phase == Phase::Loaded) else {
            return ControlFlow::Break(());
        };
        let number = running.view.id().number;
        let is_there =
            self.told == Some(number) || matches!(kept, Kept::View(view) if view.id().number == number);
        let flow = match kept {
            Kept::Snapshot(cut) => givings.tell_snapshot(*cut, handler),
            kept if !running.is_open => kept.tell(&mut Caster::default(), handler),
            kept if is_there && running.told => kept.tell(&mut running.caster(), handler),
            kept => kept.tell(&mut Caster::ahead(number, running.session.sender()), handler),
        };
        self.is_refused = flow.is_break();
        flow?;
        let told = match kept {
            Kept::View(view) => {
                self.told_view = Some(view.clone());
                Some(view.id().number)
            }
            Kept::Number(number) => Some(*number),
            _ => None,
        };
        let is_seen = !matches!(kept, Kept::Number(_));
        self.told = told.or(self.told);
        self.spool.pop();
        // Where only the number changes, the application sees that between two cycles.
        if is_seen { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// What is told next, is told in the view of this number.
    pub(crate) fn come_to(&mut self, number: ViewNumber) {
        if !self.has_failed() && self.kept_to.replace(number) != Some(number) {
            self.spool.push(Kept::Number(number));
        }
    }

    /// Whether it was handed anything.
    pub(super) fn has_handed(&self) -> bool {
        self.has_handed || self.told.is_some()
    }

    /// Whether it was handed the view that it has joined in.
    pub(super) fn knows_view(&self) -> bool {
        self.told.is_some()
    }
}

/// A giver of which nothing comes for so long is behind itself: where there is another one, that is asked.
const GIVER_PATIENCE_NS: u64 = 250_000_000;
