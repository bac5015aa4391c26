//! A root, its leaf groups and who asks by it, over real sockets: members of both die, and each key is served by one leaf.

use crate::cluster::{PATIENCE, config};
use sistrum::{
    AskError, Dest, Event, Group, JoinOptions, LeafMap, Node, Outcome, Rank, Root, RouteError, RouteId,
    Router, RouterEvent, Service, ServiceEvent, StateTuning, Status, Want,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A member of the root.
struct Rooted {
    node: Node,
    group: Group,
    root: Root,
}

/// A member of a leaf, and how often it has executed which request.
struct Leafed {
    node: Node,
    service: Service,
    name: String,
    executed: BTreeMap<Vec<u8>, usize>,
}

/// Everybody, polled in turn.
struct World {
    cluster: String,
    roots: Vec<Rooted>,
    leaves: Vec<Leafed>,
    node: Node,
    router: Router,
    /// What the router has told of each request.
    done: BTreeMap<RouteId, (String, Outcome, Vec<Vec<u8>>)>,
    /// In the order in which they were over.
    order: Vec<RouteId>,
    told: BTreeMap<RouteId, Result<(), String>>,
    refused: BTreeMap<RouteId, RouteError>,
    asked: u32,
}

fn member(cluster: &str, expected: usize) -> JoinOptions {
    JoinOptions::peer()
        .cluster(cluster)
        .expected_members(expected)
        .max_members(8)
        .suspect_after(Duration::from_millis(400))
        .keep_state(StateTuning::default())
}

impl World {
    fn new(test: &str) -> Self {
        let cluster = format!("{test}-{}", std::process::id());
        let mut node = open();
        let root = node.join("root", JoinOptions::client().cluster(&cluster)).expect("a client");
        let router = Router::new(root, JoinOptions::client().cluster(&cluster));
        let (roots, leaves, done, order, told, refused, asked) = Default::default();
        Self { cluster, roots, leaves, node, router, done, order, told, refused, asked }
    }

    fn add_root(&mut self, expected: usize) {
        let mut node = open();
        let group = node.join("root", member(&self.cluster, expected)).expect("a root");
        let root = Root::new(&node, group, JoinOptions::observer().cluster(&self.cluster));
        self.roots.push(Rooted { node, group, root });
    }

    fn add_leaf(&mut self, name: &str, expected: usize) {
        let mut node = open();
        let group = node.join(name, member(&self.cluster, expected)).expect("a leaf");
        let service = Service::new(&node, group);
        self.leaves.push(Leafed { node, service, name: name.to_owned(), executed: BTreeMap::new() });
    }

    fn turn(&mut self) {
        for Rooted { node, root, .. } in &mut self.roots {
            node.poll(|cx, mut event| root.handle(cx, &mut event).map(drop))
                .expect("loopback does not break");
            while root.poll(node).expect("it can say what it sees").is_some() {}
        }
        for Leafed { node, service, name, executed } in &mut self.leaves {
            node.poll(|cx, mut event| service.handle(cx, &mut event).map(drop))
                .expect("loopback does not break");
            while let Some(event) = service.poll(node).expect("it can answer") {
                if let ServiceEvent::Request(request) = event {
                    *executed.entry(request.bytes().to_vec()).or_default() += 1;
                    service.reply(request, name.as_bytes());
                }
            }
        }
        let Self { node, router, .. } = self;
        node.poll(|cx, event| {
            router.handle(cx, &event);
            Ok(())
        })
        .expect("loopback does not break");
        while let Some(event) = router.poll(node) {
            match event {
                RouterEvent::Done { route, leaf, outcome, replies } => {
                    let replies = replies.into_iter().filter_map(|(_, status)| match status {
                        Status::Replied(reply) => Some(reply),
                        _ => None,
                    });
                    let before = self.done.insert(route, (leaf, outcome, replies.collect()));
                    assert!(before.is_none(), "{route:?} is over twice");
                    self.order.push(route);
                }
                RouterEvent::Told(route, what) => _ = self.told.insert(route, what),
                RouterEvent::Refused(route, why) => _ = self.refused.insert(route, why),
                _ => {}
            }
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
            self.turn();
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn until_up(&mut self, up: &[&str]) {
        let is_so = |map: &LeafMap| {
            map.leaves().filter(|(_, leaf)| leaf.is_up).map(|(name, _)| name).collect::<Vec<_>>() == up
        };
        self.until(&format!("map in which {up:?} are up"), |world| {
            world.roots.iter().all(|rooted| is_so(rooted.root.map()))
        });
        // The router's map may be so old.
        let since = Instant::now();
        self.until("time to pass", |_| since.elapsed() > Duration::from_millis(600));
    }

    /// Asks for new keys; each must be served by the leaf that the map of the root says, by all of it.
    #[track_caller]
    fn ask(&mut self, count: u32) -> BTreeSet<String> {
        let asked: Vec<_> = (self.asked..self.asked + count).collect();
        self.asked += count;
        let routes: Vec<_> = asked
            .iter()
            .map(|key| {
                let bytes = key.to_le_bytes();
                (bytes, self.router.ask(&bytes, Dest::All, Want::All, &bytes).expect("there is room"))
            })
            .collect();
        self.until("answers", |world| routes.iter().all(|(_, route)| world.done.contains_key(route)));
        let map = self.roots[0].root.map();
        let mut by = BTreeSet::new();
        for (key, route) in &routes {
            let (leaf, outcome, replies) = &self.done[route];
            assert_eq!(map.locate(key).expect("one is up").0, leaf);
            let members = self.leaves.iter().filter(|member| member.name == *leaf).count();
            assert_eq!((*outcome, replies), (Outcome::Enough, &vec![leaf.clone().into_bytes(); members]));
            for member in &self.leaves {
                let times = member.executed.get(&key[..]).copied().unwrap_or(0);
                assert_eq!(times, usize::from(member.name == *leaf), "{key:?} at {}", member.name);
            }
            by.insert(leaf.clone());
        }
        by
    }

    /// Tells the root of leaves that are found by their names.
    #[track_caller]
    fn add(&mut self, leaves: &[&str]) {
        for leaf in leaves {
            assert_eq!(self.tell(|router| router.add(leaf, Vec::new()).expect("a name")), Ok(()));
        }
    }

    /// The router says goodbye.
    fn leave(&mut self) {
        let Self { router, node, .. } = self;
        router.leave(node);
    }

    #[track_caller]
    fn tell(&mut self, tell: impl FnOnce(&mut Router) -> RouteId) -> Result<(), String> {
        let route = tell(&mut self.router);
        self.until("answer of the root", |world| world.told.contains_key(&route));
        self.told.remove(&route).expect("it has come")
    }
}

fn open() -> Node {
    Node::open(config()).expect("a node")
}

#[test]
fn a_key_is_served_by_its_leaf_whoever_dies() {
    let mut world = World::new("hierarchy");
    (0..3).for_each(|_| world.add_root(3));
    for name in ["leaf-a", "leaf-a", "leaf-b", "leaf-b"] {
        world.add_leaf(name, 2);
    }
    world.add(&["leaf-a", "leaf-b"]);
    world.until_up(&["leaf-a", "leaf-b"]);
    assert_eq!(world.ask(40).len(), 2, "both have their share");

    // The eldest of the root, who says what is up, dies.
    world.roots.retain(|rooted| rooted.node.view(&rooted.group).is_none_or(|view| view.me() != Rank(0)));
    assert_eq!((world.roots.len(), world.ask(40).len()), (2, 2));

    // A whole leaf dies: its keys are another's, as the next eldest says, until it is back.
    world.leaves.retain(|member| member.name != "leaf-a");
    world.until_up(&["leaf-b"]);
    assert_eq!(world.ask(20), BTreeSet::from(["leaf-b".to_owned()]));
    (0..2).for_each(|_| world.add_leaf("leaf-a", 2));
    world.until_up(&["leaf-a", "leaf-b"]);
    assert_eq!(world.ask(40).len(), 2);

    // Who joins the root late has its map.
    world.add_root(3);
    world.until("map at who came late", |world| world.roots[2].root.map() == world.roots[0].root.map());
    assert_eq!(
        world.tell(|router| router.remove("leaf-c").expect("a name")),
        Err("there is no leaf group leaf-c".to_owned())
    );
    assert_eq!(world.tell(|router| router.remove("leaf-b").expect("a name")), Ok(()));
    world.until_up(&["leaf-a"]);
    assert_eq!(world.ask(10), BTreeSet::from(["leaf-a".to_owned()]));
}

#[test]
fn nothing_is_left_of_a_leaf_that_was_removed() {
    let mut world = World::new("removed");
    world.add_root(1);
    for at in 0..8 {
        let name = format!("leaf-{at}");
        world.add(&[&name]);
        assert_eq!(world.tell(|router| router.remove(&name).expect("a name")), Ok(()));
    }
    let Rooted { node, .. } = &mut world.roots[0];
    for at in 0..8 {
        // Who looked still could not look again.
        let options = JoinOptions::observer().cluster(&world.cluster);
        let group = node.join(&format!("leaf-{at}"), options).expect("nobody looks");
        node.leave(&group);
    }
    // One that is back is looked at anew, wherever it is.
    world.add_leaf("leaf-3", 1);
    let place = world.leaves[0].node.endpoint().to_string();
    world.tell(|router| router.add("leaf-3", vec![place]).expect("a place")).expect("it is there");
    world.until_up(&["leaf-3"]);
    assert_eq!(world.tell(|router| router.remove("leaf-3").expect("a name")), Ok(()));
    world.add(&["leaf-3"]);
    world.until_up(&["leaf-3"]);
}

#[test]
fn what_was_not_said_to_a_leaf_that_goes_down_is_asked_of_the_next() {
    let mut world = World::new("reroute");
    (0..2).for_each(|_| world.add_root(2));
    world.add_leaf("leaf-a", 1);
    world.add(&["leaf-a", "leaf-b"]);
    world.until_up(&["leaf-a"]);
    assert_eq!(world.ask(1).len(), 1);
    // It is dead, and nobody knows: what is asked now was said to it, perhaps, or waits for it.
    world.leaves.clear();
    // As many as may be open are said to it, and no more.
    let routes: Vec<_> = (0..100u8)
        .map(|key| world.router.ask(&[key], Dest::All, Want::N(1), &[key]).expect("there is room"))
        .collect();
    world.until_up(&[]);
    world.add_leaf("leaf-b", 1);
    world.until("end of all", |world| routes.iter().all(|route| world.done.contains_key(route)));
    let ended = |leaf: &str, outcome: Outcome| {
        let is_so = |route: &&RouteId| world.done[*route].0 == leaf && world.done[*route].1 == outcome;
        routes.iter().filter(is_so).count()
    };
    let (said, unsaid) = (ended("leaf-a", Outcome::Unknown), ended("leaf-b", Outcome::Enough));
    assert_eq!((said, unsaid), (64, 36), "what may have been executed is not asked again");
    assert_eq!(world.router.open(), 0);
}

#[test]
fn what_waits_for_a_leaf_that_was_never_reached_goes_to_the_next_in_its_order() {
    let mut world = World::new("order");
    world.add_root(1);
    ["leaf-a", "leaf-b"].iter().for_each(|name| world.add_leaf(name, 1));
    world.add(&["leaf-a", "leaf-b"]);
    world.until_up(&["leaf-a", "leaf-b"]);
    let map = world.roots[0].root.map().clone();
    let is_of_a = |key: &u8| map.locate(&[*key]).is_some_and(|(leaf, _)| leaf == "leaf-a");
    let key = (0..100).find(is_of_a).expect("it has its share");
    // The router was never its client: nothing is said to it.
    world.leaves.retain(|leaf| leaf.name != "leaf-a");
    let ask = |at: u8| world.router.ask(&[key], Dest::All, Want::N(1), &[at]).expect("there is room");
    let routes: Vec<_> = (0..40).map(ask).collect();
    world.until("end of all", |world| world.order.len() == routes.len());
    assert_eq!(world.order, routes);
    assert!(world.done.values().all(|(leaf, outcome, _)| leaf == "leaf-b" && *outcome == Outcome::Enough));
}

#[test]
fn a_leaf_that_is_back_before_it_is_missed_is_up() {
    let mut world = World::new("quick");
    world.add_root(1);
    world.add_leaf("leaf-a", 1);
    world.add(&["leaf-a"]);
    world.until_up(&["leaf-a"]);
    world.leaves.clear();
    world.add_leaf("leaf-a", 1);
    // Its former life goes out of sight while the next one is in sight.
    let since = Instant::now();
    world.until("time to pass", |_| since.elapsed() > Duration::from_secs(3));
    world.until_up(&["leaf-a"]);
    assert_eq!(world.ask(1).len(), 1);
}

#[test]
fn what_cannot_be_a_leaf_ends_its_own_requests_only() {
    let mut world = World::new("odd");
    world.add_root(1);
    world.add_leaf("leaf-a", 1);
    // The root itself is no leaf: the router is its client already.
    world.add(&["leaf-a", "root"]);
    let odd = world.router.add("leaf-b", vec!["nowhere".to_owned()]).expect_err("no port");
    assert_eq!(odd.to_string(), "nowhere has no port: write host:port, with a port between 1 and 65535");
    let moved = world.tell(|router| router.add("leaf-a", vec!["127.0.0.1:9".to_owned()]).expect("a place"));
    assert!(moved.is_err_and(|why| why.contains("cannot be moved to seeds")));
    world.until_up(&["leaf-a"]);
    assert_eq!(world.ask(8), BTreeSet::from(["leaf-a".to_owned()]), "nobody looks at the other");
    let look = world.router.look().expect("there is room");
    world.until("map", |world| world.told.contains_key(&look));
    assert_eq!((world.router.map().leaves().count(), world.router.open()), (2, 0));
    assert!(world.refused.is_empty());
}

/// It becomes nobody's client by what waited: nobody would say goodbye there.
#[test]
fn who_leaves_refuses_what_waits_and_joins_no_leaf_for_it() {
    let mut world = World::new("leave");
    world.add_root(1);
    ["leaf-a", "leaf-b"].iter().for_each(|name| world.add_leaf(name, 1));
    world.add(&["leaf-a", "leaf-b"]);
    world.until_up(&["leaf-a", "leaf-b"]);
    let map = world.roots[0].root.map().clone();
    let key_of =
        |name: &str| (0..100).find(|key: &u8| map.locate(&[*key]).is_some_and(|(leaf, _)| leaf == name));
    let [a, b] = ["leaf-a", "leaf-b"].map(|name| key_of(name).expect("it has its share"));
    let [first, second] = [a, b].map(|key| {
        let route = world.router.ask(&[key], Dest::All, Want::All, &[key]).expect("there is room");
        (key == a).then(|| world.until("answer", |world| world.done.contains_key(&route)));
        route
    });
    world.leave();
    world.until("goodbye", |world| world.router.has_left(&world.node));
    assert_eq!(world.refused, BTreeMap::from([(second, RouteError::Ask(AskError::Left))]));
    assert!(world.done.keys().eq([&first]) && world.leaves[1].executed.is_empty());
}

#[test]
fn who_leaves_waits_for_no_leaf_that_is_down_nor_for_the_root() {
    let mut world = World::new("leave-down");
    world.add_root(1);
    world.add(&["leaf-a"]);
    // What is asked of it waits, with a map that is fresh.
    let waits = world.router.ask(b"key", Dest::All, Want::All, b"one").expect("there is room");
    let look = world.router.look().expect("there is room");
    world.until("map", |world| world.told.contains_key(&look));
    let told = [world.router.add("leaf-b", Vec::new()).expect("a name"), world.router.look().expect("room")];
    world.leave();
    assert_eq!(world.router.open(), 0);
    world.until("goodbye", |world| world.router.has_left(&world.node));
    world.turn();
    assert_eq!(world.refused, BTreeMap::from([(waits, RouteError::Ask(AskError::Left))]));
    let why = AskError::Left.to_string();
    told.iter().for_each(|route| assert_eq!(world.told[route], Err(why.clone())));
    assert_eq!(world.router.ask(b"key", Dest::All, Want::All, b"two"), Err(AskError::Left));
    assert_eq!(world.router.look(), Err(AskError::Left));
}

/// It has seen something, and others will say so.
#[test]
fn who_leaves_the_root_with_something_to_say_just_goes() {
    let mut world = World::new("leave-root");
    world.add_root(1);
    world.add_leaf("leaf-a", 1);
    world.add(&["leaf-a"]);
    world.until_up(&["leaf-a"]);
    world.leaves.clear();
    let Rooted { node, group, root } = &mut world.roots[0];
    let (mut is_unseen, started) = (false, Instant::now());
    while !is_unseen {
        let polled = node.poll(|cx, mut event| {
            is_unseen |= matches!(event, Event::Unseen(_));
            root.handle(cx, &mut event).map(drop)
        });
        polled.expect("loopback does not break");
        assert!(started.elapsed() < PATIENCE, "it is in sight");
    }
    node.leave(group);
    while !node.has_left(group) {
        while root.poll(node).expect("nothing breaks").is_some() {}
        node.poll(|cx, mut event| root.handle(cx, &mut event).map(drop)).expect("loopback does not break");
        assert!(started.elapsed() < PATIENCE, "it has not left");
    }
}
