//! A member of the root: what it is asked, and what it sees of the leaves.

use super::map::LeafMap;
use super::message::Message;
use crate::{
    CallEvent, Caster, ClientRequest, Domain, Error, Event, Group, GroupInstance, Instant, JoinOptions, Node,
    Order, Rank, Refused, Result, Service, ServiceEvent, Sighting, View, ViewMember,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A leaf that was said to be up, and that I do not see at all, is down after this time.
const LOOK_FOR: Duration = Duration::from_secs(2);
/// Where one cannot be looked at, it is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What a member of a root is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootEvent {
    /// A leaf group came, or was seen again.
    Up(String),
    /// A leaf group is out of sight, or cannot go on: its keys belong to others.
    Down(String),
    /// A leaf group was added, or is found elsewhere.
    Added(String),
    /// A leaf group was removed.
    Removed(String),
    /// A leaf group cannot be looked at from here, for this reason: it stays as it is until it can, which is tried again.
    Unwatched(String, String),
    /// The root has taken this client in.
    Joined(ViewMember),
    /// It is a client no more.
    Gone(ViewMember),
}

/// A member of the root of a hierarchy: see [`Router`](super::Router) for who asks. All messages of the group are its own.
///
/// A node that is in the root is in none of its leaves: it looks at them from outside, as an observer.
///
/// ```no_run
/// use sistrum::{Config, JoinOptions, Node, Root, StateTuning};
///
/// let mut node = Node::open(Config::loopback("root-1"))?;
/// let group = node.join("desks", JoinOptions::peer().keep_state(StateTuning::default()))?;
/// let mut root = Root::new(&node, group, JoinOptions::observer());
/// loop {
///     node.poll(|cx, mut event| root.handle(cx, &mut event).map(drop))?;
///     while let Some(event) = root.poll(&mut node)? {
///         println!("{event:?}");
///     }
/// }
/// # Ok::<(), sistrum::Error>(())
/// ```
#[derive(Debug)]
pub struct Root {
    group: Group,
    service: Service,
    map: LeafMap,
    domain: Domain,
    /// How leaves are looked at.
    options: JoinOptions,
    watched: BTreeMap<String, Watched>,
    /// What I have cast of them, and what has not come back.
    said: BTreeSet<String>,
    /// I am the eldest of those who have the state.
    is_eldest: bool,
    events: VecDeque<RootEvent>,
}

/// A leaf that I look at.
#[derive(Debug)]
struct Watched {
    /// None where that cannot be.
    group: Option<Group>,
    seeds: Vec<String>,
    since: Instant,
    /// Of each of its lives that is in sight, whether it can go on.
    lives: BTreeMap<GroupInstance, bool>,
    /// Something was in sight.
    is_seen: bool,
}

impl Watched {
    /// Whether it is up, where that is known.
    fn is_up(&self, now: Instant) -> Option<bool> {
        let is_lost = Duration::from_nanos(now.since_ns(self.since)) >= LOOK_FOR;
        (self.is_seen || is_lost).then(|| self.lives.values().any(|goes_on| *goes_on))
    }
}

impl Root {
    /// In a group that was joined just now, with a [state](JoinOptions::keep_state): it has to be handed all events from the first one on.
    /// Leaves are looked at as `leaves` says, [an observer's](JoinOptions::observer) options: in the same cluster, say.
    #[must_use]
    pub fn new(node: &Node, group: Group, leaves: JoinOptions) -> Self {
        Self {
            group,
            service: Service::new(node, group),
            map: LeafMap::default(),
            domain: Domain::new("sistrum.leaves"),
            options: leaves,
            watched: BTreeMap::new(),
            said: BTreeSet::new(),
            is_eldest: false,
            events: VecDeque::new(),
        }
    }

    /// Which leaf groups there are: the same at all members at the same place among all total casts.
    #[must_use]
    pub fn map(&self) -> &LeafMap {
        &self.map
    }

    /// Who asks the root.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Takes an event of the node. Returns whether there is nothing else to do with it.
    ///
    /// # Errors
    /// As [`Domain::handle`].
    pub fn handle(&mut self, caster: &Caster<'_>, event: &mut Event<'_>) -> Result<bool> {
        if caster.group() != self.group {
            return Ok(self.look(caster.group(), event));
        }
        let is_of_map = self.domain.handle(event, &mut self.map)?;
        let is_over = self.service.handle(caster, event)? || is_of_map;
        match event {
            Event::View(view) => {
                self.is_eldest = eldest_of(view) == Some(view.me());
                // What another one has said is said again, where it did not come.
                self.said.clear();
            }
            Event::Excluded(_) => {
                (self.map, self.is_eldest) = (LeafMap::default(), false);
                self.said.clear();
            }
            _ => {}
        }
        // The map is brought up to date before it is written down for somebody.
        while let Some(event) = self.service.next_event() {
            self.take(event);
        }
        Ok(is_over)
    }

    /// Takes what is seen of a leaf.
    fn look(&mut self, group: Group, event: &Event<'_>) -> bool {
        let Some(watched) = self.watched.values_mut().find(|watched| watched.group == Some(group)) else {
            return false;
        };
        match event {
            Event::Seen(Sighting { view, members, is_wedged }) => {
                watched.lives.insert(view.instance, !members.is_empty() && !is_wedged);
                watched.is_seen = true;
            }
            Event::Unseen(view) => _ = watched.lives.remove(&view.instance),
            _ => {}
        }
        true
    }

    /// Sends what waits, looks at leaves that came, and returns what there is to be told: to be called behind each poll of the node, until it is
    /// `None`.
    ///
    /// # Errors
    /// As [`Service::poll`].
    pub fn poll(&mut self, node: &mut Node) -> std::result::Result<Option<RootEvent>, Refused> {
        while let Some(event) = self.service.poll(node)? {
            self.take(event);
        }
        self.watch(node);
        if self.is_eldest {
            self.say(node)?;
        }
        Ok(self.events.pop_front())
    }

    fn take(&mut self, event: ServiceEvent) {
        match event {
            ServiceEvent::Request(request) => self.answer(request),
            ServiceEvent::Call(CallEvent::Plain { bytes, .. }) => {
                if let Some(Message::Sight { name, is_up }) = Message::decode(&bytes) {
                    self.said.remove(&name);
                    if self.map.set_up(&name, is_up) {
                        self.events.push_back(if is_up {
                            RootEvent::Up(name)
                        } else {
                            RootEvent::Down(name)
                        });
                    }
                }
            }
            ServiceEvent::Call(_) => {}
            ServiceEvent::Joined(client) => self.events.push_back(RootEvent::Joined(client)),
            ServiceEvent::Gone(client) => self.events.push_back(RootEvent::Gone(client)),
        }
    }

    fn answer(&mut self, request: ClientRequest) {
        match Message::decode(request.bytes()) {
            Some(Message::Map) => self.service.reply(request, &self.map.encode()),
            Some(Message::Add { name, seeds }) => match self.map.add(request.client().boot.0, &name, seeds) {
                Ok(()) => {
                    self.service.reply(request, &[]);
                    self.events.push_back(RootEvent::Added(name));
                }
                Err(why) => self.service.abort_reply(request, &why.to_string()),
            },
            Some(Message::Remove { name }) if self.map.remove(&name) => {
                self.service.reply(request, &[]);
                self.events.push_back(RootEvent::Removed(name));
            }
            Some(Message::Remove { name }) => {
                self.service.abort_reply(request, &format!("there is no leaf group {name}"));
            }
            Some(Message::Sight { .. }) | None => {
                self.service.abort_reply(request, "no root is asked that");
            }
        }
    }

    /// Looks at all leaves that there are, and no more at one that was removed.
    fn watch(&mut self, node: &mut Node) {
        let now = node.now();
        self.watched.retain(|name, watched| {
            let is_there = self.map.get(name).is_some();
            if !is_there && let Some(group) = &watched.group {
                node.leave(group);
            }
            is_there
        });
        for (name, leaf) in self.map.leaves() {
            let known = self.watched.get_mut(name);
            if let Some(known) = known {
                let is_due = Duration::from_nanos(now.since_ns(known.since)) >= TRY_AGAIN;
                match &known.group {
                    Some(_) if known.seeds == leaf.seeds => continue,
                    // It was removed and added between two looks, and is found in another way now.
                    Some(group) if known.seeds.is_empty() != leaf.seeds.is_empty() => node.leave(group),
                    Some(group) => {
                        node.find_at(group, &leaf.seeds);
                        (known.seeds, known.since) = (leaf.seeds.clone(), now);
                        continue;
                    }
                    None if known.seeds == leaf.seeds && !is_due => continue,
                    None => {}
                }
            }
            let joined = node.join(name, at(&self.options, &leaf.seeds));
            let group = joined.map_err(|why: Error| {
                self.events.push_back(RootEvent::Unwatched(name.to_owned(), why.to_string()));
            });
            let (seeds, lives) = (leaf.seeds.clone(), BTreeMap::new());
            let watched = Watched { group: group.ok(), seeds, since: now, lives, is_seen: false };
            self.watched.insert(name.to_owned(), watched);
        }
    }

    /// Casts what I see otherwise than the map has it; behind a goodbye, others do.
    fn say(&mut self, node: &mut Node) -> std::result::Result<(), Refused> {
        for (name, leaf) in self.map.leaves() {
            let Some(watched) = self.watched.get(name).filter(|watched| watched.group.is_some()) else {
                continue;
            };
            let seen = watched.is_up(node.now());
            let Some(is_up) = seen.filter(|is_up| *is_up != leaf.is_up) else { continue };
            if self.said.contains(name) {
                continue;
            }
            let message = Message::Sight { name: name.to_owned(), is_up }.encode();
            match self.service.calls().cast(node, Order::Total, &message) {
                Ok(()) => _ = self.said.insert(name.to_owned()),
                Err(refused) if refused.is_for_now() => break,
                Err(refused) => return Err(refused),
            }
        }
        Ok(())
    }
}

/// The first of those who have the state.
fn eldest_of(view: &View) -> Option<Rank> {
    (0..view.members().len() as u16).map(Rank).find(|rank| view.has_state(*rank))
}

/// How a leaf is joined, that is found there.
pub(super) fn at(options: &JoinOptions, seeds: &[String]) -> JoinOptions {
    if seeds.is_empty() { options.clone() } else { options.clone().seeds(seeds.iter().cloned()) }
}
