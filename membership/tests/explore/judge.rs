//! What is judged as it happens: decisions and views, by everything that was said.

use crate::laws::{Law, grows, has_cause, is_quorum};
use crate::model::{Decision, Group, Letter, State};
use crate::process::index_of;
use crate::table::Id;
use sistrum_membership::agreement::{Ballot, Message, Roster, Value};
use sistrum_ordering::{Rank, ViewNumber};
use std::sync::Arc;

impl Group {
    /// The view of this number, as what was decided says.
    pub(crate) fn roster(&self, state: &State, number: ViewNumber) -> Option<Roster> {
        let values = state.values.get(..number.0.checked_sub(1)? as usize)?;
        Some(values.iter().fold(self.first.clone(), |roster, value| roster.after(&self.values.get(*value))))
    }

    /// A process has decided this for the view `next`, and held everything up to its cut.
    pub(crate) fn judge_decision(&self, state: &mut State, at: usize, (next, id, holds): Decision) {
        let value = self.values.get(id);
        self.note_value(state, next, id);
        let Some(before) = self.roster(state, ViewNumber(next.0 - 1)) else { return };
        let is_acked = |ballot: Ballot| {
            let has_acked = |rank: Rank| {
                let process = index_of(before.members[rank.0 as usize].member.endpoint);
                if process == at {
                    holds
                } else {
                    self.has_said(state, process, &Message::Ack { next, ballot })
                }
            };
            is_quorum(&before.ranks().map(has_acked).collect::<Vec<_>>())
        };
        if !self.ballots(state, at, next, &value).into_iter().any(is_acked) {
            state.broken.insert(Law::Quorum);
        }
        let was_in = |roster: Roster| value.joined.iter().any(|new| roster.members.contains(new));
        if (1..next.0).filter_map(|number| self.roster(state, ViewNumber(number))).any(was_in) {
            state.broken.insert(Law::Again);
        }
        if !has_cause(&value, state.spent) {
            state.broken.insert(Law::Cause);
        }
    }

    /// The ballots in which a process has proposed this.
    pub(crate) fn ballots(&self, state: &State, at: usize, view: ViewNumber, value: &Value) -> Vec<Ballot> {
        let of = |letter: Arc<Letter>| match &letter.message {
            Message::Propose { next, proposal } if *next == view && proposal.value == *value => {
                Some(proposal.ballot)
            }
            _ => None,
        };
        self.letters_of(state).filter(|letter| letter.from == at).filter_map(of).collect()
    }

    fn has_said(&self, state: &State, at: usize, message: &Message) -> bool {
        self.letters_of(state).any(|letter| letter.from == at && letter.message == *message)
    }

    fn note_value(&self, state: &mut State, number: ViewNumber, id: Id) {
        let at = number.0 as usize - 2;
        match state.values.get(at) {
            Some(known) if *known == id => {}
            None if at == state.values.len() => state.values.push(id),
            _ => _ = state.broken.insert(Law::OneValue),
        }
    }

    pub(crate) fn judge_view(&self, state: &mut State, roster: &Roster, value: Option<Id>) {
        if let Some(value) = value {
            self.note_value(state, roster.number, value);
        }
        let before = self.roster(state, ViewNumber(roster.number.0 - 1));
        let value = state.values.get(roster.number.0 as usize - 2);
        let (Some(before), Some(value)) = (before, value) else {
            state.broken.insert(Law::OneValue);
            return;
        };
        if !grows(&before, &self.values.get(*value), roster) {
            state.broken.insert(Law::Ages);
        }
    }
}
