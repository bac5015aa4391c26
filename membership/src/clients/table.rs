//! The table of clients: the same at all members at the same point of the total order. Nothing here looks at anything but what is cast.
//!
//= liskov12 §4.1: for each client the number of its request and, if it has been executed, the result sent for it
//!
//! A session is one registration of a client. Its requests are told apart from those of another by it, so that a letter that was late by as much
//! as it likes cannot have a request of a client that was struck executed again.

use super::bytes::{Reader, put_status};
use crate::agreement::write_member;
use crate::call::Status;
use sistrum_ordering::{BootId, Endpoint, ViewMember, ViewNumber};
use sistrum_transport::mutated;
use std::collections::{BTreeMap, VecDeque};

/// Clients that were struck, of which is known that they were.
const MAX_GONE: usize = 4096;
/// The form in which a table is written down.
const FORM: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    clients: usize,
    window: u64,
    /// In the order of their registration.
    sessions: BTreeMap<u64, Entry>,
    at: BTreeMap<Endpoint, u64>,
    last: u64,
    gone: VecDeque<ViewMember>,
}

/// A client.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) client: ViewMember,
    pub(super) host: ViewMember,
    pub(super) turn: u64,
    acked: u64,
    /// All its requests below this were delivered here or will not be executed.
    next: u64,
    records: BTreeMap<u64, Record>,
}

/// A request that was executed here, or is executed.
#[derive(Debug)]
enum Record {
    Open,
    /// What was said to it: by me, or by who has given me the state.
    Said(Status),
}

/// What comes of an attempt to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attaching {
    /// A new client, in place of an earlier incarnation of it, where there was one.
    New { session: u64, before: Option<(u64, ViewMember)> },
    /// It has this host from now on, or had it.
    Hosted { session: u64 },
    /// A later attempt came before.
    Late,
    /// There are as many as may be.
    Full,
    /// It was struck.
    Dropped { above: BootId },
}

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    New,
    /// It is being executed.
    Open,
    /// It was executed.
    Said(Status),
    /// It was handed on to me, and was not delivered here so far.
    Early,
    /// Its client does not wait for it, or is none any more.
    Stale,
}

impl Table {
    pub(super) fn new(clients: usize, window: u64) -> Self {
        let (sessions, at, gone) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { clients, window, sessions, at, last: 0, gone }
    }

    /// Sessions from here on are of this view: all who are in it name them alike, whatever they know of those before it.
    pub(super) fn begin(&mut self, number: ViewNumber) {
        self.last = self.last.max(u64::from(number.0.saturating_sub(1)) << 32);
    }

    /// Nobody is a client, or was.
    pub(super) fn clear(&mut self) {
        *self = Self { last: self.last, ..Self::new(self.clients, self.window) };
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.sessions.iter().map(|(session, entry)| (*session, entry))
    }

    pub(super) fn entry(&self, session: u64) -> Option<&Entry> {
        self.sessions.get(&session)
    }

    /// The session of a client.
    pub(super) fn session(&self, client: ViewMember) -> Option<u64> {
        let session = *self.at.get(&client.endpoint)?;
        let is_it = self.sessions.get(&session)?.client == client || mutated!(ForgetIncarnation);
        is_it.then_some(session)
    }

    pub(super) fn is_full(&self) -> bool {
        self.sessions.len() >= self.clients
    }

    /// Whether somebody is a client who sends from there.
    pub(super) fn is_known(&self, endpoint: Endpoint) -> bool {
        self.at.contains_key(&endpoint)
    }

    /// A client wants `host` to be its host; it is in no session where that is 0.
    pub(super) fn attach(
        &mut self,
        client: ViewMember,
        session: u64,
        turn: u64,
        host: ViewMember,
    ) -> Attaching {
        let known = self.at.get(&client.endpoint).copied();
        let found = known.and_then(|known| self.sessions.get_mut(&known).map(|entry| (known, entry)));
        let before = match found {
            Some((_, entry)) if entry.client.boot > client.boot => {
                return Attaching::Dropped { above: entry.client.boot };
            }
            Some((known, entry)) if entry.client == client || mutated!(ForgetIncarnation) => {
                if session != 0 && session != known {
                    return Attaching::Dropped { above: client.boot };
                }
                let is_late = turn < entry.turn || (turn == entry.turn && host != entry.host);
                if is_late && !mutated!(AttachLate) {
                    return Attaching::Late;
                }
                (entry.turn, entry.host) = (turn, host);
                return Attaching::Hosted { session: known };
            }
            Some((known, entry)) => Some((known, entry.client)),
            None => None,
        };
        let is_gone = |gone: &&ViewMember| gone.endpoint == client.endpoint && gone.boot >= client.boot;
        if let Some(above) = self.gone.iter().filter(is_gone).map(|gone| gone.boot).max() {
            return Attaching::Dropped { above };
        }
        if session != 0 {
            return Attaching::Dropped { above: client.boot };
        }
        if before.is_none() && self.is_full() {
            return Attaching::Full;
        }
        if let Some((before, _)) = before {
            self.remove(before);
        }
        self.last += 1;
        let session = self.last;
        self.insert(session, Entry { client, host, turn, acked: 0, next: 0, records: BTreeMap::new() });
        Attaching::New { session, before }
    }

    fn insert(&mut self, session: u64, entry: Entry) {
        self.at.insert(entry.client.endpoint, session);
        self.sessions.insert(session, entry);
    }

    /// A client is struck, where it has not moved since that was said. Returns whether it is.
    pub(super) fn strike(&mut self, client: ViewMember, session: u64, turn: u64, host: ViewMember) -> bool {
        let is_there = self.session(client) == Some(session);
        let is_so = |entry: &Entry| (entry.turn, entry.host) == (turn, host) || mutated!(StrikeWhoMoved);
        let is_struck = is_there && self.entry(session).is_some_and(is_so);
        if is_struck {
            self.remove(session);
        }
        is_struck
    }

    fn remove(&mut self, session: u64) {
        let Some(entry) = self.sessions.remove(&session) else { return };
        self.at.remove(&entry.client.endpoint);
        if self.gone.len() == MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(entry.client);
    }

    /// A request was delivered; its client has got the replies to all below `acked`.
    pub(super) fn ask(&mut self, client: ViewMember, session: u64, number: u64, acked: u64) -> Asked {
        let is_there = self.session(client) == Some(session);
        let Some(entry) = self.sessions.get_mut(&session).filter(|_| is_there) else { return Asked::Stale };
        entry.acked = entry.acked.max(acked);
        let least = entry.acked;
        entry.records.retain(|number, _| *number >= least && !mutated!(ForgetAnswered));
        match entry.records.get(&number) {
            _ if number < least || number - least >= self.window => Asked::Stale,
            Some(Record::Open) => Asked::Open,
            Some(Record::Said(status)) if !mutated!(ExecuteAgain) => Asked::Said(status.clone()),
            // It was over at its client before the later one was taken on.
            None if number < entry.next && !mutated!(ExecuteLate) => Asked::Stale,
            Some(_) | None => {
                entry.next = entry.next.max(number + 1);
                entry.records.insert(number, Record::Open);
                Asked::New
            }
        }
    }

    /// What is known of a request that is handed on to me.
    pub(super) fn look(&self, client: ViewMember, session: u64, number: u64, acked: u64) -> Asked {
        let Some(entry) = self.entry(session).filter(|entry| entry.client == client) else {
            return Asked::Stale;
        };
        let least = entry.acked.max(acked);
        match entry.records.get(&number) {
            Some(Record::Open) => Asked::Open,
            Some(Record::Said(status)) => Asked::Said(status.clone()),
            None if number >= least.max(entry.next) && number - least < self.window => Asked::Early,
            None => Asked::Stale,
        }
    }

    /// The request was executed here, and that is what is said to it.
    pub(super) fn say(&mut self, session: u64, number: u64, said: &Status) {
        let entry = self.sessions.get_mut(&session);
        if let Some(record @ Record::Open) = entry.and_then(|entry| entry.records.get_mut(&number)) {
            *record = Record::Said(said.clone());
        }
    }

    /// What its client has got the replies to, as far as all know.
    pub(super) fn acked(&self, session: u64) -> u64 {
        self.entry(session).map_or(0, |entry| entry.acked)
    }

    /// Writes it down for who joins; these requests were not told to the application yet. Of what it was told and has not answered is not known
    /// what it will say: nothing.
    pub(super) fn write(&self, is_untold: impl Fn(u64, u64) -> bool, out: &mut Vec<u8>) {
        out.push(FORM);
        out.extend_from_slice(&self.last.to_le_bytes());
        out.extend_from_slice(&(self.gone.len() as u32).to_le_bytes());
        self.gone.iter().for_each(|gone| write_member(*gone, out));
        out.extend_from_slice(&(self.sessions.len() as u32).to_le_bytes());
        for (session, entry) in &self.sessions {
            write_member(entry.client, out);
            write_member(entry.host, out);
            for value in [*session, entry.turn, entry.acked, entry.next] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            out.extend_from_slice(&(entry.records.len() as u32).to_le_bytes());
            for (number, record) in &entry.records {
                out.extend_from_slice(&number.to_le_bytes());
                let said = match record {
                    Record::Said(said) => said,
                    Record::Open if is_untold(*session, *number) => &Status::Waiting,
                    Record::Open => &Status::Null,
                };
                put_status(said, out);
            }
        }
    }

    /// Becomes what was written down.
    pub(super) fn read(&mut self, from: &mut Reader<'_>) -> Option<()> {
        let mut table = Self::new(self.clients, self.window);
        if from.u8()? != FORM {
            return None;
        }
        table.last = from.u64()?;
        table.gone = from.list(Reader::member)?.into();
        let entries = from.list(|from| {
            let (client, host) = (from.member()?, from.member()?);
            let (session, turn, acked, next) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
            let record = |from: &mut Reader<'_>| {
                let (number, said) = (from.u64()?, from.status()?);
                let record = if said == Status::Waiting { Record::Open } else { Record::Said(said) };
                Some((number, record))
            };
            let records = from.list(record)?.into_iter().collect();
            Some((session, Entry { client, host, turn, acked, next, records }))
        })?;
        for (session, entry) in entries {
            if session > table.last || table.entry(session).is_some() || table.is_known(entry.client.endpoint)
            {
                return None;
            }
            table.insert(session, entry);
        }
        if !mutated!(ForgetClients) {
            *self = table;
        }
        Some(())
    }
}
