//! Who asks by a root: it learns which leaf a key belongs to, and asks that one itself.

use super::map::{Leaf, LeafError, LeafMap};
use super::message::Message;
use super::root::at;
use crate::{
    AskError, AskId, Caster, ClientEvent, Dest, Event, Group, Instant, JoinOptions, Node, Outcome, Status,
    ViewMember, Want,
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A request leaves by a map that is not older than this.
const FRESH_NS: u64 = 500_000_000;
/// A root that does not tell its map is asked again after this time.
const ASK_AGAIN_NS: u64 = 200_000_000;
/// Requests that are not over.
const MAX_OPEN: usize = 1024;

/// One of my requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(u64);

/// What a router tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouterEvent {
    /// The root has another map than it had: its epoch.
    Map(u64),
    /// A request is over.
    Done {
        /// Which one.
        route: RouteId,
        /// The leaf group that was asked, or would have been.
        leaf: String,
        /// How.
        outcome: Outcome,
        /// What has become of it in the leaf group.
        replies: Vec<(ViewMember, Status)>,
    },
    /// A request is over, and was asked of nobody.
    Refused(RouteId, RouteError),
    /// The root has done what it was [told](Router::add), or says why not; or its map [has come](Router::look).
    Told(RouteId, std::result::Result<(), String>),
}

/// Asks leaf groups by key, as their client; a [`Root`](super::Root) says which one that is. A key has one leaf as long as that is up.
///
/// Where a leaf goes down, what was not said to it yet is asked of the next one, and what was said ends as [`Outcome::Unknown`]: it may have been executed.
///
/// ```no_run
/// use sistrum::{Config, Dest, JoinOptions, Node, Router, RouterEvent, Want};
///
/// let mut node = Node::open(Config::loopback("asker"))?;
/// let root = node.join("desks", JoinOptions::client())?;
/// let mut router = Router::new(root, JoinOptions::client());
/// let route = router.ask(b"EURUSD", Dest::All, Want::N(1), b"what is the price?")?;
/// loop {
///     node.poll(|cx, event| Ok(drop(router.handle(cx, &event))))?;
///     while let Some(event) = router.poll(&mut node) {
///         if let RouterEvent::Done { leaf, replies, .. } = event {
///             println!("{leaf}: {replies:?}");
///         }
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Router {
    root: Group,
    /// How leaves are joined.
    options: JoinOptions,
    map: LeafMap,
    /// The root had it at this time.
    map_at: Option<Instant>,
    /// A map counts that was asked for at this time or later; and it is asked for then.
    map_after: Instant,
    ask_at: Instant,
    /// What was asked of the root.
    asked: HashMap<AskId, Asked>,
    next: u64,
    /// What waits for the map, for a leaf, or for room.
    waiting: VecDeque<(RouteId, Waiting)>,
    /// The leaves that I am a client of, and where they were found.
    leaves: BTreeMap<String, (Group, Vec<String>)>,
    open: HashMap<(Group, AskId), Open>,
    events: VecDeque<RouterEvent>,
    now: Instant,
    is_leaving: bool,
}

/// What the root was asked.
#[derive(Debug)]
enum Asked {
    /// Its map, at this time.
    Map(Instant),
    Told(RouteId),
}

/// What is to be asked.
#[derive(Debug)]
enum Waiting {
    Leaf(Request),
    Root(Message),
    /// Nothing but a map that is as late as this.
    Map(Option<Instant>),
}

#[derive(Debug, Clone)]
struct Request {
    key: Vec<u8>,
    dest: Dest,
    want: Want,
    bytes: Vec<u8>,
}

/// What was handed to the client of a leaf.
#[derive(Debug)]
struct Open {
    route: RouteId,
    leaf: String,
    request: Request,
}

impl Router {
    /// By this root, which was joined as its [client](JoinOptions::client); leaves are joined as `leaves` says, a client's options too.
    #[must_use]
    pub fn new(root: Group, leaves: JoinOptions) -> Self {
        Self {
            root,
            options: leaves,
            map: LeafMap::default(),
            map_at: None,
            map_after: Instant::default(),
            ask_at: Instant::default(),
            asked: HashMap::new(),
            next: 0,
            waiting: VecDeque::new(),
            leaves: BTreeMap::new(),
            open: HashMap::new(),
            events: VecDeque::new(),
            now: Instant::default(),
            is_leaving: false,
        }
    }

    /// The leaf groups as the root has told them last.
    #[must_use]
    pub fn map(&self) -> &LeafMap {
        &self.map
    }

    /// Requests that are not over, what the root was told among them.
    #[must_use]
    pub fn open(&self) -> usize {
        let told = self.asked.values().filter(|asked| matches!(asked, Asked::Told(_)));
        self.waiting.len() + self.open.len() + told.count()
    }

    /// Asks the leaf of `key`: it goes by one of the next [polls](Self::poll), and waits where no leaf is up.
    ///
    /// # Errors
    /// [`AskError::Full`] where too much is open, [`AskError::Left`] behind a goodbye.
    pub fn ask(
        &mut self,
        key: &[u8],
        dest: Dest,
        want: Want,
        request: &[u8],
    ) -> std::result::Result<RouteId, AskError> {
        let request = Request { key: key.to_vec(), dest, want, bytes: request.to_vec() };
        self.wait(Waiting::Leaf(request))
    }

    /// Tells the root of a leaf group, which is found at these seeds, or by its name where there are none. [`RouterEvent::Told`] says what has become of
    /// it.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn add(&mut self, leaf: &str, seeds: Vec<String>) -> std::result::Result<RouteId, TellError> {
        LeafMap::check(leaf, &seeds)?;
        Ok(self.wait(Waiting::Root(Message::Add { name: leaf.to_owned(), seeds }))?)
    }

    /// Tells the root to forget one.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn remove(&mut self, leaf: &str) -> std::result::Result<RouteId, TellError> {
        LeafMap::check(leaf, &[])?;
        Ok(self.wait(Waiting::Root(Message::Remove { name: leaf.to_owned() }))?)
    }

    /// Looks at the [map](Self::map) as it is now: [`RouterEvent::Told`] says that it has come.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn look(&mut self) -> std::result::Result<RouteId, AskError> {
        self.wait(Waiting::Map(None))
    }

    fn wait(&mut self, what: Waiting) -> std::result::Result<RouteId, AskError> {
        if self.is_leaving {
            return Err(AskError::Left);
        }
        if self.open() >= MAX_OPEN {
            return Err(AskError::Full { window: MAX_OPEN as u64 });
        }
        let route = RouteId(self.next);
        self.next += 1;
        self.waiting.push_back((route, what));
        Ok(route)
    }

    /// The request is over for me; it may be executed all the same. Returns whether it was not over.
    pub fn give_up(&mut self, node: &mut Node, route: RouteId) -> bool {
        let before = self.open();
        self.waiting.retain(|(waiting, _)| *waiting != route);
        self.open.retain(|(group, ask), open| {
            let is_it = open.route == route;
            if is_it {
                node.give_up(group, *ask);
            }
            !is_it
        });
        let root = self.root;
        self.asked.retain(|ask, asked| {
            let is_it = matches!(asked, Asked::Told(told) if *told == route);
            if is_it {
                node.give_up(&root, *ask);
            }
            !is_it
        });
        self.open() < before
    }

    /// Says goodbye to the root and to all leaves that were asked; what is open ends, and what was asked of nobody so far is
    /// [refused](RouterEvent::Refused). Poll the node until [`has_left`](Self::has_left).
    pub fn leave(&mut self, node: &mut Node) {
        self.is_leaving = true;
        self.groups().for_each(|group| node.leave(group));
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        self.events.extend(waiting.map(|(route, what)| match what {
            Waiting::Leaf(_) => RouterEvent::Refused(route, AskError::Left.into()),
            Waiting::Root(_) | Waiting::Map(_) => RouterEvent::Told(route, Err(AskError::Left.to_string())),
        }));
    }

    /// Whether that was heard, or nobody answers.
    #[must_use]
    pub fn has_left(&self, node: &Node) -> bool {
        self.groups().all(|group| node.has_left(group))
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.leaves.values().map(|(group, _)| group).chain([&self.root])
    }

    /// Takes an event of the node. Returns whether it was one of a client of the root or of a leaf, with which there is nothing else to do.
    pub fn handle(&mut self, caster: &Caster<'_>, event: &Event<'_>) -> bool {
        let group = caster.group();
        let Event::Client(event) = event else { return false };
        if group == self.root {
            if let ClientEvent::Done { ask, outcome, replies } = event {
                self.hear(*ask, *outcome, replies);
            }
            return true;
        }
        if let ClientEvent::Done { ask, outcome, replies } = event
            && let Some(Open { route, leaf, .. }) = self.open.remove(&(group, *ask))
        {
            let (outcome, replies) = (*outcome, replies.clone());
            self.events.push_back(RouterEvent::Done { route, leaf, outcome, replies });
        }
        self.leaves.values().any(|(leaf, _)| *leaf == group)
    }

    /// Takes what the root has said.
    fn hear(&mut self, ask: AskId, outcome: Outcome, replies: &[(ViewMember, Status)]) {
        let Some(asked) = self.asked.remove(&ask) else { return };
        let reply = replies.iter().find_map(|(_, status)| match status {
            Status::Replied(reply) => Some(&reply[..]),
            _ => None,
        });
        match asked {
            Asked::Map(at) => {
                let map = reply.and_then(LeafMap::decode);
                // A contact may be behind the one that was asked before.
                let Some(map) = map.filter(|map| at >= self.map_after && !map.is_behind(&self.map)) else {
                    self.ask_at = self.now.plus_ns(ASK_AGAIN_NS);
                    return;
                };
                if map != self.map {
                    self.events.push_back(RouterEvent::Map(map.epoch()));
                    self.map = map;
                }
                self.map_at = Some(at);
            }
            Asked::Told(route) => {
                let why = replies.iter().find_map(|(_, status)| match status {
                    Status::Aborted(why) => Some(why.clone()),
                    _ => None,
                });
                let told = match outcome {
                    Outcome::Enough => Ok(()),
                    Outcome::NotEnough => Err(why.unwrap_or_else(|| "the root does not say why".to_owned())),
                    Outcome::Unknown => Err("the root may have done it or not".to_owned()),
                };
                // The map is another one now.
                (self.map_at, self.map_after, self.ask_at) = (None, self.now, self.now);
                self.events.push_back(RouterEvent::Told(route, told));
            }
        }
    }

    /// Asks what waits, and returns what there is to be told: to be called behind each poll of the node, until it is `None`.
    pub fn poll(&mut self, node: &mut Node) -> Option<RouterEvent> {
        self.now = node.now();
        // Behind a goodbye each client ends what it has open by itself.
        if !self.is_leaving {
            self.refresh(node);
            self.reroute(node);
            self.ask_waiting(node);
        }
        node.wake_at(&self.root, self.next_look());
        self.events.pop_front()
    }

    /// When the map is asked for next: a node that sleeps wakes for it.
    fn next_look(&self) -> Option<Instant> {
        let is_asked = self.asked.values().any(|asked| matches!(asked, Asked::Map(_)));
        let due = self.map_at.map_or(self.ask_at, |at| at.plus_ns(FRESH_NS / 2).max(self.ask_at));
        (self.open() > 0 && !is_asked && !self.is_leaving).then_some(due)
    }

    fn is_fresh(&self) -> bool {
        self.map_at.is_some_and(|at| self.now.since_ns(at) < FRESH_NS)
    }

    /// Asks for the map, where it is needed and old.
    fn refresh(&mut self, node: &mut Node) {
        let is_asked = self.asked.values().any(|asked| matches!(asked, Asked::Map(_)));
        // Half as old as it may be, so that nothing waits for it while requests go on.
        let is_due = self.map_at.is_none_or(|at| self.now.since_ns(at) >= FRESH_NS / 2);
        let is_looked_for = self.waiting.iter().any(|(_, what)| matches!(what, Waiting::Map(_)));
        let is_wanted = self.open() > 0 && (is_due || is_looked_for) && self.now >= self.ask_at;
        if is_asked || !is_wanted {
            return;
        }
        if let Ok(ask) = node.ask(&self.root, Dest::Any, Want::N(1), &Message::Map.encode()) {
            self.asked.insert(ask, Asked::Map(self.now));
        }
    }

    /// What was asked of leaves that are down now is asked of others, or has ended nobody knows how.
    fn reroute(&mut self, node: &mut Node) {
        let map = &self.map;
        let is_up = |leaf: &str| map.get(leaf).is_some_and(|leaf| leaf.is_up);
        let lost = self.open.iter().filter(|(_, open)| !is_up(&open.leaf));
        let mut lost: Vec<_> = lost.map(|(key, open)| (open.route, *key)).collect();
        // They go before what waits, in the order of their asking.
        lost.sort_unstable_by_key(|(route, _)| std::cmp::Reverse(*route));
        for (_, (group, ask)) in lost {
            let Some(Open { route, leaf, request }) = self.open.remove(&(group, ask)) else { continue };
            if node.give_up(&group, ask) == Some(false) {
                self.waiting.push_front((route, Waiting::Leaf(request)));
            } else {
                let (outcome, replies) = (Outcome::Unknown, Vec::new());
                self.events.push_back(RouterEvent::Done { route, leaf, outcome, replies });
            }
        }
    }

    fn ask_waiting(&mut self, node: &mut Node) {
        for (route, what) in std::mem::take(&mut self.waiting) {
            let left = match what {
                Waiting::Root(message) => self.tell(node, route, message),
                Waiting::Map(Some(since)) if self.map_at.is_some_and(|at| at >= since) => {
                    self.events.push_back(RouterEvent::Told(route, Ok(())));
                    None
                }
                Waiting::Map(since) => Some(Waiting::Map(since.or(Some(self.now)))),
                Waiting::Leaf(request) => match self.client_of(node, &request.key) {
                    Ok(Some((leaf, group))) => self.ask_leaf(node, route, (leaf, group), request),
                    Ok(None) => Some(Waiting::Leaf(request)),
                    Err(why) => {
                        self.events.push_back(RouterEvent::Refused(route, why));
                        None
                    }
                },
            };
            self.waiting.extend(left.map(|what| (route, what)));
        }
    }

    /// Tells the root something; returns it where it has to wait.
    fn tell(&mut self, node: &mut Node, route: RouteId, message: Message) -> Option<Waiting> {
        match node.ask(&self.root, Dest::All, Want::N(1), &message.encode()) {
            Ok(ask) => {
                self.asked.insert(ask, Asked::Told(route));
                None
            }
            Err(AskError::Full { .. }) => Some(Waiting::Root(message)),
            Err(why) => {
                self.events.push_back(RouterEvent::Told(route, Err(why.to_string())));
                None
            }
        }
    }

    /// The leaf of a key, whose client I am from now on; none as long as it is not known.
    fn client_of(
        &mut self,
        node: &mut Node,
        key: &[u8],
    ) -> std::result::Result<Option<(String, Group)>, RouteError> {
        let found = self.map.locate(key).filter(|_| self.is_fresh());
        let Some((leaf, Leaf { seeds, .. })) = found else { return Ok(None) };
        let leaf = leaf.to_owned();
        let group = match self.leaves.get_mut(&leaf) {
            // It was removed, and added as another: its client goes on to look at the places.
            Some((_, known)) if seeds.is_empty() && !known.is_empty() => {
                let why = "it was found at seeds, and is by its name: ask by a new router".to_owned();
                return Err(RouteError::Leaf { leaf, why });
            }
            Some((group, known)) => {
                if known != seeds {
                    node.find_at(group, seeds);
                    known.clone_from(seeds);
                }
                *group
            }
            None => {
                let joined = node.join(&leaf, at(&self.options, seeds));
                let group =
                    joined.map_err(|why| RouteError::Leaf { leaf: leaf.clone(), why: why.to_string() })?;
                self.leaves.insert(leaf.clone(), (group, seeds.clone()));
                group
            }
        };
        Ok(Some((leaf, group)))
    }

    /// Asks the leaf of a request; returns it where it has to wait.
    fn ask_leaf(
        &mut self,
        node: &mut Node,
        route: RouteId,
        (leaf, group): (String, Group),
        request: Request,
    ) -> Option<Waiting> {
        match node.ask(&group, request.dest, request.want, &request.bytes) {
            Ok(ask) => _ = self.open.insert((group, ask), Open { route, leaf, request }),
            Err(AskError::Full { .. }) => return Some(Waiting::Leaf(request)),
            Err(why) => self.events.push_back(RouterEvent::Refused(route, why.into())),
        }
        None
    }
}

/// Why a request was asked of nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// It cannot be asked at all.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Its leaf cannot be joined.
    #[error("leaf group {leaf}: {why}")]
    Leaf {
        /// Which one that is.
        leaf: String,
        /// Why.
        why: String,
    },
}

/// Why the root is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TellError {
    /// It cannot be a leaf group.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// Too much is open, or I have said goodbye.
    #[error(transparent)]
    Ask(#[from] AskError),
}
