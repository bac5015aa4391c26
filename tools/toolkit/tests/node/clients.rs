//! Clients over real sockets: whoever dies, what they ask is executed once by all, and answered once.

use crate::cluster::{PATIENCE, config};
use sistrum::{
    AskError, AskId, BootId, CallEvent, ClientEvent, ClientTuning, Config, Dest, Domain, Endpoint, Error,
    Event, Group, GroupInstance, Idle, JoinOptions, Node, Order, Outcome, Rank, Refused, Service,
    ServiceEvent, State, StateTuning, Status, ViewId, ViewMember, ViewNumber, Want,
};
use sistrum_membership::ClientEnd;
use sistrum_membership::agreement::{Letter, Message};
use sistrum_transport::wire::{CHUNK_OVERHEAD, Chunk, ControlWriter, HEADER_LEN, Header, Kind, checksum};
use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// What members have executed, in its order: the state of the group.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Book(Vec<Vec<u8>>);

impl State for Book {
    fn write(&self, out: &mut Vec<u8>) {
        for line in &self.0 {
            out.extend_from_slice(&(line.len() as u32).to_le_bytes());
            out.extend_from_slice(line);
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.clear();
        while let Some((len, rest)) = bytes.split_first_chunk() {
            let (line, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
            self.0.push(line.to_vec());
            bytes = rest;
        }
        Ok(())
    }
}

/// A member: what it is asked it writes into its book, and says which line that is.
struct Clerk {
    node: Node,
    group: Group,
    service: Service,
    book: Book,
    domain: Domain,
    /// Who is a client, as it was told.
    told: Vec<ViewMember>,
    done: usize,
}

fn tuning() -> ClientTuning {
    let (silence_ns, grace_ns, bytes) = (2_000_000_000, 2_000_000_000, 35_000);
    ClientTuning { silence_ns, grace_ns, bytes, patience_ns: 500_000_000, ..ClientTuning::default() }
}

fn options(expected: usize) -> JoinOptions {
    JoinOptions::peer().expected_members(expected).max_members(5).suspect_after(Duration::from_millis(300))
}

impl Clerk {
    fn join(name: &str, expected: usize) -> Self {
        Self::join_by(name, options(expected).keep_state(StateTuning::default()))
    }

    fn join_by(name: &str, options: JoinOptions) -> Self {
        let mut node = Node::open(config()).expect("a node");
        let group = node.join(name, options).expect("a group");
        let service = Service::with(&node, group, tuning()).expect("sizes that fit");
        let (book, domain) = (Book::default(), Domain::new("book"));
        Self { node, group, service, book, domain, told: Vec::new(), done: 0 }
    }

    fn poll(&mut self) {
        let Self { node, service, book, domain, .. } = self;
        let polled = node.poll(|cx, mut event| {
            if domain.handle(&mut event, book)? {
                return Ok(());
            }
            service.handle(cx, &mut event).map(drop)
        });
        polled.expect("a poll");
        while let Some(event) = self.service.poll(&mut self.node).expect("it is a member") {
            match event {
                ServiceEvent::Request(request) => self.answer(request),
                ServiceEvent::Joined(client) => {
                    assert!(!self.told.contains(&client), "it was in");
                    self.told.push(client);
                }
                ServiceEvent::Gone(client) => self.told.retain(|known| *known != client),
                ServiceEvent::Call(CallEvent::Request(request)) => {
                    self.book.0.push(request.bytes().to_vec());
                    self.service.calls().reply(request, b"yes");
                }
                ServiceEvent::Call(CallEvent::Done { is_enough, .. }) => self.done += usize::from(is_enough),
                other => panic!("{other:?}"),
            }
        }
    }

    fn answer(&mut self, request: sistrum::ClientRequest) {
        if request.dest() == Dest::Any {
            let lines = self.book.0.len().to_string();
            return self.service.reply(request, lines.as_bytes());
        }
        self.book.0.push(request.bytes().to_vec());
        match request.bytes() {
            b"no" => self.service.abort_reply(request, "no"),
            b"quiet" => self.service.null_reply(request),
            b"large" => self.service.reply(request, &vec![7; 15_000]),
            b"too large" => self.service.reply(request, &vec![7; 35_001]),
            _ => {
                let line = self.book.0.len().to_string();
                self.service.reply(request, line.as_bytes());
            }
        }
    }

    fn clients(&self) -> Vec<ViewMember> {
        self.service.clients().map(|served| served.client).collect()
    }
}

/// A client, and what has become of what it asked.
struct Asker {
    node: Node,
    group: Group,
    asked: BTreeMap<AskId, Vec<u8>>,
    done: BTreeMap<AskId, (Outcome, Vec<(ViewMember, Status)>)>,
    host: Option<ViewMember>,
    /// Members that it had to leave, and how often it was struck.
    detached: usize,
    dropped: usize,
}

impl Asker {
    fn join(name: &str) -> Self {
        let mut node = Node::open(config()).expect("a node");
        let group = node.join(name, JoinOptions::client().client_tuning(tuning())).expect("a group");
        let (asked, done) = Default::default();
        Self { node, group, asked, done, host: None, detached: 0, dropped: 0 }
    }

    fn ask(&mut self, dest: Dest, want: Want, request: &[u8]) -> AskId {
        let ask = self.node.ask(&self.group, dest, want, request).expect("room");
        assert_eq!(self.asked.insert(ask, request.to_vec()), None, "a new one");
        ask
    }

    fn poll(&mut self) {
        let Self { node, done, host, detached, dropped, .. } = self;
        let polled = node.poll(|_, event| {
            match event {
                Event::Client(ClientEvent::Attached(member)) => *host = Some(*member),
                Event::Client(ClientEvent::Detached(_)) => {
                    *host = None;
                    *detached += 1;
                }
                Event::Client(ClientEvent::Dropped) => *dropped += 1,
                Event::Client(ClientEvent::Done { ask, outcome, replies }) => {
                    assert_eq!(done.insert(*ask, (*outcome, replies.clone())), None, "over twice");
                }
                other => panic!("{other:?}"),
            }
            Ok(())
        });
        polled.expect("a poll");
    }

    fn has_all(&self) -> bool {
        self.done.len() == self.asked.len()
    }
}

/// Polls all until it is so.
fn until(
    clerks: &mut Vec<Clerk>,
    askers: &mut Vec<Asker>,
    what: &str,
    mut is_so: impl FnMut(&mut Vec<Clerk>, &mut Vec<Asker>) -> bool,
) {
    let end = Instant::now() + PATIENCE;
    while !is_so(clerks, askers) {
        clerks.iter_mut().for_each(Clerk::poll);
        askers.iter_mut().for_each(Asker::poll);
        let services: Vec<_> = clerks.iter().map(|clerk| &clerk.service).collect();
        assert!(Instant::now() < end, "never: {what}\n{services:#?}");
        std::thread::yield_now();
    }
}

/// Three members, and so many clients that are attached.
fn open(name: &str, clients: usize) -> (Vec<Clerk>, Vec<Asker>) {
    let mut clerks: Vec<_> = (0..3).map(|_| Clerk::join(name, 3)).collect();
    let mut askers: Vec<_> = (0..clients).map(|_| Asker::join(name)).collect();
    until(&mut clerks, &mut askers, "all are there", |clerks, askers| {
        clerks.iter().all(|clerk| is_whole(clerk, 3) && clerk.clients().len() == clients)
            && askers.iter().all(|asker| asker.host.is_some())
    });
    (clerks, askers)
}

/// Whether it sees so many members, all of whom have the state.
fn is_whole(clerk: &Clerk, count: usize) -> bool {
    let view = clerk.node.view(&clerk.group).filter(|_| clerk.node.reached(&clerk.group).is_some());
    view.is_some_and(|view| view.members().len() == count && view.joining().is_empty())
}

/// The clerk at this place.
fn place_of(clerks: &[Clerk], member: ViewMember) -> usize {
    clerks.iter().position(|clerk| clerk.node.endpoint() == member.endpoint).expect("one of them")
}

const CLIENTS: usize = 3;
const REQUESTS: u32 = 120;
const OPEN: usize = 8;

#[test]
fn what_clients_ask_is_executed_once_and_answered_once_whoever_dies_or_joins() {
    let name = format!("clients {}", std::process::id());
    let (mut clerks, mut askers) = open(&name, CLIENTS);
    let mut next = [0; CLIENTS];
    let (mut has_died, mut has_come) = (false, false);
    until(&mut clerks, &mut askers, "all was answered", |clerks, askers| {
        for (at, asker) in askers.iter_mut().enumerate() {
            while next[at] < REQUESTS && asker.asked.len() - asker.done.len() < OPEN {
                asker.ask(Dest::All, Want::Majority, format!("{at}:{}", next[at]).as_bytes());
                next[at] += 1;
            }
        }
        let done = askers[0].done.len();
        if !has_died && done > 40 {
            has_died = true;
            let host = place_of(clerks, askers[0].host.expect("attached"));
            drop(clerks.remove(host));
        }
        if !has_come && done > 60 {
            has_come = true;
            clerks.push(Clerk::join(&name, 1));
        }
        next == [REQUESTS; CLIENTS] && askers.iter().all(Asker::has_all)
    });
    assert!(askers[0].detached > 0, "its host was killed");
    assert!(askers.iter().all(|asker| asker.dropped == 0), "none was struck");
    let lines = CLIENTS * REQUESTS as usize;
    until(&mut clerks, &mut askers, "the joiner has it all", |clerks, _| {
        clerks.iter().all(|clerk| is_whole(clerk, 3) && clerk.book.0.len() >= lines)
    });
    let book = &clerks[0].book;
    assert!(clerks.iter().all(|clerk| clerk.book == *book), "one order");
    let once: BTreeSet<_> = book.0.iter().collect();
    assert_eq!((once.len(), book.0.len()), (lines, lines), "each once");
    for asker in &askers {
        for (ask, request) in &asker.asked {
            let (outcome, replies) = &asker.done[ask];
            // All who reply say the same: where it stands in the book.
            let line = book.0.iter().position(|line| line == request).expect("it was executed") + 1;
            let is_right = |status: &Status| *status == Status::Replied(line.to_string().into_bytes());
            let right = replies.iter().filter(|(_, status)| is_right(status)).count();
            let replied = replies.iter().filter(|(_, status)| matches!(status, Status::Replied(_))).count();
            assert!(*outcome == Outcome::Enough && right == replied && right > 0, "{replies:?}");
        }
    }
    let clients = clerks[0].clients();
    assert!(clerks.iter().all(|clerk| clerk.clients() == clients), "one list");
    // Who has joined serves on when another is gone.
    drop(clerks.remove(0));
    until(&mut clerks, &mut askers, "two go on", |clerks, _| clerks.iter().all(|clerk| is_whole(clerk, 2)));
    let asks: Vec<_> =
        askers.iter_mut().map(|asker| asker.ask(Dest::Any, Want::N(1), b"how many?")).collect();
    until(&mut clerks, &mut askers, "they answer", |_, askers| askers.iter().all(Asker::has_all));
    for (asker, ask) in askers.iter().zip(&asks) {
        let (outcome, replies) = &asker.done[ask];
        let expected = Status::Replied(lines.to_string().into_bytes());
        assert!(*outcome == Outcome::Enough && replies[0].1 == expected, "{replies:?}");
    }
}

/// Whom to ask for how many replies, what, how that ends, and how many say something that is such.
type Case<'a> = (Dest, Want, &'a [u8], Outcome, usize, &'a dyn Fn(&Status) -> bool);

#[test]
fn a_request_ends_as_a_call_does_however_long_it_is_and_its_replies() {
    let name = format!("endings {}", std::process::id());
    let (mut clerks, mut askers) = open(&name, 1);
    let (long, group) = (vec![5; 35_000], askers[0].group);
    assert_eq!(
        askers[0].node.ask(&group, Dest::All, Want::All, &vec![0; 35_001]),
        Err(AskError::TooLong { len: 35_001, max: 35_000 })
    );
    let replied = |status: &Status| matches!(status, Status::Replied(_));
    let cases: [Case<'_>; 9] = [
        (Dest::All, Want::All, b"one", Outcome::Enough, 3, &replied),
        (Dest::All, Want::N(9), b"two", Outcome::Enough, 3, &replied),
        (Dest::All, Want::None, b"nothing", Outcome::Enough, 0, &replied),
        (Dest::Any, Want::N(1), b"read", Outcome::Enough, 1, &replied),
        (Dest::All, Want::All, &long, Outcome::Enough, 3, &replied),
        (Dest::All, Want::All, b"large", Outcome::Enough, 3, &|status| {
            *status == Status::Replied(vec![7; 15_000])
        }),
        (
            Dest::All,
            Want::All,
            b"too large",
            Outcome::NotEnough,
            1,
            &|status| matches!(status, Status::Aborted(why) if why.contains("35001 bytes")),
        ),
        (Dest::All, Want::All, b"no", Outcome::NotEnough, 1, &|status| {
            *status == Status::Aborted("no".to_owned())
        }),
        (Dest::All, Want::N(1), b"quiet", Outcome::NotEnough, 3, &|status| *status == Status::Null),
    ];
    let mut asks = Vec::new();
    for (dest, want, request, ..) in &cases {
        asks.push(askers[0].ask(*dest, *want, request));
    }
    until(&mut clerks, &mut askers, "all are over", |_, askers| askers[0].has_all());
    for (ask, (_, _, request, outcome, least, is_such)) in asks.iter().zip(&cases) {
        let (ended, replies) = &askers[0].done[ask];
        let such = replies.iter().filter(|(_, status)| is_such(status)).count();
        let (request, shown) = (&request[..request.len().min(9)], format!("{replies:?}"));
        let shown: String = shown.chars().take(600).collect();
        assert!(ended == outcome && such >= *least, "{request:?}: {ended:?} {shown}");
    }
    // Members' own calls go beside.
    let Clerk { node, service, .. } = &mut clerks[0];
    service.calls().call(node, Order::Total, Want::All, b"from a member").expect("room");
    until(&mut clerks, &mut askers, "it is over", |clerks, _| clerks[0].done == 1);
    until(&mut clerks, &mut askers, "all have one book", |clerks, _| {
        clerks.iter().all(|clerk| clerk.book.0.len() == 9)
    });
    assert!(clerks.iter().all(|clerk| clerk.book == clerks[0].book));
    assert!(clerks[0].book.0.contains(&long));
}

#[test]
fn a_client_that_leaves_or_falls_silent_is_struck_at_all() {
    let name = format!("goers {}", std::process::id());
    let (mut clerks, mut askers) = open(&name, 3);
    let [leaver, silent, stays] = [0, 1, 2].map(|at: usize| {
        let asker = &askers[at];
        asker.node.member(&asker.group).expect("a client")
    });
    let is_without = |clerks: &[Clerk], gone: ViewMember| {
        clerks.iter().all(|clerk| !clerk.clients().contains(&gone) && !clerk.told.contains(&gone))
    };
    let group = askers[0].group;
    askers[0].node.leave(&group);
    assert_eq!(askers[0].node.ask(&group, Dest::All, Want::All, b""), Err(AskError::Left));
    until(&mut clerks, &mut askers, "one has left", |clerks, askers| {
        is_without(clerks, leaver) && askers[0].node.has_left(&group)
    });
    drop(askers.remove(1));
    until(&mut clerks, &mut askers, "one was struck", |clerks, _| is_without(clerks, silent));
    // On a slow machine, who stays may have been struck too, and come back.
    until(&mut clerks, &mut askers, "one stays", |clerks, _| {
        clerks.iter().all(|clerk| {
            let clients = clerk.clients();
            clients.len() == 1 && clients[0].endpoint == stays.endpoint && clerk.told == clients
        })
    });
}

#[test]
fn a_member_that_sleeps_wakes_to_look_after_its_clients() {
    let mut node = Node::open(Config { idle: Idle::Park, ..config() }).expect("a node");
    let name = format!("sleeper {}", std::process::id());
    let group = node.join(&name, JoinOptions::peer().expected_members(1)).expect("a group");
    // It looks after them every millisecond; everything else that it does alone it does ten times a second.
    let (silence_ns, patience_ns, keep_alive_ns) = (8_000_000, 2_000_000, 1_000_000);
    let hasty = ClientTuning { silence_ns, patience_ns, keep_alive_ns, ..tuning() };
    let mut service = Service::with(&node, group, hasty).expect("sizes that fit");
    let (started, mut wakes) = (Instant::now(), 0);
    while wakes < 1_000 {
        assert!(started.elapsed() < PATIENCE, "it woke {wakes} times");
        let polled = node.poll_for(PATIENCE, |cx, mut event| service.handle(cx, &mut event).map(drop));
        polled.expect("a poll");
        while service.poll(&mut node).expect("it is a member").is_some() {}
        wakes += usize::from(node.reached(&group).is_some());
    }
}

/// The blocks of a letter to a group.
fn blocks_of(view: ViewId, letter: &[u8]) -> Vec<Vec<u8>> {
    let mut message = Vec::new();
    Message::Letter(Letter(letter.to_vec())).encode(&mut message);
    let (id, parts) = (checksum(&message), message.chunks(1_000));
    let count = parts.len() as u16;
    let block_of = |(index, bytes): (usize, &[u8])| {
        let mut block = vec![0; HEADER_LEN + CHUNK_OVERHEAD + bytes.len()];
        let chunk = Chunk { id, index: index as u16, count, bytes };
        assert!(ControlWriter::new(&mut block[HEADER_LEN..]).chunk(&chunk), "there is room");
        let header = Header::new(Kind::Agreement, view.group, view.instance, ViewNumber(0), Rank(0));
        Header { used: block.len() as u16, ..header }.encode(&mut block, true);
        block
    };
    parts.enumerate().map(block_of).collect()
}

#[test]
fn a_stranger_writes_one_block_and_of_those_no_more_than_there_is_room_for() {
    let mut clerk = Clerk::join(&format!("strangers {}", std::process::id()), 1);
    let end = Instant::now() + PATIENCE;
    while clerk.node.reached(&clerk.group).is_none() {
        clerk.poll();
        assert!(Instant::now() < end, "never alone");
    }
    let view = clerk.node.view(&clerk.group).expect("a view").id();
    let (socket, to) = (UdpSocket::bind("127.0.0.1:0").expect("a port"), clerk.node.endpoint().0);
    let send = |view: ViewId, letter: &[u8]| {
        let blocks = blocks_of(view, letter);
        blocks.iter().for_each(|block| assert!(socket.send_to(block, to).is_ok(), "loopback takes it"));
    };
    // Of a long letter nothing is kept, nor of one to another life of the group; a short one is looked at.
    send(view, &[0xff; 3_000]);
    send(ViewId { instance: GroupInstance(view.instance.0 ^ 1), ..view }, &[0xff; 30]);
    send(view, &[0xff; 30]);
    while clerk.service.malformed() == 0 || clerk.node.counters().session.foreign < 5 {
        clerk.poll();
        assert!(Instant::now() < end, "{:?}", clerk.node.counters());
    }
    assert_eq!((clerk.service.malformed(), clerk.node.dropped_letters(&clerk.group)), (1, 0));
    // Nobody takes them for a while.
    let mut sent = 0;
    while clerk.node.dropped_letters(&clerk.group) == 0 {
        send(view, &u64::to_le_bytes(sent));
        sent += 1;
        let polled = clerk.node.poll(|_, event| match event {
            Event::Letter { .. } => Err(Error::Busy),
            _ => Ok(()),
        });
        assert!(matches!(polled, Ok(_) | Err(Error::Busy)) && Instant::now() < end, "{polled:?}");
    }
    assert!(sent > 1_000, "{sent} were too many");
    while clerk.service.malformed() < 1_000 {
        clerk.poll();
        assert!(Instant::now() < end, "they are taken now");
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut node = Node::open(config()).expect("a node");
    let too_long = ClientTuning { bytes: usize::MAX, ..ClientTuning::default() };
    let refused = node.join("clients", JoinOptions::client().client_tuning(too_long));
    assert!(matches!(refused, Err(Error::Config { key: "bytes", .. })), "{refused:?}");
    let group = node.join("clients", JoinOptions::peer()).expect("a group");
    let fit = ClientTuning::default();
    let unfit = [
        ("keep_alive_ns", ClientTuning { silence_ns: 1, ..fit }),
        ("window", ClientTuning { window: 0, ..fit }),
        ("clients", ClientTuning { clients: 0, ..fit }),
        ("retry_ns", ClientTuning { retry_ns: 0, ..fit }),
        ("patience_ns", ClientTuning { patience_ns: fit.silence_ns, grace_ns: u64::MAX, ..fit }),
        ("patience_ns", ClientTuning { grace_ns: fit.patience_ns, ..fit }),
    ];
    for (named, tuning) in unfit {
        let refused = Service::with(&node, group, tuning);
        assert!(matches!(refused, Err(Error::Config { key, .. }) if key == named), "{named}: {refused:?}");
    }
    assert_eq!(node.ask(&group, Dest::All, Want::All, b""), Err(AskError::Left), "it is a member");
}

#[test]
fn who_keeps_no_state_serves_clients_where_nobody_does() {
    // One comes to two who keep a state: nobody is struck, and it is asked nothing.
    let name = &format!("clients stateless {}", std::process::id());
    let (mut clerks, mut askers) =
        (vec![Clerk::join(name, 2), Clerk::join(name, 2)], vec![Asker::join(name)]);
    until(&mut clerks, &mut askers, "a contact", |_, askers| askers[0].host.is_some());
    clerks.push(Clerk::join_by(name, options(2)));
    until(&mut clerks, &mut askers, "three", |clerks, _| clerks.iter().all(|clerk| is_whole(clerk, 3)));
    let ask = askers[0].ask(Dest::All, Want::All, b"one");
    until(&mut clerks, &mut askers, "an answer", |_, askers| askers[0].has_all());
    let (outcome, replies) = &askers[0].done[&ask];
    assert_eq!((*outcome, replies.len(), askers[0].dropped), (Outcome::Enough, 2, 0));
    assert_eq!(clerks.iter().map(|clerk| clerk.book.0.len()).collect::<Vec<_>>(), [1, 1, 0]);

    // Nobody keeps one: who comes knows no client, so that all begin anew, and it serves those who come back.
    let name = &format!("clients bare {}", std::process::id());
    let (mut clerks, mut askers) = (vec![Clerk::join_by(name, options(1))], vec![Asker::join(name)]);
    askers[0].ask(Dest::All, Want::All, b"one");
    until(&mut clerks, &mut askers, "an answer", |_, askers| askers[0].has_all());
    clerks.push(Clerk::join_by(name, options(1)));
    until(&mut clerks, &mut askers, "two", |clerks, _| clerks.iter().all(|clerk| is_whole(clerk, 2)));
    until(&mut clerks, &mut askers, "it comes back", |_, askers| askers[0].dropped == 1);
    let ask = askers[0].ask(Dest::All, Want::All, b"two");
    until(&mut clerks, &mut askers, "another answer", |_, askers| askers[0].has_all());
    let (outcome, replies) = &askers[0].done[&ask];
    assert_eq!((*outcome, replies.len()), (Outcome::Enough, 2), "{replies:?}");
    assert_eq!(clerks[0].clients(), clerks[1].clients());
    assert_eq!(clerks[1].book.0, [b"two"]);
}

#[test]
fn who_leaves_says_nothing_more_for_its_clients_and_nothing_breaks() {
    let mut node = Node::open(config()).expect("a node");
    let options = JoinOptions::members(vec![node.endpoint()]).unicast();
    let group = node.join("list", options).expect("a list");
    let mut service = Service::new(&node, group);
    let client = ViewMember { endpoint: Endpoint(([127, 0, 0, 1], 9).into()), boot: BootId(9) };
    let (mut wants, started) = (false, Instant::now());
    while !wants {
        let polled = node.poll(|cx, mut event| {
            service.handle(cx, &mut event)?;
            // It wants to be a client, which is to be cast.
            if let Event::View(view) = event {
                let mut end = ClientEnd::new(client, ClientTuning::default(), 1);
                end.see(cx.now(), view.members());
                let (_, letter) = end.poll_letter().expect("it attaches");
                service.handle(cx, &mut Event::Letter { from: client.endpoint, bytes: &letter })?;
                wants = true;
            }
            Ok(())
        });
        polled.expect("loopback does not break");
        assert!(started.elapsed() < PATIENCE, "no view");
    }
    node.leave(&group);
    assert_eq!(node.cast(&group, Order::Total, b"?"), Err(Refused::Left));
    assert!(matches!(service.poll(&mut node), Ok(None)));
    assert_eq!(service.clients().count(), 0);
}
