//! Members that serve clients: who asks the group from outside.

use crate::{
    CallEvent, Calls, Caster, ClientRequest, ClientTuning, ClientsEvent, Domain, Endpoint, Error, Event,
    Group, Instant, Node, Order, Refused, Result, Served, State, ViewMember,
};
use sistrum_membership as membership;
use std::collections::{BTreeSet, VecDeque};

/// What a member that serves clients is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// A client asks: to be answered once. Where it has asked all, all members are told so, at the same place among all total casts.
    Request(ClientRequest),
    /// The group has taken this client in. Who joins is not told so of those who were clients when it came: they are in the table that it has
    /// taken over, and in [`Service::clients`].
    Joined(ViewMember),
    /// It is a client no more: it said so, or was silent for too long.
    Gone(ViewMember),
    /// Something of the members' own [calls](Service::calls).
    Call(CallEvent),
}

/// Requests of clients, which are no members, and of members: [`Calls`], and who asks from outside. Every message of the group goes by it, at
/// all members. A request of a client is executed once by each of them, whichever member the client asks by and however many of
/// those die; the answer is the client's as long as it lives.
///
/// Members that come later take over who the clients are, and what was answered, with the [state](crate::JoinOptions::keep_state), as the
/// domain `sistrum.clients`: where nobody keeps one, all clients are struck when somebody joins, and come back as somebody new.
///
/// ```no_run
/// use sistrum::{Config, Event, JoinOptions, Node, Service, ServiceEvent, StateTuning};
///
/// let mut node = Node::open(Config::loopback("prices"))?;
/// let group = node.join("quotes", JoinOptions::peer().keep_state(StateTuning::default()))?;
/// let mut service = Service::new(&node, group);
/// loop {
///     node.poll(|cx, mut event| service.handle(cx, &mut event).map(drop))?;
///     while let Some(event) = service.poll(&mut node)? {
///         match event {
///             ServiceEvent::Request(request) => service.reply(request, b"42"),
///             ServiceEvent::Joined(client) => println!("{client:?} asks us from now on"),
///             _ => {}
///         }
///     }
/// }
/// # Ok::<(), sistrum::Error>(())
/// ```
///
/// Who asks is a node of its own:
///
/// ```no_run
/// use sistrum::{ClientEvent, Config, Dest, Event, JoinOptions, Node, Want};
///
/// let mut node = Node::open(Config::loopback("asker"))?;
/// let group = node.join("quotes", JoinOptions::client())?;
/// let ask = node.ask(&group, Dest::All, Want::Majority, b"EURUSD?")?;
/// loop {
///     node.poll(|_, event| {
///         if let Event::Client(ClientEvent::Done { outcome, replies, .. }) = event {
///             println!("{outcome:?}: {replies:?}");
///         }
///         Ok(())
///     })?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Service {
    group: Group,
    local: Endpoint,
    now: Instant,
    calls: Calls,
    clients: membership::Clients,
    domain: Domain,
    /// What is to be told, in the order in which it came; none is the next that the clients have to tell, of which so many wait here.
    queue: VecDeque<Option<CallEvent>>,
    marked: usize,
    /// Some of the state has come, and no view yet: what is to be told is told on top of all of it.
    is_taking: bool,
    /// Whose long letters the group takes, and whether that may have changed.
    admitted: BTreeSet<Endpoint>,
    is_changed: bool,
}

impl Service {
    /// In a group that was joined just now: it has to be handed all events from the first one on.
    #[must_use]
    pub fn new(node: &Node, group: Group) -> Self {
        Self::of(node, group, ClientTuning::default())
    }

    /// Likewise, with other sizes and times: the same at all members and their clients.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when requests would be too long for a letter.
    pub fn with(node: &Node, group: Group, tuning: ClientTuning) -> Result<Self> {
        check_tuning(&tuning)?;
        Ok(Self::of(node, group, tuning))
    }

    fn of(node: &Node, group: Group, tuning: ClientTuning) -> Self {
        Self {
            group,
            local: node.endpoint(),
            now: node.now(),
            calls: Calls::for_state(group),
            clients: membership::Clients::new(tuning),
            domain: Domain::new("sistrum.clients"),
            queue: VecDeque::new(),
            marked: 0,
            is_taking: false,
            admitted: BTreeSet::new(),
            is_changed: false,
        }
    }

    /// Takes an event of the group. Returns whether there is nothing else to do with it: it was a message of calls, or of clients, or a part
    /// of the state that is theirs.
    ///
    /// # Errors
    /// As [`Domain::handle`].
    pub fn handle(&mut self, caster: &Caster<'_>, event: &mut Event<'_>) -> Result<bool> {
        if caster.group() != self.group {
            return Ok(false);
        }
        self.now = self.now.max(caster.now());
        let mut table = Table { clients: &mut self.clients, local: self.local };
        let is_of_table = self.domain.handle(event, &mut table)?;
        let is_of_calls = self.calls.handle(caster, event);
        let Self { now, clients, calls, .. } = self;
        match event {
            Event::State(_) => self.is_taking = true,
            Event::View(view) => {
                self.is_taking = false;
                clients.see(*now, calls.pure_mut(), view);
            }
            Event::Excluded(_) => {
                self.is_taking = false;
                self.admitted.clear();
                clients.excluded();
            }
            Event::Wedged(_) => clients.wedge(*now, true),
            Event::Resumed => clients.wedge(*now, false),
            Event::Letter { from, bytes } => clients.handle_letter(*now, calls.pure_mut(), *from, bytes),
            _ => {}
        }
        self.is_changed |= !matches!(event, Event::Deliver(_) | Event::Direct(_) | Event::Letter { .. });
        self.drain();
        Ok(is_of_table || is_of_calls || matches!(event, Event::Letter { .. }))
    }

    /// What there is to be told, without sending anything: for who wants it right behind [`handle`](Self::handle), in the handler. A state
    /// that the members' own calls change has to be brought up to date there, before it is [written down](Event::Snapshot); what clients ask
    /// and was not told yet is taken over with it.
    pub fn next_event(&mut self) -> Option<ServiceEvent> {
        if self.is_taking {
            return None;
        }
        while let Some(event) = self.queue.pop_front() {
            if let Some(event) = event {
                return Some(ServiceEvent::Call(event));
            }
            self.marked -= 1;
            match self.clients.poll_event() {
                Some(ClientsEvent::Request(request)) => return Some(ServiceEvent::Request(request)),
                Some(ClientsEvent::Joined(client)) => {
                    self.is_changed = true;
                    return Some(ServiceEvent::Joined(client));
                }
                Some(ClientsEvent::Gone(client)) => {
                    self.is_changed = true;
                    return Some(ServiceEvent::Gone(client));
                }
                _ => {}
            }
        }
        None
    }

    /// Sends what waits, and returns what there is to be told: to be called behind each poll of the node, until it is `None`. The node wakes for
    /// it where it sleeps.
    ///
    /// # Errors
    /// As [`Calls::poll`].
    pub fn poll(&mut self, node: &mut Node) -> std::result::Result<Option<ServiceEvent>, Refused> {
        self.now = self.now.max(node.now());
        self.clients.handle_timeout(self.now);
        self.drain();
        let failed = self.cast_waiting(node);
        let failed = failed.or(self.calls.send_waiting(node));
        self.drain();
        while let Some((to, letter)) = self.clients.poll_letter() {
            // What there is no room for is said again.
            node.send_letter(&self.group, to, &letter);
        }
        if std::mem::take(&mut self.is_changed) {
            self.admit(node);
        }
        node.wake_at(&self.group, self.clients.poll_timeout());
        match (self.next_event(), failed) {
            (None, Some(refused)) => Err(refused),
            (event, _) => Ok(event),
        }
    }

    /// Casts what the clients have to say to all members, as long as I have not left; what cannot be cast at all ends what it belongs to.
    fn cast_waiting(&mut self, node: &mut Node) -> Option<Refused> {
        loop {
            let bytes = self.clients.poll_cast(self.now, self.calls.pure_mut())?;
            match node.cast(&self.group, Order::Total, bytes) {
                Ok(()) => self.clients.cast(),
                Err(refused @ Refused::TooLarge { .. }) => {
                    self.clients.refused(self.calls.pure_mut(), &refused.to_string());
                }
                Err(refused) if refused.is_for_now() => return None,
                Err(refused) => return Some(refused),
            }
        }
    }

    /// Takes what calls have to tell to the clients first, and notes the rest in its place.
    fn drain(&mut self) {
        while let Some(event) = self.calls.pure_mut().poll_event() {
            if let Some(event) = self.clients.take(self.now, self.calls.pure_mut(), event) {
                self.queue.push_back(Some(event));
            }
            self.mark();
        }
        self.mark();
    }

    fn mark(&mut self) {
        while self.marked < self.clients.pending() {
            self.marked += 1;
            self.queue.push_back(None);
        }
    }

    /// Lets those write at length who are clients.
    fn admit(&mut self, node: &mut Node) {
        let clients: BTreeSet<_> = self.clients.clients().map(|served| served.client.endpoint).collect();
        self.admitted.difference(&clients).for_each(|gone| node.dismiss(&self.group, *gone));
        clients.difference(&self.admitted).for_each(|come| node.admit(&self.group, *come));
        self.admitted = clients;
    }

    /// Answers a client.
    pub fn reply(&mut self, request: ClientRequest, reply: &[u8]) {
        self.clients.reply(self.calls.pure_mut(), request, reply);
        self.drain();
    }

    /// Says that there will be no reply.
    pub fn null_reply(&mut self, request: ClientRequest) {
        self.clients.null_reply(self.calls.pure_mut(), request);
        self.drain();
    }

    /// Ends what the client has asked, for a reason.
    pub fn abort_reply(&mut self, request: ClientRequest, why: &str) {
        self.clients.abort_reply(self.calls.pure_mut(), request, why);
        self.drain();
    }

    /// Hands the request on to another member, which answers in my place.
    pub fn forward(&mut self, request: ClientRequest, to: ViewMember) {
        self.clients.forward(self.calls.pure_mut(), request, to);
        self.drain();
    }

    /// Who is a client, and by which member it asks, in the order in which they were taken in: the same at all members at the same place among all
    /// total casts, so at each view.
    pub fn clients(&self) -> impl Iterator<Item = Served> + '_ {
        self.clients.clients()
    }

    /// The members' own calls. What they have to tell comes by [`poll`](Self::poll).
    pub fn calls(&mut self) -> &mut Calls {
        &mut self.calls
    }

    /// Letters that were no such.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.clients.malformed()
    }

    /// Letters of clients that asked for too much, or of which there are too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.clients.over_full()
    }
}

/// Whether clients and members can be of these sizes.
///
/// # Errors
/// [`Error::Config`] names the key.
pub(crate) fn check_tuning(tuning: &ClientTuning) -> Result<()> {
    let refuse = |key, why: String| Err(Error::Config { key, why });
    let (bytes, limit) = (tuning.bytes, ClientTuning::MAX_BYTES);
    if bytes > limit {
        return refuse("bytes", format!("a request of {bytes} is longer than a letter: {limit} at most"));
    }
    for (key, is_none) in [("window", tuning.window == 0), ("clients", tuning.clients == 0)] {
        if is_none {
            return refuse(key, "nobody could ask".to_owned());
        }
    }
    if tuning.retry_ns == 0 {
        return refuse("retry_ns", "what was not answered would be said again all the time".to_owned());
    }
    if tuning.keep_alive_ns >= tuning.silence_ns {
        return refuse("keep_alive_ns", "who has nothing to ask would be struck for its silence".to_owned());
    }
    if tuning.patience_ns >= tuning.grace_ns.min(tuning.silence_ns) {
        let why =
            "who waits for its host would be struck before it looks for another, by grace_ns or silence_ns";
        return refuse("patience_ns", why.to_owned());
    }
    Ok(())
}

/// The clients as a state that is read as a whole.
struct Table<'a> {
    clients: &'a mut membership::Clients,
    local: Endpoint,
}

impl State for Table<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        self.clients.write(out);
    }

    fn read(&mut self, bytes: &[u8]) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.clients.read(self.local, bytes)?)
    }
}
