//! What is seen of a group from outside: its lives, of which there is one where nothing is wrong.

use std::collections::BTreeMap;

use sistrum::{Event, GroupId, GroupInstance, Sighting, ViewMember};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sight {
    lives: BTreeMap<(GroupId, GroupInstance), Sighting>,
}

impl Sight {
    /// Takes what an observer is told; whether it was of a group at all.
    pub(super) fn note(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Seen(sighting) => {
                let life = (sighting.view.group, sighting.view.instance);
                self.lives.insert(life, (*sighting).clone());
            }
            Event::Unseen(view) => _ = self.lives.remove(&(view.group, view.instance)),
            _ => return false,
        }
        true
    }

    /// Whether anybody of this group answers.
    pub(super) fn has(&self, group: GroupId) -> bool {
        self.lives.keys().any(|(id, _)| *id == group)
    }

    /// All who are in a life of any group that was looked at.
    pub(super) fn members(&self) -> Vec<ViewMember> {
        self.lives.values().flat_map(|life| &life.members).copied().collect()
    }

    /// Who is in the largest life that can go on.
    pub(super) fn able(&self) -> &[ViewMember] {
        let able = self.lives.values().filter(|life| !life.is_wedged);
        able.map(|life| life.members.as_slice()).max_by_key(|members| members.len()).unwrap_or_default()
    }
}
