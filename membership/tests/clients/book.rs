//! What is known from outside, and the law.

use crate::calling::judge_end;
use sistrum_membership::{Dest, Outcome, Status, Want};
use sistrum_ordering::ViewMember;
use std::collections::{BTreeMap, BTreeSet};

/// What applications are told in one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Joined(ViewMember),
    Gone(ViewMember),
    /// A request to all of this client, with its number and name.
    Request(ViewMember, u64, u64),
}

/// A request as its client has asked it, by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) want: Want,
    pub(crate) dest: Dest,
    pub(crate) is_over: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// What was told to the application that was told most.
    pub(crate) told: Vec<Told>,
    executed: BTreeSet<u64>,
    /// By client: the numbers of what was executed.
    numbers: BTreeMap<ViewMember, Vec<u64>>,
    joined: BTreeSet<ViewMember>,
    pub(crate) gone: BTreeSet<ViewMember>,
    pub(crate) asked: BTreeMap<u64, Asked>,
    /// What a member has said of a request, or who has given it the state.
    pub(crate) said: BTreeMap<(ViewMember, u64), Vec<Status>>,
    /// Whom hosts have called for a request: one list for each call.
    pub(crate) destinations: BTreeMap<u64, Vec<Vec<ViewMember>>>,
    /// Those that were given up before anybody was told of them.
    unsaid: BTreeSet<u64>,
    /// Clients that have said goodbye, or whose process is gone.
    pub(crate) over: BTreeSet<ViewMember>,
    /// Members that are in no view any more, and since when.
    pub(crate) dead: BTreeMap<ViewMember, u64>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// The name of a request that stands somewhere in these bytes.
pub(crate) fn name_in(bytes: &[u8]) -> Option<u64> {
    let at = bytes.windows(4).position(|some| some == b"ask:")?;
    Some(u64::from_le_bytes(*bytes[at + 4..].first_chunk()?))
}

impl Book {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A client has given up a request: nothing is told of it any more.
    pub(crate) fn give_up(&mut self, name: u64, was_said: bool) {
        let asked = self.asked.get_mut(&name).expect("it was asked");
        assert!(!std::mem::replace(&mut asked.is_over, true), "{name} is over, and can be given up");
        if !was_said {
            self.unsaid.insert(name);
        }
        self.count("given up");
    }

    /// An application is told this, as it is told so many things before.
    pub(crate) fn tell(&mut self, before: usize, told: Told) {
        if let Some(known) = self.told.get(before) {
            assert_eq!(*known, told, "two applications are told different things");
            return;
        }
        assert_eq!(before, self.told.len(), "an application was told what nobody knows");
        match told {
            Told::Joined(client) => {
                assert!(self.joined.insert(client), "{client:?} is a client again");
                self.count("joined");
            }
            Told::Gone(client) => {
                assert!(self.joined.contains(&client), "{client:?} goes and was none");
                assert!(self.gone.insert(client), "{client:?} goes twice");
            }
            Told::Request(client, number, name) => {
                assert!(self.joined.contains(&client), "{name} is of {client:?}, who is no client");
                assert!(!self.gone.contains(&client), "{name} is of {client:?}, who is gone");
                assert!(self.asked.contains_key(&name), "{name} was not asked");
                assert!(!self.unsaid.contains(&name), "{name} was given up, and nobody was asked");
                assert!(
                    self.executed.insert(name),
                    "{name}, number {number} of {client:?}, is executed twice"
                );
                let numbers = self.numbers.entry(client).or_default();
                assert!(numbers.last() < Some(&number), "{number} of {client:?} overtakes: {numbers:?}");
                numbers.push(number);
                self.count("executed");
            }
        }
        self.told.push(told);
    }

    /// What only the dead were told is as if it had not been.
    pub(crate) fn forget(&mut self, from: usize) {
        for told in self.told.split_off(from) {
            match told {
                Told::Joined(client) => _ = self.joined.remove(&client),
                Told::Gone(client) => _ = self.gone.remove(&client),
                Told::Request(client, _, name) => {
                    self.executed.remove(&name);
                    self.numbers.get_mut(&client).and_then(Vec::pop);
                }
            }
        }
    }

    /// Who is a client by what was told so far, in order.
    pub(crate) fn clients(&self, told: usize) -> Vec<ViewMember> {
        let mut clients = Vec::new();
        for told in &self.told[..told] {
            match told {
                Told::Joined(client) => clients.push(*client),
                Told::Gone(client) => clients.retain(|known| known != client),
                Told::Request(..) => {}
            }
        }
        clients
    }

    /// Who joins says what its giver has said, and nothing to what the giver had been told and not answered: by what was told so far.
    pub(crate) fn inherit(&mut self, giver: ViewMember, joiner: ViewMember, told: usize) {
        for told in &self.told[..told] {
            let Told::Request(_, _, name) = told else { continue };
            let said = self.said.get(&(giver, *name)).cloned().unwrap_or_else(|| vec![Status::Null]);
            self.said.insert((joiner, *name), said);
        }
    }

    /// Whether a member has said this.
    fn has_said(&self, who: ViewMember, name: u64, status: &Status, client: ViewMember) -> bool {
        let said = self.said.get(&(who, name)).map_or(&[][..], Vec::as_slice);
        let is_to_nobody = |said: &Status| match said {
            Status::Forwarded(to) => self.dead.contains_key(to) || self.is_handed(who, name),
            _ => false,
        };
        // It has handed the request on to somebody who is gone, or was handed it then; or the client is gone.
        said.contains(status)
            || (*status == Status::Null && (said.iter().any(is_to_nobody) || self.gone.contains(&client)))
    }

    /// Whether somebody has handed the request on to this one.
    fn is_handed(&self, to: ViewMember, name: u64) -> bool {
        let of_it = self.said.iter().filter(|((_, of), _)| *of == name);
        of_it.into_iter().any(|(_, said)| said.contains(&Status::Forwarded(to)))
    }

    /// A client is told that its request is over.
    pub(crate) fn judge(
        &mut self,
        client: ViewMember,
        name: u64,
        outcome: Outcome,
        replies: &[(ViewMember, Status)],
        is_lost: bool,
    ) {
        let asked = self.asked.get_mut(&name).expect("it was asked");
        assert!(!std::mem::replace(&mut asked.is_over, true), "{name} is over twice");
        let want = asked.want;
        if outcome == Outcome::Unknown {
            assert!(is_lost, "{name} has no outcome, and its client is there");
            return self.count("unknown");
        }
        for (who, status) in replies {
            match status {
                Status::Waiting => {}
                Status::Dead => assert!(self.dead.contains_key(who), "{who:?} is taken for dead in {name}"),
                said => assert!(
                    self.has_said(*who, name, said, client),
                    "{who:?} has not said {said:?} to {name}"
                ),
            }
        }
        let is_aborted = replies.iter().any(|(_, status)| matches!(status, Status::Aborted(_)));
        let is_one_of = |all: &Vec<ViewMember>| {
            let is_asked = |who: &ViewMember| replies.iter().any(|(known, _)| known == who);
            let is_known = |who: &ViewMember| all.contains(who) || self.is_handed(*who, name);
            all.iter().all(is_asked) && replies.iter().all(|(who, _)| is_known(who))
        };
        let destinations = self.destinations.get(&name).map_or(&[][..], Vec::as_slice);
        // One may have ended it before it was delivered to its host.
        assert!(
            is_aborted || destinations.iter().any(is_one_of),
            "{name} was asked of others: {replies:?}, {destinations:?}"
        );
        let is_enough = outcome == Outcome::Enough;
        judge_end(name, want, replies, is_enough);
        if want == Want::None {
            self.count("no replies");
        }
        self.count(if is_enough { "enough" } else { "not enough" });
    }
}
