//! A seat in a group: it is told what happens there, prints that, and answers members and clients as it was asked to.

use std::time::{Duration, Instant};

use sistrum::{
    CallEvent, ClientRequest, Config, Domain, Error, Event, Group, JoinOptions, Node, Order, Rank, Reason,
    Refused, Request, Service, ServiceEvent, Sighting, StateTuning, Status, UnknownSeed, View, ViewMember,
};

use super::options::Common;
use super::table::Table;
use crate::print_bytes;
use crate::refusal::Refusal;
use crate::signals::Signals;

/// What it does about what it is handed.
#[derive(Debug, Clone)]
pub(super) enum Hears {
    /// Prints bytes as they are.
    Raw,
    /// Prints messages and calls, and answers these.
    All(Answer),
    /// Nothing but replies to what it has asked.
    Replies,
}

/// How a call is answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Null,
    Text(String),
    Echo,
    Abort(String),
    Never,
}

/// How a call of mine has ended: whether with enough replies, and what has become of it everywhere.
pub(super) type Ended = (bool, Vec<(ViewMember, Status)>);

/// See the module.
pub(super) struct Seat {
    pub(super) node: Node,
    pub(super) group: Group,
    pub(super) service: Service,
    /// The view that ranks are of.
    pub(super) told: Option<View>,
    pub(super) signals: Signals,
    pub(super) hears: Hears,
    state: Option<Kept>,
    name: String,
    /// What was said of the places where it looks.
    unknown: Vec<UnknownSeed>,
}

/// The state, where it is kept.
struct Kept {
    domain: Domain,
    table: Table,
    /// Something of it has come, and nobody was told.
    has_come: bool,
}

impl Seat {
    /// Joins the group; nothing waits for anybody yet.
    pub(super) fn open(common: &Common, hears: Hears) -> Result<Self, Refusal> {
        let config = Config { port: common.port, ..Config::loopback("group") };
        let options =
            JoinOptions::peer().expected_members(common.expected).suspect_after(common.suspect_after);
        let mut options = common.place.apply(options);
        if common.state {
            options = options.keep_state(StateTuning::default());
        }
        let mut node = Node::open(config).map_err(Refusal::new)?;
        let group = node.join(&common.name, options).map_err(Refusal::new)?;
        eprintln!("I am {}, and look for {}", node.endpoint(), common.name);
        let kept = || Kept { domain: Domain::new("lines"), table: Table::default(), has_come: false };
        let (service, state) = (Service::new(&node, group), common.state.then(kept));
        let (signals, name, unknown) = (Signals::listen()?, common.name.clone(), Vec::new());
        Ok(Self { node, group, service, told: None, signals, hears, state, name, unknown })
    }

    /// Takes what has come. A call of mine may be over.
    pub(super) fn poll(&mut self) -> Result<Option<Ended>, Error> {
        let Self { node, service, told, hears, state, name, .. } = self;
        let mut ended = None;
        node.poll_for(Duration::from_millis(20), |cx, mut event| {
            if let Some(kept) = state
                && kept.take_over(&mut event)?
            {
                return Ok(());
            }
            match &event {
                Event::View(view) => {
                    if state.is_none() && hears.answers() && is_newly_stateless(told.as_ref(), view) {
                        eprintln!(
                            "the others keep a state and I do not: no call comes to me; join with --state to answer"
                        );
                    }
                    *told = Some((*view).clone());
                }
                Event::Stuck(group) => eprintln!("{}", stuck(name, group)),
                _ => {}
            }
            if matches!(hears, Hears::Raw) || !service.handle(cx, &mut event)? {
                state.iter_mut().for_each(|kept| kept.note(&event));
                tell(told.as_ref(), &event, hears);
            }
            // At once: the state is written down with what has come so far.
            while let Some(event) = service.next_event() {
                ended = take(service, state, hears, event).or(ended.take());
            }
            Ok(())
        })?;
        while let Some(event) = service.poll(node)? {
            ended = take(service, state, hears, event).or(ended);
        }
        self.tell_unknown();
        Ok(ended)
    }

    /// Says which places cannot be looked at, where those are others than before.
    fn tell_unknown(&mut self) {
        let unknown = self.node.unknown_seeds(&self.group);
        let places = |seeds: &[UnknownSeed]| seeds.iter().map(|seed| seed.seed.clone()).collect::<Vec<_>>();
        if places(unknown) == places(&self.unknown) {
            return;
        }
        for UnknownSeed { seed, why, .. } in unknown {
            eprintln!("{seed} is no place that I know: {why}; I go on to try");
        }
        if unknown.is_empty() {
            eprintln!("all places are known now");
        }
        self.unknown = unknown.to_vec();
    }

    /// Casts a line as it is, so that whoever knows of no calls can read it; but for one that begins as calls do.
    pub(super) fn cast(&mut self, order: Order, line: &[u8]) -> Result<(), Refused> {
        let is_like_a_call = line.first().is_some_and(u8::is_ascii_control);
        if is_like_a_call && !matches!(self.hears, Hears::Raw) {
            return self.service.calls().cast(&mut self.node, order, line);
        }
        self.node.cast(&self.group, order, line)
    }

    /// Leaves, and waits for that, unless it is stopped once more.
    pub(super) fn leave(&mut self, within: Duration) -> Result<(), Error> {
        let began = Instant::now();
        self.node.leave(&self.group);
        while !self.node.has_left(&self.group) && self.signals.take().is_none() && began.elapsed() < within {
            self.node.poll_for(Duration::from_millis(20), |_, _| Ok(()))?;
        }
        Ok(())
    }
}

impl Hears {
    /// Whether calls are to get more than a null reply.
    fn answers(&self) -> bool {
        matches!(self, Self::All(how) if !matches!(how, Answer::Null))
    }
}

/// Whether I serve nobody from this view on, since others keep a state.
fn is_newly_stateless(before: Option<&View>, view: &View) -> bool {
    let is_so = |view: &View| view.stateless().contains(&view.me());
    is_so(view) && !before.is_some_and(is_so)
}

impl Kept {
    /// Takes what is written down of the state; whether there is nothing else to do.
    fn take_over(&mut self, event: &mut Event<'_>) -> Result<bool, Error> {
        let is_its = self.domain.handle(event, &mut self.table)?;
        self.has_come |= is_its;
        if matches!(event, Event::View(_)) && std::mem::take(&mut self.has_come) {
            let lines: Vec<String> = self.table.lines().collect();
            let shown = if lines.is_empty() { String::new() } else { format!(": {}", lines.join(", ")) };
            eprintln!("took over {} values{shown}", lines.len());
        }
        Ok(is_its)
    }

    /// Takes what changes it.
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Deliver(message) => self.table.add(message.bytes()),
            Event::Sync { bytes, .. } => self.table.add(bytes),
            _ => {}
        }
    }
}

/// Does what is to be done about what members and clients say; a call of mine may be over.
fn take(
    service: &mut Service,
    state: &mut Option<Kept>,
    hears: &Hears,
    event: ServiceEvent,
) -> Option<Ended> {
    match (event, hears) {
        (ServiceEvent::Call(CallEvent::Done { is_enough, replies, .. }), _) => {
            return Some((is_enough, replies));
        }
        (ServiceEvent::Call(CallEvent::Plain { from, bytes }), Hears::All(_)) => {
            state.iter_mut().for_each(|kept| kept.table.add(&bytes));
            say(&from.endpoint.to_string(), &bytes);
        }
        (ServiceEvent::Call(CallEvent::Request(request)), Hears::All(how)) => answer(service, request, how),
        (ServiceEvent::Call(CallEvent::Request(request)), _) => service.calls().null_reply(request),
        (ServiceEvent::Request(request), Hears::All(how)) => answer_client(service, request, how),
        (ServiceEvent::Request(request), _) => service.null_reply(request),
        (ServiceEvent::Joined(client), Hears::All(_)) => eprintln!("{} is a client", client.endpoint),
        (ServiceEvent::Gone(client), Hears::All(_)) => eprintln!("{} is a client no more", client.endpoint),
        _ => {}
    }
    None
}

fn answer(service: &mut Service, request: Request, how: &Answer) {
    show(request.caller(), request.bytes());
    let calls = service.calls();
    match how {
        Answer::Null => calls.null_reply(request),
        Answer::Text(text) => calls.reply(request, text.as_bytes()),
        Answer::Echo => {
            let bytes = request.bytes().to_vec();
            calls.reply(request, &bytes);
        }
        Answer::Abort(why) => calls.abort_reply(request, why),
        Answer::Never => {}
    }
}

fn answer_client(service: &mut Service, request: ClientRequest, how: &Answer) {
    show(request.client(), request.bytes());
    match how {
        Answer::Null => service.null_reply(request),
        Answer::Text(text) => service.reply(request, text.as_bytes()),
        Answer::Echo => {
            let bytes = request.bytes().to_vec();
            service.reply(request, &bytes);
        }
        Answer::Abort(why) => service.abort_reply(request, why),
        Answer::Never => {}
    }
}

/// Prints what somebody asks.
fn show(who: ViewMember, asked: &[u8]) {
    say(&format!("{} asks", who.endpoint), asked);
}

/// Prints what one has said: its bytes as they are.
pub(super) fn say(who: &str, bytes: &[u8]) {
    print_bytes(&[who.as_bytes(), b": ", bytes].concat());
}

/// A group that is looked for in vain, or goes on again.
fn stuck(name: &str, group: &Sighting) -> String {
    let members: Vec<String> = group.members.iter().map(|member| member.endpoint.to_string()).collect();
    let how = if group.is_wedged {
        "cannot go on, since most of its members are gone: restart it, or wait for them"
    } else {
        "goes on again"
    };
    format!("{name} at {}: {how}", members.join(", "))
}

/// Prints what is handed over, and says what is told of the group.
pub(super) fn tell(view: Option<&View>, event: &Event<'_>, hears: &Hears) {
    let place = |rank: Rank| {
        let member = view.and_then(|view| view.member(rank));
        member.map_or_else(|| rank.to_string(), |member| member.endpoint.to_string())
    };
    match event {
        Event::View(view) => eprintln!("{}", shown(view)),
        Event::Deliver(_) | Event::Sync { .. } if matches!(hears, Hears::Replies) => {}
        Event::Deliver(message) => {
            say(&place(message.from()), message.bytes());
        }
        Event::Sync { from, bytes, .. } => say(&from.endpoint.to_string(), bytes),
        Event::Wedged(heard) => {
            eprintln!("cannot go on: {}", view.map_or(String::new(), |view| lacking(view, heard)))
        }
        Event::Resumed => eprintln!("goes on again"),
        Event::TransferFailed(why) => eprintln!("the state was not taken over: {why}"),
        Event::Excluded(number) => eprintln!("the others went on without me, to {number}: I come back"),
        Event::Conflict(endpoint, why) => eprintln!("{endpoint}: {why}"),
        _ => {}
    }
}

/// Who of a view is not heard, and how many would do.
fn lacking(view: &View, heard: &[Rank]) -> String {
    let name = |rank: &Rank| {
        view.member(*rank).map_or_else(|| rank.to_string(), |member| member.endpoint.to_string())
    };
    let all = (0..).map(Rank).take(view.members().len());
    let missing: Vec<String> =
        all.clone().filter(|rank| !heard.contains(rank)).map(|rank| name(&rank)).collect();
    let missing = missing.join(" ");
    let voters: Vec<Rank> = all.filter(|rank| view.is_ready(*rank)).collect();
    let (half, has) = (voters.len() / 2, voters.iter().filter(|rank| heard.contains(rank)).count());
    let oldest = voters.first().filter(|_| voters.len().is_multiple_of(2));
    if has > half || has == half && oldest.is_some_and(|oldest| heard.contains(oldest)) {
        return format!("does not hear {missing}, which hold what is lacking");
    }
    let or_half = oldest.map_or(String::new(), |oldest| format!(", or {half} with {}", name(oldest)));
    format!(
        "does not hear {missing}; {} of {} are needed{or_half}, and {has} are here",
        half + 1,
        voters.len()
    )
}

/// A view as one line: its members by age, who came, who is gone and why. Of my first one nothing is told of others: it says who is there.
fn shown(view: &View) -> String {
    let members: Vec<String> = view.members().iter().map(|member| member.endpoint.to_string()).collect();
    if view.came().contains(&view.me()) {
        return format!("{} of {}: {}, I came", view.id().number, members.len(), members.join(" "));
    }
    let came = view.came().iter().map(|rank| format!(", {} came", members[usize::from(rank.0)]));
    let gone = view.gone().iter().map(|(member, why)| {
        let how = if *why == Reason::Left { "left" } else { "is gone: it was silent" };
        format!(", {} {how}", member.endpoint)
    });
    let readied =
        view.readied().iter().map(|rank| format!(", {} has the state", members[usize::from(rank.0)]));
    let changes: String = came.chain(gone).chain(readied).collect();
    format!("{} of {}: {}{changes}", view.id().number, members.len(), members.join(" "))
}
