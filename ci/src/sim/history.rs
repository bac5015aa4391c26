//! What happened in one run, written down by one who sees everything.
//!
//! The checkers read nothing else. Events stand in the order of the simulation's own time, which no process knows; or, where the
//! processes are real and have told their events themselves (see [`lines`]), in that of their host's clock.

pub(crate) mod calls;
pub(crate) mod eras;
pub(crate) mod lines;
#[cfg(test)]
pub(crate) mod tests;

use sistrum_ordering::truth::Note;
use sistrum_ordering::{Order, Promise, Rank, Seq, View, ViewMember, ViewNumber};
use std::collections::BTreeMap;
use std::fmt;

/// One incarnation of one member; an index into [`History::processes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process(pub(crate) u16);

/// One cast; an index into [`History::casts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message(pub(crate) u32);

/// One message to one member alone; an index into [`History::sends`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent(pub(crate) u32);

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) by: Process,
    pub(crate) life: u32,
    pub(crate) to: Rank,
    /// Who has that rank in the view of the sender.
    pub(crate) receiver: Option<Process>,
    pub(crate) len: usize,
}

/// Who a process is.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    /// Its rank where the members are a list that stays, else only its place in the network.
    pub(crate) rank: Rank,
    /// What it is called in views, where those change.
    pub(crate) member: Option<ViewMember>,
    /// Which life of the whole group it belongs to.
    pub(crate) life: u32,
    /// It is no member: it came back after its group had formed, with a static list, or it only reads.
    pub(crate) is_outside: bool,
    pub(crate) is_crashed: bool,
    /// It was told that its group goes on without it: another incarnation has to come instead.
    pub(crate) is_excluded: bool,
    /// It said goodbye and is gone.
    pub(crate) has_left: bool,
}

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cast {
    pub(crate) by: Process,
    /// Its number among all that its sender cast.
    pub(crate) number: u32,
    pub(crate) order: Order,
    /// It asked to be delivered only when all hold it.
    pub(crate) is_safe: bool,
    /// It is ordered against everything, views too: handed over where one ends and the next begins.
    pub(crate) is_sync: bool,
    /// It was cast while the view changed, and waited for the next one.
    pub(crate) is_held: bool,
    pub(crate) len: usize,
    /// The view that it is sent in, where that is known: of one that is held the next one.
    pub(crate) view: Option<ViewNumber>,
    /// The block of its sender's stream in that view that it ends in.
    pub(crate) block: u64,
}

/// Something that a process did.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at_ns: u64,
    pub(crate) process: Process,
    pub(crate) what: What,
}

/// What it did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Start,
    /// It asks to be let in.
    Joining,
    Install(Box<View>),
    /// Its view has another number, and the same members: sync casts were handed over in between.
    Renumbered(ViewNumber),
    /// It takes part in a change of its view.
    Changing,
    /// How its view ends is decided: what it is handed up to the next one belongs to the cut.
    Cut,
    /// Too few are left to change its view; then there are enough again.
    Wedged,
    Resumed,
    /// Its group went on without it, in this view; or as it had asked for.
    Excluded(ViewNumber),
    Left,
    Cast(Message),
    Deliver(Message),
    Send(Sent),
    Receive(Sent),
    /// Something was delivered that nobody cast like that.
    Alien {
        from: Rank,
        len: usize,
    },
    /// It believes that all members of this view hold its stream up to here.
    Stable(ViewNumber, u64),
    /// It holds the stream of this rank in this view up to here, without a gap.
    Holds(ViewNumber, Rank, u64),
    /// It asks for a flush, and is told that it is over.
    Flush(u64),
    Flushed(u64),
    /// Its state where a view begins, in short.
    State(u64),
    /// It was given the group's state; or was told that it is not given it, and why.
    Restored,
    TransferFailed(String),
    /// It was told that it cannot be in one group with a member.
    Conflict(String),
    /// It says goodbye as soon as all have delivered what it cast.
    Leaves,
    /// It was told that the member of this rank is gone.
    Departed(Rank),
    /// It only reads, and was handed this; or it was told that it enters the stream of this rank, or has lost some of it.
    Overhears(Message),
    Skips(Rank),
    /// It is gone: its goodbye was said.
    Exit,
    Crash,
    /// Something of a call.
    Call(calls::Deed),
}

/// How a process stood at the end of a run whose faults were healed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) process: Process,
    /// Whether all have delivered what it cast, and it knows.
    pub(crate) is_settled: bool,
    /// Whether nothing is kept in its receive pool any more.
    pub(crate) is_idle: bool,
    /// Blocks that came from beyond a window.
    pub(crate) beyond: u64,
}

/// Stamps of sealed blocks, and of those that others have read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stamps {
    /// By process and sequence.
    sealed: BTreeMap<(Process, u64), Vec<Seq>>,
    /// How many were read that were known, and the first one that was read as another.
    pub(crate) compared: u64,
    pub(crate) wrong: Option<String>,
}

/// What a process kept at one instant, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) at_ns: u64,
    pub(crate) process: Process,
    /// Blocks, of all streams, that were sealed and that this process had not delivered, or did not know that all had delivered
    /// (its own) or hold (others').
    pub(crate) unstable: u64,
    pub(crate) kept: Kept,
}

/// See [`Sample`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    /// Blocks of its own log.
    pub(crate) log: u64,
    /// Blocks in receive windows.
    pub(crate) windows: u64,
    /// Slabs and strides of the pool that are not free.
    pub(crate) buffers: u64,
    /// Places in the total order.
    pub(crate) places: u64,
}

impl Kept {
    pub(crate) fn most(&self) -> u64 {
        [self.log, self.windows, self.buffers, self.places].into_iter().max().unwrap_or(0)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// Views change. Else each life of the group has one list of members.
    pub(crate) is_dynamic: bool,
    /// Some that live are suspected. Then what is sent to one alone who comes back may come behind its effects; it comes all the same.
    pub(crate) suspects_wrongly: bool,
    /// Its processes have told it themselves: what they hold is not known.
    pub(crate) is_told_by_members: bool,
    pub(crate) processes: Vec<Who>,
    pub(crate) casts: Vec<Cast>,
    pub(crate) sends: Vec<Send>,
    pub(crate) calls: Vec<calls::Called>,
    pub(crate) events: Vec<Event>,
    pub(crate) endings: Vec<Ending>,
    pub(crate) samples: Vec<Sample>,
    /// How many messages each process has cast.
    cast_by: Vec<u32>,
    /// Indices of the events of each process.
    of: Vec<Vec<u32>>,
    /// What stamps say, where they are written and where they are read.
    pub(crate) stamps: Stamps,
    /// What the world did, before which event, and when.
    weather: Vec<(usize, u64, String)>,
}

impl History {
    /// Of a group whose views change.
    pub(crate) fn of_views(suspects_wrongly: bool) -> Self {
        Self { is_dynamic: true, suspects_wrongly, ..Self::default() }
    }

    /// A process begins.
    pub(crate) fn start(&mut self, at_ns: u64, rank: Rank, life: u32, is_outside: bool) -> Process {
        let process = Process(u16::try_from(self.processes.len()).expect("few processes"));
        self.processes.push(Who {
            rank,
            member: None,
            life,
            is_outside,
            is_crashed: false,
            is_excluded: false,
            has_left: false,
        });
        self.cast_by.push(0);
        self.of.push(Vec::new());
        self.push(at_ns, process, What::Start);
        process
    }

    /// A process begins that is called `member` in views that change.
    pub(crate) fn start_as(&mut self, at_ns: u64, place: Rank, member: ViewMember) -> Process {
        let process = self.start(at_ns, place, 0, false);
        self.processes[process.0 as usize].member = Some(member);
        process
    }

    pub(crate) fn push(&mut self, at_ns: u64, process: Process, what: What) {
        let who = &mut self.processes[process.0 as usize];
        match what {
            What::Excluded(_) => who.is_excluded = true,
            What::Left => who.has_left = true,
            _ => {}
        }
        self.of[process.0 as usize].push(self.events.len() as u32);
        self.events.push(Event { at_ns, process, what });
    }

    /// The name that the next cast will have.
    pub(crate) fn next_message(&self) -> Message {
        Message(self.casts.len() as u32)
    }

    pub(crate) fn cast(
        &mut self,
        at_ns: u64,
        by: Process,
        promise: impl Into<Promise>,
        len: usize,
        (view, block): (Option<ViewNumber>, u64),
    ) -> Message {
        let message = self.next_message();
        let number = &mut self.cast_by[by.0 as usize];
        let Promise { order, safe: is_safe } = promise.into();
        let (is_sync, is_held) = (false, false);
        self.casts.push(Cast { by, number: *number, order, is_safe, is_sync, is_held, len, view, block });
        *number += 1;
        self.push(at_ns, by, What::Cast(message));
        message
    }

    /// Likewise, of what waits for the view `next`; which block of it that is, is known when it is [sealed](Self::seal).
    pub(crate) fn hold(
        &mut self,
        at_ns: u64,
        by: Process,
        promise: impl Into<Promise>,
        len: usize,
        next: ViewNumber,
    ) -> Message {
        let message = self.cast(at_ns, by, promise, len, (Some(next), 0));
        self.casts[message.0 as usize].is_held = true;
        message
    }

    /// Likewise, of what is ordered against everything: it is in nobody's stream, and comes back.
    pub(crate) fn sync(&mut self, at_ns: u64, by: Process, len: usize) -> Message {
        let message = self.next_message();
        let number = self.casts.iter().filter(|cast| cast.by == by && cast.is_sync).count() as u32;
        let (order, is_safe, is_sync, is_held) = (Order::Total, false, true, false);
        self.casts.push(Cast { by, number, order, is_safe, is_sync, is_held, len, view: None, block: 0 });
        self.push(at_ns, by, What::Cast(message));
        message
    }

    /// A message that was held is sealed now.
    pub(crate) fn seal(&mut self, message: Message, view: ViewNumber, block: u64) {
        let cast = &mut self.casts[message.0 as usize];
        (cast.view, cast.block) = (Some(view), block);
    }

    /// The name that the next send will have.
    pub(crate) fn next_send(&self) -> Sent {
        Sent(self.sends.len() as u32)
    }

    pub(crate) fn send(&mut self, at_ns: u64, by: Process, to: Rank, len: usize) -> Sent {
        let (sent, life) = (self.next_send(), self.who(by).life);
        let receiver = match self.is_dynamic {
            true => self.fellow(by, to),
            false => self.member(life, to),
        };
        self.sends.push(Send { by, life, to, receiver, len });
        self.push(at_ns, by, What::Send(sent));
        sent
    }

    pub(crate) fn crash(&mut self, at_ns: u64, process: Process) {
        self.processes[process.0 as usize].is_crashed = true;
        self.push(at_ns, process, What::Crash);
    }

    pub(crate) fn exit(&mut self, at_ns: u64, process: Process) {
        self.processes[process.0 as usize].has_left = true;
        self.push(at_ns, process, What::Exit);
    }

    /// What `process` wrote or read in a stamp.
    pub(crate) fn stamp(&mut self, process: Process, note: Note) {
        match note {
            Note::Sealed { seq, vector } => {
                self.stamps.sealed.insert((process, seq.0), vector);
            }
            Note::Read { rank, seq, vector } => self.compare(process, rank, seq, &vector),
        }
    }

    fn compare(&mut self, reader: Process, rank: Rank, seq: Seq, read: &[Seq]) {
        // Notes do not say of which view they are, and each has its own sequences.
        if self.is_dynamic {
            return;
        }
        let life = self.who(reader).life;
        let is_sender = |who: &Who| who.rank == rank && who.life == life && !who.is_outside;
        let Some(at) = self.processes.iter().position(is_sender) else { return };
        // Whoever has sealed a block need not read it, and may have forgotten it.
        if at == usize::from(reader.0) {
            return;
        }
        let Some(sealed) = self.stamps.sealed.get(&(Process(at as u16), seq.0)) else { return };
        self.stamps.compared += 1;
        // A sender's own entry is the sequence itself.
        let differs = (0..)
            .map(Rank)
            .zip(sealed.iter().zip(read))
            .find(|(k, (sealed, read))| *k != rank && sealed != read);
        if let Some((k, (sealed, read))) = differs
            && self.stamps.wrong.is_none()
        {
            let (reader, sender) = (self.name(reader), self.name(Process(at as u16)));
            self.stamps.wrong =
                Some(format!("{sender} sealed block {seq} with {sealed} of {k}, {reader} reads {read}"));
        }
    }

    pub(crate) fn weather(&mut self, at_ns: u64, what: String) {
        self.weather.push((self.events.len(), at_ns, what));
    }

    pub(crate) fn who(&self, process: Process) -> &Who {
        &self.processes[process.0 as usize]
    }

    pub(crate) fn cast_of(&self, message: Message) -> Cast {
        self.casts[message.0 as usize]
    }

    /// The member of this rank in a life of the group.
    pub(crate) fn member(&self, life: u32, rank: Rank) -> Option<Process> {
        let is_it = |who: &Who| who.life == life && who.rank == rank && !who.is_outside;
        self.processes.iter().position(is_it).map(|at| Process(at as u16))
    }

    /// Who has this rank in the last view of `process`.
    fn fellow(&self, process: Process, rank: Rank) -> Option<Process> {
        let mut backwards = self.of[process.0 as usize].iter().rev();
        let member = backwards.find_map(|&at| match &self.events[at as usize].what {
            What::Install(view) => Some(view.member(rank).copied()),
            _ => None,
        })?;
        let is_it = |who: &Who| member.is_some() && who.member == member;
        self.processes.iter().position(is_it).map(|at| Process(at as u16))
    }

    /// Whether something can be asked of a process once nothing hinders it: it is of the last life of the group, and lives.
    pub(crate) fn is_alive(&self, process: Process) -> bool {
        let last = self.processes.iter().map(|who| who.life).max().unwrap_or(0);
        let who = self.who(process);
        who.life == last && !who.is_outside && !who.is_crashed && !who.is_excluded
    }

    /// A send as a reader of a report can find it again.
    pub(crate) fn named_send(&self, sent: Sent) -> String {
        let Send { by, to, .. } = self.sends[sent.0 as usize];
        format!("s{} (from {} to {to} alone)", sent.0, self.name(by))
    }

    /// All processes, by index.
    pub(crate) fn all(&self) -> impl Iterator<Item = Process> {
        (0..self.processes.len() as u16).map(Process)
    }

    /// Where the events of one process stand among all, in its own order.
    pub(crate) fn places_of(&self, process: Process) -> impl Iterator<Item = usize> {
        self.of[process.0 as usize].iter().map(|&at| at as usize)
    }

    /// The events of one process, in its own order.
    pub(crate) fn of(&self, process: Process) -> impl Iterator<Item = &Event> {
        self.of[process.0 as usize].iter().map(|&at| &self.events[at as usize])
    }

    /// What a process delivered, in its order. Its own messages count when they were cast, except for total ones, which come back.
    pub(crate) fn deliveries(&self, process: Process) -> impl Iterator<Item = Message> {
        self.of(process).filter_map(|event| self.delivery(event))
    }

    /// The message that an event delivers at its process, if it is such a one.
    pub(crate) fn delivery(&self, event: &Event) -> Option<Message> {
        match event.what {
            What::Deliver(message) => Some(message),
            What::Cast(message) if self.cast_of(message).order != Order::Total => Some(message),
            _ => None,
        }
    }

    /// Whether a member must get a message, once nothing hinders it: both are of the last life of the group, and alive. Who
    /// said goodbye left nothing open, and is owed nothing any more.
    pub(crate) fn is_owed(&self, process: Process, message: Message) -> bool {
        self.is_alive(process) && !self.who(process).has_left && self.is_alive(self.cast_of(message).by)
    }

    /// A message as a reader of a report can find it again.
    pub(crate) fn named(&self, message: Message) -> String {
        let Cast { by, number, order, is_safe, is_sync, is_held, .. } = self.cast_of(message);
        let (held, safe) = (if is_held { "held " } else { "" }, if is_safe { "safe " } else { "" });
        let order = if is_sync { "Sync".to_owned() } else { format!("{order:?}") };
        format!("m{} ({held}{safe}{order} {number} of {})", message.0, self.name(by))
    }

    /// A process likewise.
    pub(crate) fn name(&self, process: Process) -> String {
        let Who { rank, life, is_outside, member, .. } = self.who(process);
        if let Some(ViewMember { endpoint, boot }) = member {
            return format!("p{} ({boot} at {endpoint})", process.0);
        }
        format!(
            "p{} ({rank} of life {life}{})",
            process.0,
            match (is_outside, *rank == Rank::READER) {
                (true, true) => ", a reader",
                (true, false) => ", come back",
                (false, _) => "",
            }
        )
    }
}

/// One line for each event: the trace.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut weather = self.weather.iter().peekable();
        for (at, event) in self.events.iter().enumerate() {
            while let Some((_, at_ns, what)) = weather.next_if(|(before, ..)| *before <= at) {
                writeln!(f, "{at_ns:>12} -- {what}")?;
            }
            let Event { at_ns, process, what } = event;
            write!(f, "{at_ns:>12} p{} ", process.0)?;
            match what {
                What::Cast(message) => {
                    writeln!(f, "casts {}, {} bytes", self.named(*message), self.cast_of(*message).len)?
                }
                What::Deliver(message) => writeln!(f, "delivers {}", self.named(*message))?,
                What::Send(sent) => writeln!(f, "sends {}", self.named_send(*sent))?,
                What::Receive(sent) => writeln!(f, "receives {}", self.named_send(*sent))?,
                What::Start => writeln!(f, "starts as {}", self.name(*process))?,
                other => writeln!(f, "{other:?}")?,
            }
        }
        weather.try_for_each(|(_, at_ns, what)| writeln!(f, "{at_ns:>12} -- {what}"))
    }
}
